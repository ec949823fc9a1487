//! The grammar of calls: the functions' own schemas within the marks of the model's format.

use cupola_runtime::generate::Grammar;
use cupola_runtime::tokenizer::Tokenizer;
use serde_json::{Value, json};

use super::{CallFormat, Function};

/// What an answer under the grammar may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// One call.
    OneCall,
    /// One call or more.
    Calls,
    /// Calls, or JSON of a schema.
    CallsOr(Value),
}

/// The grammar of answers that call `functions`.
pub(crate) fn calls_grammar(
    format: CallFormat,
    tokenizer: &Tokenizer,
    functions: &[Function],
    answer: &Answer,
) -> Grammar {
    let mark = |text: &str| {
        let special = tokenizer.added_tokens().iter().find(|token| token.is_special && token.content == text);
        special.map_or_else(|| quoted(text), |token| format!("<[{}]>", token.id))
    };
    let arguments = if format == CallFormat::Llama { "parameters" } else { "arguments" };
    let is_single = *answer == Answer::OneCall || format == CallFormat::Llama;
    let (calls, separator) = match format {
        CallFormat::Hermes => {
            let (open, close) = (mark("<tool_call>"), mark("</tool_call>"));
            (format!("{open} \"\\n\" call \"\\n\" {close}"), "\"\\n\"")
        }
        CallFormat::Llama => ("call".to_owned(), "\"; \""),
        CallFormat::Mistral => ("call".to_owned(), "\", \""),
    };
    let several = if is_single { "one".to_owned() } else { format!("one ({separator} one)*") };
    let several = match format {
        CallFormat::Mistral => format!("{} \"[\" {several} \"]\"", mark("[TOOL_CALLS]")),
        CallFormat::Hermes | CallFormat::Llama => several,
    };
    let mut schemas = Vec::new();
    let start = match answer {
        Answer::OneCall | Answer::Calls => "calls",
        Answer::CallsOr(schema) => {
            schemas.push(("content".to_owned(), schema.clone()));
            "calls | content"
        }
    };
    let names: Vec<String> = (0..functions.len()).map(|at| format!("call_{at}")).collect();
    let mut rules =
        vec![format!("start: {start}\ncalls: {several}\none: {calls}\ncall: {}", names.join(" | "))];
    for (at, function) in functions.iter().enumerate() {
        let head = format!("{{\"name\": {}, \"{arguments}\": ", Value::from(function.name.as_str()));
        rules.push(format!("call_{at}: {} arguments_{at} \"}}\"", quoted(&head)));
        schemas.push((format!("arguments_{at}"), object_schema(&function.parameters)));
    }
    let text = rules.join("\n");
    Grammar::LarkOfSchemas(text, schemas)
}

/// A text in Lark's spelling, which is JSON's.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// Arguments are an object, also where their schema does not say so.
fn object_schema(parameters: &Value) -> Value {
    let mut schema = parameters.clone();
    match schema.as_object_mut() {
        Some(fields) => {
            let says_what = ["type", "anyOf", "oneOf", "allOf", "$ref", "enum", "const"];
            if !says_what.iter().any(|keyword| fields.contains_key(*keyword)) {
                fields.insert("type".into(), json!("object"));
            }
            schema
        }
        None => json!({"type": "object"}),
    }
}

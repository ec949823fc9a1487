//! The form that an answer must have: `response_format`, as OpenAI's API has it, and `structured_outputs`, vLLM's name for more.

use std::sync::Arc;

use cupola_runtime::generate::{Constraint, Grammar};
use serde_json::{Map, Value};

use super::{ApiError, Fields};
use crate::app::App;
use crate::forms::{FormError, constraint_of};
use crate::keys::Asker;

/// A form, and the parameter that asks for it.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) param: &'static str,
    pub(crate) grammar: Grammar,
}

/// Names that other servers have for a form.
const OTHER_NAMES: &[(&str, &str)] = &[
    ("guided_json", "give the schema as 'response_format' or as 'structured_outputs': {\"json\": …}"),
    ("guided_regex", "give it as 'structured_outputs': {\"regex\": …}"),
    ("guided_choice", "give it as 'structured_outputs': {\"choice\": …}"),
    ("guided_grammar", "give it, in Lark, as 'structured_outputs': {\"grammar\": …}"),
    ("grammar", "GBNF is not read; give a grammar in Lark as 'structured_outputs': {\"grammar\": …}"),
    ("json_schema", "give it as 'response_format' or as 'structured_outputs': {\"json\": …}"),
];

impl Form {
    /// Takes both parameters; none where the answer is free.
    pub(crate) fn take(fields: &mut Fields) -> Result<Option<Self>, ApiError> {
        let format = take_format("response_format", fields.take("response_format")?)?;
        let structured = take_structured(fields)?;
        fields.refuse(OTHER_NAMES)?;
        match (format, structured) {
            (Some(_), Some(_)) => Err(ApiError::parameter(
                "structured_outputs",
                "'response_format' asks for a form already: set one of them",
            )),
            (Some(grammar), None) => Ok(Some(Self { param: "response_format", grammar })),
            (None, Some(grammar)) => Ok(Some(Self { param: "structured_outputs", grammar })),
            (None, None) => Ok(None),
        }
    }

    /// What `text.format` of a response asks for, whose schema stands beside its type.
    pub(crate) fn of_text(format: Value) -> Result<Option<Self>, ApiError> {
        let param = "text.format";
        let about = |error: ApiError| error.about(param);
        let grammar = match format {
            Value::Object(mut format)
                if format.get("type").and_then(Value::as_str) == Some("json_schema") =>
            {
                format.remove("type");
                Some(take_named_schema(Fields::of(format)).map_err(about)?)
            }
            format => take_format(param, Some(format))?,
        };
        Ok(grammar.map(|grammar| Self { param, grammar }))
    }

    /// The form as the engine takes it.
    pub(crate) async fn constraint(&self, app: &App, asker: &Arc<Asker>) -> Result<Constraint, ApiError> {
        let param = self.param;
        constraint_of(&app.model, &asker.name, self.grammar.clone()).await.map_err(|error| match error {
            FormError::Wrong(message) => ApiError::parameter(
                param,
                format!(
                    "'{param}' can't be carried out: {message}; leave that out, or say it in another way"
                ),
            ),
            FormError::Busy => ApiError::overloaded(app.time_of_line()),
            FormError::Failed(message) => ApiError::internal(message),
        })
    }
}

/// What an object like `{"type": "json_schema", "json_schema": {"name": …, "schema": …}}` asks for; none where that is plain text.
fn take_format(param: &'static str, format: Option<Value>) -> Result<Option<Grammar>, ApiError> {
    let wrong =
        |message: String| ApiError::parameter(param, format!("Invalid value for '{param}': {message}"));
    let mut format = match format {
        None => return Ok(None),
        Some(Value::Object(format)) => Fields::of(format),
        Some(_) => return Err(wrong("expected an object with a 'type'".into())),
    };
    let kind: String = format.require("type").map_err(|error| error.about(param))?;
    let grammar = match kind.as_str() {
        "text" => None,
        "json_object" => Some(Grammar::JsonObject),
        "json_schema" => {
            let schema: Map<String, Value> =
                format.require("json_schema").map_err(|error| error.about(param))?;
            Some(take_named_schema(Fields::of(schema)).map_err(|error| error.about(param))?)
        }
        other => {
            return Err(wrong(format!(
                "'{other}'. Supported types are: 'text', 'json_object' and 'json_schema'"
            )));
        }
    };
    format.finish().map_err(|error| error.about(param))?;
    Ok(grammar)
}

/// `name`, `schema`, `strict` and `description`. An answer always validates, so `strict` changes nothing.
fn take_named_schema(mut fields: Fields) -> Result<Grammar, ApiError> {
    let name: String = fields.require("name")?;
    check_name("name", &name)?;
    let _: Option<String> = fields.take("description")?;
    let _: Option<bool> = fields.take("strict")?;
    let schema: Option<Value> = fields.take("schema")?;
    fields.finish()?;
    Ok(schema.map_or(Grammar::JsonObject, Grammar::JsonSchema))
}

/// A name of a schema or a function, as OpenAI's API has them.
pub(super) fn check_name(param: &str, name: &str) -> Result<(), ApiError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        return Ok(());
    }
    let message = format!("Invalid value for '{param}': a name has 1 to 64 letters, digits, '_' or '-'");
    Err(ApiError::parameter(param, message))
}

/// `structured_outputs`: one of `json`, `json_object`, `regex`, `choice` and `grammar`.
fn take_structured(fields: &mut Fields) -> Result<Option<Grammar>, ApiError> {
    let param = "structured_outputs";
    let Some(wish) = fields.take::<Map<String, Value>>(param)? else { return Ok(None) };
    let of_param = |error: ApiError| error.about(param);
    let mut wish = Fields::of(wish);
    let json =
        wish.take::<Value>("json").map_err(of_param)?.map(take_schema).transpose().map_err(of_param)?;
    let object = wish.take::<bool>("json_object").map_err(of_param)?;
    let regex = wish.take::<String>("regex").map_err(of_param)?;
    let choice = wish.take::<Vec<String>>("choice").map_err(of_param)?;
    let lark = wish.take::<String>("grammar").map_err(of_param)?;
    wish.finish().map_err(of_param)?;
    let choice = choice.map(|choices| choice_grammar(&choices)).transpose().map_err(of_param)?;
    let mut given = [
        json,
        object.filter(|wanted| *wanted).map(|_| Grammar::JsonObject),
        regex.map(Grammar::Regex),
        choice,
        lark.map(Grammar::Lark),
    ]
    .into_iter()
    .flatten();
    match (given.next(), given.next()) {
        (Some(grammar), None) => Ok(Some(grammar)),
        _ => Err(ApiError::parameter(
            param,
            "'structured_outputs' takes one of 'json', 'json_object', 'regex', 'choice' and 'grammar'",
        )),
    }
}

/// A schema, or the text of one.
fn take_schema(schema: Value) -> Result<Grammar, ApiError> {
    match schema {
        Value::String(text) => serde_json::from_str(&text)
            .map(Grammar::JsonSchema)
            .map_err(|error| ApiError::invalid(format!("'json' is not the text of a schema: {error}"))),
        schema => Ok(Grammar::JsonSchema(schema)),
    }
}

fn choice_grammar(choices: &[String]) -> Result<Grammar, ApiError> {
    if choices.is_empty() || choices.iter().any(String::is_empty) {
        return Err(ApiError::invalid("'choice' takes a list of texts that are not empty"));
    }
    // A text in JSON's spelling is one in Lark's too.
    let texts: Vec<String> = choices.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
    Ok(Grammar::Lark(format!("start: {}\n", texts.join(" | "))))
}

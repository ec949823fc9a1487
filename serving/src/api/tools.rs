//! `tools`, `tool_choice` and `parallel_tool_calls`.

use std::collections::BTreeSet;

use cupola_runtime::generate::Grammar;
use cupola_specs::artifact::ChatMessage;
use serde_json::{Map, Value, json};

use super::form::{Form, check_name};
use super::{ApiError, Fields};
use crate::model_folder::ServedModel;
use crate::tools::{Answer, CallFormat, CallReader, Function, calls_grammar};

/// Most functions of one request, as OpenAI's API has it.
const MAX_TOOLS: usize = 128;

/// What a request says of tools.
#[derive(Debug)]
pub(crate) struct ToolUse {
    /// The descriptions as the client wrote them, for the template; none where none may be called.
    pub(crate) descriptions: Vec<Value>,
    functions: Vec<Function>,
    choice: Choice,
    is_parallel: bool,
    format: Option<CallFormat>,
}

/// Whether the model calls.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Choice {
    None,
    Auto,
    Required,
    Named(String),
}

impl ToolUse {
    /// Takes the parameters; `read` reads a tool's description.
    pub(crate) fn take(
        fields: &mut Fields,
        read: impl Fn(&str, Map<String, Value>) -> Result<(Function, Value), ApiError>,
    ) -> Result<Self, ApiError> {
        let tools: Vec<Map<String, Value>> = fields.take("tools")?.unwrap_or_default();
        if tools.len() > MAX_TOOLS {
            return Err(ApiError::parameter("tools", format!("'tools' takes up to {MAX_TOOLS} functions")));
        }
        let (mut functions, mut descriptions, mut names) = (Vec::new(), Vec::new(), BTreeSet::new());
        for (at, tool) in tools.into_iter().enumerate() {
            let name = format!("tools[{at}]");
            let (function, description) = read(&name, tool)?;
            if !names.insert(function.name.clone()) {
                let message = format!("'tools' has two functions named '{}'", function.name);
                return Err(ApiError::parameter(name, message));
            }
            functions.push(function);
            descriptions.push(description);
        }
        let choice = take_choice(fields.take("tool_choice")?, &functions)?;
        let is_parallel = fields.take("parallel_tool_calls")?.unwrap_or(true);
        if choice == Choice::None {
            descriptions.clear();
            functions.clear();
        }
        Ok(Self { descriptions, functions, choice, is_parallel, format: None })
    }

    /// Refuses what the model's template has no words for; nothing of a chat is dropped.
    pub(crate) fn check(&mut self, model: &ServedModel, messages: &[ChatMessage]) -> Result<(), ApiError> {
        let template = model.tokenizer.chat().source();
        let has_calls = messages.iter().any(|message| !message.tool_calls.is_empty());
        let has_answers = messages.iter().any(|message| message.role == "tool");
        if has_calls && !template.contains("tool_calls") || has_answers && !template.contains("tool") {
            let why = "the chat template of this model has no words for calls of tools";
            return Err(ApiError::unsupported("messages", why));
        }
        if self.functions.is_empty() {
            return Ok(());
        }
        if !template.contains("tools") {
            let why = "the chat template of this model takes none, so it was not trained to call any";
            return Err(ApiError::unsupported("tools", why));
        }
        self.format = CallFormat::of_template(template);
        if self.format.is_none() {
            let why = "the chat template of this model writes calls in a way that is not read here; those of Hermes, Qwen, Llama 3 and Mistral are";
            return Err(ApiError::unsupported("tools", why));
        }
        Ok(())
    }

    /// Reads calls out of answers; none where none may come.
    pub(crate) fn reader(&self) -> Option<CallReader> {
        self.format.map(|format| {
            let is_single = !self.is_parallel || matches!(self.choice, Choice::Named(_));
            let functions = self.functions.iter().map(|function| function.name.clone()).collect();
            CallReader::new(format, is_single, functions)
        })
    }

    /// The tokens that the reader must see though they are special.
    pub(crate) fn shown_ids(&self, model: &ServedModel) -> Vec<u32> {
        self.format.map(|format| format.shown_ids(&model.tokenizer)).unwrap_or_default()
    }

    /// The form of answers: that of forced calls, or what was asked for beside calls.
    pub(crate) fn form(&self, model: &ServedModel, asked: Option<Form>) -> Result<Option<Form>, ApiError> {
        let Some(format) = self.format else { return Ok(asked) };
        let several = if self.is_parallel { Answer::Calls } else { Answer::OneCall };
        let (functions, answer) = match (&self.choice, asked) {
            (Choice::Named(name), _) => {
                let named = self.functions.iter().filter(|function| function.name == *name).cloned();
                (named.collect(), Answer::OneCall)
            }
            (Choice::Required, _) => (self.functions.clone(), several),
            (Choice::Auto | Choice::None, None) => return Ok(None),
            (Choice::Auto | Choice::None, Some(form)) => {
                let schema = match form.grammar {
                    Grammar::JsonSchema(schema) => schema,
                    Grammar::JsonObject => json!({"type": "object"}),
                    _ => {
                        let message = "beside 'tools' the form of an answer is a JSON schema";
                        return Err(ApiError::parameter(form.param, message));
                    }
                };
                (self.functions.clone(), Answer::CallsOr(schema))
            }
        };
        let grammar = calls_grammar(format, &model.tokenizer, &functions, &answer);
        Ok(Some(Form { param: "tools", grammar }))
    }
}

/// A tool as chat requests have it: `{"type": "function", "function": {…}}`. The template gets it as it is.
pub(crate) fn read_chat_tool(name: &str, tool: Map<String, Value>) -> Result<(Function, Value), ApiError> {
    let description = Value::Object(tool.clone());
    let mut fields = Fields::of(tool);
    take_type(name, &mut fields)?;
    let function: Map<String, Value> =
        fields.require("function").map_err(|error| error.about(format!("{name}.function")))?;
    fields.finish().map_err(|error| error.about(name))?;
    Ok((read_function(&format!("{name}.function"), Fields::of(function))?, description))
}

/// A tool as responses have it, the function's fields beside the type. Templates know the shape of chat requests.
pub(crate) fn read_flat_tool(name: &str, tool: Map<String, Value>) -> Result<(Function, Value), ApiError> {
    let mut function = tool.clone();
    function.remove("type");
    let description = json!({"type": "function", "function": function});
    let mut fields = Fields::of(tool);
    take_type(name, &mut fields)?;
    Ok((read_function(name, fields)?, description))
}

/// The type of a tool: functions alone are carried out by clients.
pub(crate) fn take_type(name: &str, fields: &mut Fields) -> Result<(), ApiError> {
    let param = format!("{name}.type");
    let kind: String = fields.require("type").map_err(|error| error.about(&param))?;
    if kind == "function" {
        return Ok(());
    }
    Err(ApiError::unsupported(&param, &format!("only functions are offered, not '{kind}'")))
}

/// `name`, `description`, `parameters` and `strict`.
pub(crate) fn read_function(param: &str, mut fields: Fields) -> Result<Function, ApiError> {
    let about = |error: ApiError| error.about(param);
    let name: String = fields.require("name").map_err(|error| error.about(format!("{param}.name")))?;
    check_name(&format!("{param}.name"), &name)?;
    let _: Option<String> = fields.take("description").map_err(about)?;
    let _: Option<bool> = fields.take("strict").map_err(about)?;
    let parameters: Option<Map<String, Value>> = fields.take("parameters").map_err(about)?;
    fields.finish().map_err(about)?;
    // Without parameters a function takes none.
    let nothing = json!({"type": "object", "properties": {}, "additionalProperties": false});
    Ok(Function { name, parameters: parameters.map_or(nothing, Value::Object) })
}

fn take_choice(choice: Option<Value>, functions: &[Function]) -> Result<Choice, ApiError> {
    let param = "tool_choice";
    let wrong = |message: String| Err(ApiError::parameter(param, message));
    let choice = match choice {
        None => return Ok(if functions.is_empty() { Choice::None } else { Choice::Auto }),
        Some(Value::String(word)) => match word.as_str() {
            "none" => return Ok(Choice::None),
            "auto" => return Ok(if functions.is_empty() { Choice::None } else { Choice::Auto }),
            "required" => Choice::Required,
            other => {
                return wrong(format!(
                    "Invalid value for 'tool_choice': '{other}'. Supported values are: 'none', 'auto', 'required' and a function."
                ));
            }
        },
        Some(Value::Object(choice)) => {
            if choice.get("type").and_then(Value::as_str) != Some("function") {
                return Err(ApiError::unsupported(
                    param,
                    "of objects only {\"type\": \"function\"} is offered",
                ));
            }
            // The responses' shape has the name beside the type.
            let name =
                choice.get("function").and_then(|function| function.get("name")).or(choice.get("name"));
            match name.and_then(Value::as_str) {
                Some(name) => Choice::Named(name.to_owned()),
                None => return wrong("'tool_choice' names no function".into()),
            }
        }
        Some(_) => return wrong("Invalid value for 'tool_choice': expected a word or a function".into()),
    };
    match &choice {
        _ if functions.is_empty() => wrong("'tool_choice' is only allowed when 'tools' are specified".into()),
        Choice::Named(name) if functions.iter().all(|function| function.name != *name) => {
            wrong(format!("'tool_choice' names '{name}', which is not among 'tools'"))
        }
        _ => Ok(choice),
    }
}

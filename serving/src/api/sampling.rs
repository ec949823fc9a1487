//! The parameters that chat and completions share.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;

use cupola_runtime::generate::{Constraint, Sampling};
use cupola_specs::artifact::ChatMessage;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::form::Form;
use super::tools::ToolUse;
use super::{ApiError, Fields};
use crate::answer::Reading;
use crate::app::App;
use crate::keys::Asker;
use crate::model_folder::ServedModel;

/// Parameters that mean the same on both routes.
#[derive(Debug)]
pub(crate) struct SharedParams {
    /// How tokens are chosen; the seed is the first answer's.
    pub(crate) sampling: Sampling,
    /// Answers for each prompt.
    pub(crate) num_answers: usize,
    /// The texts of each prompt, as they were written.
    pub(crate) prompt_texts: Vec<Vec<String>>,
    /// Whether an answer goes on in its prompt's text, and is no text of its own.
    pub(crate) continues_prompt: bool,
    /// How answers' texts are read.
    pub(crate) reading: Reading,
    /// The form that answers must have.
    pub(crate) form: Option<Form>,
    /// Whether stop tokens are passed over.
    pub(crate) ignore_eos: bool,
    /// Whether the answer comes as a stream.
    pub(crate) stream: bool,
    /// Which chunks of the stream tell the usage.
    pub(crate) usage: StreamUsage,
}

/// Which chunks of a stream tell the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamUsage {
    /// None.
    Never,
    /// One behind the answers.
    Last,
    /// Each, with the tokens so far, and one behind the answers.
    Each,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stops {
    One(String),
    Many(Vec<String>),
}

/// Most answers of one request.
const MAX_ANSWERS: usize = 128;

impl SharedParams {
    /// Takes the shared fields.
    pub(crate) fn take(fields: &mut Fields, model: &ServedModel) -> Result<Self, ApiError> {
        let defaults = &model.defaults;
        let vocab_size = model.tokenizer.vocab_size();
        let sampling = Sampling {
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(defaults.temperature),
            top_p: top_p(fields)?.unwrap_or(defaults.top_p),
            top_k: fields.number("top_k", 0..=vocab_size)?.unwrap_or(defaults.top_k),
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            repetition_penalty: fields
                .number("repetition_penalty", 0.01..=10.0)?
                .unwrap_or(defaults.repetition_penalty),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            logit_bias: logit_bias(fields, vocab_size)?,
            seed: fields.take::<i64>("seed")?.map_or_else(random_u64, i64::cast_unsigned),
        };
        let stream = fields.take("stream")?.unwrap_or(false);
        let shared = Self {
            sampling,
            num_answers: fields.number("n", 1..=MAX_ANSWERS)?.unwrap_or(1),
            prompt_texts: Vec::new(),
            continues_prompt: false,
            reading: Reading { stops: stops(fields)?, ..Reading::default() },
            form: Form::take(fields)?,
            ignore_eos: fields.take("ignore_eos")?.unwrap_or(false),
            stream,
            usage: stream_usage(fields, stream)?,
        };
        if let Some(form) = &shared.form {
            shared.check_ends(form.param)?;
        }
        Ok(shared)
    }

    /// Refuses what would end an answer that must have a form where it is not whole, or not end it where it is.
    pub(crate) fn check_ends(&self, param: &str) -> Result<(), ApiError> {
        if !self.reading.stops.is_empty() {
            let message =
                format!("'stop' would cut the answer that '{param}' asks for: leave one of them out");
            return Err(ApiError::parameter("stop", message));
        }
        if self.ignore_eos {
            let message = format!("'ignore_eos' can't go on behind the answer that '{param}' asks for");
            return Err(ApiError::parameter("ignore_eos", message));
        }
        Ok(())
    }

    /// A chat's prompt by the model's template, and what its tools make of the form and the reading of answers.
    pub(crate) fn prompt(
        &mut self,
        model: &ServedModel,
        param: &str,
        messages: &[ChatMessage],
        tools: &mut ToolUse,
    ) -> Result<Vec<u32>, ApiError> {
        tools.check(model, messages)?;
        self.prompt_texts = vec![texts_of(messages, &tools.descriptions)];
        self.reading.reader = tools.reader();
        self.reading.shown = tools.shown_ids(model);
        let asked = self.form.take();
        self.form = tools.form(model, asked)?;
        if let Some(form) = &self.form {
            self.check_ends(form.param)?;
        }
        model
            .tokenizer
            .chat()
            .encode_prompt(&model.tokenizer, messages, &tools.descriptions, Some(&jiff::Zoned::now()))
            .map_err(|error| ApiError::parameter(param, error.to_string()))
    }

    /// The form as the engine takes it.
    pub(crate) async fn constraint(
        &self,
        app: &App,
        asker: &Arc<Asker>,
    ) -> Result<Option<Constraint>, ApiError> {
        match &self.form {
            Some(form) => form.constraint(app, asker).await.map(Some),
            None => Ok(None),
        }
    }

    /// The sampling of one of a request's answers: each has its own stream.
    pub(crate) fn sampling_of(&self, answer: usize) -> Sampling {
        Sampling { seed: self.sampling.seed.wrapping_add(answer as u64), ..self.sampling.clone() }
    }
}

/// All texts of a chat: what its messages say, what they call with, and what is said of tools.
fn texts_of(messages: &[ChatMessage], tools: &[Value]) -> Vec<String> {
    let mut texts = Vec::new();
    for message in messages {
        texts.push(message.content.clone());
        texts.extend([&message.name, &message.tool_call_id].into_iter().flatten().cloned());
        for call in &message.tool_calls {
            texts.push(call.id.clone());
            texts.push(call.function.name.clone());
            gather_fields(&call.function.arguments, &mut texts);
        }
    }
    for tool in tools {
        gather_texts(tool, &mut texts);
    }
    texts.retain(|text| !text.is_empty());
    texts
}

fn gather_texts(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| gather_texts(value, texts)),
        Value::Object(fields) => gather_fields(fields, texts),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn gather_fields(fields: &Map<String, Value>, texts: &mut Vec<String>) {
    for (name, value) in fields {
        texts.push(name.clone());
        gather_texts(value, texts);
    }
}

fn top_p(fields: &mut Fields) -> Result<Option<f64>, ApiError> {
    // 0 keeps the likeliest token alone, as OpenAI's API does.
    Ok(fields.number("top_p", 0.0..=1.0_f64)?.map(|value| value.max(1e-9)))
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let stops = match fields.take::<Stops>("stop").map_err(|_| {
        ApiError::parameter("stop", "Invalid value for 'stop': expected a string or a list of strings")
    })? {
        None => Vec::new(),
        Some(Stops::One(stop)) => vec![stop],
        Some(Stops::Many(stops)) => stops,
    };
    if stops.len() > 4 {
        return Err(ApiError::parameter("stop", format!("'stop' takes up to 4 texts, got {}", stops.len())));
    }
    if stops.iter().any(String::is_empty) {
        return Err(ApiError::parameter("stop", "'stop' holds an empty text"));
    }
    Ok(stops)
}

fn stream_usage(fields: &mut Fields, stream: bool) -> Result<StreamUsage, ApiError> {
    let Some(options) = fields.take::<Map<String, Value>>("stream_options")? else {
        return Ok(StreamUsage::Never);
    };
    if !stream {
        return Err(ApiError::parameter(
            "stream_options",
            "'stream_options' is for requests with 'stream': true",
        ));
    }
    let mut options = Fields::of(options);
    let mut wish = |name: &str| {
        let value: Result<Option<bool>, ApiError> = options.take(name);
        value.map(Option::unwrap_or_default).map_err(|error| error.about(format!("stream_options.{name}")))
    };
    let (last, each) = (wish("include_usage")?, wish("continuous_usage_stats")?);
    options.ignore(&["include_obfuscation"]);
    options.finish().map_err(|error| error.about("stream_options"))?;
    Ok(match (last, each) {
        (_, true) => StreamUsage::Each,
        (true, false) => StreamUsage::Last,
        (false, false) => StreamUsage::Never,
    })
}

fn logit_bias(fields: &mut Fields, vocab_size: usize) -> Result<Vec<(u32, f32)>, ApiError> {
    let map: BTreeMap<String, f32> = fields.take("logit_bias")?.unwrap_or_default();
    map.into_iter()
        .map(|(key, bias)| {
            let token =
                key.parse::<u32>().ok().filter(|token| (*token as usize) < vocab_size).ok_or_else(|| {
                    ApiError::parameter(
                        "logit_bias",
                        format!("'logit_bias' names '{key}', which is no token id of this model"),
                    )
                })?;
            if !(-100.0..=100.0).contains(&bias) {
                return Err(ApiError::parameter(
                    "logit_bias",
                    format!("'logit_bias' of {token} is {bias}, not -100 to 100"),
                ));
            }
            Ok((token, bias))
        })
        .collect()
}

/// A number that the standard library's own randomness gives: the seed of requests that name none.
pub(crate) fn random_u64() -> u64 {
    RandomState::new().build_hasher().finish()
}

//! `POST /v1/completions`: plain text or token ids, continued.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use cupola_runtime::generate::Request;
use serde::Deserialize;
use serde_json::{Value, json};

use super::admission::{BodyResult, answer_room, check_count, read_fields};
use super::chat::IGNORED;
use super::document::{Completion, CompletionRequest, Refused};
use super::logprobs::CompletionLogprobs;
use super::respond::{Format, respond};
use super::sampling::SharedParams;
use super::{ApiError, Fields};
use crate::answer::Delta;
use crate::app::App;
use crate::keys::Asker;
use crate::model_folder::ServedModel;

/// Most prompts of one request.
const MAX_PROMPTS: usize = 128;
/// OpenAI's default of this route.
const DEFAULT_MAX_TOKENS: usize = 16;

/// Continues prompts.
#[utoipa::path(
    post,
    path = "/v1/completions",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The texts; with `stream` their events", content(
            (Completion = "application/json"), (Completion = "text/event-stream"))),
        Refused,
    )
)]
pub(crate) async fn completions(
    State(app): State<App>,
    Extension(asker): Extension<Arc<Asker>>,
    headers: HeaderMap,
    body: BodyResult,
) -> Result<Response, ApiError> {
    let (app, fields) = read_fields(&app, &headers, body)?;
    let params = CompletionParams::take(fields, &app.model)?;
    let requests = params.requests(&app)?;
    Ok(respond(&app, &asker, requests, &params.shared, params.format(&app.model)).await)
}

/// Texts or token ids.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Prompt {
    Text(String),
    Ids(Vec<u32>),
    Texts(Vec<String>),
    IdLists(Vec<Vec<u32>>),
}

impl Prompt {
    /// Whether a text says nothing.
    pub(super) fn has_empty_text(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Texts(texts) => texts.iter().any(String::is_empty),
            Self::Ids(_) | Self::IdLists(_) => false,
        }
    }

    /// Token ids of each prompt; a text begins as documents do in training, with the beginning-of-text token.
    pub(super) fn encode(self, model: &ServedModel) -> Vec<Vec<u32>> {
        let text_ids = |text: String| {
            let mut ids = model.tokenizer.encode_with_special(&text);
            if ids.first() != Some(&model.tokenizer.bos_id()) {
                ids.insert(0, model.tokenizer.bos_id());
            }
            ids
        };
        match self {
            Self::Text(text) => vec![text_ids(text)],
            Self::Texts(texts) => texts.into_iter().map(text_ids).collect(),
            Self::Ids(ids) => vec![ids],
            Self::IdLists(lists) => lists,
        }
    }
}

struct CompletionParams {
    shared: SharedParams,
    prompts: Vec<Vec<u32>>,
    max_tokens: Option<usize>,
    logprobs: Option<usize>,
    echo: bool,
}

impl CompletionParams {
    fn take(mut fields: Fields, model: &ServedModel) -> Result<Self, ApiError> {
        let prompt: Prompt = fields.require("prompt").map_err(|_| {
            ApiError::parameter(
                "prompt",
                "'prompt' must be a text, a list of texts, a list of token ids or a list of those",
            )
        })?;
        let prompts = prompt.encode(model);
        if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
            return Err(ApiError::parameter("prompt", format!("'prompt' takes 1 to {MAX_PROMPTS} prompts")));
        }
        let vocab_size = model.tokenizer.vocab_size();
        if prompts.iter().any(|ids| ids.is_empty() || ids.iter().any(|&id| id as usize >= vocab_size)) {
            return Err(ApiError::parameter(
                "prompt",
                format!("a prompt of token ids needs ids from 0 to {}", vocab_size - 1),
            ));
        }
        let mut shared = SharedParams::take(&mut fields, model)?;
        shared.prompt_texts = prompts.iter().map(|ids| vec![model.text(ids)]).collect();
        shared.continues_prompt = true;
        let echo = fields.take("echo")?.unwrap_or(false);
        let max_tokens = fields.number("max_tokens", usize::from(!echo)..=usize::MAX)?;
        let logprobs = fields.number("logprobs", 0..=20)?;
        let best_of: Option<usize> = fields.take("best_of")?;
        if best_of.is_some_and(|best_of| best_of != shared.num_answers) {
            return Err(ApiError::unsupported("best_of", "every answer is returned; ask for 'n'"));
        }
        fields.ignore(IGNORED);
        fields.refuse(&[("suffix", "this model was not trained to fill in")])?;
        fields.finish()?;
        Ok(Self { shared, prompts, max_tokens, logprobs, echo })
    }

    fn requests(&self, app: &App) -> Result<Vec<Request>, ApiError> {
        let model = &app.model;
        check_count(app, self.prompts.len() * self.shared.num_answers)?;
        let stop_ids = if self.shared.ignore_eos { Vec::new() } else { model.stop_ids.clone() };
        let most = match app.limits.output_tokens {
            0 => usize::MAX,
            limit => limit,
        };
        let max_tokens = self.max_tokens.unwrap_or(DEFAULT_MAX_TOKENS.min(most));
        let mut requests = Vec::new();
        for ids in &self.prompts {
            let max_new_tokens = answer_room(app, "prompt", ids.len(), Some(("max_tokens", max_tokens)))?;
            for answer in 0..self.shared.num_answers {
                requests.push(Request {
                    top_logprobs: self.logprobs.unwrap_or(0),
                    score_prompt: self.echo && (self.logprobs.is_some() || max_new_tokens == 0),
                    ..Request::new(
                        ids.clone(),
                        self.shared.sampling_of(answer),
                        max_new_tokens,
                        stop_ids.clone(),
                    )
                });
            }
        }
        Ok(requests)
    }

    fn format(&self, model: &ServedModel) -> CompletionFormat {
        let answers = self.prompts.iter().flat_map(|ids| std::iter::repeat_n(ids, self.shared.num_answers));
        let states = answers.map(|ids| AnswerState {
            echo: self.echo.then(|| Echo { first: ids[0], text: model.text(ids) }),
            logprobs: self.logprobs.map(|_| CompletionLogprobs::default()),
        });
        CompletionFormat { answers: states.collect() }
    }
}

struct CompletionFormat {
    answers: Vec<AnswerState>,
}

/// What an answer's next chunk goes on from.
struct AnswerState {
    /// The prompt, until the first chunk repeats it.
    echo: Option<Echo>,
    logprobs: Option<CompletionLogprobs>,
}

struct Echo {
    first: u32,
    text: String,
}

impl Format for CompletionFormat {
    const OBJECT: &'static str = "text_completion";
    const CHUNK_OBJECT: &'static str = Self::OBJECT;
    const ID_PREFIX: &'static str = "cmpl";

    fn choice(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Value {
        let state = &mut self.answers[index];
        let echo = state.echo.take();
        let text = echo.as_ref().map(|echo| echo.text.as_str()).unwrap_or_default().to_owned() + &delta.text;
        // As in OpenAI's answers the lists hold the token that ended the answer too: whoever scores a text by `echo` counts on one
        // entry for each token that was made.
        let tokens: Vec<_> =
            delta.prompt.iter().chain(&delta.tokens).chain(&delta.stop_token).cloned().collect();
        let logprobs =
            state.logprobs.as_mut().map(|lists| lists.next(model, echo.map(|echo| echo.first), &tokens));
        json!({"text": text, "index": index, "logprobs": logprobs, "finish_reason": delta.finish})
    }

    fn opening(&self, _index: usize) -> Option<Value> {
        None
    }

    fn chunks(&mut self, model: &ServedModel, index: usize, delta: &Delta) -> Vec<Value> {
        let state = &self.answers[index];
        let has_news = !delta.text.is_empty()
            || delta.finish.is_some()
            || state.echo.is_some()
            || (state.logprobs.is_some() && !delta.tokens.is_empty());
        if has_news { vec![self.choice(model, index, delta)] } else { Vec::new() }
    }
}

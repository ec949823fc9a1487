//! From a request's body to answers in the engine's line: the checks that both routes share.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderMap, StatusCode, header};
use cupola_runtime::generate::Request;
use serde_json::{Value, json};

use super::sampling::SharedParams;
use super::{ApiError, Fields};
use crate::answer::TextAnswer;
use crate::app::App;
use crate::connection::TooSlow;
use crate::engine_thread::Ticket;
use crate::keys::Asker;
use crate::moderation::{Gate, Rulebook};
use crate::phase::Phase;
use crate::request_line;

/// A body as the extractor gives it.
pub(crate) type BodyResult = Result<Bytes, BytesRejection>;

/// Answers that the engine works on, and the places that they hold.
pub(crate) struct Admitted {
    /// In the order of the request: by prompt, then by answer.
    pub(crate) answers: Vec<TextAnswer>,
    /// Tokens of the prompts, each counted once.
    pub(crate) prompt_tokens: usize,
    /// Answers in a row that share a prompt.
    pub(crate) answers_per_prompt: usize,
    /// Freed when the answers are done or the client is gone.
    pub(crate) ticket: Ticket,
}

/// What answers took.
#[derive(Debug, Clone)]
pub(crate) struct Usage {
    prompt_tokens: usize,
    answers_per_prompt: usize,
    /// By answer: tokens of its prompt that were found in the cache, new tokens.
    answers: Vec<(u64, u64)>,
}

impl Usage {
    /// Before the first token of the answers.
    pub(crate) fn of(admitted: &Admitted) -> Self {
        let Admitted { prompt_tokens, answers_per_prompt, answers, .. } = admitted;
        let (prompt_tokens, answers_per_prompt) = (*prompt_tokens, *answers_per_prompt);
        Self { prompt_tokens, answers_per_prompt, answers: vec![(0, 0); answers.len()] }
    }

    /// What an answer took so far.
    pub(crate) fn set(&mut self, index: usize, answer: (u64, u64)) {
        self.answers[index] = answer;
    }

    /// The usage object. A prompt counts once, as its first answer found it.
    pub(crate) fn value(&self) -> Value {
        let cached: u64 = self.answers.iter().step_by(self.answers_per_prompt).map(|answer| answer.0).sum();
        let generated: u64 = self.answers.iter().map(|answer| answer.1).sum();
        json!({
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": generated,
            "total_tokens": self.prompt_tokens as u64 + generated,
            "prompt_tokens_details": {"cached_tokens": cached},
        })
    }
}

/// The fields of a request, and the server with the model that it names.
pub(crate) fn read_fields(
    app: &App,
    headers: &HeaderMap,
    body: BodyResult,
) -> Result<(App, Fields), ApiError> {
    let mut fields = Fields::parse(&read_body(app, headers, body)?)?;
    let model: String = fields.require("model")?;
    Ok((app.find(&model)?, fields))
}

/// The request's body, where it is JSON and not too long.
fn read_body(app: &App, headers: &HeaderMap, body: BodyResult) -> Result<Bytes, ApiError> {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let media_type = content_type.split(';').next().unwrap_or("").trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(ApiError::invalid("the request needs the header 'Content-Type: application/json'"));
    }
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::body_too_large(app.limits.body_bytes)
        } else if TooSlow::is_reason_of(&rejection) {
            ApiError::body_too_slow()
        } else {
            ApiError::invalid("the request's body could not be read")
        }
    })
}

/// How many new tokens an answer may have: what was asked for, or what the context and the server's limit leave.
pub(crate) fn answer_room(
    app: &App,
    param: &str,
    prompt: usize,
    asked: Option<(&str, usize)>,
) -> Result<usize, ApiError> {
    let longest_prompt = app.limits.prompt_tokens;
    if longest_prompt > 0 && prompt > longest_prompt {
        let message = format!("the prompt has {prompt} tokens; this server takes at most {longest_prompt}");
        return Err(ApiError::parameter(param, message));
    }
    let context = app.model.context;
    let room = context.saturating_sub(prompt);
    let longest_answer = match app.limits.output_tokens {
        0 => usize::MAX,
        limit => limit,
    };
    match asked {
        Some((field, asked)) if asked > longest_answer => {
            let message = format!("'{field}' is {asked}; this server makes at most {longest_answer} tokens");
            Err(ApiError::parameter(field, message))
        }
        Some((_, asked)) if asked <= room => Ok(asked),
        None if room > 0 => Ok(room.min(longest_answer)),
        _ => Err(ApiError::context_overflow(param, prompt, asked.map_or(1, |(_, asked)| asked), context)),
    }
}

/// Takes places in the line and charges the key for prompts.
pub(crate) fn admit_prompts(
    app: &App,
    asker: &Asker,
    num_places: usize,
    prompt_tokens: usize,
) -> Result<Ticket, ApiError> {
    if app.phases.now() >= Phase::Draining {
        return Err(ApiError::unavailable("the server is stopping and takes no new requests"));
    }
    if let Some(line) = request_line::current() {
        line.add_prompt(prompt_tokens);
    }
    let Some(ticket) = app.engine.take_places(num_places) else {
        return Err(ApiError::overloaded(app.time_of_line()));
    };
    asker
        .quota
        .admit(prompt_tokens as u64, Instant::now())
        .map_err(|exceeded| ApiError::quota(&asker.name, &exceeded))?;
    Ok(ticket)
}

/// Refuses more answers at once than the server ever holds. Whoever makes requests asks first: each is a copy of its prompt and its grammar.
pub(crate) fn check_count(app: &App, answers: usize) -> Result<(), ApiError> {
    let places = app.engine.num_places();
    if answers > places {
        let message = format!("{answers} answers are asked for at once; this server holds {places}");
        return Err(ApiError::parameter("n", message));
    }
    Ok(())
}

/// Takes places in the line, charges the key, compiles the form that answers must have and sends the requests to the engine;
/// `answers_per_prompt` requests in a row share a prompt. Those whose prompt is refused are answered with the refusal instead.
pub(crate) async fn admit(
    app: &App,
    asker: &Arc<Asker>,
    requests: Vec<Request>,
    answers_per_prompt: usize,
    shared: &SharedParams,
) -> Result<Admitted, ApiError> {
    check_count(app, requests.len())?;
    let prompt_tokens = requests.iter().step_by(answers_per_prompt).map(|request| request.ids.len()).sum();
    let ticket = admit_prompts(app, asker, requests.len(), prompt_tokens)?;
    // Not before the key is charged: a form costs work, too.
    let constraint = shared.constraint(app, asker).await?;
    // Where calls or a form are asked for, the answer may be JSON.
    let is_json = shared.reading.reader.is_some() || constraint.is_some();
    let mut answers = Vec::with_capacity(requests.len());
    let rules = app.moderation.as_ref().map(Rulebook::now);
    let (mut refusal, mut gate) = (None, None);
    for (at, mut request) in requests.into_iter().enumerate() {
        if let Some(rules) = rules.as_ref().filter(|_| at % answers_per_prompt == 0) {
            let texts = shared.prompt_texts.get(at / answers_per_prompt).map_or(&[][..], Vec::as_slice);
            let limit = app.limits.time;
            let is_refused = tokio::time::timeout(limit, rules.refuses(texts, &asker.name)).await;
            refusal = is_refused.map_err(|_| ApiError::time_is_up(limit))??.then(|| rules.refusal());
            let before = texts.first().filter(|_| shared.continues_prompt).map_or("", String::as_str);
            gate = Gate::new(rules, &asker.name, before, is_json);
        }
        request.constraint.clone_from(&constraint);
        answers.push(match refusal {
            Some(refusal) => TextAnswer::refused(app, asker, request.ids.len(), refusal),
            None => TextAnswer::start(app, asker, (request, gate.clone()), &shared.reading),
        });
    }
    Ok(Admitted { answers, prompt_tokens, answers_per_prompt, ticket })
}

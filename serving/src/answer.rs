//! An answer as text: the engine's tokens, detokenised as they come, until a stop token, a stop string or the limit.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cupola_runtime::generate::{Detokenizer, FinishReason, Output, Request, ScoredToken};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use crate::api::ApiError;
use crate::app::App;
use crate::engine_thread::{Answer, Event};
use crate::keys::Asker;
use crate::metrics::{AnswerFacts, Finish, ModelMetrics};
use crate::model_folder::ServedModel;
use crate::moderation::{Gate, More, Passed};
use crate::phase::{Phase, PhaseWatch};
use crate::request_line::{self, RequestLine};
use crate::tools::{CallReader, Piece};

/// What became sure with one token.
#[derive(Debug, Default)]
pub(crate) struct Delta {
    /// New text; may be empty while a character or a stop string is open.
    pub(crate) text: String,
    /// Calls of tools, and what of their arguments is new.
    pub(crate) calls: Vec<Piece>,
    /// The tokens since the last delta.
    pub(crate) tokens: Vec<ScoredToken>,
    /// Scores of the prompt from its second token on, with the first delta, where asked for.
    pub(crate) prompt: Vec<ScoredToken>,
    /// The token that ended the answer, which is no part of its text.
    pub(crate) stop_token: Option<ScoredToken>,
    /// `stop`, `length`, `tool_calls` or `content_filter`, with the last delta.
    pub(crate) finish: Option<&'static str>,
}

/// An answer while it is made. Dropping it stops the engine's work on it.
pub(crate) struct TextAnswer {
    events: Answer,
    detokenizer: Detokenizer,
    gate: Option<Gate>,
    reader: Option<CallReader>,
    /// Special tokens that the reader sees.
    shown: Vec<u32>,
    model: Arc<ServedModel>,
    clock: Clock,
    end: End,
    /// What is said in place of an answer.
    refusal: Option<String>,
    is_finished: bool,
}

/// A token as text, on its way to the client.
#[derive(Debug, Default)]
struct Taken {
    text: String,
    tokens: Vec<ScoredToken>,
    prompt: Vec<ScoredToken>,
    stop_token: Option<ScoredToken>,
    /// Why the answer ends here.
    end: Option<&'static str>,
    /// Whether one of its stop strings cut text away.
    is_cut: bool,
}

/// How an answer's text is read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Texts that end it.
    pub(crate) stops: Vec<String>,
    /// What tells calls of tools from it, where there may be any.
    pub(crate) reader: Option<CallReader>,
    /// Tokens that the reader must see though they are special.
    pub(crate) shown: Vec<u32>,
}

/// What ends an answer from outside: its time, and the server's.
struct End {
    limit: Duration,
    time: Pin<Box<Sleep>>,
    phases: PhaseWatch,
}

impl End {
    async fn reach(&mut self) -> ApiError {
        tokio::select! {
            () = self.time.as_mut() => ApiError::time_is_up(self.limit),
            () = self.phases.reach(Phase::Ending) => {
                ApiError::unavailable("the server stopped before the answer was complete")
            }
        }
    }
}

/// Counts tokens and measures times; reports and charges them when the answer is gone, however it ended.
struct Clock {
    meter: Arc<ModelMetrics>,
    asker: Arc<Asker>,
    line: Option<Arc<RequestLine>>,
    prompt_tokens: u64,
    cached_tokens: u64,
    generated_tokens: u64,
    submitted: Instant,
    first_token: Option<Duration>,
    last_token: Duration,
    finish: Finish,
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.asker.quota.charge(self.generated_tokens, Instant::now());
        if let Some(line) = &self.line {
            line.add_answer((self.cached_tokens, self.generated_tokens), self.first_token, self.finish);
        }
        self.meter.count_answer(&AnswerFacts {
            prompt_tokens: self.prompt_tokens,
            generated_tokens: self.generated_tokens,
            first_token: self.first_token,
            whole: self.submitted.elapsed(),
            finish: self.finish,
        });
    }
}

impl Clock {
    fn new(app: &App, asker: &Arc<Asker>, prompt_tokens: usize) -> Self {
        Self {
            meter: Arc::clone(&app.meter),
            asker: Arc::clone(asker),
            line: request_line::current(),
            prompt_tokens: prompt_tokens as u64,
            cached_tokens: 0,
            generated_tokens: 0,
            submitted: Instant::now(),
            first_token: None,
            last_token: Duration::ZERO,
            finish: Finish::Abort,
        }
    }

    /// A token came.
    fn tick(&mut self) {
        let now = self.submitted.elapsed();
        self.generated_tokens += 1;
        match self.first_token {
            None => self.first_token = Some(now),
            Some(_) => self.meter.count_token(now.saturating_sub(self.last_token)),
        }
        self.last_token = now;
    }
}

impl TextAnswer {
    /// Sends a request to the engine; its answer passes the gate, where there is one.
    pub(crate) fn start(
        app: &App,
        asker: &Arc<Asker>,
        (mut request, gate): (Request, Option<Gate>),
        reading: &Reading,
    ) -> Self {
        // What one key has asked must not show in another's times.
        request.cache_scope = asker.name.as_str().into();
        let clock = Clock::new(app, asker, request.ids.len());
        let mut answer = Self::of(app, app.submit(request), clock, reading);
        answer.gate = gate;
        answer
    }

    fn of(app: &App, events: Answer, clock: Clock, reading: &Reading) -> Self {
        let limit = app.limits.time;
        Self {
            events,
            detokenizer: Detokenizer::new(&reading.stops),
            gate: None,
            reader: reading.reader.clone(),
            shown: reading.shown.clone(),
            model: Arc::clone(&app.model),
            clock,
            end: End { limit, time: Box::pin(tokio::time::sleep(limit)), phases: app.phases.watch() },
            refusal: None,
            is_finished: false,
        }
    }

    /// An answer that is refused before it is made: what is said instead.
    pub(crate) fn refused(app: &App, asker: &Arc<Asker>, prompt_tokens: usize, refusal: &str) -> Self {
        let (_, events) = mpsc::unbounded_channel();
        let clock = Clock::new(app, asker, prompt_tokens);
        let mut answer = Self::of(app, events, clock, &Reading::default());
        answer.refusal = Some(refusal.to_owned());
        answer
    }

    /// Tokens made so far, a stop token included.
    pub(crate) fn generated_tokens(&self) -> u64 {
        self.clock.generated_tokens
    }

    /// Tokens of the prompt that were found in the cache, and tokens made so far.
    pub(crate) fn took(&self) -> (u64, u64) {
        (self.cached_tokens(), self.generated_tokens())
    }

    /// Tokens of the prompt that were found in the cache; none are before the first delta.
    pub(crate) fn cached_tokens(&self) -> u64 {
        self.clock.cached_tokens.min(self.clock.prompt_tokens)
    }

    /// The next delta; none after the last one.
    pub(crate) async fn next(&mut self) -> Option<Result<Delta, ApiError>> {
        if self.is_finished {
            return None;
        }
        // The end comes first: a client that reads slowly must not outlast it on what lies ready.
        if let Some(text) = self.refusal.take() {
            self.is_finished = true;
            self.clock.finish = Finish::ContentFilter;
            return Some(Ok(Delta { text, finish: Some("content_filter"), ..Delta::default() }));
        }
        let event = tokio::select! {
            biased;
            error = self.end.reach() => Err(error),
            event = self.events.recv() => Ok(event),
        };
        let result = match event {
            Ok(Some(Event::Output(output))) => {
                let taken = self.take(output);
                self.settle(taken).await
            }
            Ok(Some(Event::Failed(failure))) if failure.is_user_error => {
                Err(ApiError::invalid(failure.message))
            }
            Ok(Some(Event::Failed(failure))) => Err(ApiError::internal(failure.message)),
            Ok(None) => Err(ApiError::internal("the engine stopped before the answer was complete")),
            Err(end) => Err(end),
        };
        if let Ok(Delta { finish: Some(finish), .. }) = &result {
            self.clock.finish = match *finish {
                "length" => Finish::Length,
                "content_filter" => Finish::ContentFilter,
                _ => Finish::Stop,
            };
        }
        if result.as_ref().map_or(true, |delta| delta.finish.is_some()) {
            self.is_finished = true;
            self.events.close();
        }
        Some(result)
    }

    /// The whole answer at once.
    pub(crate) async fn collect(&mut self) -> Result<Delta, ApiError> {
        let mut whole = Delta::default();
        while let Some(delta) = self.next().await {
            let delta = delta?;
            whole.text.push_str(&delta.text);
            whole.calls.extend(delta.calls);
            whole.tokens.extend(delta.tokens);
            whole.prompt.extend(delta.prompt);
            whole.stop_token = delta.stop_token;
            whole.finish = delta.finish;
        }
        Ok(whole)
    }

    /// A token as text.
    fn take(&mut self, output: Output) -> Taken {
        let mut taken = Taken { prompt: output.prompt, ..Taken::default() };
        self.clock.cached_tokens += output.cached as u64;
        if output.token.is_some() {
            self.clock.tick();
        }
        let is_stop_token = output.finished == Some(FinishReason::Stop);
        if is_stop_token {
            taken.stop_token = output.token;
        } else if let Some(token) = output.token {
            let is_shown = self.shown.contains(&token.token);
            let bytes = if is_shown {
                self.model.token_bytes(token.token)
            } else {
                self.model.text_bytes(token.token)
            };
            let piece = self.detokenizer.push(&bytes);
            taken.tokens.push(token);
            taken.text = piece.text;
            if piece.stopped {
                taken.end = Some("stop");
                taken.is_cut = true;
                return taken;
            }
        }
        if let Some(reason) = output.finished {
            let last = self.detokenizer.finish();
            taken.text.push_str(&last.text);
            taken.is_cut = last.stopped;
            let is_stop = is_stop_token || last.stopped || reason == FinishReason::Stop;
            taken.end = Some(if is_stop { "stop" } else { "length" });
        }
        taken
    }

    /// What may go out of it: past the gate, where there is one, and told from calls.
    async fn settle(&mut self, taken: Taken) -> Result<Delta, ApiError> {
        let Taken { text, tokens, prompt, stop_token, end, is_cut } = taken;
        let mut delta = Delta { prompt, stop_token, ..Delta::default() };
        let passed = match &mut self.gate {
            None => Passed { text, tokens, refusal: None },
            Some(gate) => {
                let is_settled = self.detokenizer.is_settled();
                let more = More { text: &text, tokens, is_settled, is_last: end.is_some(), is_cut };
                tokio::select! {
                    biased;
                    error = self.end.reach() => return Err(error),
                    passed = gate.pass(more) => passed?,
                }
            }
        };
        delta.tokens = passed.tokens;
        self.read(&mut delta, &passed.text);
        if let Some(refusal) = passed.refusal {
            // What the reader holds is the start of a call that does not come.
            delta.text.push_str(&refusal);
            delta.finish = Some("content_filter");
        } else if self.reader.as_ref().is_some_and(CallReader::is_done) {
            self.end(&mut delta, "stop");
        } else if let Some(finish) = end {
            self.end(&mut delta, finish);
        }
        Ok(delta)
    }

    /// Adds text, told from calls.
    fn read(&mut self, delta: &mut Delta, text: &str) {
        match &mut self.reader {
            Some(reader) => delta.add(reader.push(text)),
            None => delta.text.push_str(text),
        }
    }

    /// Ends the answer: where it stopped behind whole calls, by them.
    fn end(&mut self, delta: &mut Delta, finish: &'static str) {
        if let Some(reader) = &mut self.reader {
            delta.add(reader.finish());
            delta.finish =
                Some(if finish == "stop" && reader.has_whole_calls() { "tool_calls" } else { finish });
        } else {
            delta.finish = Some(finish);
        }
    }
}

impl Delta {
    fn add(&mut self, pieces: Vec<Piece>) {
        for piece in pieces {
            match piece {
                Piece::Text(text) => self.text.push_str(&text),
                call => self.calls.push(call),
            }
        }
    }
}

//! What goes into the engine and what comes out of it.

use std::sync::Arc;

use super::{AdapterId, BlockCounts, Constraint, GenerateError, Sampling};

/// Names a request within one engine; ids are never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// One prompt and what to do with it.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's token ids; at least one.
    pub ids: Vec<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Most new tokens. The prompt and these must fit the engine's context.
    pub max_new_tokens: usize,
    /// Token ids that end the answer. The stop token itself is part of the output.
    pub stop_ids: Vec<u32>,
    /// How many alternatives come with each token's log-probability.
    pub top_logprobs: usize,
    /// Whether the prompt's own tokens are scored too. Only then may `max_new_tokens` be 0.
    pub score_prompt: bool,
    /// Whether the prompt is embedded instead of answered; `max_new_tokens` is 0 then.
    pub embed: Option<Pooling>,
    /// The adapter that the network runs with.
    pub adapter: Option<AdapterId>,
    /// Requests of one scope share what they begin with alike, and so may be told apart by their times; a server scopes by API key.
    pub cache_scope: Arc<str>,
    /// The form of the answer. Its end tokens must be among `stop_ids`.
    pub constraint: Option<Constraint>,
}

/// How a prompt's hidden states become its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean.
    Mean,
    /// That of the last token.
    Last,
}

impl Request {
    /// A request for up to `max_new_tokens` after `ids`, without alternatives and prompt scores.
    pub fn new(ids: Vec<u32>, sampling: Sampling, max_new_tokens: usize, stop_ids: Vec<u32>) -> Self {
        Self {
            ids,
            sampling,
            max_new_tokens,
            stop_ids,
            top_logprobs: 0,
            score_prompt: false,
            embed: None,
            adapter: None,
            cache_scope: "".into(),
            constraint: None,
        }
    }

    /// Refuses what an engine with this context and vocabulary cannot carry out whole.
    pub fn validate(&self, context: usize, vocab_size: usize) -> Result<(), GenerateError> {
        if self.ids.is_empty() {
            return Err(GenerateError::EmptyPrompt);
        }
        if self.ids.len() + self.max_new_tokens > context {
            return Err(GenerateError::ContextOverflow {
                prompt: self.ids.len(),
                max_new: self.max_new_tokens,
                context,
            });
        }
        if self.embed.is_some() && (self.max_new_tokens > 0 || self.score_prompt) {
            return Err(GenerateError::Setting {
                field: "embed",
                got: "a request that is answered or scored too".into(),
                expected: "a request of its own, without new tokens and scores",
            });
        }
        if self.max_new_tokens == 0 && !self.score_prompt && self.embed.is_none() {
            return Err(GenerateError::Setting {
                field: "max_new_tokens",
                got: "0".into(),
                expected: "at least 1",
            });
        }
        if self.top_logprobs > vocab_size {
            return Err(GenerateError::Setting {
                field: "top_logprobs",
                got: self.top_logprobs.to_string(),
                expected: "at most the size of the vocabulary",
            });
        }
        let ends = self.constraint.as_ref().map(|constraint| constraint.0.end_ids()).unwrap_or_default();
        if let Some(end) = ends.iter().find(|end| !self.stop_ids.contains(end)) {
            return Err(GenerateError::Setting {
                field: "stop_ids",
                got: format!("a list without {end}"),
                expected: "the end tokens of the answer's form",
            });
        }
        known("ids", &self.ids, vocab_size)?;
        known("stop_ids", &self.stop_ids, vocab_size)?;
        self.sampling.validate(vocab_size)
    }
}

fn known(field: &'static str, ids: &[u32], vocab_size: usize) -> Result<(), GenerateError> {
    match ids.iter().find(|&&token| token as usize >= vocab_size) {
        Some(&token) => Err(GenerateError::UnknownToken { field, token, vocab_size }),
        None => Ok(()),
    }
}

/// Why a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FinishReason {
    /// A stop token came.
    Stop,
    /// `max_new_tokens` are there.
    Length,
    /// The caller cancelled it.
    Cancelled,
    /// It could not go on; its output says why.
    Failed,
}

/// A token, its log-probability under the network's own distribution (temperature 1, no penalty, no bias), and the likeliest
/// alternatives, best first.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredToken {
    /// Token id.
    pub token: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// The likeliest tokens at this place with their log-probabilities, best first.
    pub top: Vec<(u32, f32)>,
}

/// What one step gave one request: at most one token; where a step gives several, each is an output.
#[derive(Debug)]
pub struct Output {
    /// Whose output it is.
    pub id: RequestId,
    /// The new token; none where a request only scores its prompt.
    pub token: Option<ScoredToken>,
    /// Scores of the prompt's tokens from the second on, where asked for, with the request's first output.
    pub prompt: Vec<ScoredToken>,
    /// The prompt's embedding, where asked for: `[C]`.
    pub embedding: Option<Vec<f32>>,
    /// How many of the prompt's tokens were found in the cache and did not run; with the request's first output.
    pub cached: usize,
    /// Set with the last output.
    pub finished: Option<FinishReason>,
    /// Why it failed, with [`FinishReason::Failed`].
    pub failure: Option<GenerateError>,
}

impl Output {
    /// An output that says nothing yet.
    pub(super) fn of(id: RequestId) -> Self {
        Self {
            id,
            token: None,
            prompt: Vec::new(),
            embedding: None,
            cached: 0,
            finished: None,
            failure: None,
        }
    }
}

/// What an engine holds, and what it has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Blocks of the KV cache.
    pub blocks: BlockCounts,
    /// Tokens that requests had when they were admitted; one that was pre-empted counts again.
    pub prompt_tokens: u64,
    /// Those of them that were found in the cache and did not run.
    pub prefix_hit_tokens: u64,
    /// Requests that lost their blocks to older ones and ran again.
    pub preemptions: u64,
    /// Tokens that were guessed and checked.
    pub drafted_tokens: u64,
    /// Guesses that were right.
    pub accepted_tokens: u64,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// New token ids; a stop token is the last of them.
    pub ids: Vec<u32>,
    /// Log-probability of each, under the network's own distribution (temperature 1).
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub finish: FinishReason,
}

impl Completion {
    /// The ids without the stop token.
    pub fn text_ids(&self) -> &[u32] {
        match self.finish {
            FinishReason::Stop => &self.ids[..self.ids.len() - 1],
            FinishReason::Length | FinishReason::Cancelled | FinishReason::Failed => &self.ids,
        }
    }
}

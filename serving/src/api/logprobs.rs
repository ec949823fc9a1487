//! Log-probabilities in the two shapes of OpenAI's API.

use std::fmt::Write as _;

use cupola_runtime::generate::{Detokenizer, ScoredToken};
use serde_json::{Map, Value, json};

use crate::model_folder::ServedModel;

/// The chat shape: one object for each token.
pub(crate) fn chat_logprobs(model: &ServedModel, tokens: &[ScoredToken]) -> Value {
    let entry = |token: u32, logprob: f32| {
        let bytes = model.token_bytes(token);
        json!({"token": String::from_utf8_lossy(&bytes), "logprob": finite(logprob), "bytes": bytes})
    };
    let content: Vec<Value> = tokens
        .iter()
        .map(|scored| {
            let mut value = entry(scored.token, scored.logprob);
            value["top_logprobs"] =
                scored.top.iter().map(|&(token, logprob)| entry(token, logprob)).collect();
            value
        })
        .collect();
    json!({"content": content, "refusal": null})
}

/// The completions shape: parallel lists. It goes on over the chunks of a stream, since offsets count from the text's start.
#[derive(Debug, Default)]
pub(crate) struct CompletionLogprobs {
    detokenizer: Detokenizer,
    offset: usize,
}

impl CompletionLogprobs {
    /// The lists for the next tokens of a text. `first` is the text's first token where it has no score, as with `echo`.
    pub(crate) fn next(&mut self, model: &ServedModel, first: Option<u32>, tokens: &[ScoredToken]) -> Value {
        let (mut texts, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        if let Some(token) = first {
            texts.push(json!(token_text(model, token)));
            logprobs.push(Value::Null);
            tops.push(Value::Null);
            offsets.push(self.advance(model, token));
        }
        for scored in tokens {
            texts.push(json!(token_text(model, scored.token)));
            logprobs.push(json!(finite(scored.logprob)));
            tops.push(alternatives(model, scored));
            offsets.push(self.advance(model, scored.token));
        }
        json!({"tokens": texts, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets})
    }

    /// Where a token starts, in characters; moves on to its end.
    fn advance(&mut self, model: &ServedModel, token: u32) -> usize {
        let start = self.offset;
        self.offset += self.detokenizer.push(&model.text_bytes(token)).text.chars().count();
        start
    }
}

/// The likeliest tokens and the chosen one, by text.
fn alternatives(model: &ServedModel, scored: &ScoredToken) -> Value {
    if scored.top.is_empty() {
        return Value::Null;
    }
    let mut map = Map::new();
    for &(token, logprob) in scored.top.iter().chain(std::iter::once(&(scored.token, scored.logprob))) {
        map.entry(token_text(model, token)).or_insert_with(|| json!(finite(logprob)));
    }
    Value::Object(map)
}

/// A token's text; where it is no whole character, its bytes as OpenAI's API writes them, so that no two such tokens have one name.
fn token_text(model: &ServedModel, token: u32) -> String {
    String::from_utf8(model.token_bytes(token)).unwrap_or_else(|error| {
        let mut text = "bytes:".to_owned();
        for byte in error.as_bytes() {
            // Writing to a string never fails.
            let _ = write!(text, "\\x{byte:02x}");
        }
        text
    })
}

/// JSON has no infinity: an impossible token's logarithm is -9999, as in OpenAI's answers.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}

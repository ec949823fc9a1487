//! `seal.json`: what a model says of a few golden prompts, by which every program that loads it can tell that it computes the same model.

use serde::{Deserialize, Serialize};

use super::ChatMessage;

/// The file's name in a model folder.
pub const SEAL_FILE: &str = "seal.json";

/// `seal.json`: token ids and log-probabilities, in fp32, by the forward pass that training uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seal {
    /// Version of this layout.
    pub version: u32,
    /// The prompts.
    pub prompts: Vec<SealedPrompt>,
}

/// One golden prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SealedPrompt {
    /// The chat that the template renders; none for a plain text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub messages: Vec<ChatMessage>,
    /// The text, or what the template makes of the chat.
    pub text: String,
    /// Its token ids, whole: a plain text begins with the beginning-of-text token.
    pub ids: Vec<u32>,
    /// Log-probability of each id from the second on, nats, as far as they were scored.
    pub logprobs: Vec<f32>,
}

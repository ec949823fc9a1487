//! The chat template.

use cupola_specs::artifact::ChatMessage;
use cupola_specs::job::TrainOn;

use super::{Tokenizer, TokenizerError};

/// A Jinja chat template and the ids that end a turn.
#[derive(Debug)]
pub struct ChatTemplate {
    stop_ids: Vec<u32>,
}

/// A chat as ids, with the tokens that carry loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChat {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether the token at each place carries loss when it is predicted.
    pub trained: Vec<bool>,
}

impl ChatTemplate {
    /// Renders a chat as text, byte for byte as `apply_chat_template` of transformers does.
    pub fn render(
        &self,
        _messages: &[ChatMessage],
        _add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        Err(TokenizerError::EmptyCorpus)
    }

    /// Encodes a whole chat. The template's special tokens are tokens, the messages' texts never are.
    pub fn encode_chat(
        &self,
        _tokenizer: &Tokenizer,
        _messages: &[ChatMessage],
        _train_on: TrainOn,
    ) -> Result<EncodedChat, TokenizerError> {
        Err(TokenizerError::EmptyCorpus)
    }

    /// Encodes a chat up to where the assistant answers.
    pub fn encode_prompt(
        &self,
        _tokenizer: &Tokenizer,
        _messages: &[ChatMessage],
    ) -> Result<Vec<u32>, TokenizerError> {
        Err(TokenizerError::EmptyCorpus)
    }

    /// Ids that end an answer: the end of the turn and the document token.
    pub fn stop_ids(&self) -> Vec<u32> {
        self.stop_ids.clone()
    }
}

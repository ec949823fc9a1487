//! The tokenizer: text to ids and back.

use std::path::Path;

use super::{ChatTemplate, TokenizerError};

/// A byte-level BPE tokenizer with its chat template.
#[derive(Debug)]
pub struct Tokenizer {
    chat: ChatTemplate,
}

impl Tokenizer {
    /// Loads a tokenizer folder, or the tokenizer's files in a model folder.
    pub fn load(_dir: &Path) -> Result<Self, TokenizerError> {
        Err(TokenizerError::EmptyCorpus)
    }

    /// Encodes text; a special token's spelling in it is plain text.
    pub fn encode(&self, _text: &str) -> Vec<u32> {
        Vec::new()
    }

    /// Encodes text; a special token's spelling in it becomes that token, as Hugging Face's default does.
    pub fn encode_with_special(&self, _text: &str) -> Vec<u32> {
        Vec::new()
    }

    /// Decodes ids, special tokens by their spelling; invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32]) -> String {
        String::from_utf8_lossy(&self.decode_bytes(ids)).into_owned()
    }

    /// Decodes ids to bytes: a token may hold a part of a character.
    pub fn decode_bytes(&self, _ids: &[u32]) -> Vec<u8> {
        Vec::new()
    }

    /// Tokens in all.
    pub fn vocab_size(&self) -> usize {
        0
    }

    /// The token before each document.
    pub fn bos_id(&self) -> u32 {
        0
    }

    /// The token that ends an assistant's turn (`<|im_end|>`), or else the document token.
    pub fn eos_id(&self) -> u32 {
        0
    }

    /// The padding token, where there is one.
    pub fn pad_id(&self) -> Option<u32> {
        None
    }

    /// The id of a token: a special token by its spelling, any other by its text.
    pub fn token_id(&self, _token: &str) -> Option<u32> {
        None
    }

    /// The chat template.
    pub fn chat(&self) -> &ChatTemplate {
        &self.chat
    }

    /// Copies `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into a model folder.
    pub fn copy_files(&self, _to: &Path) -> Result<(), TokenizerError> {
        Ok(())
    }
}

//! `kind: tokenizer` as the user writes it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Digits;
use crate::spec::decode::{At, Decode, wrong_type};
use crate::spec::reference::Ref;
use crate::spec::session::Session;
use crate::spec::tree::{Node, Value};
use crate::spec::units::Bytes;
use crate::spec::words::nearest;
use crate::spec::written::written;

written! {
    /// Trains a byte-level BPE tokenizer.
    pub(crate) struct TokenizerJob {
        /// The corpus.
        corpus: Ref,
        /// Tokens in all, special tokens and the 256 bytes included.
        vocab_size: u64; 261 ..= 1_000_000,
        /// Pretokenisation: gpt2, gpt4 (nanochat's, with digits: up_to_2), o200k, code (indentations apart), or a regex.
        pattern: At<String> = "gpt4",
        /// How many digits one token may hold.
        digits: Digits = "up_to_3",
        /// Special tokens: chat (<|bos|>, <|im_start|>, <|im_end|>, <|pad|>), or a list of tokens that follow these.
        special_tokens: SpecialTokens = "chat",
        /// Most bytes of the corpus that training reads, spread over the documents; without it all are read.
        max_bytes: Option<Bytes>,
    }
}

/// Special tokens.
#[derive(Debug, Clone)]
pub(crate) enum SpecialTokens {
    /// Those of the chat template.
    Chat,
    /// Those, and more.
    More(Vec<At<String>>),
}

impl Decode for SpecialTokens {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match &node.value {
            Value::List(_) => Vec::decode(node, session).map(Self::More),
            _ if node.text() == Some("chat") => Some(Self::Chat),
            _ => {
                let meant = node.text().and_then(|text| nearest(text, ["chat"]));
                if let Some(error) = wrong_type(node, "chat, or a list of tokens", session) {
                    error.suggestion = meant;
                }
                None
            }
        }
    }
}

impl JsonSchema for SpecialTokens {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SpecialTokens".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "chat" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

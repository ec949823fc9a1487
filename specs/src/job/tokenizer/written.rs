//! `kind: tokenizer` as the user writes it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Digits, TokenizerAlgorithm};
use crate::spec::decode::{At, Decode, wrong_type};
use crate::spec::list::Filled;
use crate::spec::reference::{FilePath, Ref};
use crate::spec::session::Session;
use crate::spec::tree::{Node, Value};
use crate::spec::units::Bytes;
use crate::spec::words::nearest;
use crate::spec::written::{field, written};

written! {
    /// Trains a tokenizer over bytes.
    pub(crate) struct TokenizerJob {
        /// The corpus.
        corpus: Ref,
        /// How tokens are chosen: bpe (the most frequent pairs), unigram (those that make the text most likely), or bytes (the 256 bytes and the special tokens, and no field about others).
        algorithm: TokenizerAlgorithm = "bpe",
        /// Tokens in all, special tokens and the 256 bytes included; not with bytes.
        vocab_size: Option<At<u64>>; 261 ..= 1_000_000,
        /// Pretokenisation: gpt2, gpt4 (nanochat's, with digits: up_to_2), o200k, code (indentations apart), or a regex; gpt4 where it is left out. Not with bytes.
        pattern: Option<At<String>>,
        /// How many digits one token may hold; up_to_3 where it is left out. Not with bytes.
        digits: Option<At<Digits>>,
        /// Special tokens: chat (<|bos|>, <|im_start|>, <|im_end|>, <|pad|>), or a list of tokens that follow these.
        special_tokens: SpecialTokens = "chat",
        /// Most bytes of the corpus that training reads, spread over the documents; without it all are read. Not with bytes.
        max_bytes: Option<At<Bytes>>,
        /// Tokenizers that the report compares with: .tiktoken files of OpenAI's by their names (cl100k_base.tiktoken), or tokenizer.json files.
        compare: Option<Filled<At<FilePath>>>,
    }
}

impl TokenizerJob {
    /// Decodes a job, whose size has no default unless the bytes are its tokens.
    pub(crate) fn decode_sized(node: &Node, others: &[&[&str]], session: &mut Session<'_>) -> Option<Self> {
        let job = Self::decode_beside(node, others, session);
        // A misspelt algorithm is one error, not two.
        let needs_size = match node.get("algorithm") {
            Some(algorithm) if algorithm.value != Value::Null => {
                matches!(algorithm.text(), Some("bpe" | "unigram"))
            }
            _ => true,
        };
        if needs_size && node.get("vocab_size").is_none_or(|size| size.value == Value::Null) {
            field::<u64>(node, "vocab_size", None, None, session)?;
        }
        job
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

//! `kind: tokenizer`: tokens over bytes, and the encoding of a corpus with them.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The pattern of GPT-2 (2019).
pub const GPT2_PATTERN: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// The pattern of GPT-4 (`cl100k`, 2023), without possessive quantifiers.
pub const GPT4_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// The pattern of GPT-4o (`o200k`, 2024), without possessive quantifiers.
pub const O200K_PATTERN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|",
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);
/// A pattern for code: an indentation, of 16 blanks or tabs at most, is a piece of its own, so that a word at the start of a line is the same token at any
/// depth; a quote begins no contraction.
pub const CODE_PATTERN: &str =
    r"[^\r\n\t\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| {2,16}|\t{1,16}| ?[^\s\p{L}\p{N}]+[\r\n]*|[\r\n]+|\s";

/// Resolved parameters of a `tokenizer` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerParams {
    /// How tokens are chosen.
    pub algorithm: TokenizerAlgorithm,
    /// Tokens in all, special tokens and the 256 bytes included.
    pub vocab_size: u64,
    /// The pretokenisation pattern, as a regex; empty with [`TokenizerAlgorithm::Bytes`], where nothing is split.
    pub pattern: String,
    /// How many digits one token may hold.
    pub digits: Digits,
    /// Special tokens in id order; they take the first ids.
    pub special_tokens: Vec<String>,
    /// The chat template (Jinja) that is stored with the tokenizer.
    pub chat_template: String,
    /// Most bytes of the corpus that training reads, spread over the documents; 0 reads all.
    pub train_bytes: u64,
}

/// How tokens are chosen. Each is over bytes, so that no text is ever unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenizerAlgorithm {
    /// Byte-pair encoding: the most frequent pairs become tokens.
    Bpe,
    /// The Unigram language model: the tokens that make the text most likely.
    Unigram,
    /// The special tokens and the 256 bytes, nothing else.
    Bytes,
}

/// How many digits one token may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Digits {
    /// One.
    Single,
    /// One or two.
    #[serde(rename = "up_to_2")]
    UpTo2,
    /// One to three.
    #[serde(rename = "up_to_3")]
    UpTo3,
}

/// Resolved parameters of a `tokens` step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensParams {}

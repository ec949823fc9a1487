//! Files of `tokens`, all little-endian and memory-mapped: `index.json` ([`TokenIndex`]); for each side and domain `<side>/<domain>.bin` with
//! token ids, each document preceded by the beginning-of-text token, and `<side>/<domain>.starts` with the place of each document's first
//! token, 8 bytes each; and `token_bytes.bin` with the bytes of text behind each id of the vocabulary, 4 bytes each.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `index.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenIndex {
    /// Size of the vocabulary.
    pub vocab_size: u64,
    /// Bytes of one id: 2 or 4.
    pub id_bytes: u64,
    /// The token before each document.
    pub bos_token_id: u64,
    /// The corpus' domain weights.
    pub domain_weights: BTreeMap<String, f64>,
    /// Train shards by domain.
    pub train: BTreeMap<String, TokenShard>,
    /// File below the artifact: how many bytes of text each id stands for, 0 for special tokens. They sum up to the shards' bytes.
    pub token_bytes: String,
    /// Validation shards by domain.
    pub validation: BTreeMap<String, TokenShard>,
    /// Fingerprint of the tokenizer.
    pub tokenizer_fingerprint: String,
}

/// One shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenShard {
    /// File below the artifact.
    pub file: String,
    /// File below the artifact: where each document starts, so that nobody has to read the ids to know.
    pub starts: String,
    /// Ids in it, beginning-of-text tokens included.
    pub num_tokens: u64,
    /// Documents.
    pub num_documents: u64,
    /// UTF-8 bytes of the documents' text: the denominator of bits per byte.
    pub num_bytes: u64,
}

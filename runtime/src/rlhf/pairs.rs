//! Preference pairs as ids: each answer in its chat, with loss on the answer's tokens alone.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::artifact::PreferencePair;
use cupola_specs::job::{Precision, TrainOn};
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use super::{PairValues, RlhfError};
use crate::data::shard::read_jsonl_zst;
use crate::job::StepContext;
use crate::model::Network;
use crate::sft::{Chat, PackedBatch, SftError, num_trained};
use crate::tokenizer::{EncodedChat, Tokenizer};

/// A pair as ids.
#[derive(Debug, Clone)]
pub struct EncodedPair {
    /// Its line in its file, from 1.
    pub line: u64,
    /// The better answer in its chat.
    pub chosen: EncodedChat,
    /// The worse one.
    pub rejected: EncodedChat,
}

/// The pairs of an artifact that fit a row.
#[derive(Debug, Default)]
pub struct EncodedPairs {
    /// The pairs, in order.
    pub pairs: Vec<EncodedPair>,
    /// Pairs with an answer that does not fit.
    pub too_long: usize,
}

impl EncodedPair {
    /// Tokens of both answers with their prompts.
    pub fn num_tokens(&self) -> usize {
        self.chosen.ids.len() + self.rejected.ids.len()
    }
}

/// Reads and encodes one file (`pairs`, `validation`) of a preferences artifact.
pub fn read_encoded_pairs(
    preferences: &Path,
    name: &str,
    tokenizer: &Tokenizer,
    row_tokens: usize,
) -> Result<EncodedPairs, RlhfError> {
    let pairs: Vec<PreferencePair> = read_jsonl_zst(&preferences.join(format!("{name}.jsonl.zst")))?;
    let mut encoded = EncodedPairs::default();
    for (index, pair) in pairs.iter().enumerate() {
        let encode = |answer: &str| {
            let chat = Chat::of_answer("", &pair.prompt, answer);
            tokenizer.chat().encode_chat(tokenizer, &chat.messages, TrainOn::LastAssistant)
        };
        let pair = EncodedPair {
            line: index as u64 + 1,
            chosen: encode(&pair.chosen)?,
            rejected: encode(&pair.rejected)?,
        };
        if pair.chosen.ids.len().max(pair.rejected.ids.len()) > row_tokens {
            encoded.too_long += 1;
        } else {
            encoded.pairs.push(pair);
        }
    }
    Ok(encoded)
}

/// Both sides of a preferences artifact, encoded.
#[derive(Debug, Default)]
pub struct PairData {
    /// Pairs to train on.
    pub train: Vec<EncodedPair>,
    /// Held-out pairs.
    pub validation: Vec<EncodedPair>,
    /// Tokens of the training pairs, prompts included.
    pub tokens: u64,
    /// Warnings by code.
    pub warnings: BTreeMap<String, u64>,
}

impl PairData {
    /// What a plan needs to know of the pairs that train: their tokens, and the share of them that carries loss.
    pub fn facts(&self) -> [(String, Value); 2] {
        let answers = self.train.iter().flat_map(|pair| [&pair.chosen, &pair.rejected]);
        let trained: u64 = answers.map(num_trained).sum();
        let share = trained as f64 / self.tokens.max(1) as f64;
        [("data_tokens".to_owned(), json!(self.tokens)), ("trained_share".to_owned(), json!(share))]
    }
}

/// Reads both sides of the input `preferences`. Pairs that do not fit a row are left out whole, counted and told.
pub fn read_pair_data(
    ctx: &StepContext,
    tokenizer: &Tokenizer,
    row_tokens: usize,
) -> Result<PairData, RlhfError> {
    let folder = &ctx.input("preferences")?.path;
    let train = read_encoded_pairs(folder, "pairs", tokenizer, row_tokens)?;
    let validation = read_encoded_pairs(folder, "validation", tokenizer, row_tokens)?;
    let too_long = train.too_long + validation.too_long;
    let mut warnings = BTreeMap::new();
    if too_long > 0 {
        let message = format!("{too_long} pairs are longer than {row_tokens} tokens and were left out whole");
        ctx.events().warning("pair_too_long", message);
        warnings.insert("pair_too_long".to_owned(), too_long as u64);
    }
    if train.pairs.is_empty() {
        return Err(SftError::Empty { what: "preference pairs", dropped: train.too_long, row_tokens }.into());
    }
    let tokens = train.pairs.iter().map(|pair| pair.num_tokens() as u64).sum();
    Ok(PairData { train: train.pairs, validation: validation.pairs, tokens, warnings })
}

/// Packs pairs: the chosen answers are sequences `0..P`, the rejected ones `P..2P`.
pub fn pack_pairs(
    net: &Network,
    pairs: &[&EncodedPair],
    row_tokens: usize,
) -> Result<PackedBatch, RlhfError> {
    let chosen = pairs.iter().map(|pair| &pair.chosen);
    let sequences: Vec<&EncodedChat> = chosen.chain(pairs.iter().map(|pair| &pair.rejected)).collect();
    Ok(PackedBatch::pack(net, &sequences, row_tokens)?)
}

/// Tokens of both answers of packed pairs. `[P]` each
pub fn pair_tokens(batch: &PackedBatch) -> PairValues {
    let ones = Tensor::ones([batch.num_trained as i64], (Kind::Float, batch.tokens.device()));
    split_pairs(&batch.sum_by_sequence(&ones))
}

/// Splits a value by sequence of packed pairs. `[2P]` → `[P]` each
pub fn split_pairs(values: &Tensor) -> PairValues {
    let num_pairs = values.size()[0] / 2;
    PairValues { chosen: values.narrow(0, 0, num_pairs), rejected: values.narrow(0, num_pairs, num_pairs) }
}

/// Log-probabilities of both answers of packed pairs. `[P]` each
pub fn pair_log_probs(net: &Network, batch: &PackedBatch, precision: Precision) -> PairValues {
    split_pairs(&batch.sum_by_sequence(&batch.log_probs(net, precision)))
}

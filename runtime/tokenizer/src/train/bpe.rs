//! Byte-pair encoding (Sennrich, Haddow and Birch, "Neural Machine Translation of Rare Words with Subword Units", 2016, arXiv:1508.07909), over bytes:
//! the most frequent pair of neighbours becomes a token, until the vocabulary is full.
//!
//! Of equally frequent pairs the one with the smaller ids wins, and the bytes are numbered in the order in which Hugging Face spells them: the same
//! text gives the same merges as that library's trainer. A merge touches the places of its pair and nothing else; what it changes around them is
//! summed by neighbour before it is looked up, so that the work is one small step a place and one look-up a different neighbour.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::census::{PieceCounts, Tally};
use super::pairs::{Pairs, Side, key_of};
use super::words::Words;
use super::{TrainError, TrainerSettings};
use crate::{Vocabulary, byte_chars};

/// Why a vocabulary holds as many tokens as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// It has the size that was asked for.
    Full,
    /// No pair that may become a token stands often enough: it is smaller than was asked for.
    NoPairLeft,
}

/// A vocabulary and how it came about. Ids are the special tokens, then the 256 bytes, then the merges' tokens. Where two ways of merging spell the
/// same token, both have its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trained {
    /// Tokens and merges.
    pub vocabulary: Vocabulary,
    /// How many of the first tokens are special.
    pub num_specials: usize,
    /// How often each merge's pair stood in the text when it was made.
    pub counts: Vec<u64>,
    /// The size that was asked for, in tokens.
    pub asked: usize,
    /// Why there are no more tokens.
    pub ended: Ended,
    /// What was counted.
    pub tally: Tally,
}

impl Trained {
    /// The special tokens and the bytes, without a merge: the whole vocabulary of the byte-level algorithm.
    pub fn bytes_only(settings: &TrainerSettings, tally: Tally) -> Self {
        let mut tokens: Vec<Vec<u8>> =
            settings.specials.iter().map(|text| text.clone().into_bytes()).collect();
        let mut byte_ids = [0; 256];
        for byte in bytes_in_order() {
            byte_ids[byte as usize] = tokens.len() as u32;
            tokens.push(vec![byte]);
        }
        let (num_specials, asked) = (settings.specials.len(), settings.vocab_size);
        let ended = if asked > tokens.len() { Ended::NoPairLeft } else { Ended::Full };
        let vocabulary = Vocabulary { tokens, byte_ids, merges: Vec::new() };
        Self { vocabulary, num_specials, counts: Vec::new(), asked, ended, tally }
    }

    /// Ids of the special tokens.
    pub fn specials(&self) -> Vec<u32> {
        (0..self.num_specials as u32).collect()
    }
}

/// The bytes in the order of their spelling, which is that of their ids.
pub(crate) fn bytes_in_order() -> impl Iterator<Item = u8> {
    let chars = byte_chars();
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|byte| chars[*byte as usize]);
    order.into_iter()
}

/// Trains on counts. `progress` hears after each merge how many tokens there are.
///
/// # Errors
/// [`TrainError::TooSmall`], [`TrainError::TooLarge`], [`TrainError::Special`], [`TrainError::Empty`].
pub fn train_bpe(
    pieces: &PieceCounts,
    settings: &TrainerSettings,
    progress: &mut dyn FnMut(usize),
) -> Result<Trained, TrainError> {
    settings.check()?;
    if pieces.is_empty() {
        return Err(TrainError::Empty);
    }
    let mut trained = Trained::bytes_only(settings, pieces.tally());
    let words = Words::new(pieces, &trained.vocabulary.byte_ids, &mut trained.tally);
    let pairs = Pairs::new(&words, trained.num_specials as u32, settings.min_frequency);
    let known = trained.vocabulary.tokens.iter().enumerate();
    let known = known.map(|(id, bytes)| (bytes.clone(), id as u32)).collect();
    let (left_side, right_side) = (Side::default(), Side::default());
    let max_token_bytes = settings.max_token_bytes.unwrap_or(usize::MAX);
    let mut merger = Merger { trained, words, pairs, known, left_side, right_side, max_token_bytes };
    while merger.num_tokens() < settings.vocab_size && merger.step() {
        progress(merger.num_tokens());
    }
    let is_full = merger.num_tokens() == settings.vocab_size;
    merger.trained.ended = if is_full { Ended::Full } else { Ended::NoPairLeft };
    Ok(merger.trained)
}

struct Merger {
    trained: Trained,
    words: Words,
    pairs: Pairs,
    /// Ids by bytes.
    known: HashMap<Vec<u8>, u32>,
    left_side: Side,
    right_side: Side,
    max_token_bytes: usize,
}

impl Merger {
    fn num_tokens(&self) -> usize {
        self.trained.vocabulary.tokens.len()
    }

    /// Merges the most frequent pair; false if there is none.
    fn step(&mut self) -> bool {
        while let Some(top) = self.pairs.pop() {
            let tokens = &self.trained.vocabulary.tokens;
            let (left, right) = (&tokens[top.left as usize], &tokens[top.right as usize]);
            let (left_bytes, right_bytes) = (left.len(), right.len());
            let bytes = [&left[..], &right[..]].concat();
            let next = tokens.len() as u32;
            let id = self.known.get(&bytes).copied().unwrap_or(next);
            // Text must never become a special token, so a pair that spells one stays a pair.
            if bytes.len() > self.max_token_bytes || (id as usize) < self.trained.num_specials {
                continue;
            }
            if id == next {
                self.known.insert(bytes.clone(), id);
                self.trained.vocabulary.tokens.push(bytes);
            }
            self.trained.vocabulary.merges.push((top.left, top.right, id));
            self.trained.counts.push(top.count);
            self.left_side.grow(self.trained.vocabulary.tokens.len());
            self.right_side.grow(self.trained.vocabulary.tokens.len());
            let (words, lefts, rights) = (&mut self.words, &mut self.left_side, &mut self.right_side);
            let (left, right) = ((top.left, left_bytes as u32), (top.right, right_bytes as u32));
            self.pairs.take_places(&top, |at| {
                if let Some(merged) = words.merge(at, left, right, id) {
                    lefts.add(merged.before, merged.before_at, merged.count);
                    rights.add(merged.after, at, merged.count);
                }
            });
            self.count_neighbours(top.left, top.right, id, id == next);
            return true;
        }
        false
    }

    /// Brings the counts of the pairs around the new token up to date. What arose is entered before what is gone is taken off: in a row of the same
    /// pair, a pair of the new token with its own left half arises and goes again.
    fn count_neighbours(&mut self, left: u32, right: u32, new: u32, is_new: bool) {
        let Self { trained, pairs, left_side, right_side, max_token_bytes, .. } = self;
        let len = |id: u32| trained.vocabulary.tokens[id as usize].len();
        let room = max_token_bytes.saturating_sub(len(new));
        left_side.enter(pairs, is_new, |before| (len(before) <= room).then(|| key_of(before, new)));
        right_side.enter(pairs, is_new, |after| (len(after) <= room).then(|| key_of(new, after)));
        left_side.subtract(pairs, |before| key_of(before, left));
        right_side.subtract(pairs, |after| key_of(right, after));
        left_side.offer(pairs);
        right_side.offer(pairs);
    }
}

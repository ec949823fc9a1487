//! The words of a fastText model, and what of a text it looks at.

use super::features::{END, MAX_TEXT_FEATURES, MAX_WORD, char_ngrams, is_blank, word_hash, word_ngrams};
use super::known::Known;
use super::scores::Scratch;

/// What a label's name begins with in a file of examples.
pub(super) const LABEL: &str = "__label__";
const FREE: u32 = u32::MAX;

/// Words by number, and how their n-grams are numbered behind them.
#[derive(Debug)]
pub(super) struct Dictionary {
    /// All words, one behind the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    /// Their numbers, open addressing.
    table: Vec<u32>,
    pub(super) word_ngrams: usize,
    pub(super) chars: (usize, usize),
    pub(super) buckets: u32,
    pub(super) pruned: Pruned,
}

/// Which buckets a model has.
#[derive(Debug)]
pub(super) enum Pruned {
    /// Every one.
    No,
    /// Some, renumbered.
    To {
        /// Which.
        known: Known,
        /// Their numbers.
        numbers: Vec<u32>,
    },
}

impl Dictionary {
    /// A dictionary of words in the order of their numbers.
    pub(super) fn new(text: Vec<u8>, ends: Vec<usize>) -> Self {
        let mut table = vec![FREE; (ends.len() * 2).next_power_of_two().max(2)];
        let mut start = 0;
        for (number, end) in ends.iter().enumerate() {
            let mut at = word_hash(&text[start..*end]) as usize & (table.len() - 1);
            while table[at] != FREE {
                at = (at + 1) & (table.len() - 1);
            }
            table[at] = number as u32;
            start = *end;
        }
        Self { text, ends, table, word_ngrams: 1, chars: (0, 0), buckets: 1, pruned: Pruned::No }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    fn number(&self, word: &[u8], hash: u32) -> Option<u32> {
        let mut at = hash as usize & (self.table.len() - 1);
        loop {
            let number = self.table[at];
            if number == FREE {
                return None;
            }
            let end = self.ends[number as usize];
            let start = if number == 0 { 0 } else { self.ends[number as usize - 1] };
            if self.text[start..end] == *word {
                return Some(number);
            }
            at = (at + 1) & (self.table.len() - 1);
        }
    }

    /// The row of an n-gram's bucket.
    #[inline]
    fn ngram(&self, bucket: u32) -> Option<u32> {
        let number = match &self.pruned {
            Pruned::No => bucket,
            Pruned::To { known, numbers } => numbers[known.row(bucket)? as usize],
        };
        Some(self.len() as u32 + number)
    }

    /// Writes the rows of a text's features, as fastText finds them for a line. A line break is a blank here, so that a document is one line.
    pub(super) fn features(&self, text: &str, scratch: &mut Scratch) {
        scratch.features.clear();
        scratch.hashes.clear();
        let words = text.as_bytes().split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
        // A text that says so itself ends there.
        for word in words.take_while(|word| *word != END) {
            self.word(word, scratch);
            if scratch.features.len().max(scratch.hashes.len() * self.word_ngrams) > MAX_TEXT_FEATURES {
                break;
            }
        }
        self.word(END, scratch);
        let Scratch { hashes, features, .. } = scratch;
        if self.word_ngrams > 1 && self.buckets > 0 {
            let buckets = u64::from(self.buckets);
            word_ngrams(hashes, self.word_ngrams, |hash| {
                features.extend(self.ngram((hash % buckets) as u32));
            });
        }
    }

    fn word(&self, word: &[u8], scratch: &mut Scratch) {
        let Scratch { hashes, features, bytes, .. } = scratch;
        let hash = word_hash(word);
        let number = self.number(word, hash);
        // What looks like a label is not part of the text.
        if number.is_none() && word.starts_with(LABEL.as_bytes()) {
            return;
        }
        features.extend(number);
        if self.chars.1 > 0 && word != END && self.buckets > 0 {
            bytes.clear();
            bytes.push(b'<');
            bytes.extend_from_slice(&word[..word.len().min(MAX_WORD)]);
            bytes.push(b'>');
            char_ngrams(bytes, self.chars, |hash| features.extend(self.ngram(hash % self.buckets)));
        }
        hashes.push(hash);
    }
}

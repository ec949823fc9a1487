//! Contamination: n-grams of words that a test text shares with what trained the models.
//!
//! Source: Brown et al., Language Models are Few-Shot Learners (2020, arXiv:2005.14165), appendix C: 13-grams of lower-case words
//! without punctuation. The tests' n-grams are kept, and the training documents stream past them.

use std::collections::HashMap;

use xxhash_rust::xxh3::xxh3_64;

use crate::rlhf::rouge_words;

/// Multiplier of the rolling hash: an odd constant with well-mixed bits.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// N-grams of test texts that wait for training documents.
#[derive(Debug)]
pub(super) struct OverlapIndex {
    num_words: usize,
    /// Places by the n-gram's hash: test and word offset.
    places: HashMap<u64, Vec<(u32, u32)>>,
    tests: Vec<TestOverlap>,
}

/// What one test text shares with the training documents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TestOverlap {
    /// Words of the text.
    pub words: Vec<String>,
    /// N-grams of the text; 0 where it is shorter than one.
    pub ngrams: usize,
    /// Which of them a training document holds, and the first such document.
    pub hits: HashMap<u32, String>,
}

impl OverlapIndex {
    /// Takes the tests' n-grams of `num_words` words.
    pub(super) fn new<'a>(tests: impl IntoIterator<Item = &'a str>, num_words: usize) -> Self {
        let mut index = Self { num_words, places: HashMap::new(), tests: Vec::new() };
        for (test, text) in tests.into_iter().enumerate() {
            let words = rouge_words(text);
            let hashes = rolling_hashes(&words, num_words);
            let ngrams = hashes.len();
            for (offset, hash) in hashes.into_iter().enumerate() {
                index.places.entry(hash).or_default().push((test as u32, offset as u32));
            }
            index.tests.push(TestOverlap { words, ngrams, hits: HashMap::new() });
        }
        index
    }

    /// Looks for the tests' n-grams in a training document.
    pub(super) fn look_in(&mut self, name: &str, text: &str) {
        for hash in rolling_hashes(&rouge_words(text), self.num_words) {
            for (test, offset) in self.places.get(&hash).into_iter().flatten() {
                self.tests[*test as usize].hits.entry(*offset).or_insert_with(|| name.to_owned());
            }
        }
    }

    /// What was found, in the order of the tests.
    pub(super) fn finish(self) -> Vec<TestOverlap> {
        self.tests
    }
}

impl TestOverlap {
    /// The first shared n-gram and the document that holds it.
    pub(super) fn example(&self, num_words: usize) -> Option<(String, &str)> {
        let (offset, name) = self.hits.iter().min_by_key(|(offset, _)| **offset)?;
        let start = *offset as usize;
        Some((self.words[start..start + num_words].join(" "), name))
    }
}

/// A hash of each n-gram, in order.
fn rolling_hashes(words: &[String], num_words: usize) -> Vec<u64> {
    if num_words == 0 || words.len() < num_words {
        return Vec::new();
    }
    let hashes: Vec<u64> = words.iter().map(|word| xxh3_64(word.as_bytes())).collect();
    let first = (1..num_words).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let mut rolling = Vec::with_capacity(words.len() + 1 - num_words);
    let mut hash = 0u64;
    for (index, word) in hashes.iter().enumerate() {
        if index >= num_words {
            hash = hash.wrapping_sub(hashes[index - num_words].wrapping_mul(first));
        }
        hash = hash.wrapping_mul(BASE).wrapping_add(*word);
        if index + 1 >= num_words {
            rolling.push(hash);
        }
    }
    rolling
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_run_of_words_is_found_whatever_its_punctuation() {
        let mut index =
            OverlapIndex::new(["Returns the first byte of x, if any.", "too short", "a b c d e f"], 4);
        index.look_in("other.rs", "/// returns THE first byte; of y");
        index.look_in("later.rs", "returns the first byte");
        let found = index.finish();
        assert_eq!((found[0].ngrams, found[0].hits.len()), (5, 2));
        assert_eq!(found[0].example(4), Some(("returns the first byte".to_owned(), "other.rs")));
        assert_eq!((found[1].ngrams, found[1].hits.len()), (0, 0));
        assert_eq!((found[2].ngrams, found[2].hits.len()), (3, 0));
    }
}

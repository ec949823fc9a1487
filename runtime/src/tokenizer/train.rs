//! Pieces to merges: the most frequent pair of neighbours becomes a token, until the vocabulary is full.
//!
//! Counts are kept up to date instead of counted anew: a merge touches just the words that hold its pair. The heap is lazy: an
//! entry whose count is out of date goes back with the true one. Of equally frequent pairs the one with the smaller ids wins,
//! and the bytes are numbered in the order of their spelling: both as in Hugging Face's trainer, so that the same text gives the
//! same file.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use cupola_tokenizer::{Vocabulary, byte_chars};
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

/// A pair that stands in the text just once is no token.
const MIN_COUNT: i64 = 2;

/// How often each piece stands in the text.
pub(super) type PieceCounts = BytesMap<u64>;

/// A map whose keys are [`pair_key`]s.
type PairMap<V> = HashMap<u64, V, Xxh3DefaultBuilder>;
/// A map whose keys are byte strings.
type BytesMap<V> = HashMap<Box<[u8]>, V, Xxh3DefaultBuilder>;

/// A pair of ids as one integer that sorts as the pair does.
fn pair_key(left: u32, right: u32) -> u64 {
    u64::from(left) << 32 | u64::from(right)
}

/// Special tokens first, then the bytes in the order of their spelling.
fn alphabet(specials: &[String]) -> Vocabulary {
    let mut tokens: Vec<Vec<u8>> = specials.iter().map(|text| text.clone().into_bytes()).collect();
    let chars = byte_chars();
    let mut order: Vec<u8> = (0..=255).collect();
    order.sort_by_key(|byte| chars[*byte as usize]);
    let mut byte_ids = [0; 256];
    for byte in order {
        byte_ids[byte as usize] = tokens.len() as u32;
        tokens.push(vec![byte]);
    }
    Vocabulary { tokens, byte_ids, merges: Vec::new() }
}

/// Trains a vocabulary of at most `vocab_size` tokens; it is smaller where the text has no more pairs that stand twice.
/// `progress` hears how many tokens there are.
pub(super) fn train(
    counts: PieceCounts,
    specials: &[String],
    vocab_size: usize,
    progress: &mut dyn FnMut(usize),
) -> Vocabulary {
    let mut vocabulary = alphabet(specials);
    let mut known: BytesMap<u32> = BytesMap::default();
    for (id, bytes) in vocabulary.tokens.iter().enumerate().skip(specials.len()) {
        known.insert(bytes.clone().into_boxed_slice(), id as u32);
    }
    let mut words = Words::new(counts, &vocabulary.byte_ids);
    while vocabulary.tokens.len() < vocab_size {
        let Some((left, right)) = words.most_frequent() else { break };
        let bytes = [&*vocabulary.tokens[left as usize], &*vocabulary.tokens[right as usize]].concat();
        let next = vocabulary.tokens.len() as u32;
        let id = *known.entry(bytes.clone().into_boxed_slice()).or_insert(next);
        if id == next {
            vocabulary.tokens.push(bytes);
        }
        vocabulary.merges.push((left, right, id));
        words.merge(left, right, id);
        progress(vocabulary.tokens.len());
    }
    vocabulary
}

/// The distinct pieces as symbols, and the counts of neighbours in them.
struct Words {
    symbols: Vec<Vec<u32>>,
    counts: Vec<i64>,
    pairs: PairMap<i64>,
    /// Words that held a pair when it was counted; some may not hold it any more.
    places: PairMap<Vec<u32>>,
    heap: BinaryHeap<(i64, Reverse<u64>)>,
}

impl Words {
    fn new(counts: PieceCounts, byte_ids: &[u32; 256]) -> Self {
        let mut pieces: Vec<(Box<[u8]>, u64)> = counts.into_iter().collect();
        pieces.sort_unstable();
        let mut words = Self {
            symbols: Vec::with_capacity(pieces.len()),
            counts: Vec::with_capacity(pieces.len()),
            pairs: PairMap::default(),
            places: PairMap::default(),
            heap: BinaryHeap::new(),
        };
        for (piece, count) in pieces {
            let index = words.symbols.len() as u32;
            let symbols: Vec<u32> = piece.iter().map(|byte| byte_ids[*byte as usize]).collect();
            for pair in symbols.windows(2) {
                words.add(pair[0], pair[1], count as i64, index);
            }
            words.symbols.push(symbols);
            words.counts.push(count as i64);
        }
        words.heap = words.pairs.iter().map(|(pair, count)| (*count, Reverse(*pair))).collect();
        words
    }

    fn add(&mut self, left: u32, right: u32, count: i64, word: u32) {
        let key = pair_key(left, right);
        *self.pairs.entry(key).or_insert(0) += count;
        let places = self.places.entry(key).or_default();
        if places.last() != Some(&word) {
            places.push(word);
        }
    }

    fn most_frequent(&mut self) -> Option<(u32, u32)> {
        while let Some((count, Reverse(pair))) = self.heap.pop() {
            let current = self.pairs.get(&pair).copied().unwrap_or(0);
            if current < MIN_COUNT {
                continue;
            }
            if current == count {
                return Some(((pair >> 32) as u32, pair as u32));
            }
            self.heap.push((current, Reverse(pair)));
        }
        None
    }

    fn merge(&mut self, left: u32, right: u32, id: u32) {
        let places = self.places.remove(&pair_key(left, right)).unwrap_or_default();
        let mut grown: Vec<u64> = Vec::new();
        for word in places {
            let count = self.counts[word as usize];
            let mut symbols = std::mem::take(&mut self.symbols[word as usize]);
            let mut at = 0;
            while at + 1 < symbols.len() {
                if symbols[at] != left || symbols[at + 1] != right {
                    at += 1;
                    continue;
                }
                if at > 0 {
                    let before = symbols[at - 1];
                    *self.pairs.entry(pair_key(before, left)).or_insert(0) -= count;
                    self.add(before, id, count, word);
                    grown.push(pair_key(before, id));
                }
                if let Some(after) = symbols.get(at + 2).copied() {
                    *self.pairs.entry(pair_key(right, after)).or_insert(0) -= count;
                    self.add(id, after, count, word);
                    grown.push(pair_key(id, after));
                }
                symbols[at] = id;
                symbols.remove(at + 1);
                at += 1;
            }
            self.symbols[word as usize] = symbols;
        }
        self.pairs.remove(&pair_key(left, right));
        grown.sort_unstable();
        grown.dedup();
        for pair in grown {
            let count = self.pairs.get(&pair).copied().unwrap_or(0);
            if count >= MIN_COUNT {
                self.heap.push((count, Reverse(pair)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained(words: &[(&str, u64)], vocab_size: usize) -> Vec<String> {
        let counts = words.iter().map(|(word, n)| (word.as_bytes().into(), *n)).collect();
        let vocabulary = train(counts, &["<s>".to_owned()], vocab_size, &mut |_| {});
        vocabulary.tokens[257..].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }

    #[test]
    fn the_most_frequent_pair_comes_first_and_ties_go_to_smaller_ids() {
        assert_eq!(
            trained(&[("hug", 10), ("pug", 5), ("pun", 12), ("bun", 4), ("hugs", 5)], 261),
            ["ug", "un", "hug", "pun"]
        );
        assert_eq!(trained(&[("cd", 3), ("ab", 3)], 258), ["ab"]);
    }

    #[test]
    fn overlapping_pairs_are_counted_as_they_merge_and_single_ones_are_left() {
        assert_eq!(trained(&[("aaaa", 2)], 300), ["aa", "aaaa"]);
        assert_eq!(trained(&[("xyz", 1)], 300), Vec::<String>::new());
    }
}

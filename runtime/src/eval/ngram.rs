//! A byte n-gram model: what plain counting reaches on the same text, as the bar that a network must clear.
//!
//! "Order n" counts the bytes of context: the order-3 model predicts a byte from the three before it. Counts of every order are
//! interpolated by Witten and Bell's estimate (The Zero-Frequency Problem, 1991), down to the uniform distribution over 256 bytes:
//! `p(b | c) = (count(c b) + distinct(c) · p(b | shorter c)) / (count(c) + distinct(c))`. A document begins after zero bytes.

use rayon::prelude::*;

/// Most bytes of context: a context and its next byte fill one `u32`.
const MAX_ORDER: usize = 3;

/// Counts of all orders up to the model's.
#[derive(Debug)]
pub struct ByteNgram {
    /// Index `k` holds the contexts of `k` bytes.
    levels: Vec<Level>,
}

/// Contexts of one length, sorted.
#[derive(Debug, Default)]
struct Level {
    /// Context and next byte, as a big-endian number.
    grams: Vec<u32>,
    counts: Vec<u32>,
    contexts: Vec<u32>,
    /// Total count and number of distinct next bytes by context.
    totals: Vec<(u32, u32)>,
}

impl ByteNgram {
    /// Counts the documents. `order` is the number of context bytes, at most 3.
    pub fn fit<T: AsRef<[u8]>>(documents: &[T], order: usize) -> Self {
        let levels = (0..=order.min(MAX_ORDER)).map(|length| Level::count(documents, length)).collect();
        Self { levels }
    }

    /// Bits that the model spends on a document.
    pub fn bits(&self, document: &[u8]) -> f64 {
        let mut history = 0u32;
        let mut bits = 0.0;
        for &byte in document {
            history = history << 8 | u32::from(byte);
            bits -= self.probability(history).log2();
        }
        bits
    }

    /// Probability of the last byte of `history` after those before it.
    fn probability(&self, history: u32) -> f64 {
        let uniform = 1.0 / 256.0;
        self.levels.iter().enumerate().fold(uniform, |shorter, (length, level)| {
            level.interpolate(last_bytes(history, length + 1), shorter)
        })
    }
}

impl Level {
    fn count<T: AsRef<[u8]>>(documents: &[T], length: usize) -> Self {
        let mut all = Vec::with_capacity(documents.iter().map(|d| d.as_ref().len()).sum());
        for document in documents {
            let mut history = 0u32;
            for &byte in document.as_ref() {
                history = history << 8 | u32::from(byte);
                all.push(last_bytes(history, length + 1));
            }
        }
        all.par_sort_unstable();
        let mut level = Self::default();
        for gram in all.chunk_by(|a, b| a == b) {
            let context = gram[0] >> 8;
            if level.contexts.last() != Some(&context) || level.totals.is_empty() {
                level.contexts.push(context);
                level.totals.push((0, 0));
            }
            level.grams.push(gram[0]);
            level.counts.push(gram.len() as u32);
            if let Some((total, distinct)) = level.totals.last_mut() {
                *total += gram.len() as u32;
                *distinct += 1;
            }
        }
        level
    }

    fn interpolate(&self, gram: u32, shorter: f64) -> f64 {
        let Ok(context) = self.contexts.binary_search(&(gram >> 8)) else { return shorter };
        let (total, distinct) = self.totals[context];
        let count = self.grams.binary_search(&gram).map_or(0, |index| self.counts[index]);
        (f64::from(count) + f64::from(distinct) * shorter) / f64::from(total + distinct)
    }
}

/// The last `num_bytes` of a history.
fn last_bytes(history: u32, num_bytes: usize) -> u32 {
    if num_bytes >= 4 { history } else { history & ((1 << (8 * num_bytes)) - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_in_every_context() {
        let model = ByteNgram::fit(&["abracadabra", "banana", ""], 3);
        for context in [0, 0x0061_6272, 0x007a_7a7a, 0x0061_6e61] {
            let sum: f64 = (0..256).map(|byte| model.probability(context << 8 | byte)).sum();
            assert!((sum - 1.0).abs() < 1e-12, "{context:x}: {sum}");
        }
    }

    #[test]
    fn a_hand_count_agrees() {
        // Order 0 over "aab": p(a) = (2 + 2/256) / (3 + 2).
        let model = ByteNgram::fit(&["aab"], 0);
        let expected = -((2.0 + 2.0 / 256.0) / 5.0f64).log2();
        assert!((model.bits(b"a") - expected).abs() < 1e-12);
    }

    #[test]
    fn more_context_helps_on_text() {
        let text = "the cat sat on the mat and the dog sat on the log ".repeat(50);
        let bits = |order| ByteNgram::fit(&[&text[..1000]], order).bits(&text.as_bytes()[1000..]);
        assert!(bits(3) < bits(2) && bits(2) < bits(1) && bits(1) < bits(0));
    }
}

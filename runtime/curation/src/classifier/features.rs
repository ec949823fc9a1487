//! What a text is made of: words, word n-grams and character n-grams, hashed as fastText hashes them.
//!
//! A word is what stands between blanks (space, `\n`, `\r`, `\t`, `\v`, `\f`, NUL) and is hashed by 32-bit FNV-1a over its bytes, each of them taken as signed. A word
//! n-gram's hash is `h·116049371 + next`, 64 bits, over signed words' hashes. A character n-gram is hashed as a word is. Every text ends in the word `</s>`.

use super::Settings;

/// The most features that are read of one text: what stands behind them is not looked at. It bounds what a hostile text costs.
pub(super) const MAX_TEXT_FEATURES: usize = 1 << 20;
/// The most bytes of a word whose character n-grams are read.
pub(super) const MAX_WORD: usize = 1 << 16;
/// The word at the end of each text.
pub(super) const END: &[u8] = b"</s>";

const START: u32 = 2_166_136_261;
const PRIME: u32 = 16_777_619;
const STEP: u64 = 116_049_371;

/// Whether a byte parts words.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t' | 0x0b | 0x0c | 0)
}

#[inline]
fn push(hash: u32, byte: u8) -> u32 {
    (hash ^ byte as i8 as u32).wrapping_mul(PRIME)
}

/// The hash of a word.
pub(super) fn word_hash(word: &[u8]) -> u32 {
    word.iter().fold(START, |hash, byte| push(hash, *byte))
}

/// Calls `each` with the hash of every word n-gram of two words or more, by its first word and then by its length.
#[inline]
pub(super) fn word_ngrams(words: &[u32], longest: usize, mut each: impl FnMut(u64)) {
    for (at, first) in words.iter().enumerate() {
        let mut hash = signed(*first);
        for next in words.iter().skip(at + 1).take(longest - 1) {
            hash = hash.wrapping_mul(STEP).wrapping_add(signed(*next));
            each(hash);
        }
    }
}

/// A word's hash as a signed number of 64 bits.
fn signed(hash: u32) -> u64 {
    i64::from(hash as i32) as u64
}

/// Calls `each` with the hash of every character n-gram of a word with `<` and `>` around it. The two signs alone are none.
#[inline]
pub(super) fn char_ngrams(framed: &[u8], (shortest, longest): (usize, usize), mut each: impl FnMut(u32)) {
    for (start, first) in framed.iter().enumerate() {
        if is_continuation(*first) {
            continue;
        }
        let (mut hash, mut end) = (START, start);
        for count in 1..=longest {
            let Some(byte) = framed.get(end) else { break };
            hash = push(hash, *byte);
            end += 1;
            while let Some(byte) = framed.get(end).filter(|byte| is_continuation(**byte)) {
                hash = push(hash, *byte);
                end += 1;
            }
            let is_sign = count == 1 && (start == 0 || end == framed.len());
            if count >= shortest && !is_sign {
                each(hash);
            }
        }
    }
}

fn is_continuation(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Where a text's features go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    longest: usize,
    chars: (usize, usize),
    buckets: u32,
}

/// Words' hashes of one text, kept for the next one's.
#[derive(Debug, Clone, Default)]
pub(super) struct Words {
    hashes: Vec<u32>,
    framed: Vec<u8>,
}

impl Shape {
    pub(super) fn new(settings: &Settings) -> Self {
        let chars = (settings.min_chars, settings.max_chars);
        Self { longest: settings.word_ngrams, chars, buckets: settings.buckets.max(1) }
    }

    /// Writes the bucket of every feature, in the text's order.
    pub(super) fn buckets(&self, text: &str, words: &mut Words, out: &mut Vec<u32>) {
        out.clear();
        words.hashes.clear();
        let bytes = text.as_bytes();
        let (mut hash, mut start) = (START, 0);
        for (at, byte) in bytes.iter().enumerate() {
            if !is_blank(*byte) {
                hash = push(hash, *byte);
                continue;
            }
            if start < at {
                self.word(&bytes[start..at], hash, words, out);
                if out.len() + words.hashes.len() * (self.longest - 1) >= MAX_TEXT_FEATURES {
                    start = bytes.len();
                    break;
                }
            }
            (hash, start) = (START, at + 1);
        }
        if start < bytes.len() {
            self.word(&bytes[start..], hash, words, out);
        }
        let end = word_hash(END);
        words.hashes.push(end);
        out.push(end % self.buckets);
        if self.longest > 1 {
            let buckets = u64::from(self.buckets);
            word_ngrams(&words.hashes, self.longest, |hash| out.push((hash % buckets) as u32));
        }
        out.truncate(MAX_TEXT_FEATURES);
    }

    #[inline]
    fn word(&self, word: &[u8], hash: u32, words: &mut Words, out: &mut Vec<u32>) {
        words.hashes.push(hash);
        out.push(hash % self.buckets);
        if self.chars.1 > 0 {
            // A word without blanks may be the whole of a hostile text.
            let word = &word[..word.len().min(MAX_WORD)];
            words.framed.clear();
            words.framed.push(b'<');
            words.framed.extend_from_slice(word);
            words.framed.push(b'>');
            char_ngrams(&words.framed, self.chars, |hash| out.push(hash % self.buckets));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_hashed_as_fasttext_does() {
        // FNV-1a's published values, and one with a byte above 127, which fastText takes as negative.
        assert_eq!(word_hash(b""), 0x811c_9dc5);
        assert_eq!(word_hash(b"a"), 0xe40c_292c);
        assert_eq!(word_hash(b"foobar"), 0xbf9c_f968);
        assert_eq!(word_hash(&[0xe9]), (0x811c_9dc5_u32 ^ 0xffff_ffe9).wrapping_mul(PRIME));
    }

    #[test]
    fn character_ngrams_count_characters_not_bytes_and_leave_lone_signs_out() {
        let of = |word: &str, chars| {
            let mut found = Vec::new();
            char_ngrams(format!("<{word}>").as_bytes(), chars, |hash| found.push(hash));
            found
        };
        let expected: Vec<u32> = ["<é", "é", "é>"].iter().map(|gram| word_hash(gram.as_bytes())).collect();
        assert_eq!(of("é", (1, 2)), expected);
        assert_eq!(of("ab", (3, 4)).len(), 3);
    }

    #[test]
    fn a_text_has_its_words_its_end_and_their_ngrams() {
        let shape = Shape::new(&Settings { word_ngrams: 3, buckets: 1 << 28, ..Settings::default() });
        let (mut words, mut out) = (Words::default(), Vec::new());
        shape.buckets("  a\tb \n", &mut words, &mut out);
        // a, b, </s>; a b, a b </s>, b </s>.
        assert_eq!(out.len(), 6);
        assert_eq!(out[0], word_hash(b"a") % (1 << 28));
        shape.buckets("", &mut words, &mut out);
        assert_eq!(out, [word_hash(END) % (1 << 28)]);
    }

    #[test]
    fn a_hostile_text_has_no_more_features_than_any_may() {
        let settings = Settings { word_ngrams: 8, min_chars: 1, max_chars: 12, ..Settings::default() };
        let shape = Shape::new(&settings);
        let (mut words, mut out) = (Words::default(), Vec::new());
        for text in ["x".repeat(3_000_000), "x ".repeat(1_500_000)] {
            shape.buckets(&text, &mut words, &mut out);
            assert!(out.len() <= MAX_TEXT_FEATURES && out.len() > MAX_WORD, "{}", out.len());
        }
    }
}

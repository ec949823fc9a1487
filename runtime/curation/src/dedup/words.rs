//! The words of a text as hashes, folded as near-duplicates are compared.
//!
//! - Letters are lower case, taken apart canonically (NFD), and lose their combining marks.
//! - A number is one `0`, whatever its digits; a point or comma between two digits belongs to it.
//! - Characters that show nothing (soft hyphens, zero-width spaces and joiners, byte order marks) are left out.
//! - Every other character that is neither letter nor digit stands between words.
//! - Han, Kana, Thai, Lao, Khmer and Myanmar put no blanks between words: each of their characters is a word.
//!
//! This is datatrove's `simplify_text` with its defaults, but for three things: all punctuation and symbols of Unicode are dropped, not
//! a list of some; spacing marks go as other marks do; the words of the result are what stands between blanks (datatrove asks spaCy, which
//! splits little more once punctuation is gone, and takes a sentence in Chinese for one word).
//!
//! ASCII goes eight bytes at a time; other characters of the basic plane are looked up in a table that is made once.

use unicode_normalization::char::{decompose_canonical, is_combining_mark};

const HIGH: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;
/// Digits of π's fractional part: numbers that hide nothing.
const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MIX: u64 = 0x1319_8a2e_0370_7345;
const END: u64 = 0xa409_3822_299f_31d1;

/// Multiplies to 128 bits and folds the halves together: each bit of the result depends on all bits of both.
#[inline]
pub(super) fn fold_multiply(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// What becomes of a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Folded {
    /// It stands between words.
    Separator,
    Digit,
    /// A part of a word (nothing, where it is left out): UTF-8, first byte lowest, and its length.
    Letters(u64, u32),
    /// A word by itself.
    Word(u64, u32),
    /// More bytes than fit above.
    Long,
}

/// Splits texts into word hashes.
#[derive(Debug)]
pub(super) struct WordSplitter {
    basic_plane: Vec<Folded>,
}

/// The word that is being read.
#[derive(Debug)]
struct Word {
    state: u64,
    rest: u64,
    rest_bytes: u32,
    num_bytes: u32,
    is_behind_digit: bool,
}

impl Word {
    fn new() -> Self {
        Self { state: SEED, rest: 0, rest_bytes: 0, num_bytes: 0, is_behind_digit: false }
    }

    /// Appends up to eight bytes, the first lowest, the ones above them zero.
    #[inline]
    fn push(&mut self, bytes: u64, length: u32) {
        self.rest |= bytes << (8 * self.rest_bytes);
        let total = self.rest_bytes + length;
        if total >= 8 {
            self.state = fold_multiply(self.state ^ self.rest, MIX);
            self.rest = if self.rest_bytes == 0 { 0 } else { bytes >> (64 - 8 * self.rest_bytes) };
        }
        self.rest_bytes = total & 7;
        self.num_bytes = self.num_bytes.wrapping_add(length);
        self.is_behind_digit = false;
    }

    fn push_digit(&mut self) {
        if !self.is_behind_digit {
            self.push(u64::from(b'0'), 1);
            self.is_behind_digit = true;
        }
    }

    /// Gives the word's hash, where there is a word.
    #[inline]
    fn end(&mut self, sink: &mut impl FnMut(u64)) {
        if self.num_bytes > 0 {
            sink(fold_multiply(self.state ^ self.rest, END ^ u64::from(self.num_bytes)));
            *self = Self::new();
        }
    }
}

impl WordSplitter {
    /// Makes the table, half a million bytes.
    pub(super) fn new() -> Self {
        let folded = |code| char::from_u32(code).map_or(Folded::Separator, |character| fold(character).0);
        Self { basic_plane: (0..0x1_0000).map(folded).collect() }
    }

    /// Gives the hash of each word in order.
    pub(super) fn each(&self, text: &str, mut sink: impl FnMut(u64)) {
        let bytes = text.as_bytes();
        let mut word = Word::new();
        let mut at = 0;
        while at < bytes.len() {
            let chunk = eight(bytes, at);
            let (letters, length) = leading_letters(chunk);
            if length > 0 {
                word.push(letters, length);
                at += length as usize;
                if length == 8 {
                    continue;
                }
            }
            let Some(&byte) = bytes.get(at) else { break };
            if byte >= 0x80 {
                at += self.push_wide(text, at, &mut word, &mut sink);
                continue;
            }
            at += 1;
            if byte.is_ascii_digit() {
                word.push_digit();
            } else if !(word.is_behind_digit && is_within_number(byte, bytes.get(at))) {
                word.end(&mut sink);
            }
        }
        word.end(&mut sink);
    }

    /// Takes a character beyond ASCII; gives its length.
    fn push_wide(&self, text: &str, at: usize, word: &mut Word, sink: &mut impl FnMut(u64)) -> usize {
        let Some(character) = text.get(at..).and_then(|rest| rest.chars().next()) else { return 1 };
        let folded = self.basic_plane.get(character as usize).copied().unwrap_or_else(|| fold(character).0);
        match folded {
            Folded::Separator => word.end(sink),
            Folded::Digit => word.push_digit(),
            Folded::Letters(_, 0) => {}
            Folded::Letters(bytes, length) => word.push(bytes, length),
            Folded::Word(bytes, length) => {
                word.end(sink);
                word.push(bytes, length);
                word.end(sink);
            }
            Folded::Long => fold(character).1.bytes().for_each(|byte| word.push(u64::from(byte), 1)),
        }
        character.len_utf8()
    }
}

/// Eight bytes from a place on, the first lowest; zeros behind the end.
#[inline]
fn eight(bytes: &[u8], at: usize) -> u64 {
    if let Some(chunk) = bytes[at..].first_chunk() {
        return u64::from_le_bytes(*chunk);
    }
    let mut chunk = [0; 8];
    let rest = &bytes[at..];
    chunk[..rest.len()].copy_from_slice(rest);
    u64::from_le_bytes(chunk)
}

/// The ASCII letters that a chunk begins with, in lower case, and their number.
#[inline]
fn leading_letters(chunk: u64) -> (u64, u32) {
    let lower = chunk | (0x20 * ONES);
    let low_bits = lower & !HIGH;
    let from_a = low_bits + (0x80 - u64::from(b'a')) * ONES;
    let behind_z = low_bits + (0x7f - u64::from(b'z')) * ONES;
    let others = !(from_a & !behind_z & !chunk) & HIGH;
    let length = others.trailing_zeros() / 8;
    let kept = if length == 8 { u64::MAX } else { (1 << (8 * length)) - 1 };
    (lower & kept, length)
}

/// Whether a byte behind a digit belongs to the number, by the byte behind it.
fn is_within_number(byte: u8, next: Option<&u8>) -> bool {
    matches!(byte, b'.' | b',') && next.is_some_and(u8::is_ascii_digit)
}

/// Folds a character; the text where it is long.
fn fold(character: char) -> (Folded, String) {
    let mut text = String::new();
    if is_unseen(character) {
        return (Folded::Letters(0, 0), text);
    }
    if character.is_numeric() {
        return (Folded::Digit, text);
    }
    let mut is_separator = false;
    for lower in character.to_lowercase() {
        decompose_canonical(lower, |part| match part {
            part if is_combining_mark(part) => {}
            part if part.is_alphanumeric() => text.push(part),
            _ => is_separator = true,
        });
    }
    let length = text.len() as u32;
    let folded = match () {
        () if text.is_empty() && is_separator => Folded::Separator,
        () if length > 8 => Folded::Long,
        () => {
            let packed = text.bytes().rev().fold(0, |packed: u64, byte| packed << 8 | u64::from(byte));
            if length > 0 && is_unspaced(character) {
                Folded::Word(packed, length)
            } else {
                Folded::Letters(packed, length)
            }
        }
    };
    (folded, text)
}

fn is_unseen(character: char) -> bool {
    matches!(u32::from(character), 0xad | 0x200b..=0x200f | 0x2060..=0x2064 | 0xfe00..=0xfe0f | 0xfeff)
}

fn is_unspaced(character: char) -> bool {
    matches!(
        u32::from(character),
        0x0e00..=0x0eff | 0x1000..=0x109f | 0x1780..=0x17ff | 0x3005 | 0x3040..=0x30ff | 0x3400..=0x4dbf
            | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<u64> {
        let mut words = Vec::new();
        WordSplitter::new().each(text, |word| words.push(word));
        words
    }

    #[test]
    fn what_is_folded_makes_no_difference() {
        for (one, other) in [
            ("Hello, World!", "hello world"),
            ("caf\u{e9} na\u{ef}ve", "cafe nai\u{308}ve"),
            ("in 2024 it cost 1,234.56 $", "in 1999 it cost 7"),
            ("soft\u{ad}hyphen", "softhyphen"),
            ("don't “quote”", "don t quote"),
            ("ÜBERGRÖSSE", "ubergrosse"),
            ("covid19", "Covid-2"),
            ("Привет, мир", "привет мир"),
            ("٣٤ x", "12 x"),
            ("internationalisation of", "Internationalisation   OF"),
        ] {
            let (one_words, other_words) = (words(one), words(other));
            if one == "covid19" {
                assert_ne!(one_words, other_words);
            } else {
                assert_eq!(one_words, other_words, "{one}");
            }
        }
    }

    #[test]
    fn words_are_counted() {
        for (text, count) in [
            ("", 0),
            (" .,- \u{301}", 0),
            ("one", 1),
            ("one two", 2),
            ("abcdefgh", 1),
            ("abcdefgh ijklmnop", 2),
            ("abcdefghi", 1),
            ("3.14 1. 2", 3),
            ("我们去吃饭", 5),
            ("ก ข", 2),
            ("안녕하세요 세계", 2),
            ("𝔸𝔹", 1),
        ] {
            assert_eq!(words(text).len(), count, "{text}");
        }
    }

    #[test]
    fn every_split_of_a_word_has_one_hash() {
        // Whatever the place of a word in the text, and so in the chunks of eight, its hash is the same.
        let word = "abcdefghijklmnopqrstuvwxyz";
        for length in 1..=word.len() {
            let expected = words(&word[..length]);
            for blanks in 1..9 {
                let text = format!("{}{}{}", " ".repeat(blanks), &word[..length], " ".repeat(blanks));
                assert_eq!(words(&text), expected);
            }
        }
        let all: std::collections::BTreeSet<u64> =
            (1..=word.len()).flat_map(|length| words(&word[..length])).collect();
        assert_eq!(all.len(), word.len());
    }

    /// Words as the module's text says it, a character at a time.
    fn plainly(text: &str) -> Vec<String> {
        let (mut words, mut word, mut is_behind_digit) = (Vec::new(), String::new(), false);
        let mut characters = text.chars().peekable();
        while let Some(character) = characters.next() {
            let (folded, letters) = fold(character);
            let next_is_digit = characters.peek().is_some_and(char::is_ascii_digit);
            match folded {
                Folded::Digit if is_behind_digit => {}
                Folded::Digit => word.push('0'),
                Folded::Separator if is_behind_digit && next_is_digit && ".,".contains(character) => continue,
                Folded::Separator => words.push(std::mem::take(&mut word)),
                Folded::Letters(_, 0) => continue,
                Folded::Letters(..) | Folded::Long => word.push_str(&letters),
                Folded::Word(..) => words.extend([std::mem::take(&mut word), letters]),
            }
            is_behind_digit = folded == Folded::Digit;
        }
        words.push(word);
        words.retain(|word| !word.is_empty());
        words
    }

    proptest::proptest! {
        #[test]
        fn the_fast_way_is_the_plain_way(text in "([a-zA-Z0-9.,é ]|[\u{301}ñß漢ก한\u{ad}٣İ]|.){0,60}") {
            let plain = plainly(&text);
            let splitter = SPLITTER.get_or_init(WordSplitter::new);
            let mut one = 0;
            let mut other = Vec::new();
            splitter.each(&text, |word| other.push(word));
            for word in &plain {
                // A word by itself has the hash that it has in the text.
                splitter.each(word, |word| one = word);
                proptest::prop_assert!(other.contains(&one), "{:?}", word);
            }
            proptest::prop_assert_eq!(plain.len(), other.len(), "{:?}", plain);
        }
    }

    static SPLITTER: std::sync::OnceLock<WordSplitter> = std::sync::OnceLock::new();
}

//! What a word is. The same threshold is another filter under another definition, so there are two, by name.
//!
//! **`unicode`**, ours: the segments of Unicode's word boundaries (UAX #29, no tailoring, no dictionary) that hold a letter or a digit.
//! Blanks and punctuation are no words, and a blank always parts them, whatever mark stands behind it; `can't`, `3.14` and `snake_case` are one word each, `well-known` is two. Scripts without
//! blanks: every Han ideograph and every Hiragana character is a word, a run of Katakana and a run of Hangul are one, and so is
//! every letter cluster of Thai, Lao, Khmer and Burmese. So a Chinese text has as many words as ideographs, not as many as a
//! dictionary would find.
//!
//! **`spacy_like`**: the tokens of spaCy's blank English pipeline, which datatrove's filters count for English; blanks are none,
//! punctuation is. See [`super::spacy`].

use unicode_segmentation::UnicodeSegmentation;

use super::chars::{CLASS, Chunk, DIGIT, HIGH, LOWER, OTHER, UPPER, is_punctuation, next_chunk};
use super::spacy::Splitter;
use super::table::{Numbers, hash_of};

/// How a text is split into words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Words {
    /// Unicode's word boundaries, without blanks and punctuation.
    #[default]
    Unicode,
    /// The tokens of spaCy's blank English pipeline: what datatrove counts.
    SpacyLike,
}

impl Words {
    /// Its name in a spec.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unicode => "unicode",
            Self::SpacyLike => "spacy_like",
        }
    }
}

/// The place of a word among Gopher's stop words (2021, arXiv:2112.11446, section A.1.1). Small letters only: as datatrove, and as the paper prints them.
fn stop_word(word: &[u8]) -> Option<u8> {
    Some(match word {
        b"the" => 0,
        b"be" => 1,
        b"to" => 2,
        b"of" => 3,
        b"and" => 4,
        b"that" => 5,
        b"have" => 6,
        b"with" => 7,
        _ => return None,
    })
}

/// The words of a document, as numbers: equal words have equal numbers.
#[derive(Debug, Default)]
pub(super) struct DocumentWords {
    table: Numbers,
    /// The number of each word, in the order of the text.
    pub(super) ids: Vec<u32>,
    /// Characters before each word, blanks left out; one more than words.
    pub(super) starts: Vec<u64>,
    /// Words.
    pub(super) num_words: u64,
    has_ids: bool,
    /// Words that are not only punctuation.
    pub(super) num_plain: u64,
    /// Their characters.
    pub(super) plain_chars: u64,
    /// Words with a letter.
    pub(super) num_alpha: u64,
    /// Which stop words there are, a bit each.
    pub(super) stop_words: u8,
    /// `#`.
    pub(super) num_hashes: u64,
    /// `...` and `…`.
    pub(super) num_ellipses: u64,
    splitter: Splitter,
}

impl DocumentWords {
    /// Reads a text's words. Without `has_ids` they are only counted: equal words are not found out.
    pub(super) fn read(&mut self, text: &str, words: Words, has_ids: bool) {
        self.table.clear(text.len() / 8);
        self.ids.clear();
        self.starts.clear();
        self.starts.push(0);
        (self.num_plain, self.plain_chars, self.num_alpha, self.stop_words) = (0, 0, 0, 0);
        (self.num_hashes, self.num_ellipses) = (0, 0);
        (self.num_words, self.has_ids) = (0, has_ids);
        let mut splitter = std::mem::take(&mut self.splitter);
        let mut at = 0;
        while let Some(chunk) = next_chunk(text, at) {
            at = chunk.end;
            if chunk.classes & (super::chars::DOT_OR_HASH | HIGH) != 0 {
                self.count_symbols(&text[chunk.start..chunk.end]);
            }
            match words {
                Words::Unicode => self.unicode(text, chunk),
                Words::SpacyLike => self.spacy(text, chunk, &mut splitter),
            }
        }
        self.splitter = splitter;
    }

    /// Different words.
    pub(super) fn num_unique(&self) -> usize {
        self.table.len()
    }

    /// Characters of words `from` to `to`, without blanks between them.
    pub(super) fn chars(&self, from: usize, to: usize) -> u64 {
        self.starts[to] - self.starts[from]
    }

    fn unicode(&mut self, text: &str, chunk: Chunk) {
        let Chunk { start, end, classes } = chunk;
        if classes & !(LOWER | UPPER) == 0 {
            self.ascii(&text.as_bytes()[start..end], classes);
        } else if classes & HIGH == 0 {
            for_each_ascii_word(&text.as_bytes()[start..end], |word, classes| self.ascii(word, classes));
        } else {
            for word in text[start..end].unicode_words() {
                self.any(word);
            }
        }
    }

    fn spacy(&mut self, text: &str, chunk: Chunk, splitter: &mut Splitter) {
        let tokens = splitter.split(&text[chunk.start..chunk.end], chunk.classes);
        if tokens.len() == 1 && chunk.classes & HIGH == 0 {
            self.ascii(&text.as_bytes()[chunk.start..chunk.end], chunk.classes);
            return;
        }
        for token in tokens {
            let token = &text[chunk.start + token.start..chunk.start + token.end];
            let classes = token.bytes().fold(0, |classes, byte| classes | CLASS[usize::from(byte)]);
            if classes & HIGH == 0 { self.ascii(token.as_bytes(), classes) } else { self.any(token) }
        }
    }

    /// Takes in a word of ASCII.
    fn ascii(&mut self, word: &[u8], classes: u8) {
        let is_alpha = classes & (LOWER | UPPER) != 0;
        let is_plain = classes & (LOWER | UPPER | DIGIT) != 0;
        if classes == LOWER
            && (2..=4).contains(&word.len())
            && let Some(stop) = stop_word(word)
        {
            self.stop_words |= 1 << stop;
        }
        self.push(word, word.len(), is_plain, is_alpha);
    }

    /// Takes in a word of any characters.
    fn any(&mut self, word: &str) {
        let (mut chars, mut is_plain, mut is_alpha) = (0, false, false);
        for c in word.chars() {
            chars += 1;
            is_plain |= !is_punctuation(c);
            is_alpha |= c.is_alphabetic();
        }
        self.push(word.as_bytes(), chars, is_plain, is_alpha);
    }

    fn push(&mut self, word: &[u8], chars: usize, is_plain: bool, is_alpha: bool) {
        if self.has_ids {
            self.ids.push(self.table.number(hash_of(word)).0);
            self.starts.push(self.starts[self.starts.len() - 1] + chars as u64);
        }
        self.num_words += 1;
        self.num_plain += u64::from(is_plain);
        self.plain_chars += if is_plain { chars as u64 } else { 0 };
        self.num_alpha += u64::from(is_alpha);
    }

    /// Number signs and ellipses of a stretch without blanks.
    fn count_symbols(&mut self, chunk: &str) {
        let mut dots = 0;
        for byte in chunk.bytes() {
            if byte == b'.' {
                dots += 1;
                if dots == 3 {
                    self.num_ellipses += 1;
                    dots = 0;
                }
            } else {
                dots = 0;
                self.num_hashes += u64::from(byte == b'#');
            }
        }
        if !chunk.is_ascii() {
            self.num_ellipses += chunk.matches('…').count() as u64;
        }
    }
}

/// What joins two letters of ASCII into one word: colon, full stop, apostrophe.
fn joins_letters(byte: u8) -> bool {
    matches!(byte, b':' | b'.' | b'\'')
}

/// What joins two digits: comma, semicolon, full stop, apostrophe.
fn joins_digits(byte: u8) -> bool {
    matches!(byte, b',' | b';' | b'.' | b'\'')
}

/// UAX #29 over ASCII without blanks: letters, digits and `_` stay together, and a joint between two letters or two digits does not part them.
fn for_each_ascii_word(chunk: &[u8], mut take: impl FnMut(&[u8], u8)) {
    let (mut start, mut classes) = (None, 0);
    for (at, &byte) in chunk.iter().enumerate() {
        let class = CLASS[usize::from(byte)];
        let holds = class & (LOWER | UPPER | DIGIT) != 0 || byte == b'_' || {
            let before = at.checked_sub(1).map_or(OTHER, |at| CLASS[usize::from(chunk[at])]);
            let after = chunk.get(at + 1).map_or(OTHER, |next| CLASS[usize::from(*next)]);
            before & after & DIGIT != 0 && joins_digits(byte)
                || before & (LOWER | UPPER) != 0 && after & (LOWER | UPPER) != 0 && joins_letters(byte)
        };
        if holds {
            start.get_or_insert(at);
            classes |= class;
        } else if let Some(from) = start.take() {
            if classes & (LOWER | UPPER | DIGIT) != 0 {
                take(&chunk[from..at], classes);
            }
            classes = 0;
        }
    }
    if let Some(from) = start.filter(|_| classes & (LOWER | UPPER | DIGIT) != 0) {
        take(&chunk[from..], classes);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ours(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        let mut at = 0;
        while let Some(chunk) = next_chunk(text, at) {
            at = chunk.end;
            let stretch = &text[chunk.start..chunk.end];
            if chunk.classes & HIGH == 0 {
                for_each_ascii_word(stretch.as_bytes(), |word, _| {
                    words.push(String::from_utf8_lossy(word).into_owned());
                });
            } else {
                words.extend(stretch.unicode_words().map(str::to_owned));
            }
        }
        words
    }

    #[test]
    fn words_are_unicodes_without_punctuation() {
        assert_eq!(
            ours("I can't: 3.14, x_y a:b -- well-known 1,000!"),
            ["I", "can't", "3.14", "x_y", "a:b", "well", "known", "1,000"]
        );
        assert_eq!(ours("中文字 カタカナ 한국어"), ["中", "文", "字", "カタカナ", "한국어"]);
    }

    proptest! {
        #[test]
        fn the_fast_path_splits_as_the_library(text in "[a-zA-Z0-9_.:,;'\"# \t\n\r-]{0,40}") {
            let library: Vec<&str> = text.unicode_words().collect();
            prop_assert_eq!(ours(&text), library);
        }

        #[test]
        fn blanks_part_words_in_any_script(text in "(\\p{L}|\\p{N}|\\p{P}|[ \n\u{a0}\u{3000}]){0,30}") {
            let library: Vec<&str> = text.unicode_words().collect();
            prop_assert_eq!(ours(&text), library);
        }
    }

    #[test]
    fn what_is_counted_of_words() {
        let mut list = DocumentWords::default();
        list.read("The cat of the house... #1 of 22 … that", Words::Unicode, true);
        assert_eq!((list.ids.len(), list.num_unique(), list.num_plain, list.num_alpha), (9, 8, 9, 7));
        assert_eq!((list.num_hashes, list.num_ellipses, list.stop_words.count_ones()), (1, 2, 3));
        assert_eq!(list.chars(0, 2), 6);
    }
}

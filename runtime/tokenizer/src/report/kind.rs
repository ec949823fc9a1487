//! What kind of text a token is.

use serde::{Deserialize, Serialize};

/// Kinds of tokens. Each token is of exactly one: the first in this order that fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A mark that no text becomes.
    Special,
    /// An id without bytes.
    Unused,
    /// Bytes that are no UTF-8: a part of a character, or bytes that text never has.
    Fragment,
    /// White space alone.
    Whitespace,
    /// Letters of which at least one belongs to another script than Latin; with or without a space before them, marks included.
    OtherScript,
    /// A space and Latin letters.
    SpacedWord,
    /// Latin letters.
    Word,
    /// Digits, with or without a space before them.
    Digits,
    /// Neither letters nor digits, with or without white space around them.
    Punctuation,
    /// Anything else: letters with digits or punctuation.
    Mixed,
}

impl Kind {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::Special,
        Self::Unused,
        Self::Fragment,
        Self::Whitespace,
        Self::OtherScript,
        Self::SpacedWord,
        Self::Word,
        Self::Digits,
        Self::Punctuation,
        Self::Mixed,
    ];

    /// The kind of a token that is no special one.
    pub fn of(bytes: &[u8]) -> Self {
        let Ok(text) = std::str::from_utf8(bytes) else { return Self::Fragment };
        if text.is_empty() {
            return Self::Unused;
        }
        if text.chars().all(char::is_whitespace) {
            return Self::Whitespace;
        }
        let unspaced = text.strip_prefix(' ').unwrap_or(text);
        if unspaced.chars().all(char::is_numeric) {
            return Self::Digits;
        }
        if !text.chars().any(char::is_alphanumeric) {
            return Self::Punctuation;
        }
        let in_word = |char: char| char.is_alphabetic() || is_mark(char);
        if !unspaced.chars().all(in_word) {
            return Self::Mixed;
        }
        if unspaced.chars().any(|char| char.is_alphabetic() && !is_latin(char)) {
            Self::OtherScript
        } else if unspaced.len() < text.len() {
            Self::SpacedWord
        } else {
            Self::Word
        }
    }
}

/// Whether a letter is of the Latin script: by Unicode's blocks of it.
fn is_latin(letter: char) -> bool {
    matches!(letter as u32,
        0x41..=0x5a | 0x61..=0x7a | 0xaa | 0xba | 0xc0..=0x2af | 0x1d00..=0x1d25 | 0x1d6b..=0x1d77 | 0x1e00..=0x1eff
        | 0x2c60..=0x2c7f | 0xa722..=0xa7ff | 0xab30..=0xab64 | 0xff21..=0xff3a | 0xff41..=0xff5a)
}

/// Whether a character goes on with the letter before it: combining marks that are no letters of their own, as Indic scripts and decomposed text have
/// them, and the joiners.
fn is_mark(char: char) -> bool {
    matches!(char as u32,
        0x300..=0x36f | 0x483..=0x487 | 0x591..=0x5c7 | 0x610..=0x61a | 0x64b..=0x65f | 0x93c | 0x94d | 0x9bc | 0x9cd | 0xa3c | 0xa4d
        | 0xabc | 0xacd | 0xb3c | 0xb4d | 0xbcd | 0xc4d | 0xccd | 0xd4d | 0xdca | 0xe31..=0xe3a | 0xe47..=0xe4e | 0xec8..=0xece
        | 0x1037..=0x103a | 0x17c9..=0x17d3 | 0x200c | 0x200d | 0x3099 | 0x309a | 0xfe20..=0xfe2f)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_has_its_kind() {
        let kinds = [
            ("the", Kind::Word),
            (" naïve", Kind::SpacedWord),
            ("  x", Kind::Mixed),
            (" мир", Kind::OtherScript),
            ("日本", Kind::OtherScript),
            ("हिन्दी", Kind::OtherScript),
            ("cafe\u{301}", Kind::Word),
            ("327", Kind::Digits),
            (" 7", Kind::Digits),
            ("\n    ", Kind::Whitespace),
            (" ->", Kind::Punctuation),
            (");\n", Kind::Punctuation),
            ("'s", Kind::Mixed),
            ("x1", Kind::Mixed),
            ("", Kind::Unused),
        ];
        for (text, kind) in kinds {
            assert_eq!(Kind::of(text.as_bytes()), kind, "{text:?}");
        }
        assert_eq!(Kind::of(&"日".as_bytes()[..2]), Kind::Fragment);
        assert_eq!(Kind::of(&[0xff]), Kind::Fragment);
    }
}

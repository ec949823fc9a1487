//! What the hand-written splitters share.

use super::classes::{BLANK, Classes, END, NUMBER, SPACE};

/// A way to split text that needs to see one piece at a time.
pub(crate) trait Pattern: Copy {
    /// The end of the piece that begins at `at`, a character's first byte. More than `at`, and a character's end.
    fn end(self, text: &[u8], at: usize) -> usize;
}

/// How far a run of white space goes, and what is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spaces {
    /// Behind the last.
    pub(super) end: usize,
    /// Where the last one begins.
    pub(super) last: usize,
    /// Behind the last newline; 0 where there is none.
    pub(super) newline_end: usize,
    /// The class of what follows.
    pub(super) next: u8,
}

impl Spaces {
    /// Reads the run that begins at `at`.
    #[inline]
    pub(super) fn read(classes: &Classes, text: &[u8], at: usize) -> Self {
        let mut spaces = Self { end: at, last: at, newline_end: 0, next: END };
        loop {
            let (class, len) = classes.at(text, spaces.end);
            if class & SPACE == 0 {
                spaces.next = class;
                return spaces;
            }
            spaces.last = spaces.end;
            spaces.end += len;
            if class & BLANK == 0 {
                spaces.newline_end = spaces.end;
            }
        }
    }

    /// What `\s+(?!\S)|\s+` matches of the run that begins at `at`: all of it at the end of the text; else all but the last, which goes with the word
    /// that follows, unless it is the only one. `ends` are classes of characters that end the text as far as this pattern sees.
    #[inline]
    pub(super) fn without_last(self, at: usize, ends: u8) -> usize {
        if self.next == END || self.next & ends != 0 || self.last == at { self.end } else { self.last }
    }
}

/// Digits in a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DigitRun {
    /// At most so many, without a blank before them.
    UpTo(u8),
    /// As many as there are, with a blank before them if there is one, as GPT-2 has them.
    Words,
}

impl DigitRun {
    /// The end of the digits at `at`.
    #[inline]
    pub(super) fn end(self, classes: &Classes, text: &[u8], at: usize) -> usize {
        match self {
            Self::UpTo(most) => classes.run_of(text, at, NUMBER, usize::from(most)),
            Self::Words => classes.run(text, at, NUMBER),
        }
    }
}

/// The bytes of a contraction (`'s`, `'t`, `'re`, `'ve`, `'m`, `'ll`, `'d`) at `at`, the apostrophe included; 0 where there is none.
#[inline]
pub(super) fn contraction(text: &[u8], at: usize) -> usize {
    match text.get(at..at + 2) {
        Some([b'\'', b's' | b't' | b'm' | b'd']) => 2,
        Some([b'\'', first]) => match (first, text.get(at + 2)) {
            (b'r' | b'v', Some(b'e')) | (b'l', Some(b'l')) => 3,
            _ => 0,
        },
        _ => 0,
    }
}

/// The same without regard to case. `ſ` (U+017F, C5 BF) is an `s` without regard to case; no other letter here has such a twin.
#[inline]
pub(super) fn contraction_of_any_case(text: &[u8], at: usize) -> usize {
    match text.get(at..at + 2) {
        Some([b'\'', first]) => match (first.to_ascii_lowercase(), text.get(at + 2)) {
            (b's' | b't' | b'm' | b'd', _) => 2,
            (b'r' | b'v', Some(b'e' | b'E')) | (b'l', Some(b'l' | b'L')) | (0xc5, Some(0xbf)) => 3,
            _ => 0,
        },
        _ => 0,
    }
}

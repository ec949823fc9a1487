//! A pattern for code: an indentation is a piece of its own, so that `return` is the same token at any depth, and quotes begin no contraction:
//! `[^\r\n\t\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| {2,16}|\t{1,16}| ?[^\s\p{L}\p{N}]+[\r\n]*|[\r\n]+|\s`.
//!
//! Of blanks 16 at most are one piece: a vocabulary then needs one token for each depth, not one for each length that a text happens to have.

use super::classes::{BLANK, Classes, LETTER, NEWLINE, NUMBER, SIGN};
use super::pattern::{DigitRun, Pattern};
use super::word::ascii_word_end;

/// Most blanks or tabs of one piece.
const INDENT: usize = 16;

/// The pattern for code.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Code {
    pub(super) classes: &'static Classes,
    pub(super) digits: DigitRun,
}

impl Pattern for Code {
    #[inline(always)]
    fn end(self, text: &[u8], at: usize) -> usize {
        let first = text.get(at).copied().unwrap_or(0);
        let lead = usize::from(super::gpt4::leads_a_word(first) && first != b'\t');
        match ascii_word_end(text, at + lead) {
            Some(end) => end,
            None => self.any_end(text, at),
        }
    }
}

impl Code {
    #[inline(never)]
    fn any_end(self, text: &[u8], at: usize) -> usize {
        let Self { classes, digits } = self;
        let (class, len) = classes.at(text, at);
        if class & LETTER != 0 {
            return classes.run(text, at + len, LETTER);
        }
        if class & NUMBER != 0 {
            return digits.end(classes, text, at);
        }
        let first = text.get(at).copied().unwrap_or(0);
        let (next, next_len) = classes.at(text, at + len);
        if class & (SIGN | BLANK) != 0 && first != b'\t' && next & LETTER != 0 {
            return classes.run(text, at + len + next_len, LETTER);
        }
        if class & SIGN != 0 {
            return classes.run(text, classes.run(text, at + len, SIGN), NEWLINE);
        }
        let indent =
            text.get(at..).unwrap_or_default().iter().take(INDENT).take_while(|byte| **byte == first).count();
        if first == b'\t' || (first == b' ' && indent > 1) {
            return at + indent;
        }
        if first == b' ' && next & SIGN != 0 {
            return classes.run(text, classes.run(text, at + len + next_len, SIGN), NEWLINE);
        }
        if class & NEWLINE != 0 { classes.run(text, at, NEWLINE) } else { at + len }
    }
}

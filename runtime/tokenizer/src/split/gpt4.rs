//! GPT-4's pattern (cl100k), which Llama 3, Qwen and nanochat use with other digit runs:
//! `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`.

use super::classes::{BLANK, Classes, END, LETTER, NEWLINE, NUMBER, SIGN};
use super::pattern::{DigitRun, Pattern, Spaces, contraction_of_any_case};
use super::word::ascii_word_end;

/// GPT-4's pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gpt4 {
    pub(super) classes: &'static Classes,
    pub(super) digits: DigitRun,
    /// The white space at the end of the text is one piece, newlines in it or not: `\s++$` stands before `\s*[\r\n]` in tiktoken's form, and in no other.
    pub(super) tail_is_whole: bool,
}

/// Whether a byte can stand before a word and belong to it: ASCII, no letter, digit or newline; the apostrophe may begin a contraction.
#[inline(always)]
pub(super) fn leads_a_word(byte: u8) -> bool {
    const LEADS: [bool; 256] = {
        let mut leads = [false; 256];
        let mut byte = 0;
        while byte < 128 {
            leads[byte] =
                !matches!(byte as u8, b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'\r' | b'\n' | b'\'');
            byte += 1;
        }
        leads
    };
    LEADS[usize::from(byte)]
}

impl Pattern for Gpt4 {
    #[inline(always)]
    fn end(self, text: &[u8], at: usize) -> usize {
        let lead = usize::from(text.get(at).is_some_and(|byte| leads_a_word(*byte)));
        match ascii_word_end(text, at + lead) {
            Some(end) => end,
            None => self.any_end(text, at),
        }
    }
}

impl Gpt4 {
    #[inline(never)]
    fn any_end(self, text: &[u8], at: usize) -> usize {
        let Self { classes, digits, tail_is_whole } = self;
        let contracted = contraction_of_any_case(text, at);
        if contracted > 0 {
            return at + contracted;
        }
        let (class, len) = classes.at(text, at);
        if class & LETTER != 0 {
            return classes.run(text, at + len, LETTER);
        }
        if class & NUMBER != 0 {
            return digits.end(classes, text, at);
        }
        let (next, next_len) = classes.at(text, at + len);
        if class & (SIGN | BLANK) != 0 && next & LETTER != 0 {
            return classes.run(text, at + len + next_len, LETTER);
        }
        if class & SIGN != 0 {
            return classes.run(text, classes.run(text, at + len, SIGN), NEWLINE);
        }
        if next & SIGN != 0 && text.get(at) == Some(&b' ') {
            return classes.run(text, classes.run(text, at + len + next_len, SIGN), NEWLINE);
        }
        let spaces = Spaces::read(classes, text, at);
        let is_tail = tail_is_whole && spaces.next == END;
        if spaces.newline_end > at && !is_tail { spaces.newline_end } else { spaces.without_last(at, 0) }
    }
}

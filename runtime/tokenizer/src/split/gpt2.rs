//! GPT-2's pattern: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.

use super::classes::{Classes, LETTER, NUMBER, SIGN};
use super::pattern::{DigitRun, Pattern, Spaces, contraction};
use super::word::ascii_word_end;

/// GPT-2's pattern; with a digit limit, digits are split off first, and a blank before them is left alone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gpt2 {
    pub(super) classes: &'static Classes,
    pub(super) digits: DigitRun,
}

impl Pattern for Gpt2 {
    #[inline(always)]
    fn end(self, text: &[u8], at: usize) -> usize {
        let blank = usize::from(text.get(at) == Some(&b' '));
        match ascii_word_end(text, at + blank) {
            Some(end) => end,
            None => self.any_end(text, at),
        }
    }
}

impl Gpt2 {
    #[inline(never)]
    fn any_end(self, text: &[u8], at: usize) -> usize {
        let Self { classes, digits } = self;
        let contracted = contraction(text, at);
        if contracted > 0 {
            return at + contracted;
        }
        let start = at + usize::from(text.get(at) == Some(&b' '));
        let (class, len) = classes.at(text, start);
        if class & LETTER != 0 {
            return classes.run(text, start + len, LETTER);
        }
        if class & SIGN != 0 {
            return classes.run(text, start + len, SIGN);
        }
        let ends = match digits {
            DigitRun::Words => 0,
            DigitRun::UpTo(_) => NUMBER,
        };
        if class & NUMBER != 0 && (start == at || ends == 0) {
            return digits.end(classes, text, start);
        }
        Spaces::read(classes, text, at).without_last(at, ends)
    }
}

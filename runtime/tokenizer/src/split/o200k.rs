//! GPT-4o's pattern (o200k): as GPT-4's, but a word is capitals and then small letters, so that `camelCase` is two, and a contraction belongs to its word:
//! `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|`
//! `[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|`
//! `\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`.

use super::classes::{BLANK, CASELESS, Classes, LOWER, MARK, NEWLINE, NUMBER, SIGN, UPPER};
use super::gpt4::leads_a_word;
use super::pattern::{DigitRun, Pattern, Spaces, contraction_of_any_case};
use super::word::load;

/// Letters of either half of a word: without case, and marks.
const EITHER: u8 = CASELESS | MARK;
/// What words are made of.
const WORD: u8 = UPPER | LOWER | EITHER;

/// GPT-4o's pattern.
#[derive(Debug, Clone, Copy)]
pub(crate) struct O200k {
    pub(super) classes: &'static Classes,
    pub(super) digits: DigitRun,
}

impl Pattern for O200k {
    #[inline(always)]
    fn end(self, text: &[u8], at: usize) -> usize {
        // An apostrophe leads a word here too: no alternative for contractions stands before the words.
        let first = text.get(at).copied().unwrap_or(0);
        let start = at + usize::from(leads_a_word(first) || first == b'\'');
        match ascii_word(text, start) {
            Some(end) => end,
            None => self.any_end(text, at),
        }
    }
}

/// The end of a word of ASCII letters, capitals and then small ones, and of the contraction behind it. None where there is no such word, where a
/// character follows that is not ASCII (it may belong to the word), and near the end of the text: the slow way knows more.
#[inline(always)]
fn ascii_word(text: &[u8], start: usize) -> Option<usize> {
    let first = *text.get(start)?;
    let from = start + usize::from(first.is_ascii_uppercase());
    let mut end = from;
    loop {
        let word = load(text, end)?;
        let run = leading_small_letters(word);
        if run < 8 {
            end += run;
            let next = (word >> (8 * run)) as u8;
            if next < 0x80 && next != b'\'' && end > from {
                return Some(end);
            }
            return if end > start { rare_ascii_word(text, from, end) } else { None };
        }
        end += 8;
    }
}

/// The same of a word with a contraction, and of one with several capitals first: one whose letters were seen up to `end`, the small ones among them from
/// `from` on.
#[inline(never)]
fn rare_ascii_word(text: &[u8], from: usize, mut end: usize) -> Option<usize> {
    if end == from {
        // Any number of capitals, then any number of small letters.
        let is_small = |byte: &&u8| byte.is_ascii_lowercase();
        end += text.get(end..)?.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
        end += text.get(end..)?.iter().take_while(is_small).count();
    }
    match text.get(end)? {
        0x80.. => None,
        b'\'' => Some(end + contraction_of_any_case(text, end)),
        _ => Some(end),
    }
}

/// How many of the eight bytes are small ASCII letters, up to the first that is none.
#[inline(always)]
fn leading_small_letters(word: u64) -> usize {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const ONES: u64 = 0x0101_0101_0101_0101;
    let low = word & !HIGH;
    let letters =
        (low + (0x80 - u64::from(b'a')) * ONES) & !(low + (0x7f - u64::from(b'z')) * ONES) & !word & HIGH;
    ((letters ^ HIGH).trailing_zeros() / 8) as usize
}

impl O200k {
    #[inline(never)]
    fn any_end(self, text: &[u8], at: usize) -> usize {
        let Self { classes, digits } = self;
        let (class, len) = classes.at(text, at);
        // A number neither begins nor leads a word.
        if class & NUMBER != 0 {
            return digits.end(classes, text, at);
        }
        let (next, next_len) = classes.at(text, at + len);
        let may_be_word = class & WORD != 0 || class & (SIGN | BLANK) != 0 && next & WORD != 0;
        if may_be_word && let Some(end) = self.word_end(text, at, class, len) {
            return end + contraction_of_any_case(text, end);
        }
        if class & SIGN != 0 {
            return newlines_and_slashes_end(text, classes.run(text, at + len, SIGN));
        }
        if next & SIGN != 0 && text.get(at) == Some(&b' ') {
            return newlines_and_slashes_end(text, classes.run(text, at + len + next_len, SIGN));
        }
        let spaces = Spaces::read(classes, text, at);
        if spaces.newline_end > at { spaces.newline_end } else { spaces.without_last(at, 0) }
    }

    /// The word at `at`, by both alternatives in their order, each with the leading character and without it.
    fn word_end(self, text: &[u8], at: usize, class: u8, len: usize) -> Option<usize> {
        let can_lead = class & (SIGN | BLANK) != 0;
        let led = if can_lead { Some(Halves::read(self.classes, text, at + len)) } else { None };
        let bare = || Halves::read(self.classes, text, at);
        let small = led.and_then(Halves::with_small).or_else(|| bare().with_small());
        let capital = || led.and_then(Halves::of_capitals).or_else(|| bare().of_capitals());
        small.or_else(capital)
    }
}

/// The runs that a word is made of.
#[derive(Debug, Clone, Copy)]
struct Halves {
    start: usize,
    /// Behind the run of capitals and of letters of either half.
    capitals_end: usize,
    /// Behind the last letter of either half in it; 0 where it has none.
    either_end: usize,
    /// Behind the small letters that follow.
    end: usize,
}

impl Halves {
    fn read(classes: &Classes, text: &[u8], start: usize) -> Self {
        let (mut at, mut either_end) = (start, 0);
        loop {
            let (class, len) = classes.at(text, at);
            if class & (UPPER | EITHER) == 0 {
                break;
            }
            at += len;
            if class & EITHER != 0 {
                either_end = at;
            }
        }
        // Behind the first run no letter of either half can come first, so what is small here is a small letter.
        let (class, _) = classes.at(text, at);
        let end = if class & LOWER == 0 { at } else { classes.run(text, at, LOWER | EITHER) };
        Self { start, capitals_end: at, either_end, end }
    }

    /// Any capitals, then small letters: where none follow, the capitals give back what comes after the last letter that can be small.
    fn with_small(self) -> Option<usize> {
        if self.end > self.capitals_end {
            Some(self.end)
        } else {
            (self.either_end > 0).then_some(self.either_end)
        }
    }

    /// Capitals, then any small letters.
    fn of_capitals(self) -> Option<usize> {
        (self.capitals_end > self.start).then_some(self.end)
    }
}

/// `[\r\n/]*`.
fn newlines_and_slashes_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | b'/')).count()
}

const _: () = assert!(NEWLINE & (SIGN | BLANK) == 0, "a newline leads no word");

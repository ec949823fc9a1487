//! One set of counters for all rules: a text is read once, and every value comes from what was counted.
//!
//! Definitions are datatrove 0.10.1's, so that a published threshold means what it meant where it was published; where our splitter
//! counts other words than spaCy's, [`super::Words`] says so.

use cupola_specs::job::Signal;

use super::chars::high_chars;
use super::code;
use super::edit::Removed;
use super::lines::{LineCounts, Lines};
use super::ngrams::Ngrams;
use super::scan::Survey;
use super::sentences::count_unicode;
use super::signals::Values;
use super::spacy::Splitter;
use super::table::Numbers;
use super::words::{DocumentWords, Words};

/// Tables that serve all documents: with one of them for each thread, judging allocates next to nothing.
#[derive(Debug, Default)]
pub struct Scratch {
    words: DocumentWords,
    ngrams: Ngrams,
    lines: Numbers,
    pub(super) splitter: Splitter,
}

/// How a text is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Measure {
    /// What a word is.
    pub(super) words: Words,
    /// A line of at most this many characters is short.
    pub(super) short_line_chars: u64,
    /// Whether equal words and repeated runs of them are looked for.
    pub(super) has_ngrams: bool,
    /// Whether more of words is looked at than how many there are.
    pub(super) has_words: bool,
    /// Whether sentences and the shape of source code are looked at.
    pub(super) has_rest: bool,
}

/// How many words a text has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WordCount {
    /// All words.
    pub(super) tokens: u64,
    /// Those that are not only punctuation.
    pub(super) plain: u64,
}

impl WordCount {
    /// Those of a text, of which these are known, without some of its lines: words do not reach over lines.
    pub(super) fn without(self, text: &str, lines: &[Removed], words: Words, scratch: &mut Scratch) -> Self {
        let mut left = self;
        for line in lines {
            scratch.words.read(&text[line.start..line.end], words, false);
            left.tokens -= scratch.words.num_words.min(left.tokens);
            left.plain -= scratch.words.num_plain.min(left.plain);
        }
        left
    }
}

/// Counts what is asked for of a text, whose number of words may be known.
pub(super) fn count(text: &str, measure: Measure, known: Option<WordCount>, scratch: &mut Scratch) -> Values {
    let mut values = Values::default();
    let chars = count_chars(text, &mut values);
    let words = known.filter(|_| !measure.has_words && !measure.has_ngrams).unwrap_or_else(|| {
        scratch.words.read(text, measure.words, measure.has_ngrams);
        set_words(&scratch.words, &mut values);
        WordCount { tokens: scratch.words.num_words, plain: scratch.words.num_plain }
    });
    values.set(Signal::Words, words.plain as f64);
    values.set(Signal::Tokens, words.tokens as f64);
    let lines = LineCounts::of(text, measure.short_line_chars, &mut scratch.lines);
    set_lines(&lines, chars, words.tokens, &mut values);
    if measure.has_ngrams {
        values.set_share(Signal::UniqueWords, scratch.words.num_unique() as u64, scratch.words.num_words);
        let runs = scratch.ngrams.measure(&scratch.words);
        let top = [Signal::Top2gramChars, Signal::Top3gramChars, Signal::Top4gramChars];
        for (signal, part) in top.into_iter().zip(runs.top) {
            values.set_share(signal, part, chars);
        }
        let duplicate = [
            Signal::Duplicate5gramChars,
            Signal::Duplicate6gramChars,
            Signal::Duplicate7gramChars,
            Signal::Duplicate8gramChars,
            Signal::Duplicate9gramChars,
            Signal::Duplicate10gramChars,
        ];
        for (signal, part) in duplicate.into_iter().zip(runs.duplicate) {
            values.set_share(signal, part, chars);
        }
    }
    if measure.has_rest {
        let lines = Lines::of(text).map(|line| count_unicode(&text[line.start..line.end]));
        values.set(Signal::Sentences, lines.sum::<u64>() as f64);
        code::measure(text, &mut values);
    }
    values
}

/// Characters by class.
fn count_chars(text: &str, values: &mut Values) -> u64 {
    let Survey { chars, mut capitals, digits, letters } = Survey::of(text);
    let mut letters = letters + digits;
    if chars < text.len() as u64 {
        for c in high_chars(text) {
            capitals += u64::from(c.is_uppercase());
            letters += u64::from(c.is_alphanumeric());
        }
    }
    values.set(Signal::Bytes, text.len() as f64);
    values.set(Signal::Chars, chars as f64);
    values.set_share(Signal::Uppercase, capitals, chars);
    values.set_share(Signal::Digits, digits, chars);
    values.set_share(Signal::Alphanumeric, letters, chars);
    chars
}

fn set_words(words: &DocumentWords, values: &mut Values) {
    let tokens = words.num_words;
    values.set_share(Signal::MeanWordLength, words.plain_chars, words.num_plain);
    values.set_share(Signal::AlphaWords, words.num_alpha, tokens);
    values.set(Signal::StopWords, f64::from(words.stop_words.count_ones()));
    values.set_share(Signal::HashRatio, words.num_hashes, tokens);
    values.set_share(Signal::EllipsisRatio, words.num_ellipses, tokens);
}

fn set_lines(lines: &LineCounts, chars: u64, tokens: u64, values: &mut Values) {
    values.set(Signal::Lines, lines.lines as f64);
    values.set_share(Signal::BulletLines, lines.bullets, lines.lines);
    values.set_share(Signal::EllipsisLines, lines.ellipses, lines.lines);
    values.set(Signal::Paragraphs, lines.paragraphs as f64);
    values.set_share(Signal::DuplicateLines, lines.duplicates, lines.stretches);
    values.set_share(Signal::DuplicateLineChars, lines.duplicate_chars, chars);
    values.set_share(Signal::DuplicateParagraphs, lines.duplicate_paragraphs, lines.paragraphs);
    values.set_share(Signal::DuplicateParagraphChars, lines.duplicate_paragraph_chars, chars);
    values.set_share(Signal::PunctuatedLines, lines.punctuated, lines.filled);
    values.set_share(Signal::ShortLines, lines.short, lines.filled);
    values.set_share(Signal::RepeatedLineChars, lines.repeated_chars, chars - lines.feeds);
    values.set_share(Signal::NewlineRatio, lines.feeds, tokens);
}

//! C4's rules (Raffel et al., 2019, arXiv:1910.10683, section 2.2), in the order of the code that made the corpus and of datatrove
//! 0.10.1: lines go by themselves, and what is left decides on the page.
//!
//! A page rule (`lorem ipsum`, a curly bracket) looks only at lines that the line rules left. A blank line has no end punctuation, so
//! it goes with the lines around it, and the text that is left has one line break between two lines.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use cupola_specs::job::{FilterParams, Signal};
use regex::Regex;

use super::chars::{is_blank, next_chunk, num_chars, trim};
use super::edit::Draft;
use super::lines::Lines;
use super::scan::{PART, may_hold};
use super::sentences::count_sentences;
use super::signals::Values;
use super::spacy::Splitter;
use super::words::Words;

/// The line rules, then the page rules.
pub(super) const RULES: [&str; 10] = [
    "max_word_length",
    "remove_citations",
    "require_terminal_punctuation",
    "min_line_words",
    "drop_javascript_lines",
    "drop_policy_lines",
    "drop_lorem_ipsum",
    "drop_curly_bracket",
    "min_sentences",
    "drop_bad_words",
];

/// What a line may end with.
const TERMINAL: [char; 5] = ['.', '?', '!', '"', '\''];
/// What page and line rules look for, in small letters; the first is JavaScript's, the second the page rule's, the others are policies'.
const PHRASES: [&str; 8] = [
    "javascript",
    "lorem ipsum",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

/// One of these is in every phrase, and in few texts without one.
const PARTS: [&[u8; PART]; 5] = [b"vascr", b"m ips", b"of us", b"cy po", b"cooki"];

static FOUND: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(PHRASES).ok());
/// Marks of citations.
static CITATIONS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\[[0-9]*\]|\[edit\]|\[citation needed\]").ok());

/// C4's line rules with their thresholds.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::struct_excessive_bools, reason = "a switch for each of the published rules")]
pub(super) struct C4 {
    requires_punctuation: bool,
    min_line_words: u64,
    max_word_length: u64,
    removes_citations: bool,
    drops_javascript: bool,
    drops_policy: bool,
    /// Where the rules start among those of the whole set.
    pub(super) first_rule: usize,
}

/// What a line says.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    javascript: bool,
    lorem_ipsum: bool,
    policy: bool,
}

impl C4 {
    /// The line rules of a filter; none of another filter.
    pub(super) fn of(filter: &FilterParams, first_rule: usize) -> Option<Self> {
        let FilterParams::C4 {
            require_terminal_punctuation,
            min_line_words,
            max_word_length,
            remove_citations,
            drop_javascript_lines,
            drop_policy_lines,
            ..
        } = filter
        else {
            return None;
        };
        Some(Self {
            requires_punctuation: *require_terminal_punctuation,
            min_line_words: *min_line_words,
            max_word_length: *max_word_length,
            removes_citations: *remove_citations,
            drops_javascript: *drop_javascript_lines,
            drops_policy: *drop_policy_lines,
            first_rule,
        })
    }

    /// Takes lines out of a text, and measures what is left.
    pub(super) fn edit(&self, text: &str, words: Words, splitter: &mut Splitter) -> (Draft, Values) {
        let mut draft = Draft::default();
        let (mut sentences, mut brackets, mut lorem_ipsum) = (0, false, false);
        let mut phrases = Phrases::of(text);
        let mut cited = String::new();
        for line in Lines::of(text) {
            let said = phrases.within(line.start, line.end);
            let whole = &text[line.start..line.end];
            let inner = whole.trim_start_matches(is_blank);
            let start = line.end - inner.len();
            let end = start + inner.trim_end_matches(is_blank).len();
            if start == end {
                continue;
            }
            let citations = self.citations(text, start, end);
            let left = if citations.is_empty() {
                &text[start..end]
            } else {
                cited.clear();
                for (from, to) in gaps(&citations, start, end) {
                    cited.push_str(&text[from..to]);
                }
                &cited
            };
            let rule = self.broken(&text[start..end], left, said);
            // Page rules look at lines that are long enough and well ended.
            lorem_ipsum |= said.lorem_ipsum && rule.is_none_or(|rule| rule > 3);
            brackets |= memchr::memchr(b'{', left.as_bytes()).is_some() && rule.is_none_or(|rule| rule > 4);
            if let Some(rule) = rule {
                draft.remove(self.first_rule + rule, line.start, line.next);
                continue;
            }
            sentences += count_sentences(trim(left), words, splitter);
            draft.start_line();
            for (from, to) in gaps(&citations, start, end) {
                draft.keep(text, from, to);
            }
            for (from, to) in citations {
                draft.cut(self.first_rule + 1, from, to);
            }
        }
        draft.trim();
        let mut values = Values::default();
        values.set(Signal::C4Sentences, sentences as f64);
        values.set(Signal::C4CurlyBracket, f64::from(u8::from(brackets)));
        values.set(Signal::C4LoremIpsum, f64::from(u8::from(lorem_ipsum)));
        (draft, values)
    }

    /// The rule that a line breaks; `left` is the line without citations.
    fn broken(&self, line: &str, left: &str, said: Said) -> Option<usize> {
        let (mut words, mut longest) = (0, 0);
        let mut at = 0;
        let may_be_long = line.len() as u64 > self.max_word_length;
        while let Some(chunk) = next_chunk(line, at) {
            at = chunk.end;
            words += 1;
            if words >= self.min_line_words && !may_be_long {
                break;
            }
            let bytes = &line.as_bytes()[chunk.start..chunk.end];
            // Characters are counted where bytes alone do not say that the word is short.
            if bytes.len() as u64 > self.max_word_length {
                longest = longest.max(num_chars(bytes) as u64);
            }
        }
        if longest > self.max_word_length {
            Some(0)
        } else if self.requires_punctuation && (!left.ends_with(TERMINAL) || left.ends_with("...")) {
            Some(2)
        } else if words < self.min_line_words {
            Some(3)
        } else if self.drops_javascript && said.javascript {
            Some(4)
        } else if self.drops_policy && said.policy {
            Some(5)
        } else {
            None
        }
    }

    /// Where citations are in a stretch.
    fn citations(&self, text: &str, start: usize, end: usize) -> Vec<(usize, usize)> {
        match &*CITATIONS {
            Some(citations)
                if self.removes_citations && memchr::memchr(b'[', &text.as_bytes()[start..end]).is_some() =>
            {
                let found = citations.find_iter(&text[start..end]);
                found.map(|found| (start + found.start(), start + found.end())).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// What is left of a stretch between parts that are taken out.
fn gaps(cuts: &[(usize, usize)], start: usize, end: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
    let starts = std::iter::once(start).chain(cuts.iter().map(|cut| cut.1));
    starts.zip(cuts.iter().map(|cut| cut.0).chain(std::iter::once(end)))
}

/// The phrases of a text in their order.
struct Phrases<'t> {
    found: Option<std::iter::Peekable<aho_corasick::FindIter<'static, 't>>>,
}

impl<'t> Phrases<'t> {
    fn of(text: &'t str) -> Self {
        let automaton = FOUND.as_ref().filter(|_| may_hold(text.as_bytes(), PARTS));
        Self { found: automaton.map(|automaton| automaton.find_iter(text).peekable()) }
    }

    /// What a line says; lines are asked for in the order of the text.
    fn within(&mut self, start: usize, end: usize) -> Said {
        let mut said = Said::default();
        let Some(found) = &mut self.found else { return said };
        while let Some(phrase) = found.next_if(|phrase| phrase.start() < end) {
            if phrase.start() >= start {
                match phrase.pattern().as_usize() {
                    0 => said.javascript = true,
                    1 => said.lorem_ipsum = true,
                    _ => said.policy = true,
                }
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_phrase_has_a_part_that_it_is_found_by() {
        for phrase in PHRASES {
            assert!(may_hold(phrase.to_uppercase().as_bytes(), PARTS), "{phrase}");
        }
        assert!(!may_hold(b"The words of this line say nothing that a rule looks for.", PARTS));
    }
}

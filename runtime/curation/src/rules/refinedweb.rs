//! RefinedWeb's corrections line by line (Penedo et al., 2023, arXiv:2306.01116, appendix G.2), as DCLM's baseline (Li et al., 2024,
//! arXiv:2406.11794) runs them: shouting, numbers, counters and single words go, three phrases are cut out of short lines. A page
//! that loses too many words to them goes whole.
//!
//! Lines end at line feeds; empty ones stay, so that paragraphs do.

use cupola_specs::job::FilterParams;

use super::chars::{is_blank, trim};
use super::edit::Draft;

/// The line rules, then the page rule.
pub(super) const RULES: [&str; 6] = [
    "max_line_uppercase",
    "drop_numeric_lines",
    "drop_counter_lines",
    "min_line_words",
    "remove_boilerplate",
    "max_removed_words",
];

/// A line of at most this many words is short: phrases are cut out of it.
const SHORT_WORDS: u64 = 10;
/// What a line counts.
const COUNTED: [&str; 12] = [
    "likes",
    "shares",
    "comments",
    "retweets",
    "reposts",
    "quotes",
    "bookmarks",
    "upvotes",
    "downvotes",
    "downloads",
    "views",
    "followers",
];

/// The line rules with their thresholds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refinedweb {
    max_line_uppercase: f64,
    drops_numeric: bool,
    drops_counters: bool,
    min_line_words: u64,
    removes_boilerplate: bool,
    /// Where the rules start among those of the whole set.
    pub(super) first_rule: usize,
}

impl Refinedweb {
    /// The line rules of a filter; none of another filter.
    pub(super) fn of(filter: &FilterParams, first_rule: usize) -> Option<Self> {
        let FilterParams::Refinedweb {
            max_line_uppercase,
            drop_numeric_lines,
            drop_counter_lines,
            min_line_words,
            remove_boilerplate,
            ..
        } = filter
        else {
            return None;
        };
        Some(Self {
            max_line_uppercase: *max_line_uppercase,
            drops_numeric: *drop_numeric_lines,
            drops_counters: *drop_counter_lines,
            min_line_words: *min_line_words,
            removes_boilerplate: *remove_boilerplate,
            first_rule,
        })
    }

    /// Takes lines and phrases out of a text.
    pub(super) fn edit(&self, text: &str) -> Draft {
        let mut draft = Draft::default();
        let mut start = 0;
        while start <= text.len() {
            let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
            let next = (end + 1).min(text.len());
            let line = &text[start..end];
            match self.broken(line) {
                Some(rule) => draft.remove(self.first_rule + rule, start, next),
                None => self.keep(text, start, end, next, &mut draft),
            }
            start = end + 1;
        }
        draft.trim();
        draft
    }

    /// The rule that a line breaks.
    fn broken(&self, line: &str) -> Option<usize> {
        if line.is_empty() {
            return None;
        }
        let (mut chars, mut capitals, mut digits) = (0_u64, 0_u64, 0_u64);
        for c in line.chars() {
            chars += 1;
            capitals += u64::from(c.is_uppercase());
            digits += u64::from(c.is_numeric());
        }
        if capitals as f64 > self.max_line_uppercase * chars as f64 {
            Some(0)
        } else if self.drops_numeric && digits == chars {
            Some(1)
        } else if self.drops_counters && is_counter(line) {
            Some(2)
        } else if num_words(line) < self.min_line_words {
            Some(3)
        } else {
            None
        }
    }

    /// Keeps a line, phrases left out; a line that was nothing else goes.
    fn keep(&self, text: &str, start: usize, end: usize, next: usize, draft: &mut Draft) {
        let line = &text[start..end];
        let cuts = if self.removes_boilerplate && !line.is_empty() && num_words(line) <= SHORT_WORDS {
            phrases(line)
        } else {
            Vec::new()
        };
        let rule = self.first_rule + 4;
        let mut at = start;
        let mut is_empty = !cuts.is_empty();
        for (from, to) in &cuts {
            is_empty &= trim(&text[at..start + from]).is_empty();
            at = start + to;
        }
        if is_empty && trim(&text[at..end]).is_empty() {
            draft.remove(rule, start, next);
            return;
        }
        draft.start_line();
        let mut at = start;
        for (from, to) in cuts {
            draft.keep(text, at, start + from);
            draft.cut(rule, start + from, start + to);
            at = start + to;
        }
        draft.keep(text, at, end);
    }
}

fn num_words(line: &str) -> u64 {
    line.split(is_blank).filter(|word| !word.is_empty()).count() as u64
}

/// Whether a line is a number of something that people click on: `1.2k likes`.
fn is_counter(line: &str) -> bool {
    let inner = line.trim_matches(|c: char| !c.is_alphanumeric() && c != '_');
    if inner.len() > 100 || !inner.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    let inner = inner.to_lowercase();
    let unit = inner.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, ',' | '.'));
    let unit = unit.strip_prefix(['k', 'm', 'b']).unwrap_or(unit);
    let word = unit.trim_start_matches(is_blank);
    word.len() < unit.len() && COUNTED.contains(&word)
}

/// Where the phrases are in a line, in order: `items in cart` anywhere, `Read more...` at the end, `Sign-in` at the start, each with a
/// blank beside it.
fn phrases(line: &str) -> Vec<(usize, usize)> {
    let lower = line.to_ascii_lowercase();
    let blank_before = |at: usize| at - usize::from(lower[..at].ends_with([' ', '\t']));
    let mut cuts = Vec::new();
    if let Some(rest) = lower.strip_prefix("sign-in") {
        let blank = usize::from(rest.starts_with([' ', '\t']));
        cuts.push((0, lower.len() - rest.len() + blank));
    }
    for (at, phrase) in lower.match_indices("items in cart") {
        cuts.push((blank_before(at), at + phrase.len()));
    }
    for ending in ["read more...", "read more…"] {
        if let Some(at) = lower.strip_suffix(ending).map(str::len) {
            cuts.push((blank_before(at), line.len()));
        }
    }
    // Two phrases may share a blank.
    for index in 1..cuts.len() {
        cuts[index].0 = cuts[index].0.max(cuts[index - 1].1);
    }
    cuts
}

/// The share of words that are gone.
pub(super) fn removed_share(before: f64, after: f64) -> f64 {
    if before > 0.0 { ((before - after) / before).max(0.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_and_phrases_are_known() {
        for line in ["3 likes", "1.2K Shares", "  12,000 views!", "(5 comments)"] {
            assert!(is_counter(line), "{line}");
        }
        for line in ["3 apples", "likes", "3likes", "I have 3 likes"] {
            assert!(!is_counter(line), "{line}");
        }
        let left = |line: &str| {
            let mut left = line.to_owned();
            phrases(line).into_iter().rev().for_each(|(from, to)| left.replace_range(from..to, ""));
            left
        };
        assert_eq!(left("A story Read More..."), "A story");
        assert_eq!(left("Sign-in to the site"), "to the site");
        assert_eq!(left("You have 3 items in cart now"), "You have 3 now");
    }
}

//! A question that was found in a text, and how it is cut out.

use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How much of a question was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeakKind {
    /// Each of its words, in order, and nothing between.
    Exact,
    /// Enough of it.
    Partial,
    /// A question that says too little on its own, with its answer.
    Answer,
}

/// A leak.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    /// The benchmark.
    pub benchmark: Arc<str>,
    /// The item's id.
    pub item: Arc<str>,
    /// The part of the question's information that was found, 0 to 1.
    pub score: f32,
    /// What was found, nats.
    pub evidence: f32,
    /// Bytes of the text, on the borders of words; the answer and the choices are in it where they follow the question.
    pub range: Range<usize>,
    /// How much was found.
    pub kind: LeakKind,
}

/// The bytes of all leaks, as ranges that neither overlap nor touch, in order.
pub fn spans(leaks: &[Leak]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = leaks.iter().map(|leak| leak.range.clone()).collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The text without its leaks. Blank space on both sides of a cut becomes that on one side; the punctuation that closed a cut sentence goes too.
pub fn remove_spans(text: &str, leaks: &[Leak]) -> String {
    let mut left = String::with_capacity(text.len());
    let mut done = 0;
    for range in spans(leaks) {
        let Some(before) = text.get(done..range.start) else { continue };
        left.push_str(before);
        let rest = text.get(range.end..).unwrap_or("");
        let closing = rest.trim_start_matches(['.', '?', '!', '"', '”', '’', '\'', ')', ']', ',', ';', ':']);
        let ends_blank = left.is_empty() || left.ends_with(char::is_whitespace);
        let kept = if ends_blank { closing.trim_start_matches([' ', '\t']) } else { closing };
        let lines = left.ends_with('\n') || left.is_empty();
        let kept = if lines { kept.trim_start_matches(['\n', '\r']) } else { kept };
        done = text.len() - kept.len();
    }
    left.push_str(text.get(done..).unwrap_or(""));
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leak(range: Range<usize>) -> Leak {
        Leak {
            benchmark: "b".into(),
            item: "i".into(),
            score: 1.0,
            evidence: 50.0,
            range,
            kind: LeakKind::Exact,
        }
    }

    #[test]
    fn cuts_leave_readable_text() {
        let text = "One. Who was it? Two.\n\nWhat now?\n\nThree";
        let at = |part: &str| text.find(part).map(|start| leak(start..start + part.len())).unwrap();
        assert_eq!(remove_spans(text, &[at("Who was it")]), "One. Two.\n\nWhat now?\n\nThree");
        assert_eq!(remove_spans(text, &[at("What now"), at("Who was"), at("was it")]), "One. Two.\n\nThree");
        assert_eq!(remove_spans(text, &[]), text);
        assert_eq!(remove_spans(text, &[leak(0..text.len())]), "");
    }
}

//! Gopher's repetition rules (Rae et al., 2021, arXiv:2112.11446, table A1): most of a text that repeated lines, paragraphs and
//! word n-grams may make up.

use std::collections::HashMap;

use cupola_specs::job::FilterParams;
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_64};

use super::{Bound, chars, first_broken, share};
use crate::data::document::Document;
use crate::data::funnel::Outcome;

/// In the order of the bounds below.
pub(super) const RULES: [&str; 13] = [
    "max_duplicate_lines",
    "max_duplicate_paragraphs",
    "max_duplicate_line_chars",
    "max_duplicate_paragraph_chars",
    "max_top_2gram_chars",
    "max_top_3gram_chars",
    "max_top_4gram_chars",
    "max_duplicate_5gram_chars",
    "max_duplicate_6gram_chars",
    "max_duplicate_7gram_chars",
    "max_duplicate_8gram_chars",
    "max_duplicate_9gram_chars",
    "max_duplicate_10gram_chars",
];

/// Tries the rules.
pub(super) fn judge(filter: &FilterParams, document: &Document) -> Outcome {
    let FilterParams::GopherRepetition {
        max_duplicate_lines,
        max_duplicate_paragraphs,
        max_duplicate_line_chars,
        max_duplicate_paragraph_chars,
        max_top_ngram_chars,
        max_duplicate_ngram_chars,
    } = filter
    else {
        return Outcome::default();
    };
    let text = document.text.trim();
    let length = chars(text);
    let (lines, line_chars) = duplicates(text.split('\n'));
    let (paragraphs, paragraph_chars) = duplicates(text.split("\n\n"));
    let words: Vec<Word> = text.split_whitespace().map(Word::of).collect();
    let mut bounds = vec![
        Bound::Most(lines, *max_duplicate_lines),
        Bound::Most(paragraphs, *max_duplicate_paragraphs),
        Bound::Most(share(line_chars, length), *max_duplicate_line_chars),
        Bound::Most(share(paragraph_chars, length), *max_duplicate_paragraph_chars),
    ];
    for (n, limit) in (2..).zip(max_top_ngram_chars) {
        bounds.push(Bound::Most(share(top_ngram_chars(&words, n), length), *limit));
    }
    for (n, limit) in (5..).zip(max_duplicate_ngram_chars) {
        bounds.push(Bound::Most(share(duplicate_ngram_chars(&words, n), length), *limit));
    }
    first_broken(&bounds, vec![("duplicate_line_chars", share(line_chars, length))])
}

/// Share of parts that stood there before, and their characters. Empty parts do not count.
pub(super) fn duplicates<'t>(parts: impl Iterator<Item = &'t str>) -> (f64, usize) {
    let mut seen = std::collections::HashSet::with_hasher(Xxh3DefaultBuilder::new());
    let (mut all, mut repeated, mut repeated_chars) = (0, 0, 0);
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        all += 1;
        if !seen.insert(part) {
            repeated += 1;
            repeated_chars += chars(part);
        }
    }
    (share(repeated, all), repeated_chars)
}

/// A word by hash and length.
struct Word {
    hash: u64,
    chars: usize,
}

impl Word {
    fn of(word: &str) -> Self {
        Self { hash: xxh3_64(word.as_bytes()), chars: chars(word) }
    }
}

fn ngram_hash(words: &[Word]) -> u64 {
    words
        .iter()
        .fold(0, |hash: u64, word| (hash.rotate_left(7) ^ word.hash).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

/// Characters, blanks between words included, of an n-gram.
fn ngram_chars(words: &[Word]) -> usize {
    words.iter().map(|word| word.chars).sum::<usize>() + words.len() - 1
}

/// Characters that the most frequent n-gram makes up; of equally frequent ones the first in the text counts.
fn top_ngram_chars(words: &[Word], n: usize) -> usize {
    let mut counts: HashMap<u64, (usize, usize), Xxh3DefaultBuilder> = HashMap::default();
    for (at, ngram) in words.windows(n).enumerate() {
        counts.entry(ngram_hash(ngram)).or_insert((0, at)).0 += 1;
    }
    let top = counts.values().max_by_key(|(count, at)| (*count, std::cmp::Reverse(*at)));
    match top {
        Some((count, at)) if *count > 1 => count * ngram_chars(&words[*at..at + n]),
        _ => 0,
    }
}

/// Characters in n-grams that stood there before; a character in several of them counts once.
fn duplicate_ngram_chars(words: &[Word], n: usize) -> usize {
    let mut seen = std::collections::HashSet::with_hasher(Xxh3DefaultBuilder::new());
    let (mut repeated, mut at) = (0, 0);
    while at + n <= words.len() {
        let ngram = &words[at..at + n];
        if seen.insert(ngram_hash(ngram)) {
            at += 1;
        } else {
            repeated += ngram_chars(ngram);
            at += n;
        }
    }
    repeated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Word> {
        text.split_whitespace().map(Word::of).collect()
    }

    #[test]
    fn repeated_lines_and_ngrams_are_measured() {
        assert_eq!(duplicates("ab\nab\n\ncd".split('\n')), (1.0 / 3.0, 2));
        assert_eq!(top_ngram_chars(&words("a b a b c"), 2), 6);
        assert_eq!(top_ngram_chars(&words("a b c d"), 2), 0);
        assert_eq!(duplicate_ngram_chars(&words("a b c d e x a b c d e"), 5), 9);
    }

    #[test]
    fn a_text_of_one_line_over_and_over_goes() {
        let filter = FilterParams::GopherRepetition {
            max_duplicate_lines: 0.3,
            max_duplicate_paragraphs: 0.3,
            max_duplicate_line_chars: 0.2,
            max_duplicate_paragraph_chars: 0.2,
            max_top_ngram_chars: [0.2, 0.18, 0.16],
            max_duplicate_ngram_chars: [0.15, 0.14, 0.13, 0.12, 0.11, 0.1],
        };
        let judged = |text: &str| {
            let document = Document { text: text.into(), ..Document::default() };
            judge(&filter, &document).dropped.map(|(rule, _)| RULES[rule])
        };
        assert_eq!(judged(&"buy this now\n".repeat(9)), Some("max_duplicate_lines"));
        assert_eq!(judged("one of a kind, and then another one, quite unlike the first of them"), None);
        let sentence = "we sell the very best of all wares here ".repeat(6);
        assert!(judged(&sentence).is_some_and(|rule| rule.starts_with("max_top")));
    }
}

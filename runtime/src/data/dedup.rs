//! Deduplication across documents. Of equal things the first in the corpus' order stays.
//!
//! What is compared: whole documents; lines that stand in many documents; paragraphs. Code repeats short blocks for good reasons, so
//! only what is long enough to be a copy goes: see the constants. Texts are compared with blanks folded.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ops::Range;

use rayon::prelude::*;
use xxhash_rust::xxh3::{Xxh3DefaultBuilder, xxh3_128};

use super::document::{Class, Document};
use super::funnel::Outcome;

/// Shortest paragraph of prose that is compared, characters without blanks.
const MIN_PROSE: usize = 80;
/// Shortest plain comment: a licence header is longer, a section heading is not.
const MIN_COMMENT: usize = 60;
/// Shortest block of code or doc comment.
const MIN_CODE: usize = 240;
/// Shortest line.
const MIN_LINE: usize = 32;

/// A stretch of a text and the key that equal stretches share; none where it is too short to be compared.
struct Part {
    range: Range<usize>,
    key: Option<u128>,
}

/// What is left of a document that has nothing to say.
const MIN_DOCUMENT: usize = 32;

/// Drops documents whose text stood in an earlier one.
pub(super) fn exact_documents(documents: &[Document]) -> Vec<Outcome> {
    let keys: Vec<u128> =
        documents.par_iter().map(|document| xxh3_128(document.text.trim().as_bytes())).collect();
    let mut first: HashMap<u128, usize, Xxh3DefaultBuilder> = HashMap::default();
    keys.into_iter()
        .enumerate()
        .map(|(index, key)| match first.entry(key) {
            Entry::Vacant(free) => {
                free.insert(index);
                Outcome::default()
            }
            Entry::Occupied(taken) => {
                Outcome::drop(0, format!("same text as {}", documents[*taken.get()].file))
            }
        })
        .collect()
}

/// Drops documents in which hardly anything is left.
pub(super) fn empty(document: &Document) -> Outcome {
    let length = document.text.trim().len();
    if length >= MIN_DOCUMENT {
        return Outcome::default();
    }
    Outcome::drop(0, format!("{length} bytes are left, of {MIN_DOCUMENT} at least"))
}

/// Takes out lines that stand in at least `min_repeats` documents; in code only comments.
pub(super) fn repeated_lines(documents: &[Document], min_repeats: u64) -> Vec<Outcome> {
    let parts: Vec<Vec<Part>> = documents.par_iter().map(lines).collect();
    let mut holders: HashMap<u128, (u64, usize), Xxh3DefaultBuilder> = HashMap::default();
    for (index, parts) in parts.iter().enumerate() {
        for key in parts.iter().filter_map(|part| part.key) {
            let (count, last) = holders.entry(key).or_insert((0, usize::MAX));
            if *last != index {
                (*count, *last) = (*count + 1, index);
            }
        }
    }
    let repeats = |part: &Part| {
        part.key.is_some_and(|key| holders.get(&key).is_some_and(|(count, _)| *count >= min_repeats))
    };
    let pairs = documents.par_iter().zip(&parts);
    pairs.map(|(document, parts)| without(document, parts, &repeats)).collect()
}

/// Takes out paragraphs that stood in an earlier document. Repeats within one document are the repetition rules' business.
pub(super) fn repeated_paragraphs(documents: &[Document]) -> Vec<Outcome> {
    let parts: Vec<Vec<Part>> = documents.par_iter().map(paragraphs).collect();
    let mut first: HashMap<u128, usize, Xxh3DefaultBuilder> = HashMap::default();
    for (index, parts) in parts.iter().enumerate() {
        for key in parts.iter().filter_map(|part| part.key) {
            first.entry(key).or_insert(index);
        }
    }
    let pairs = documents.par_iter().zip(&parts).enumerate();
    pairs
        .map(|(index, (document, parts))| {
            without(document, parts, &|part| part.key.is_some_and(|key| first.get(&key) != Some(&index)))
        })
        .collect()
}

/// A document's text without the parts that `goes` says.
fn without(document: &Document, parts: &[Part], goes: &dyn Fn(&Part) -> bool) -> Outcome {
    let mut kept = String::with_capacity(document.text.len());
    let mut gone = String::new();
    for part in parts {
        let text = &document.text[part.range.clone()];
        if goes(part) { gone.push_str(text) } else { kept.push_str(text) }
    }
    if gone.is_empty() {
        return Outcome::default();
    }
    let kept = kept.trim_start_matches('\n').to_owned();
    let removed = (document.text.len() - kept.len()) as u64;
    Outcome { text: Some(kept), changes: vec![(0, removed, gone)], ..Outcome::default() }
}

fn lines(document: &Document) -> Vec<Part> {
    let mut start = 0;
    let parts = document.text.split_inclusive('\n').map(|line| {
        let range = start..start + line.len();
        start = range.end;
        let compared = document.class != Class::Rust || line_kind(line) == LineKind::Comment;
        Part { range, key: key(line, if compared { MIN_LINE } else { usize::MAX }) }
    });
    parts.collect()
}

/// What a line of Rust is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Blank,
    Comment,
    DocComment,
    Code,
}

fn line_kind(line: &str) -> LineKind {
    let line = line.trim();
    let is_doc = line.starts_with("///") && !line.starts_with("////") || line.starts_with("//!");
    let is_block = line.starts_with("/*") || line.starts_with("* ") || line == "*" || line.starts_with("*/");
    match () {
        () if line.is_empty() => LineKind::Blank,
        () if is_doc => LineKind::DocComment,
        () if line.starts_with("//") || is_block => LineKind::Comment,
        () => LineKind::Code,
    }
}

/// Paragraphs: runs of lines without a blank one; in Rust comments, doc comments and code are apart. The blank lines that follow
/// belong to the paragraph before them.
fn paragraphs(document: &Document) -> Vec<Part> {
    let is_rust = document.class == Class::Rust;
    let mut parts: Vec<Part> = Vec::new();
    let mut open: Option<(usize, LineKind)> = None;
    let mut after_blank = true;
    let mut at = 0;
    let text = &document.text;
    for line in text.split_inclusive('\n') {
        let kind = match line_kind(line) {
            LineKind::Blank => LineKind::Blank,
            _ if !is_rust => LineKind::Comment,
            kind => kind,
        };
        let starts =
            kind != LineKind::Blank && (after_blank || open.is_none_or(|(_, before)| before != kind));
        if starts {
            if let Some((start, before)) = open {
                parts.push(paragraph(text, start..at, before, is_rust));
            } else if at > 0 {
                parts.push(Part { range: 0..at, key: None });
            }
            open = Some((at, kind));
        }
        after_blank = kind == LineKind::Blank;
        at += line.len();
    }
    match open {
        Some((start, kind)) => parts.push(paragraph(text, start..at, kind, is_rust)),
        None => parts.push(Part { range: 0..at, key: None }),
    }
    parts
}

fn paragraph(text: &str, range: Range<usize>, kind: LineKind, is_rust: bool) -> Part {
    let least = match kind {
        _ if !is_rust => MIN_PROSE,
        LineKind::Comment => MIN_COMMENT,
        _ => MIN_CODE,
    };
    let key = key(&text[range.clone()], least);
    Part { range, key }
}

/// The key of a text with its blanks folded; none where it is shorter than `least`.
fn key(text: &str, least: usize) -> Option<u128> {
    let mut folded = String::with_capacity(text.len());
    let mut length = 0;
    for word in text.split_whitespace() {
        length += word.len();
        folded.push_str(word);
        folded.push(' ');
    }
    (length >= least).then(|| xxh3_128(folded.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LICENCE: &str =
        "// Copyright 2020 The Authors. All rights reserved, and so on and on.\n// Use of it is governed.\n";

    fn rust(text: &str) -> Document {
        Document { class: Class::Rust, text: text.into(), ..Document::default() }
    }

    fn texts(documents: &[Document], outcomes: Vec<Outcome>) -> Vec<String> {
        let pairs = documents.iter().zip(outcomes);
        pairs.map(|(document, outcome)| outcome.text.unwrap_or_else(|| document.text.clone())).collect()
    }

    #[test]
    fn a_licence_header_stays_once_and_short_code_stays_everywhere() {
        let body = "\nimpl Default for A {\n    fn default() -> Self {\n        Self\n    }\n}\n";
        let documents = [rust(&format!("{LICENCE}{body}")), rust(&format!("{LICENCE}\n{body}x();\n"))];
        let left = texts(&documents, repeated_paragraphs(&documents));
        assert_eq!(left[0], documents[0].text);
        assert_eq!(left[1], format!("{}x();\n", body.trim_start_matches('\n')));
    }

    #[test]
    fn parts_make_up_the_whole_text() {
        for text in ["", "\n\n", "a\n\n\nb\n// c\nd", "\n// a\n\n/// b\nfn c() {}\n"] {
            for document in [rust(text), Document { text: text.into(), ..Document::default() }] {
                let joined: String =
                    paragraphs(&document).iter().map(|part| &text[part.range.clone()]).collect();
                assert_eq!(joined, text);
            }
        }
    }

    #[test]
    fn copies_of_documents_and_lines_go() {
        let documents = [rust("fn a() {}\n"), rust("fn b() {}\n"), rust("\nfn a() {}")];
        let dropped: Vec<bool> = exact_documents(&documents).iter().map(|o| o.dropped.is_some()).collect();
        assert_eq!(dropped, [false, false, true]);
        let line = "Subscribe to our newsletter, it is worth every penny.\n";
        let prose = |own: &str| Document { text: format!("{line}{own}\n"), ..Document::default() };
        let documents = [prose("one"), prose("two"), prose("three")];
        assert_eq!(texts(&documents, repeated_lines(&documents, 3)), ["one\n", "two\n", "three\n"]);
        assert_eq!(texts(&documents, repeated_lines(&documents, 4))[0], documents[0].text);
    }
}

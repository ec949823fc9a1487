//! Lines and paragraphs of a text, and their keys.
//!
//! A key is XXH3 (128 bits) of the part's words with one blank behind each, so that parts that differ in blanks alone are equal. A part
//! that is too short to be a copy has none: code repeats short blocks for good reasons. Lengths are bytes without blanks.

use std::ops::Range;

use xxhash_rust::xxh3::Xxh3;

/// Shortest paragraph of prose that is compared.
const MIN_PROSE: usize = 80;
/// Shortest plain comment: a licence header is longer, a section heading is not.
const MIN_COMMENT: usize = 60;
/// Shortest block of code or doc comment.
const MIN_CODE: usize = 240;
/// Shortest line.
const MIN_LINE: usize = 32;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// Prose, Markdown, and all that is not below.
    Prose,
    /// Rust source: of its lines only comments are compared, and code, comments and doc comments are paragraphs apart.
    Rust,
}

/// A stretch of a text. The parts of a text, in order, are the whole of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Where it stands, bytes.
    pub range: Range<usize>,
    /// What equal parts share; none where it is not compared.
    pub key: Option<u128>,
}

/// The lines of a text, each with its line feed.
pub fn lines(text: &str, kind: TextKind) -> Vec<Part> {
    let mut start = 0;
    let part = |line: &str| {
        let range = start..start + line.len();
        start = range.end;
        let is_compared = kind == TextKind::Prose || LineKind::of(line) == LineKind::Comment;
        Part { range, key: if is_compared { key(line, MIN_LINE) } else { None } }
    };
    text.split_inclusive('\n').map(part).collect()
}

/// The paragraphs of a text: runs of lines without a blank one. The blank lines behind a paragraph belong to it.
pub fn paragraphs(text: &str, kind: TextKind) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut start, mut at) = (0, 0);
    let mut open = LineKind::Blank;
    let mut is_behind_blank = true;
    for line in text.split_inclusive('\n') {
        let line_kind = match (LineKind::of(line), kind) {
            (LineKind::Blank, _) => LineKind::Blank,
            (_, TextKind::Prose) => LineKind::Prose,
            (line_kind, TextKind::Rust) => line_kind,
        };
        if line_kind != LineKind::Blank && (is_behind_blank || line_kind != open) {
            close(text, start..at, open, &mut parts);
            (start, open) = (at, line_kind);
        }
        is_behind_blank = line_kind == LineKind::Blank;
        at += line.len();
    }
    close(text, start..at, open, &mut parts);
    parts
}

/// The text without the parts of these indices, ascending; blank lines that it would begin with go too.
pub fn without(text: &str, parts: &[Part], cut: &[u32]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut cut = cut.iter().peekable();
    for (index, part) in parts.iter().enumerate() {
        if cut.next_if(|next| **next as usize == index).is_none() {
            kept.push_str(text.get(part.range.clone()).unwrap_or_default());
        }
    }
    if kept.len() < text.len() { kept.trim_start_matches('\n').to_owned() } else { kept }
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineKind {
    Blank,
    Prose,
    Comment,
    DocComment,
    Code,
}

impl LineKind {
    /// What a line of Rust is.
    fn of(line: &str) -> Self {
        let line = line.trim();
        let is_doc = line.starts_with("///") && !line.starts_with("////") || line.starts_with("//!");
        let is_block = ["/*", "* ", "*/"].iter().any(|start| line.starts_with(start)) || line == "*";
        match () {
            () if line.is_empty() => Self::Blank,
            () if is_doc => Self::DocComment,
            () if line.starts_with("//") || is_block => Self::Comment,
            () => Self::Code,
        }
    }
}

fn close(text: &str, range: Range<usize>, kind: LineKind, parts: &mut Vec<Part>) {
    if range.is_empty() {
        return;
    }
    let key = match kind {
        LineKind::Blank => None,
        LineKind::Prose => key(&text[range.clone()], MIN_PROSE),
        LineKind::Comment => key(&text[range.clone()], MIN_COMMENT),
        LineKind::DocComment | LineKind::Code => key(&text[range.clone()], MIN_CODE),
    };
    parts.push(Part { range, key });
}

fn key(text: &str, least: usize) -> Option<u128> {
    if text.len() < least {
        return None;
    }
    let mut hash = Xxh3::new();
    let mut length = 0;
    for word in text.split_whitespace() {
        length += word.len();
        hash.update(word.as_bytes());
        hash.update(b" ");
    }
    (length >= least).then(|| hash.digest128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_up_the_whole_text() {
        for text in ["", "\n\n", "a\n\n\nb\n// c\nd", "\n// a\n\n/// b\nfn c() {}\n", "é\n\u{2003}\nü"] {
            for kind in [TextKind::Prose, TextKind::Rust] {
                for parts in [lines(text, kind), paragraphs(text, kind)] {
                    let joined: String = parts.iter().map(|part| &text[part.range.clone()]).collect();
                    assert_eq!(joined, text);
                    assert_eq!(without(text, &parts, &[]), text);
                }
            }
        }
    }

    #[test]
    fn blanks_make_no_difference_and_short_parts_have_no_key() {
        let line = "Subscribe to our newsletter, it is worth every penny.\n";
        let spaced = "  Subscribe to our\tnewsletter, it is worth  every penny.";
        assert_eq!(lines(line, TextKind::Prose)[0].key, lines(spaced, TextKind::Prose)[0].key);
        assert!(lines(line, TextKind::Prose)[0].key.is_some());
        assert_eq!(lines("short\n", TextKind::Prose)[0].key, None);
        assert_eq!(lines(line, TextKind::Rust)[0].key, None);
        assert!(lines(&format!("// {line}"), TextKind::Rust)[0].key.is_some());
    }

    #[test]
    fn rust_is_cut_between_comments_and_code() {
        let licence = "// Copyright 2020 The Authors. All rights reserved, and so on and on, and on.\n";
        let text = format!("{licence}fn main() {{}}\n");
        let parts = paragraphs(&text, TextKind::Rust);
        assert_eq!(parts.len(), 2);
        assert!(parts[0].key.is_some() && parts[1].key.is_none());
        assert_eq!(without(&text, &parts, &[0]), "fn main() {}\n");
    }
}

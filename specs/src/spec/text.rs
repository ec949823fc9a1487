//! A loaded text: its lines, and the stretch of a line that a diagnostic shows.

use std::cell::{Cell, OnceCell};
use std::path::{Path, PathBuf};

use super::tree::Spot;

/// Longest line that a diagnostic holds whole, characters; of a longer one it holds this many around the token.
const MAX_EXCERPT: usize = 1000;
/// Most lines of one token that are searched.
const MAX_LINES: u32 = 1000;

/// A text that nodes point into.
pub(crate) struct Text {
    /// The file as the user named it.
    pub(crate) name: String,
    /// What relative paths in it start from.
    pub(crate) folder: PathBuf,
    /// The content without a byte order mark.
    pub(crate) content: String,
    /// Where the lines start, found when the first diagnostic asks.
    lines: OnceCell<Lines>,
    /// The last column that was looked up: line, characters before it, bytes before it.
    cursor: Cell<(u32, usize, usize)>,
}

/// Where the lines of a text start.
struct Lines {
    starts: Vec<usize>,
    is_ascii: bool,
}

impl Text {
    /// A text; nothing is searched yet.
    pub(crate) fn new(name: &str, folder: &Path, content: &str) -> Self {
        Self {
            name: name.to_owned(),
            folder: folder.to_owned(),
            content: content.to_owned(),
            lines: OnceCell::new(),
            cursor: Cell::new((0, 0, 0)),
        }
    }

    /// The place of a byte; `index` is the text's own.
    pub(crate) fn place_of(&self, byte: usize, index: u32) -> Spot {
        let line = self.lines().starts.partition_point(|start| *start <= byte).max(1);
        let start = self.lines().starts.get(line - 1).copied().unwrap_or_default();
        let column = self.content.get(start..byte).map_or(0, |before| before.chars().count());
        Spot { text: index, line: line as u32, column: column as u32 + 1, length: 1 }
    }

    /// A line, from 1, without its break; empty behind the last one.
    pub(crate) fn line(&self, number: u32) -> &str {
        let starts = &self.lines().starts;
        let at = (number as usize).saturating_sub(1);
        let Some(&start) = starts.get(at) else { return "" };
        let end = starts.get(at + 1).copied().unwrap_or(self.content.len());
        self.content[start..end].trim_end_matches(['\r', '\n'])
    }

    /// How many lines there are.
    pub(crate) fn line_count(&self) -> u32 {
        self.lines().starts.len() as u32
    }

    /// The place of a text at or after a token's start, on its line.
    pub(crate) fn find(&self, spot: Spot, needle: &str) -> Option<Spot> {
        let line = self.line(spot.line);
        let start = self.byte_of(line, spot.line, spot.column);
        let at = line[start..].find(needle)?;
        let column = spot.column + line[start..start + at].chars().count() as u32;
        Some(Spot { column, length: needle.chars().count() as u32, ..spot })
    }

    /// The same in a token of several lines.
    pub(crate) fn find_below(&self, spot: Spot, needle: &str) -> Option<Spot> {
        let last = self.line_count().min(spot.line.saturating_add(MAX_LINES));
        let below = (spot.line + 1..=last).map(|line| Spot { line, column: 1, ..spot });
        std::iter::once(spot).chain(below).find_map(|spot| self.find(spot, needle))
    }

    /// The line of a token, or what is around the token in a very long line, with the column that it starts at.
    pub(crate) fn excerpt(&self, spot: Spot) -> (String, u32) {
        let line = self.line(spot.line);
        if line.len() <= MAX_EXCERPT {
            return (line.to_owned(), 1);
        }
        let at = self.byte_of(line, spot.line, spot.column);
        let before = line[..at].char_indices().rev().nth(MAX_EXCERPT / 2).map_or(0, |(start, _)| start);
        let skipped = line[before..at].chars().count() as u32;
        let shown = line[before..].chars().take(MAX_EXCERPT).collect();
        (shown, spot.column.saturating_sub(skipped).max(1))
    }

    /// The byte of a column in its line. Diagnostics come in the order of the text, so the search goes on from the last one.
    fn byte_of(&self, line: &str, number: u32, column: u32) -> usize {
        let wanted = (column as usize).saturating_sub(1);
        if self.lines().is_ascii {
            return wanted.min(line.len());
        }
        let (known, chars, bytes) = self.cursor.get();
        let (chars, bytes) = if known == number && chars <= wanted { (chars, bytes) } else { (0, 0) };
        let rest = line.get(bytes..).unwrap_or_default();
        let byte = rest.char_indices().nth(wanted - chars).map_or(line.len(), |(at, _)| bytes + at);
        if byte < line.len() {
            self.cursor.set((number, wanted, byte));
        }
        byte
    }

    fn lines(&self) -> &Lines {
        self.lines.get_or_init(|| {
            let bytes = self.content.as_bytes();
            let is_break =
                |at: usize, byte: u8| byte == b'\n' || byte == b'\r' && bytes.get(at + 1) != Some(&b'\n');
            let after = bytes.iter().enumerate().filter(|(at, byte)| is_break(*at, **byte));
            Lines {
                starts: std::iter::once(0).chain(after.map(|(at, _)| at + 1)).collect(),
                is_ascii: self.content.is_ascii(),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spot(line: u32, column: u32) -> Spot {
        Spot { text: 0, line, column, length: 1 }
    }

    #[test]
    fn lines_end_in_each_way_that_yaml_knows() {
        let text = Text::new("a", Path::new(""), "one\r\ntwo\rthree\n\nfive");
        let lines: Vec<&str> = (1..=6).map(|number| text.line(number)).collect();
        assert_eq!(lines, ["one", "two", "three", "", "five", ""]);
    }

    #[test]
    fn columns_are_characters_in_any_order() {
        let text = Text::new("a", Path::new(""), "größe: ä, maß: ü\nß: x");
        for (column, needle, found) in [(1, "maß", 11), (11, "ü", 16), (2, "ä", 8), (9, "ü", 16)] {
            assert_eq!(text.find(spot(1, column), needle).map(|spot| spot.column), Some(found));
        }
        assert_eq!(text.find(spot(2, 2), "ß"), None);
        assert_eq!(text.find(spot(9, 9), "ß"), None);
    }

    #[test]
    fn of_a_very_long_line_only_the_part_around_the_token_is_kept() {
        let text = Text::new("a", Path::new(""), &format!("{}key{}", "é".repeat(5000), "x".repeat(5000)));
        let (shown, from) = text.excerpt(spot(1, 5001));
        assert_eq!(shown.chars().count(), MAX_EXCERPT);
        assert!(shown.chars().skip((5001 - from) as usize).collect::<String>().starts_with("key"));
    }
}

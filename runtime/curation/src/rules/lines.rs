//! Lines and paragraphs: their shape, and how often they stand there again.
//!
//! A text has three kinds of lines, as datatrove 0.10.1 counts them: *lines* end wherever Unicode ends one (bullets, ellipses, C4);
//! *stretches between line feeds*, empty ones left out, are what repetition is counted of; those of them that are not blank are
//! FineWeb's.

use memchr::{memchr, memmem};

use super::chars::{char_before, is_line_end, is_terminal, num_chars, trim};
use super::scan::has_other_end;
use super::table::{Numbers, hash_of};

/// A line's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte behind its text.
    pub(super) end: usize,
    /// The first byte of the next line.
    pub(super) next: usize,
}

/// The lines of a text, as Python's `str.splitlines` has them.
pub(super) struct Lines<'t> {
    text: &'t str,
    at: usize,
    /// Whether some line ends otherwise than with a line feed.
    has_others: bool,
}

impl<'t> Lines<'t> {
    /// Those of a text.
    pub(super) fn of(text: &'t str) -> Self {
        Self { text, at: 0, has_others: has_other_end(text.as_bytes()) }
    }
}

impl Iterator for Lines<'_> {
    type Item = Line;

    fn next(&mut self) -> Option<Line> {
        let start = self.at;
        let rest = self.text.get(start..).filter(|rest| !rest.is_empty())?;
        let feed = memchr(b'\n', rest.as_bytes()).map_or(rest.len(), |at| at + 1);
        // Most lines hold no other end.
        let (end, next) = if self.has_others && has_other_end(&rest.as_bytes()[..feed]) {
            match rest.char_indices().find(|(_, c)| is_line_end(*c)) {
                Some((at, '\r')) if rest[at + 1..].starts_with('\n') => (start + at, start + at + 2),
                Some((at, c)) => (start + at, start + at + c.len_utf8()),
                None => (self.text.len(), self.text.len()),
            }
        } else {
            let has_feed = rest.as_bytes()[feed - 1] == b'\n';
            (start + feed - usize::from(has_feed), start + feed)
        };
        self.at = next;
        Some(Line { start, end, next })
    }
}

/// What is counted of lines and paragraphs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineCounts {
    /// Lines, empty ones included.
    pub(super) lines: u64,
    /// Lines that start with `•` or `-`.
    pub(super) bullets: u64,
    /// Lines that end with `...` or `…`.
    pub(super) ellipses: u64,
    /// Stretches between line feeds; where the text starts or ends with one, an empty stretch stands there.
    pub(super) stretches: u64,
    /// Those that stood there before.
    pub(super) duplicates: u64,
    /// Their characters.
    pub(super) duplicate_chars: u64,
    /// Stretches that are not blank.
    pub(super) filled: u64,
    /// Those of them that end a sentence.
    pub(super) punctuated: u64,
    /// Those of them with few characters.
    pub(super) short: u64,
    /// Characters of those of them that stood there before.
    pub(super) repeated_chars: u64,
    /// Line feeds.
    pub(super) feeds: u64,
    /// Paragraphs.
    pub(super) paragraphs: u64,
    /// Those that stood there before.
    pub(super) duplicate_paragraphs: u64,
    /// Their characters.
    pub(super) duplicate_paragraph_chars: u64,
}

impl LineCounts {
    /// Those of a text. A line of at most `short_chars` characters is short.
    pub(super) fn of(text: &str, short_chars: u64, table: &mut Numbers) -> Self {
        let mut counts = Self::default();
        table.clear(64);
        // Where only line feeds end lines, the lines are the stretches.
        let (has_others, is_ascii) = (has_other_end(text.as_bytes()), text.is_ascii());
        let mut start = 0;
        while start <= text.len() {
            let end = memchr(b'\n', &text.as_bytes()[start..]).map_or(text.len(), |at| start + at);
            let stretch = &text[start..end];
            if !stretch.is_empty() {
                let chars = if is_ascii { end - start } else { num_chars(stretch.as_bytes()) };
                counts.stretch(stretch, chars as u64, short_chars, table);
            }
            if !has_others && start < text.len() {
                counts.line(stretch);
            }
            counts.feeds += u64::from(end < text.len());
            start = end + 1;
        }
        if !text.is_empty() {
            let ends = u64::from(text.starts_with('\n')) + u64::from(text.ends_with('\n'));
            counts.stretches += ends;
            counts.duplicates += u64::from(ends == 2);
        }
        if has_others {
            Lines::of(text).for_each(|line| counts.line(&text[line.start..line.end]));
        }
        counts.paragraphs(trim(text), table);
        counts
    }

    fn stretch(&mut self, stretch: &str, chars: u64, short_chars: u64, table: &mut Numbers) {
        let (_, is_new) = table.number(hash_of(stretch.as_bytes()));
        let again = if is_new { 0 } else { chars };
        self.stretches += 1;
        self.duplicates += u64::from(!is_new);
        self.duplicate_chars += again;
        if !trim(stretch).is_empty() {
            self.filled += 1;
            self.punctuated += u64::from(is_terminal(char_before(stretch, stretch.len())));
            self.short += u64::from(chars <= short_chars);
            self.repeated_chars += again;
        }
    }

    fn line(&mut self, line: &str) {
        self.lines += 1;
        let line = trim(line);
        self.bullets += u64::from(line.starts_with(['•', '-']));
        self.ellipses += u64::from(line.ends_with("...") || line.ends_with('…'));
    }

    /// Counts what two line feeds or more part.
    fn paragraphs(&mut self, text: &str, table: &mut Numbers) {
        table.clear(16);
        let mut rest = text;
        loop {
            let (paragraph, behind) = match memmem::find(rest.as_bytes(), b"\n\n") {
                Some(at) => (&rest[..at], Some(rest[at..].trim_start_matches('\n'))),
                None => (rest, None),
            };
            self.paragraphs += 1;
            if !table.number(hash_of(paragraph.as_bytes())).1 {
                self.duplicate_paragraphs += 1;
                self.duplicate_paragraph_chars += num_chars(paragraph.as_bytes()) as u64;
            }
            match behind {
                Some(behind) => rest = behind,
                None => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(text: &str) -> LineCounts {
        LineCounts::of(text, 3, &mut Numbers::default())
    }

    #[test]
    fn lines_end_where_unicode_ends_them() {
        let lines = |text| Lines::of(text).map(|line| &text[line.start..line.end]).collect::<Vec<&str>>();
        assert_eq!(lines("a\nb\r\nc\rd\u{2028}e\u{85}\n"), ["a", "b", "c", "d", "e", ""]);
        assert_eq!(lines(""), [""; 0]);
        assert_eq!(lines("é\n\n"), ["é", ""]);
    }

    #[test]
    fn repeated_lines_and_paragraphs_are_measured() {
        let found = counts("ab\nab\n\ncd");
        assert_eq!((found.stretches, found.duplicates, found.duplicate_chars), (3, 1, 2));
        assert_eq!((found.lines, found.paragraphs, found.short), (4, 2, 3));
        let found = counts("\n - a.\n\n\n- b...\n\n - a.\n");
        assert_eq!((found.bullets, found.ellipses, found.punctuated), (3, 1, 3));
        assert_eq!((found.stretches, found.duplicates), (5, 2));
        assert_eq!((found.paragraphs, found.duplicate_paragraphs), (3, 0));
        assert_eq!(counts("").stretches, 0);
    }
}

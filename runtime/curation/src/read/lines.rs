//! JSONL: one document a line; and JSON files that are one array of documents, which data sets have too.

use std::path::Path;

use super::format::Fields;
use super::input::{Fill, Input};
use super::item::Refusal;
use super::json;
use super::{Cursor, Item, Limits, RawDocument, ReadError, SkipReason, Skipped};

/// Where an element of the window ends.
enum Bounds {
    /// The element's bytes, and those with its separator.
    Whole(usize, usize),
    /// The file ends or is damaged behind it.
    Last(usize, Fill),
    /// It has more bytes than the limit.
    TooLarge,
}

/// A reader of lines.
pub(super) struct Lines {
    input: Input,
    fields: Fields,
    limits: Limits,
    index: u64,
    /// Lines that are done; of an array its elements.
    line: u64,
    is_array: bool,
    ended: bool,
}

impl Lines {
    pub(super) fn open(path: &Path, fields: Fields, limits: Limits, from: Cursor) -> Result<Self, ReadError> {
        let is_array = Self::begins_array(&mut Input::open(path, limits, Cursor::default())?)?;
        let input = Input::open(path, limits, from)?;
        let mut lines =
            Self { input, fields, limits, index: from.index, line: from.line, is_array, ended: from.ended };
        if from == Cursor::default() {
            lines.begin()?;
        }
        Ok(lines)
    }

    /// Whether the first character is that of an array. Only so many blanks are passed over.
    fn begins_array(input: &mut Input) -> Result<bool, ReadError> {
        const MAX_BLANK_BYTES: usize = 4096;
        input.ensure(MAX_BLANK_BYTES)?;
        let bytes = input.bytes();
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        Ok(bytes.trim_ascii_start().first() == Some(&b'['))
    }

    /// Passes over a byte order mark and an array's first bracket.
    fn begin(&mut self) -> Result<(), ReadError> {
        self.input.ensure(3)?;
        if self.input.bytes().starts_with(b"\xef\xbb\xbf") {
            self.input.consume(3);
        }
        if self.is_array {
            let blank = self.input.bytes().len() - self.input.bytes().trim_ascii_start().len();
            self.input.consume(blank + 1);
        }
        Ok(())
    }

    pub(super) fn cursor(&self) -> Cursor {
        let (offset, within) = self.input.place(0);
        let (index, line, damage, ended) = (self.index, self.line, self.input.damage(), self.ended);
        Cursor { index, offset, within, line, not_content: 0, damage, ended }
    }

    pub(super) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        while !self.ended {
            let offset = self.input.place(0).0;
            let bounds = if self.is_array { self.element()? } else { self.line()? };
            self.line += 1;
            let item = match bounds {
                Bounds::Whole(length, with_separator) => {
                    let item = self.document(length, offset);
                    self.input.consume(with_separator);
                    item
                }
                Bounds::Last(length, fill) => {
                    let broken = matches!(fill, Fill::Broken(_));
                    // What stands before damage is no whole line.
                    let item = if broken { None } else { self.document(length, offset) };
                    self.ended = true;
                    match fill {
                        Fill::Broken(reason) => {
                            Some(self.skipped((reason, String::new()), offset, length as u64))
                        }
                        _ => item,
                    }
                }
                Bounds::TooLarge => Some(self.pass_large(offset)?),
            };
            if let Some(item) = item {
                self.index += 1;
                return Ok(Some(item));
            }
        }
        Ok(None)
    }

    fn document(&self, length: usize, offset: u64) -> Option<Item> {
        let bytes = self.input.bytes().get(..length).unwrap_or_default().trim_ascii();
        if bytes.is_empty() || (self.is_array && bytes == b"]") {
            return None;
        }
        Some(match json::document(bytes, &self.fields, &self.limits) {
            Ok(document) => Item::Document(RawDocument { index: self.index, ..document }),
            Err(refusal) => self.skipped(refusal, offset, bytes.len() as u64),
        })
    }

    fn skipped(&self, (reason, detail): Refusal, offset: u64, bytes: u64) -> Item {
        let unit = if self.is_array { "element" } else { "line" };
        let name = format!("{unit} {}", self.line);
        Item::Skipped(Skipped { index: self.index, offset, name, reason, detail, bytes })
    }

    /// The bounds of the line that begins the window.
    fn line(&mut self) -> Result<Bounds, ReadError> {
        let mut from = 0;
        loop {
            let bytes = self.input.bytes();
            if let Some(end) = bytes.get(from..).and_then(|rest| memchr::memchr(b'\n', rest)) {
                let end = from + end;
                let over = end as u64 > self.limits.record_bytes;
                return Ok(if over { Bounds::TooLarge } else { Bounds::Whole(end, end + 1) });
            }
            from = bytes.len();
            if from as u64 > self.limits.record_bytes {
                return Ok(Bounds::TooLarge);
            }
            let fill = self.input.fill()?;
            if fill != Fill::More {
                return Ok(Bounds::Last(from, fill));
            }
        }
    }

    /// The bounds of the array's element that begins the window.
    fn element(&mut self) -> Result<Bounds, ReadError> {
        let mut scan = Scan::default();
        loop {
            if let Some(end) = scan.go_on(self.input.bytes()) {
                let over = end as u64 > self.limits.record_bytes;
                return Ok(if over { Bounds::TooLarge } else { Bounds::Whole(end, end + 1) });
            }
            if self.input.bytes().len() as u64 > self.limits.record_bytes {
                return Ok(Bounds::TooLarge);
            }
            let fill = self.input.fill()?;
            if fill != Fill::More {
                return Ok(Bounds::Last(self.input.bytes().len(), fill));
            }
        }
    }

    /// Passes over an element without holding it.
    fn pass_large(&mut self, offset: u64) -> Result<Item, ReadError> {
        let (mut passed, mut scan) = (0_u64, Scan::default());
        loop {
            let bytes = self.input.bytes();
            let end = if self.is_array { scan.go_on(bytes) } else { memchr::memchr(b'\n', bytes) };
            let length = end.map_or(bytes.len(), |end| end + 1);
            passed += length as u64;
            self.input.consume(length);
            scan.at = 0;
            let refusal =
                (SkipReason::RecordTooLarge, format!("more than {} bytes", self.limits.record_bytes));
            if end.is_some() {
                return Ok(self.skipped(refusal, offset, passed));
            }
            match self.input.fill()? {
                Fill::More => {}
                Fill::End => {
                    self.ended = true;
                    return Ok(self.skipped(refusal, offset, passed));
                }
                Fill::Broken(reason) => {
                    self.ended = true;
                    return Ok(self.skipped((reason, String::new()), offset, passed));
                }
            }
        }
    }
}

/// The search for the comma behind an element, or the bracket behind the last.
#[derive(Default)]
struct Scan {
    at: usize,
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    fn go_on(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            let here = self.at;
            self.at += 1;
            if self.in_string {
                if std::mem::take(&mut self.escaped) {
                    continue;
                }
                self.escaped = *byte == b'\\';
                self.in_string = *byte != b'"';
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'[' | b'{' => self.depth += 1,
                b']' | b'}' if self.depth > 0 => self.depth -= 1,
                b',' | b']' if self.depth == 0 => return Some(here),
                _ => {}
            }
        }
        None
    }
}

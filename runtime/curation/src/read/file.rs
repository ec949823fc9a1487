//! One file of any format.

use std::path::Path;

use super::format::Format;
use super::lines::Lines;
use super::rows::Rows;
use super::warc::{Entry, Records, document};
use super::whole::Whole;
use super::{Cursor, Item, Limits, RawDocument, ReadError, Skipped, Statuses};

enum Kind {
    Warc(Box<Records>, Statuses),
    Lines(Box<Lines>),
    Rows(Box<Rows>),
    Whole(Box<Whole>),
}

/// Reads a file's items in order.
///
/// It is an iterator; after an error it ends. [`FileReader::cursor`] is the place behind the item that came last.
pub struct FileReader {
    kind: Kind,
    limits: Limits,
    index: u64,
    failed: bool,
}

impl FileReader {
    /// Opens a file. `name` names it in what it yields; `from` is `Cursor::default()` or a cursor of an earlier reader of the same file and
    /// format.
    ///
    /// # Errors
    /// The file can't be read, the cursor is not in it, or a column that was asked for is missing. Damage is no error: it comes as an item.
    pub fn open(
        path: &Path,
        name: &str,
        format: Format,
        limits: Limits,
        from: Cursor,
    ) -> Result<Self, ReadError> {
        let kind = match format {
            Format::Warc(statuses) => {
                Kind::Warc(Box::new(Records::open(path, limits, from, true)?), statuses)
            }
            Format::Jsonl(fields) => Kind::Lines(Box::new(Lines::open(path, fields, limits, from)?)),
            Format::Parquet(fields) => Kind::Rows(Box::new(Rows::open(path, name, fields, limits, from)?)),
            whole => Kind::Whole(Box::new(Whole::open(path, name, whole, limits, from)?)),
        };
        Ok(Self { kind, limits, index: from.index, failed: false })
    }

    /// The place behind the item that came last.
    pub fn cursor(&self) -> Cursor {
        match &self.kind {
            Kind::Warc(records, _) => records.cursor(self.index),
            Kind::Lines(lines) => lines.cursor(),
            Kind::Rows(rows) => rows.cursor(),
            Kind::Whole(whole) => whole.cursor(),
        }
    }

    /// Records up to here, from the file's begin on, that hold no content by their type: they are neither documents nor losses.
    pub fn not_content(&self) -> u64 {
        self.cursor().not_content
    }

    fn read(&mut self) -> Result<Option<Item>, ReadError> {
        let (records, statuses) = match &mut self.kind {
            Kind::Warc(records, statuses) => (records, *statuses),
            Kind::Lines(lines) => return lines.next(),
            Kind::Rows(rows) => return rows.next(),
            Kind::Whole(whole) => return whole.next(),
        };
        let index = self.index;
        let item = match records.next()? {
            None => return Ok(None),
            Some(Entry::Skipped(skipped)) => Item::Skipped(Skipped { index, ..skipped }),
            Some(Entry::Record(record)) => match document(&record, statuses, &self.limits) {
                Ok(document) => Item::Document(RawDocument { index, ..document }),
                Err((reason, detail)) => {
                    let (offset, bytes) = (record.offset, record.block.len() as u64);
                    Item::Skipped(Skipped { index, offset, name: record.name(), reason, detail, bytes })
                }
            },
        };
        self.index += 1;
        Ok(Some(item))
    }
}

impl Iterator for FileReader {
    type Item = Result<Item, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let read = self.read();
        self.failed = read.is_err();
        read.transpose()
    }
}

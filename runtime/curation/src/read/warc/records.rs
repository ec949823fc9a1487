//! The records of a file, in order, and what is between them.

use std::path::Path;

use memchr::memmem;

use super::header::{Header, HeaderError, block_end, is_version};
use super::record::{Record, at_offset, name};
use crate::read::input::{Fill, Input};
use crate::read::{Cursor, Limits, ReadError, SkipReason, Skipped};

/// A line that begins a record has this many bytes at least.
const VERSION_BYTES: usize = 8;
/// Bytes that are shown of what is no record.
const DETAIL_BYTES: usize = 40;

/// What stands at a place of the file.
#[derive(Debug)]
pub enum Entry<'a> {
    /// A record.
    Record(Record<'a>),
    /// Something that is none, or one that can't be used. Its index is for the caller to set.
    Skipped(Skipped),
}

/// Where in the window a record lies.
struct Found {
    head_bytes: usize,
    block_bytes: usize,
    header: Header,
    offset: u64,
}

/// What a step found.
enum Step {
    Record(Found),
    Skipped(Skipped),
    /// Nothing yet; go on.
    Passed,
    End,
}

/// Reads records.
pub struct Records {
    input: Input,
    limits: Limits,
    /// Records that hold no content by their kind are counted, and not yielded.
    only_content: bool,
    not_content: u64,
    /// Bytes of the window that the last record took.
    taken: usize,
    at_begin: bool,
    ended: bool,
}

impl Records {
    /// Opens a file at a cursor.
    ///
    /// # Errors
    /// The file can't be read; the cursor is not in it.
    pub fn open(path: &Path, limits: Limits, from: Cursor, only_content: bool) -> Result<Self, ReadError> {
        let input = Input::open(path, limits, from)?;
        Ok(Self {
            input,
            limits,
            only_content,
            not_content: from.not_content,
            taken: 0,
            at_begin: from == Cursor::default(),
            ended: from.ended,
        })
    }

    /// Where the reader stands: behind the entry that it gave last.
    pub fn cursor(&self, index: u64) -> Cursor {
        let (offset, within) = self.input.place(self.taken);
        let (not_content, damage) = (self.not_content, self.input.damage());
        Cursor { index, offset, within, line: 0, not_content, damage, ended: self.ended }
    }

    /// Records that hold no content by their kind, from the file's begin on.
    pub fn not_content(&self) -> u64 {
        self.not_content
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// The file can't be read.
    #[allow(
        clippy::should_implement_trait,
        reason = "an entry borrows from the reader, which `Iterator` can't say"
    )]
    pub fn next(&mut self) -> Result<Option<Entry<'_>>, ReadError> {
        loop {
            match self.step()? {
                Step::Passed => {}
                Step::End => return Ok(None),
                Step::Skipped(skipped) => return Ok(Some(Entry::Skipped(skipped))),
                Step::Record(found) => return Ok(Some(Entry::Record(self.record(&found)))),
            }
        }
    }

    fn record(&self, found: &Found) -> Record<'_> {
        let (head, rest) = self.input.bytes().split_at_checked(found.head_bytes).unwrap_or_default();
        let block = rest.get(..found.block_bytes).unwrap_or_default();
        Record::new(found.header, found.offset, head, block)
    }

    fn step(&mut self) -> Result<Step, ReadError> {
        self.input.consume(std::mem::take(&mut self.taken));
        if self.ended {
            return Ok(Step::End);
        }
        if let Some(step) = self.blank_lines()? {
            return Ok(step);
        }
        let offset = self.input.place(0).0;
        self.input.ensure(VERSION_BYTES)?;
        if !is_version(self.input.bytes()) {
            return self.garbage((at_offset(offset), offset), SkipReason::NotAWarcRecord, 0);
        }
        self.at_begin = false;
        let head_bytes = match self.head()? {
            Ok(bytes) => bytes,
            Err((Fill::Broken(reason), _)) => return self.damaged(reason, at_offset(offset), offset),
            Err((_, reason)) => return self.garbage((at_offset(offset), offset), reason, VERSION_BYTES),
        };
        let head = self.input.bytes().get(..head_bytes).unwrap_or_default();
        let header = match Header::parse(head, self.limits.num_headers) {
            Ok(header) => header,
            Err(error) => {
                let reason = match error {
                    HeaderError::TooMany => SkipReason::HeadersTooLarge,
                    HeaderError::NotAField => SkipReason::BadWarcHeader,
                };
                return self.garbage((at_offset(offset), offset), reason, head_bytes);
            }
        };
        let Some(block_bytes) = header.block_bytes else {
            let name = name(head, &header, offset);
            return self.garbage((name, offset), SkipReason::BadContentLength, head_bytes);
        };
        if self.input.bytes_left().is_some_and(|left| (head_bytes as u64).saturating_add(block_bytes) > left)
        {
            return self.overlong((name(head, &header, offset), offset), head_bytes);
        }
        if self.only_content && header.kind.is_content_free() {
            return self.pass(head_bytes, block_bytes, None, (name(head, &header, offset), offset));
        }
        if (head_bytes as u64).saturating_add(block_bytes) > self.limits.record_bytes {
            let name = name(head, &header, offset);
            return self.pass(head_bytes, block_bytes, Some(SkipReason::RecordTooLarge), (name, offset));
        }
        self.block(Found { head_bytes, block_bytes: block_bytes as usize, header, offset })
    }

    /// Passes over blank lines; gives a step if there is nothing behind them.
    fn blank_lines(&mut self) -> Result<Option<Step>, ReadError> {
        loop {
            let bytes = self.input.bytes();
            let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let more = blank < bytes.len();
            self.input.consume(blank);
            if more {
                return Ok(None);
            }
            match self.input.fill()? {
                Fill::More => {}
                Fill::End => {
                    self.ended = true;
                    return Ok(Some(Step::End));
                }
                Fill::Broken(reason) => {
                    let offset = self.input.place(0).0;
                    return self.damaged(reason, at_offset(offset), offset).map(Some);
                }
            }
        }
    }

    /// The length of the header block that begins the window.
    fn head(&mut self) -> Result<Result<usize, (Fill, SkipReason)>, ReadError> {
        let mut from = 0;
        loop {
            let bytes = self.input.bytes();
            if let Some(end) = block_end(bytes, from) {
                let cut = |ahead: usize| bytes.get(ahead..).is_some_and(is_version);
                if self.input.members_ahead(end).any(|ahead| ahead > 0 && cut(ahead)) {
                    return Ok(Err((Fill::More, SkipReason::BadWarcHeader)));
                }
                let over = end as u64 > self.limits.header_bytes;
                return Ok(if over { Err((Fill::More, SkipReason::HeadersTooLarge)) } else { Ok(end) });
            }
            if bytes.len() as u64 > self.limits.header_bytes {
                return Ok(Err((Fill::More, SkipReason::HeadersTooLarge)));
            }
            from = bytes.len().saturating_sub(3);
            match self.input.fill()? {
                Fill::More => {}
                Fill::End => return Ok(Err((Fill::End, SkipReason::TruncatedRecord))),
                broken @ Fill::Broken(_) => return Ok(Err((broken, SkipReason::BrokenArchive))),
            }
        }
    }

    /// Loads a record's block and looks whether it is whole.
    fn block(&mut self, found: Found) -> Result<Step, ReadError> {
        let length = found.head_bytes + found.block_bytes;
        let filled = self.input.ensure(length)?;
        // The two line ends behind the block, the begin of what follows, and whether the checksum between them is right.
        let behind = self.input.ensure(length + 4 + VERSION_BYTES)?;
        let skipped = |this: &Self, reason, bytes: usize| Skipped {
            index: 0,
            offset: found.offset,
            name: this.record(&found).name(),
            reason,
            detail: String::new(),
            bytes: bytes as u64,
        };
        if let Some(cut) = self.next_record_within(found.head_bytes, length) {
            let mut skipped = skipped(self, SkipReason::WrongLength, cut);
            skipped.detail = format!("Content-Length {} of {}", found.block_bytes, cut - found.head_bytes);
            self.taken = cut;
            return Ok(Step::Skipped(skipped));
        }
        match filled {
            Fill::More => {}
            Fill::End => {
                let skipped = skipped(self, SkipReason::TruncatedRecord, self.input.bytes().len());
                self.taken = self.input.bytes().len();
                self.ended = true;
                return Ok(Step::Skipped(skipped));
            }
            Fill::Broken(reason) => {
                return self.damaged(reason, self.record(&found).name(), found.offset);
            }
        }
        let tail = self.input.bytes().get(length..).unwrap_or_default();
        let blank = tail.iter().take(4).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if behind == Fill::Broken(SkipReason::BadChecksum) && blank == tail.len() {
            return self.damaged(SkipReason::BadChecksum, self.record(&found).name(), found.offset);
        }
        self.taken = length + blank;
        Ok(Step::Record(found))
    }

    /// Where within a record another one begins: at a member's begin, or at a line, if nothing follows where this one ends.
    fn next_record_within(&self, head_bytes: usize, length: usize) -> Option<usize> {
        let bytes = self.input.bytes();
        let members = self.input.members_ahead(length).filter(|ahead| *ahead >= head_bytes);
        let mut begins = members.filter(|ahead| bytes.get(*ahead..).is_some_and(is_version));
        if let Some(cut) = begins.next() {
            return Some(cut);
        }
        let behind = bytes.get(length..).unwrap_or_default();
        let next = behind.trim_ascii_start();
        if bytes.len() >= length && (behind.is_empty() || next.is_empty() || is_version(next)) {
            return None;
        }
        let block = bytes.get(head_bytes..length.min(bytes.len())).unwrap_or_default();
        let begins = memmem::find_iter(block, b"\n\r\nWARC/").map(|at| head_bytes + at + 3);
        let mut begins = begins.filter(|at| bytes.get(*at..).is_some_and(is_version));
        begins.next()
    }

    /// Passes over a record without holding it.
    fn pass(
        &mut self,
        head_bytes: usize,
        block_bytes: u64,
        reason: Option<SkipReason>,
        (name, offset): (String, u64),
    ) -> Result<Step, ReadError> {
        self.input.consume(head_bytes);
        let mut left = block_bytes;
        while left > 0 {
            let below = usize::try_from(left).unwrap_or(usize::MAX);
            let mut members = self.input.members_ahead(below);
            let cut = members.find(|ahead| self.input.bytes().get(*ahead..).is_some_and(is_version));
            drop(members);
            if let Some(cut) = cut {
                self.taken = cut;
                let detail = format!("Content-Length {block_bytes}");
                let bytes = block_bytes - left + cut as u64;
                let reason = SkipReason::WrongLength;
                return Ok(Step::Skipped(Skipped { index: 0, offset, name, reason, detail, bytes }));
            }
            // A member's first bytes may come later: what is looked at must be there.
            let now = left.min((self.input.bytes().len() as u64).saturating_sub(VERSION_BYTES as u64));
            self.input.consume(now as usize);
            left -= now;
            if left == 0 {
                break;
            }
            match self.input.fill()? {
                Fill::More => {}
                Fill::Broken(reason) => return self.damaged(reason, name, offset),
                Fill::End if self.input.bytes().len() as u64 >= left => {
                    self.input.consume(left as usize);
                    left = 0;
                }
                Fill::End => {
                    let bytes = block_bytes - left + self.input.bytes().len() as u64;
                    self.taken = self.input.bytes().len();
                    self.ended = true;
                    let reason = SkipReason::TruncatedRecord;
                    return Ok(Step::Skipped(Skipped {
                        index: 0,
                        offset,
                        name,
                        reason,
                        detail: String::new(),
                        bytes,
                    }));
                }
            }
        }
        let Some(reason) = reason else {
            self.not_content += 1;
            return Ok(Step::Passed);
        };
        let (detail, bytes) = (format!("{block_bytes} bytes"), head_bytes as u64 + block_bytes);
        Ok(Step::Skipped(Skipped { index: 0, offset, name, reason, detail, bytes }))
    }

    /// Passes over a record that says that it is longer than the file: the file was cut, or the length is wrong and others follow.
    fn overlong(&mut self, named: (String, u64), head_bytes: usize) -> Result<Step, ReadError> {
        let mut step = self.garbage(named, SkipReason::TruncatedRecord, head_bytes)?;
        if let Step::Skipped(skipped) = &mut step
            && !self.ended
        {
            skipped.reason = SkipReason::WrongLength;
        }
        Ok(step)
    }

    /// Passes over what is no record up to the next line that begins one.
    fn garbage(
        &mut self,
        (name, offset): (String, u64),
        reason: SkipReason,
        from: usize,
    ) -> Result<Step, ReadError> {
        let skipped = |name, reason, detail: String, bytes| {
            Step::Skipped(Skipped { index: 0, offset, name, reason, detail, bytes })
        };
        if self.at_begin && self.input.bytes().starts_with(b"filedesc") {
            self.ended = true;
            return Ok(skipped(name, SkipReason::ArcFormat, String::new(), 0));
        }
        self.at_begin = false;
        let begin = &self.input.bytes()[..self.input.bytes().len().min(DETAIL_BYTES)];
        let detail = begin.escape_ascii().to_string();
        // The line end before `from` stays: a record may begin right behind it.
        let from = from.saturating_sub(1);
        let mut bytes = from as u64;
        self.input.consume(from);
        loop {
            let window = self.input.bytes();
            let lines = memmem::find_iter(window, b"\nWARC/").map(|at| at + 1);
            let lines = lines.filter(|at| window.get(*at..).is_some_and(is_version)).take(1);
            let members = self.input.members_ahead(usize::MAX);
            let members = members.filter(|at| window.get(*at..).is_some_and(is_version)).take(1);
            if let Some(next) = lines.chain(members).min() {
                self.taken = next;
                return Ok(skipped(name, reason, detail, bytes + next as u64));
            }
            let passed = window.len().saturating_sub(VERSION_BYTES);
            self.input.consume(passed);
            bytes += passed as u64;
            match self.input.fill()? {
                Fill::More => {}
                Fill::Broken(reason) => return self.damaged(reason, name, offset),
                Fill::End => {
                    self.ended = true;
                    return Ok(skipped(name, reason, detail, bytes + self.input.bytes().len() as u64));
                }
            }
        }
    }

    /// Goes on behind damage of the packed bytes.
    fn damaged(&mut self, reason: SkipReason, name: String, offset: u64) -> Result<Step, ReadError> {
        let bytes = self.input.bytes().len() as u64;
        self.taken = 0;
        self.ended = !self.input.resynchronise(b"WARC/")?;
        Ok(Step::Skipped(Skipped { index: 0, offset, name, reason, detail: String::new(), bytes }))
    }
}

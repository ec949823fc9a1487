//! A file as a window of unpacked bytes that moves on, and the places of it to which a reader can come back.
//!
//! Compression is known by the first bytes, not by the name. Of gzip and zstd the begins of members and frames are remembered: a cursor is one of
//! them and a distance, so that coming back costs one member at most. When a member is damaged, the search for the next one goes on behind the
//! damage; it never goes back behind an earlier one, so that a file is read through at most twice.

mod damage;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::cursor::Cursor;
use super::error::ReadError;
use super::gzip::{self, Gzip, Outcome};
use super::limits::Limits;
use super::skip::SkipReason;
use super::zst::{self, Zst};

/// Bytes asked for from the system at a time.
const RAW_BYTES: usize = 256 << 10;
/// Bytes that a step of unpacking has room for at least.
const ROOM_BYTES: usize = 64 << 10;
/// Members of the window whose begins are remembered.
const MAX_MARKS: usize = 1 << 16;

/// What a call for more bytes gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fill {
    /// At least one more byte.
    More,
    /// There are none.
    End,
    /// What follows is damaged.
    Broken(SkipReason),
}

/// The begin of a member or frame.
#[derive(Debug, Clone, Copy)]
struct Mark {
    position: u64,
    offset: u64,
}

enum Packing {
    Plain,
    Gzip(Box<Gzip>),
    Zst(Box<Zst>),
}

/// The window.
pub(super) struct Input {
    path: PathBuf,
    file: File,
    limits: Limits,
    packing: Packing,
    dictionary: Vec<u8>,
    raw: Vec<u8>,
    raw_start: usize,
    raw_end: usize,
    /// The file's offset of `raw[raw_start]`.
    raw_offset: u64,
    file_bytes: u64,
    data: Vec<u8>,
    start: usize,
    end: usize,
    /// Unpacked bytes before the window, counted from where the reader was opened.
    position: u64,
    marks: VecDeque<Mark>,
    broken: Option<SkipReason>,
    /// Where the member begins that is unpacked.
    member_offset: u64,
    /// The file's offset up to which damage is already known.
    broken_offset: u64,
}

impl Input {
    /// Opens a file at a cursor.
    ///
    /// # Errors
    /// The file can't be read; the cursor is behind its end.
    pub(super) fn open(path: &Path, limits: Limits, from: Cursor) -> Result<Self, ReadError> {
        let mut file = File::open(path).map_err(|error| ReadError::io(path, error))?;
        let file_bytes = file.metadata().map_err(|error| ReadError::io(path, error))?.len();
        let mut head = Vec::new();
        let most = 8 + zst::MAX_DICTIONARY_BYTES as u64;
        (&mut file).take(8).read_to_end(&mut head).map_err(|error| ReadError::io(path, error))?;
        let mut broken = None;
        let mut dictionary = Vec::new();
        let packing = if head.starts_with(&gzip::MAGIC) {
            Packing::Gzip(Box::new(Gzip::new()))
        } else if head.starts_with(&zst::MAGIC) || zst::is_skippable(&head) {
            if let Some(length) = zst::dictionary_length(&head) {
                let mut stored = Vec::new();
                let length = (length as u64).min(most);
                let read = (&mut file).take(length).read_to_end(&mut stored);
                read.map_err(|error| ReadError::io(path, error))?;
                match zst::dictionary(&stored) {
                    Ok(found) => dictionary = found,
                    Err(_) => broken = Some(SkipReason::BrokenArchive),
                }
            }
            let made = Zst::new(&dictionary).map_err(|error| ReadError::io(path, error))?;
            Packing::Zst(Box::new(made))
        } else {
            Packing::Plain
        };
        file.seek(SeekFrom::Start(from.offset)).map_err(|error| ReadError::io(path, error))?;
        let mut input = Self {
            path: path.to_path_buf(),
            file,
            limits,
            packing,
            dictionary,
            raw: Vec::new(),
            raw_start: 0,
            raw_end: 0,
            raw_offset: from.offset,
            file_bytes,
            data: Vec::new(),
            start: 0,
            end: 0,
            position: 0,
            marks: VecDeque::new(),
            broken,
            member_offset: from.offset,
            broken_offset: from.damage,
        };
        if matches!(input.packing, Packing::Plain) {
            input.marks.push_back(Mark { position: 0, offset: from.offset });
        }
        if !from.ended {
            input.pass(from.within)?;
        }
        Ok(input)
    }

    fn pass(&mut self, mut left: u64) -> Result<(), ReadError> {
        while left > 0 {
            let now = left.min(self.bytes().len() as u64);
            self.consume(now as usize);
            left -= now;
            if left > 0 && self.fill()? != Fill::More {
                let detail = format!("{left} bytes behind the end of what can be unpacked");
                return Err(ReadError::Cursor { path: self.path.clone(), detail });
            }
        }
        Ok(())
    }

    /// The window.
    pub(super) fn bytes(&self) -> &[u8] {
        self.data.get(self.start..self.end).unwrap_or_default()
    }

    /// Moves the window's begin.
    pub(super) fn consume(&mut self, length: usize) {
        let length = length.min(self.end - self.start);
        self.start += length;
        self.position += length as u64;
        while self.marks.get(1).is_some_and(|mark| mark.position <= self.position) {
            self.marks.pop_front();
        }
    }

    /// Makes the window at least this long, if the file allows.
    pub(super) fn ensure(&mut self, length: usize) -> Result<Fill, ReadError> {
        while self.end - self.start < length {
            let filled = self.fill()?;
            if filled != Fill::More {
                return Ok(filled);
            }
        }
        Ok(Fill::More)
    }

    /// The place `ahead` bytes into the window: an offset of the file and a distance from it.
    pub(super) fn place(&self, ahead: usize) -> (u64, u64) {
        let position = self.position + ahead as u64;
        let between = match &self.packing {
            Packing::Plain => false,
            Packing::Gzip(gzip) => gzip.between(),
            Packing::Zst(zst) => zst.between(),
        };
        if between && ahead == self.end - self.start && self.broken.is_none() {
            return (self.raw_offset, 0);
        }
        let behind = self.marks.partition_point(|mark| mark.position <= position);
        let mark = behind.checked_sub(1).and_then(|at| self.marks.get(at)).copied();
        let mark = mark.unwrap_or(Mark { position, offset: self.raw_offset });
        match self.packing {
            Packing::Plain => (mark.offset + (position - mark.position), 0),
            _ => (mark.offset, position - mark.position),
        }
    }

    /// How far ahead in the window the next members begin, up to a distance.
    pub(super) fn members_ahead(&self, below: usize) -> impl Iterator<Item = usize> {
        let now = self.position;
        let length = below.min(self.end - self.start) as u64;
        let ahead =
            self.marks.iter().filter(move |mark| mark.position >= now).map(move |mark| mark.position - now);
        ahead.take_while(move |ahead| *ahead < length).map(|ahead| ahead as usize)
    }

    /// Appends at least one byte to the window, if there is one.
    pub(super) fn fill(&mut self) -> Result<Fill, ReadError> {
        loop {
            if let Some(reason) = self.broken {
                return Ok(Fill::Broken(reason));
            }
            self.make_room();
            if matches!(self.packing, Packing::Plain) {
                return self.fill_plain();
            }
            if self.raw_start == self.raw_end && !self.read_raw()? {
                return Ok(self.packed_end());
            }
            if let Some(filled) = self.unpack()? {
                return Ok(filled);
            }
        }
    }

    fn fill_plain(&mut self) -> Result<Fill, ReadError> {
        let room = self.data.get_mut(self.end..).unwrap_or_default();
        let read = read_some(&mut self.file, room).map_err(|error| ReadError::io(&self.path, error))?;
        self.end += read;
        self.raw_offset += read as u64;
        Ok(if read == 0 { Fill::End } else { Fill::More })
    }

    /// One step of the decoder; `None` if it made nothing yet.
    fn unpack(&mut self) -> Result<Option<Fill>, ReadError> {
        let between = self.place_of_member();
        let packed = self.raw.get(self.raw_start..self.raw_end).unwrap_or_default();
        let room = self.data.get_mut(self.end..).unwrap_or_default();
        let zeros = packed.iter().take_while(|byte| **byte == 0).count();
        if between.is_some() && zeros > 0 {
            // Writers of tapes and blocks pad with zeros.
            self.raw_start += zeros;
            self.raw_offset += zeros as u64;
            return Ok(None);
        }
        let stepped = match &mut self.packing {
            Packing::Plain => return Ok(None),
            Packing::Gzip(gzip) => gzip.step(packed, room, &self.limits),
            Packing::Zst(zst) => zst.step(packed, room, &self.limits),
        };
        if let Some(mark) = between
            && !matches!(stepped.outcome, Outcome::Starved)
        {
            self.mark(mark);
        }
        self.raw_start += stepped.used;
        self.raw_offset += stepped.used as u64;
        self.end += stepped.made;
        match stepped.outcome {
            Outcome::Broken(reason) => self.broken = Some(reason),
            Outcome::Starved if !self.read_raw()? => return Ok(Some(self.packed_end())),
            _ => {}
        }
        Ok((stepped.made > 0).then_some(Fill::More))
    }

    fn mark(&mut self, mark: Mark) {
        self.member_offset = mark.offset;
        let num_marks = self.marks.len();
        match self.marks.back_mut() {
            // An empty member.
            Some(last) if last.position == mark.position => *last = mark,
            // A place is found from an earlier member too, only later.
            _ if num_marks >= MAX_MARKS => {}
            _ => self.marks.push_back(mark),
        }
    }

    fn place_of_member(&self) -> Option<Mark> {
        let between = match &self.packing {
            Packing::Plain => false,
            Packing::Gzip(gzip) => gzip.between(),
            Packing::Zst(zst) => zst.between(),
        };
        let position = self.position + (self.end - self.start) as u64;
        between.then_some(Mark { position, offset: self.raw_offset })
    }

    /// The end of the packed bytes: damage, if it is inside a member.
    fn packed_end(&mut self) -> Fill {
        if self.place_of_member().is_some() && self.raw_start == self.raw_end {
            return Fill::End;
        }
        self.broken = Some(SkipReason::TruncatedArchive);
        Fill::Broken(SkipReason::TruncatedArchive)
    }

    /// Reads more packed bytes behind those that are there.
    fn read_raw(&mut self) -> Result<bool, ReadError> {
        if self.raw.is_empty() {
            self.raw = vec![0; RAW_BYTES];
        }
        if self.raw_start > 0 {
            self.raw.copy_within(self.raw_start..self.raw_end, 0);
            self.raw_end -= self.raw_start;
            self.raw_start = 0;
        }
        if self.raw_end == self.raw.len() {
            return Ok(false);
        }
        let room = self.raw.get_mut(self.raw_end..).unwrap_or_default();
        let read = read_some(&mut self.file, room).map_err(|error| ReadError::io(&self.path, error))?;
        self.raw_end += read;
        Ok(read > 0)
    }

    fn make_room(&mut self) {
        if self.data.len() - self.end >= ROOM_BYTES {
            return;
        }
        let live = self.end - self.start;
        if self.start >= live / 4 {
            self.data.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, live);
        }
        if self.data.len() - self.end < ROOM_BYTES {
            let length = (self.data.len() * 2).max(4 * ROOM_BYTES);
            self.data.resize(length, 0);
        }
    }

    /// Bytes from the window's begin to the file's end, where that is known: in a file that is not packed.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        let unread = self.file_bytes.saturating_sub(self.raw_offset);
        matches!(self.packing, Packing::Plain).then_some(unread + (self.end - self.start) as u64)
    }

    /// The file's offset up to which damage is known: a part of every cursor.
    pub(super) fn damage(&self) -> u64 {
        self.broken_offset
    }
}

/// A read that a signal does not end.
fn read_some(file: &mut File, room: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match file.read(room) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}

//! The journal: an append-only file of records, fsynced before anything is done because of them.
//!
//! Records are framed as [`super::frame`] says. What a crash cut off at the end (a torn tail) was never acknowledged: it is dropped on
//! opening. Damage before the end is an error that names the record. After a failed fsync nobody knows what is on the disk: the journal
//! takes nothing more until it is opened and read again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::frame::{FIRST_HEAD, HEADER, chain, decode, encode, frame, push_frame, whole_record_follows};
use super::medium::{Medium, MemoryFile};
use super::{Fact, Record, StateDir, StateError};

/// The first bytes of a journal; the last digit is the version of its schema.
pub(super) const MAGIC: &[u8; 8] = b"cupolaJ3";

/// A place behind a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The record's number; 0 before the first one.
    pub seq: u64,
    /// Where the record starts.
    pub start: u64,
    /// Where it ends.
    pub end: u64,
    /// The chain after it.
    pub head: [u8; 32],
}

impl Position {
    /// Before the first record.
    pub const FIRST: Self =
        Self { seq: 0, start: MAGIC.len() as u64, end: MAGIC.len() as u64, head: FIRST_HEAD };
}

/// What a journal holds.
#[derive(Debug)]
pub struct JournalContents {
    /// Every whole record in order, from the position that was read from.
    pub records: Vec<Record>,
    /// The place behind the last one.
    pub position: Position,
    /// Bytes after that: a torn tail.
    pub torn_bytes: u64,
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    medium: Box<dyn Medium>,
    path: PathBuf,
    position: Position,
    poisoned: bool,
}

impl Journal {
    /// Opens or makes the journal at `path`, drops a torn tail and gives what it holds after `from`.
    pub fn open(path: &Path, from: &Position) -> Result<(Self, JournalContents), StateError> {
        let contents = read_journal_after(path, from)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(StateError::io(path))?;
        let is_new = file.metadata().map_err(StateError::io(path))?.len() < MAGIC.len() as u64;
        let mut prepare = || -> std::io::Result<()> {
            if is_new {
                file.cut(0)?;
                file.append(MAGIC)?;
            } else {
                file.cut(contents.position.end)?;
            }
            file.sync_all()
        };
        prepare().map_err(StateError::io(path))?;
        if let Some(folder) = path.parent() {
            sync_folder(folder).map_err(StateError::io(folder))?;
        }
        let position = contents.position.clone();
        Ok((Self { medium: Box::new(file), path: path.to_path_buf(), position, poisoned: false }, contents))
    }

    /// Opens or makes a journal in memory; `path` stands for it in errors.
    pub(super) fn open_memory(
        mut file: MemoryFile,
        path: &Path,
    ) -> Result<(Self, JournalContents), StateError> {
        let contents = parse_memory(&file, path)?;
        let mut prepare = || {
            if file.read().len() < MAGIC.len() {
                file.cut(0)?;
                file.append(MAGIC)?;
            } else {
                file.cut(contents.position.end)?;
            }
            file.sync()
        };
        prepare().map_err(StateError::io(path))?;
        let position = contents.position.clone();
        Ok((Self { medium: Box::new(file), path: path.to_path_buf(), position, poisoned: false }, contents))
    }

    /// Facts as the records that follow on the last one, and as [`Journal::append`] takes them.
    pub(super) fn encode(
        &self,
        facts: Vec<Fact>,
        at_millis: i64,
    ) -> Result<(Vec<Record>, Vec<Vec<u8>>), StateError> {
        let mut payloads = Vec::with_capacity(facts.len());
        let mut records = Vec::with_capacity(facts.len());
        let mut offset = self.position.end;
        for fact in facts {
            let seq = self.position.seq + records.len() as u64 + 1;
            let record = Record { seq, at_millis, fact, offset };
            let payload = encode(&record)?;
            offset += (HEADER + payload.len()) as u64;
            payloads.push(payload);
            records.push(record);
        }
        Ok((records, payloads))
    }

    /// Appends encoded records as one group: they are durable when this returns.
    pub(super) fn append(&mut self, payloads: &[Vec<u8>]) -> Result<(), StateError> {
        if self.poisoned {
            return Err(StateError::Poisoned { path: self.path.clone() });
        }
        let mut bytes = Vec::with_capacity(payloads.iter().map(|payload| HEADER + payload.len()).sum());
        let mut position = self.position.clone();
        for payload in payloads {
            position.start = self.position.end + bytes.len() as u64;
            position.head = push_frame(&mut bytes, &position.head, payload);
            position.seq += 1;
        }
        position.end = self.position.end + bytes.len() as u64;
        // Nothing of a group that failed is acknowledged: cut back, so that a later one stands right behind the last that was.
        if let Err(source) = self.medium.append(&bytes) {
            self.poisoned = self.medium.cut(self.position.end).is_err();
            return Err(StateError::Io { path: self.path.clone(), source });
        }
        if let Err(source) = self.medium.sync() {
            self.poisoned = true;
            let _ = self.medium.cut(self.position.end);
            return Err(StateError::Io { path: self.path.clone(), source });
        }
        self.position = position;
        Ok(())
    }

    /// The place behind the last record.
    pub fn position(&self) -> &Position {
        &self.position
    }
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all())
}

/// Reads a whole journal without opening it for writing; a missing one is empty.
pub fn read_journal(path: &Path) -> Result<JournalContents, StateError> {
    read_journal_after(path, &Position::FIRST)
}

/// Gives each record of a folder's journal in order, and keeps none of them.
pub fn visit_journal(dir: &StateDir, take: &mut dyn FnMut(Record)) -> Result<(), StateError> {
    let path = dir.journal();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(StateError::Io { path, source }),
    };
    let Some((magic, records)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    check_magic(*magic, &path)?;
    parse_each(records, &Position::FIRST, take).map_err(|problem| problem.at(&path))?;
    Ok(())
}

/// Reads a whole journal in memory; an empty one holds nothing.
pub(super) fn parse_memory(file: &MemoryFile, path: &Path) -> Result<JournalContents, StateError> {
    let bytes = file.read();
    let records = bytes.get(MAGIC.len()..).unwrap_or_default();
    parse(records, &Position::FIRST).map_err(|problem| problem.at(path))
}

/// Reads what a journal holds after a position that [`is_position_of`] holds for.
pub fn read_journal_after(path: &Path, from: &Position) -> Result<JournalContents, StateError> {
    let mut bytes = Vec::new();
    let mut magic = [0; MAGIC.len()];
    let read = |file: &mut File, bytes: &mut Vec<u8>, magic: &mut [u8; 8]| -> std::io::Result<bool> {
        if file.metadata()?.len() < MAGIC.len() as u64 {
            file.read_to_end(bytes)?;
            return Ok(false);
        }
        file.read_exact(magic)?;
        file.seek(SeekFrom::Start(from.end))?;
        file.read_to_end(bytes)?;
        Ok(true)
    };
    let has_magic = match File::open(path) {
        Ok(mut file) => read(&mut file, &mut bytes, &mut magic).map_err(StateError::io(path))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(source) => return Err(StateError::Io { path: path.to_path_buf(), source }),
    };
    if !has_magic {
        let torn_bytes = bytes.len() as u64;
        return Ok(JournalContents { records: Vec::new(), position: Position::FIRST, torn_bytes });
    }
    check_magic(magic, path)?;
    parse(&bytes, from).map_err(|problem| problem.at(path))
}

/// Whether a position is one of this journal: the record before it is there, with the chain that the position names.
pub(super) fn is_position_of(path: &Path, position: &Position) -> bool {
    let read = || -> std::io::Result<bool> {
        let mut file = File::open(path)?;
        if position.end <= position.start || file.metadata()?.len() < position.end {
            return Ok(false);
        }
        let mut bytes = vec![0; (position.end - position.start) as usize];
        file.seek(SeekFrom::Start(position.start))?;
        file.read_exact(&mut bytes)?;
        Ok(frame(&bytes)
            .is_some_and(|(head, payload)| head == position.head && HEADER + payload.len() == bytes.len()))
    };
    read().unwrap_or(false)
}

/// Reads the record at a byte of the journal.
pub(super) fn read_record_at(path: &Path, offset: u64) -> Result<Record, StateError> {
    let mut file = File::open(path).map_err(StateError::io(path))?;
    let mut bytes = vec![0; HEADER];
    let mut read = || -> std::io::Result<()> {
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(&mut bytes)?;
        let length = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        let end = file.metadata()?.len();
        if offset + (HEADER + length) as u64 > end {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.resize(HEADER + length, 0);
        file.read_exact(&mut bytes[HEADER..])
    };
    read().map_err(StateError::io(path))?;
    let problem = |problem: String| Damage { seq: 0, offset, problem }.at(path);
    let (_, payload) = frame(&bytes).ok_or_else(|| problem("its checksum does not match".to_owned()))?;
    decode(payload, offset).map_err(problem)
}

/// What is wrong with a record.
struct Damage {
    seq: u64,
    offset: u64,
    problem: String,
}

impl Damage {
    fn at(self, path: &Path) -> StateError {
        let Self { seq, offset, problem } = self;
        StateError::Journal { path: path.to_path_buf(), seq, offset, problem }
    }
}

fn check_magic(magic: [u8; 8], path: &Path) -> Result<(), StateError> {
    let schema = |magic: &[u8; 8]| char::from(magic[7]);
    if &magic == MAGIC {
        Ok(())
    } else if magic[..7] == MAGIC[..7] && magic[7].is_ascii_alphanumeric() {
        Err(StateError::Schema { path: path.to_path_buf(), found: schema(&magic), known: schema(MAGIC) })
    } else {
        Err(Damage { seq: 1, offset: 0, problem: "this is not a journal".to_owned() }.at(path))
    }
}

/// Parses the records in `bytes`, which stand behind `from`.
fn parse(bytes: &[u8], from: &Position) -> Result<JournalContents, Damage> {
    let mut records = Vec::new();
    let (position, torn_bytes) = parse_each(bytes, from, &mut |record| records.push(record))?;
    Ok(JournalContents { records, position, torn_bytes })
}

/// Gives each of the records in `bytes`, and then the place behind the last one and the length of a torn tail.
fn parse_each(
    bytes: &[u8],
    from: &Position,
    take: &mut dyn FnMut(Record),
) -> Result<(Position, u64), Damage> {
    let mut here = from.clone();
    let mut at = 0;
    while at < bytes.len() {
        let start = from.end + at as u64;
        match parse_record(&bytes[at..], &here, start) {
            Ok((record, position)) => {
                at = (position.end - from.end) as usize;
                take(record);
                here = position;
            }
            Err(problem) if whole_record_follows(&bytes[at..]) => {
                return Err(Damage { seq: here.seq + 1, offset: start, problem });
            }
            Err(_) => break,
        }
    }
    Ok((here, (bytes.len() - at) as u64))
}

pub(super) fn parse_record(
    bytes: &[u8],
    before: &Position,
    start: u64,
) -> Result<(Record, Position), String> {
    let (stored, payload) = frame(bytes).ok_or("the record is cut off or its checksum does not match")?;
    let head = chain(&before.head, payload);
    if stored != head {
        return Err("the hash chain is broken".to_owned());
    }
    let record = decode(payload, start)?;
    let seq = before.seq + 1;
    if record.seq != seq {
        return Err(format!("expected record {seq}, got {}", record.seq));
    }
    Ok((record, Position { seq, start, end: start + (HEADER + payload.len()) as u64, head }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(value: u64) -> Fact {
        Fact::Noted { topic: "t".into(), key: "k".into(), value: value.into() }
    }

    fn open(path: &Path) -> (Journal, JournalContents) {
        Journal::open(path, &Position::FIRST).unwrap()
    }

    fn append(journal: &mut Journal, fact: Fact) {
        let (_, payloads) = journal.encode(vec![fact], 7).unwrap();
        journal.append(&payloads).unwrap();
    }

    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = open(&path);
        for value in 0..5 {
            append(&mut journal, note(value));
        }
        let bytes = std::fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn a_torn_tail_of_any_length_is_dropped_and_appending_goes_on() {
        let (_folder, path, bytes) = written();
        for cut in 1..bytes.len() {
            std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            let (mut journal, contents) = open(&path);
            let kept = contents.records.len();
            assert!(kept < 5);
            append(&mut journal, note(99));
            let again = read_journal(&path).unwrap();
            assert_eq!(again.records.len(), kept + 1);
            assert_eq!(again.torn_bytes, 0);
        }
    }

    #[test]
    fn a_flipped_byte_before_the_last_record_is_an_error_and_in_the_last_a_torn_tail() {
        let (_folder, path, bytes) = written();
        let record = (bytes.len() - MAGIC.len()) / 5;
        for at in (MAGIC.len()..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            std::fs::write(&path, &damaged).unwrap();
            let result = read_journal(&path);
            if at < bytes.len() - record {
                assert!(matches!(result, Err(StateError::Journal { .. })), "byte {at}");
            } else {
                assert_eq!(result.unwrap().records.len(), 4, "byte {at}");
            }
        }
    }

    #[test]
    fn records_can_not_be_left_out() {
        let (_folder, path, bytes) = written();
        let record = (bytes.len() - MAGIC.len()) / 5;
        let mut shorter = bytes[..MAGIC.len() + record].to_vec();
        shorter.extend_from_slice(&bytes[MAGIC.len() + 2 * record..]);
        std::fs::write(&path, &shorter).unwrap();
        assert!(matches!(read_journal(&path), Err(StateError::Journal { seq: 2, .. })));
    }

    #[test]
    fn reading_after_a_position_gives_what_follows_and_a_foreign_position_is_told() {
        let (_folder, path, bytes) = written();
        let whole = read_journal(&path).unwrap();
        let middle = {
            let record = (bytes.len() - MAGIC.len()) / 5;
            std::fs::write(&path, &bytes[..MAGIC.len() + 2 * record]).unwrap();
            let position = read_journal(&path).unwrap().position;
            std::fs::write(&path, &bytes).unwrap();
            position
        };
        assert!(is_position_of(&path, &middle));
        let rest = read_journal_after(&path, &middle).unwrap();
        assert_eq!(rest.records, whole.records[2..]);
        assert_eq!(rest.position, whole.position);
        assert!(!is_position_of(&path, &Position { head: [1; 32], ..middle.clone() }));
        assert!(!is_position_of(&path, &Position { end: middle.end + 1, ..middle }));
        assert_eq!(read_record_at(&path, whole.records[3].offset).unwrap(), whole.records[3]);
    }

    #[test]
    fn a_long_record_is_packed_and_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let fact = Fact::Noted { topic: "t".into(), key: "k".into(), value: "x".repeat(100_000).into() };
        append(&mut open(&path).0, fact.clone());
        assert!(std::fs::metadata(&path).unwrap().len() < 2_000);
        assert_eq!(read_journal(&path).unwrap().records[0].fact, fact);
    }
}

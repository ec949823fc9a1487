//! The journal: an append-only file of records, fsynced before anything is done because of them.
//!
//! A record is `length u32 · CRC32C u32 · chain [u8; 32] · payload`, little-endian. The CRC covers chain and payload; the chain is
//! blake3 over the chain before it and the payload, so that a record can be neither changed, left out nor moved. What a crash cut off
//! at the end (a torn tail) was never acknowledged: it is dropped on opening. Damage before the end is an error that names the record.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{Fact, Record, StateError};

const MAGIC: &[u8; 8] = b"cupolaJ1";
const HEADER: usize = 4 + 4 + 32;
const MAX_PAYLOAD: usize = 16 << 20;

/// What a journal holds.
#[derive(Debug)]
pub struct JournalContents {
    /// Every whole record in order.
    pub records: Vec<Record>,
    /// The chain after the last one.
    pub head: [u8; 32],
    /// Where the last whole record ends.
    pub end: u64,
    /// Bytes after that: a torn tail.
    pub torn_bytes: u64,
}

/// A journal open for appending.
#[derive(Debug)]
pub struct Journal {
    file: File,
    path: PathBuf,
    head: [u8; 32],
    next_seq: u64,
    end: u64,
}

impl Journal {
    /// Opens or makes the journal at `path`, drops a torn tail and gives what it holds.
    pub fn open(path: &Path) -> Result<(Self, JournalContents), StateError> {
        let contents = read_journal(path)?;
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(StateError::io(path))?;
        let mut end = contents.end;
        let mut prepare = || -> std::io::Result<()> {
            if end == 0 {
                file.set_len(0)?;
                file.write_all(MAGIC)?;
                end = MAGIC.len() as u64;
            } else {
                file.set_len(end)?;
            }
            file.seek(SeekFrom::Start(end))?;
            file.sync_all()
        };
        prepare().map_err(StateError::io(path))?;
        if let Some(folder) = path.parent() {
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(StateError::io(folder))?;
        }
        let next_seq = contents.records.last().map_or(1, |record| record.seq + 1);
        Ok((Self { file, path: path.to_path_buf(), head: contents.head, next_seq, end }, contents))
    }

    /// Appends facts as one group: they are durable when this returns.
    pub fn append(&mut self, facts: Vec<Fact>, at_millis: i64) -> Result<Vec<Record>, StateError> {
        let mut bytes = Vec::new();
        let mut head = self.head;
        let mut records = Vec::with_capacity(facts.len());
        for fact in facts {
            let record = Record { seq: self.next_seq + records.len() as u64, at_millis, fact };
            let payload = serde_json::to_vec(&record)?;
            head = chain(&head, &payload);
            let crc = crc32c::crc32c_append(crc32c::crc32c(&head), &payload);
            bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&crc.to_le_bytes());
            bytes.extend_from_slice(&head);
            bytes.extend_from_slice(&payload);
            records.push(record);
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(source) = written {
            // Nothing of the group is acknowledged: cut back to the last acknowledged record, so that a later append stands right behind it.
            let _ = self
                .file
                .set_len(self.end)
                .and_then(|()| self.file.seek(SeekFrom::Start(self.end)).map(|_| ()));
            return Err(StateError::Io { path: self.path.clone(), source });
        }
        self.head = head;
        self.end += bytes.len() as u64;
        self.next_seq += records.len() as u64;
        Ok(records)
    }

    /// The chain after the last record.
    pub fn head(&self) -> [u8; 32] {
        self.head
    }
}

/// Reads a journal without opening it for writing; a missing one is empty.
pub fn read_journal(path: &Path) -> Result<JournalContents, StateError> {
    let mut bytes = Vec::new();
    match File::open(path) {
        Ok(mut file) => {
            file.read_to_end(&mut bytes).map_err(StateError::io(path))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(StateError::Io { path: path.to_path_buf(), source }),
    }
    parse(&bytes).map_err(|(seq, offset, problem)| StateError::Journal {
        path: path.to_path_buf(),
        seq,
        offset,
        problem,
    })
}

fn parse(bytes: &[u8]) -> Result<JournalContents, (u64, u64, String)> {
    let mut contents = JournalContents { records: Vec::new(), head: [0; 32], end: 0, torn_bytes: 0 };
    if bytes.len() < MAGIC.len() {
        contents.torn_bytes = bytes.len() as u64;
        return Ok(contents);
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err((1, 0, "this is not a journal of this version".to_owned()));
    }
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let seq = contents.records.len() as u64 + 1;
        match parse_record(&bytes[at..], &contents.head, seq) {
            Ok((record, head, length)) => {
                contents.records.push(record);
                contents.head = head;
                at += length;
            }
            Err(problem) => {
                if whole_record_follows(&bytes[at..]) {
                    return Err((seq, at as u64, problem));
                }
                break;
            }
        }
    }
    contents.end = at as u64;
    contents.torn_bytes = (bytes.len() - at) as u64;
    Ok(contents)
}

fn parse_record(bytes: &[u8], head: &[u8; 32], seq: u64) -> Result<(Record, [u8; 32], usize), String> {
    let (stored, payload) = frame(bytes).ok_or("the record is cut off or its checksum does not match")?;
    let expected = chain(head, payload);
    if stored != expected {
        return Err("the hash chain is broken".to_owned());
    }
    let record: Record =
        serde_json::from_slice(payload).map_err(|error| format!("unknown record: {error}"))?;
    if record.seq != seq {
        return Err(format!("expected record {seq}, got {}", record.seq));
    }
    Ok((record, expected, HEADER + payload.len()))
}

/// The chain and payload of the record at the start of `bytes`, where its length and CRC hold.
fn frame(bytes: &[u8]) -> Option<([u8; 32], &[u8])> {
    let header = bytes.get(..HEADER)?;
    let length = u32::from_le_bytes(header[..4].try_into().ok()?) as usize;
    let crc = u32::from_le_bytes(header[4..8].try_into().ok()?);
    if length == 0 || length > MAX_PAYLOAD {
        return None;
    }
    let covered = bytes.get(8..HEADER + length)?;
    (crc32c::crc32c(covered) == crc).then(|| (header[8..].try_into().unwrap_or([0; 32]), &covered[32..]))
}

/// Whether a whole record stands somewhere behind the start of `bytes`: then this is damage, not a torn tail.
fn whole_record_follows(bytes: &[u8]) -> bool {
    frame(bytes).is_some() || (1..bytes.len().saturating_sub(HEADER)).any(|at| frame(&bytes[at..]).is_some())
}

fn chain(head: &[u8; 32], payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(value: u64) -> Fact {
        Fact::Noted { topic: "t".into(), key: "k".into(), value: value.into() }
    }

    fn written() -> (tempfile::TempDir, PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for value in 0..5 {
            journal.append(vec![note(value)], 7).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        (folder, path, bytes)
    }

    #[test]
    fn a_torn_tail_of_any_length_is_dropped_and_appending_goes_on() {
        let (_folder, path, bytes) = written();
        for cut in 1..bytes.len() {
            std::fs::write(&path, &bytes[..bytes.len() - cut]).unwrap();
            let (mut journal, contents) = Journal::open(&path).unwrap();
            let kept = contents.records.len();
            assert!(kept < 5);
            journal.append(vec![note(99)], 8).unwrap();
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
}

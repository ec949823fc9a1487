//! Run files: sorted records in checksummed blocks.
//!
//! ```text
//! header  magic 8 | record kind 4 | settings u64 | CRC-32C u32
//! block   payload bytes u32 | records u32 | CRC-32C u32 (of both and the payload) | payload
//! end     as a block of 16 bytes with u32::MAX records: blocks u64, records u64
//! ```

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use crc32c::{crc32c, crc32c_append};

use super::record::{Record, take};
use crate::dedup::error::{DedupError, Place};

const MAGIC: [u8; 8] = *b"CUPRUN1\n";
const HEADER_BYTES: usize = 24;
const BLOCK_HEADER_BYTES: usize = 12;
const END_BYTES: usize = 16;
/// The number of records that marks the end block.
const END: u32 = u32::MAX;

/// Whether a file must outlive the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It is what a later run goes on from.
    Synced,
    /// It is made again.
    Scratch,
}

/// Writes one run file.
#[derive(Debug)]
pub(super) struct RunWriter {
    file: File,
    path: PathBuf,
    temporary: PathBuf,
    durability: Durability,
    block_bytes: usize,
    /// The block that is filled, behind room for its header.
    block: Vec<u8>,
    records_in_block: u32,
    num_blocks: u64,
    num_records: u64,
}

impl RunWriter {
    /// Begins a file that will be `path`.
    pub(super) fn create<R: Record>(
        path: &Path,
        settings: u64,
        (block_bytes, durability): (usize, Durability),
    ) -> Result<Self, DedupError> {
        let temporary = path.with_extension("tmp");
        let mut file = File::create(&temporary).map_err(DedupError::io(&temporary))?;
        file.write_all(&header::<R>(settings)).map_err(DedupError::io(&temporary))?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            temporary,
            durability,
            block_bytes,
            block: vec![0; BLOCK_HEADER_BYTES],
            records_in_block: 0,
            num_blocks: 0,
            num_records: 0,
        })
    }

    /// Adds a record, no smaller than the last.
    pub(super) fn push<R: Record>(&mut self, record: &R) -> Result<(), DedupError> {
        let before = self.block.len();
        record.encode(&mut self.block);
        if self.block.len() > self.block_bytes && before > BLOCK_HEADER_BYTES {
            let record = self.block.split_off(before);
            self.write_block(self.records_in_block)?;
            self.num_blocks += 1;
            self.block.extend_from_slice(&record);
            self.records_in_block = 0;
        }
        self.records_in_block += 1;
        self.num_records += 1;
        Ok(())
    }

    /// Ends the file and gives it its name.
    pub(super) fn finish(mut self) -> Result<(), DedupError> {
        if self.records_in_block > 0 {
            self.write_block(self.records_in_block)?;
            self.num_blocks += 1;
        }
        self.block.extend_from_slice(&self.num_blocks.to_le_bytes());
        self.block.extend_from_slice(&self.num_records.to_le_bytes());
        self.write_block(END)?;
        if self.durability == Durability::Synced {
            self.file.sync_all().map_err(DedupError::io(&self.temporary))?;
        }
        std::fs::rename(&self.temporary, &self.path).map_err(DedupError::io(&self.path))?;
        if self.durability == Durability::Synced { sync_folder_of(&self.path) } else { Ok(()) }
    }

    fn write_block(&mut self, records: u32) -> Result<(), DedupError> {
        let payload = self.block.len() - BLOCK_HEADER_BYTES;
        let length = u32::try_from(payload).map_err(|_| DedupError::Parameter {
            field: "record",
            expected: "less than 4 GiB".into(),
            got: format!("{payload} bytes"),
        })?;
        self.block[..4].copy_from_slice(&length.to_le_bytes());
        self.block[4..8].copy_from_slice(&records.to_le_bytes());
        let sum = block_sum(&self.block[..8], &self.block[BLOCK_HEADER_BYTES..]);
        self.block[8..BLOCK_HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all(&self.block).map_err(DedupError::io(&self.temporary))?;
        self.block.truncate(BLOCK_HEADER_BYTES);
        Ok(())
    }
}

/// Makes a rename in the folder of `path` outlive the machine.
pub(super) fn sync_folder_of(path: &Path) -> Result<(), DedupError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DedupError::io(folder))
}

/// Reads one run file.
#[derive(Debug)]
pub(super) struct RunReader<R> {
    file: File,
    path: PathBuf,
    /// Bytes of the file that are not read yet.
    left: u64,
    payload: Vec<u8>,
    at: usize,
    records_in_block: u32,
    num_blocks: u64,
    num_records: u64,
    is_at_end: bool,
    kind: PhantomData<R>,
}

impl<R: Record> RunReader<R> {
    /// Opens a file and checks its header.
    pub(super) fn open(path: &Path, settings: u64) -> Result<Self, DedupError> {
        let mut file = File::open(path).map_err(DedupError::io(path))?;
        let length = file.metadata().map_err(DedupError::io(path))?.len();
        let mut head = [0; HEADER_BYTES];
        read(&mut file, path, Place::Header, &mut head)?;
        check_header::<R>(path, settings, &head)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            left: length.saturating_sub(HEADER_BYTES as u64),
            payload: Vec::new(),
            at: 0,
            records_in_block: 0,
            num_blocks: 0,
            num_records: 0,
            is_at_end: false,
            kind: PhantomData,
        })
    }

    /// The next record; none at the end.
    pub(super) fn next(&mut self) -> Result<Option<R>, DedupError> {
        while self.records_in_block == 0 {
            if self.is_at_end {
                return Ok(None);
            }
            self.read_block()?;
        }
        let mut rest = &self.payload[self.at..];
        let Some(record) = R::decode(&mut rest) else {
            return Err(self.damaged(self.num_blocks - 1, "its bytes are no record"));
        };
        self.at = self.payload.len() - rest.len();
        self.records_in_block -= 1;
        self.num_records += 1;
        if self.records_in_block == 0 && !rest.is_empty() {
            return Err(self.damaged(self.num_blocks - 1, "bytes are left behind its records"));
        }
        Ok(Some(record))
    }

    fn read_block(&mut self) -> Result<(), DedupError> {
        let place = Place::Block(self.num_blocks);
        let mut head = [0; BLOCK_HEADER_BYTES];
        read(&mut self.file, &self.path, place, &mut head)?;
        self.left = self.left.saturating_sub(BLOCK_HEADER_BYTES as u64);
        let [length, records, sum] = words(&head);
        if u64::from(length) > self.left {
            return Err(self.damaged(self.num_blocks, "the file ends within it"));
        }
        self.payload.resize(length as usize, 0);
        read(&mut self.file, &self.path, place, &mut self.payload)?;
        self.left -= u64::from(length);
        if block_sum(&head[..8], &self.payload) != sum {
            return Err(self.damaged(self.num_blocks, "its checksum does not match"));
        }
        self.at = 0;
        if records == END {
            return self.check_end();
        }
        self.records_in_block = records;
        self.num_blocks += 1;
        Ok(())
    }

    fn check_end(&mut self) -> Result<(), DedupError> {
        self.is_at_end = true;
        let mut rest = self.payload.as_slice();
        let counts = [take(&mut rest).map(u64::from_le_bytes), take(&mut rest).map(u64::from_le_bytes)];
        if counts != [Some(self.num_blocks), Some(self.num_records)] || self.payload.len() != END_BYTES {
            return Err(self.damaged(self.num_blocks, "the end counts other blocks or records"));
        }
        if self.left > 0 {
            return Err(self.damaged(self.num_blocks, "bytes are left behind the end"));
        }
        Ok(())
    }

    fn damaged(&self, block: u64, what: &str) -> DedupError {
        DedupError::Damaged { path: self.path.clone(), place: Place::Block(block), what: what.into() }
    }
}

fn read(file: &mut File, path: &Path, place: Place, bytes: &mut [u8]) -> Result<(), DedupError> {
    file.read_exact(bytes).map_err(|source| match source.kind() {
        ErrorKind::UnexpectedEof => {
            DedupError::Damaged { path: path.to_path_buf(), place, what: "the file ends within it".into() }
        }
        _ => DedupError::Io { path: path.to_path_buf(), source },
    })
}

fn words(head: &[u8; BLOCK_HEADER_BYTES]) -> [u32; 3] {
    [0, 4, 8].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]))
}

fn block_sum(head: &[u8], payload: &[u8]) -> u32 {
    crc32c_append(crc32c(head), payload)
}

fn header<R: Record>(settings: u64) -> [u8; HEADER_BYTES] {
    let mut head = [0; HEADER_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&R::KIND);
    head[12..20].copy_from_slice(&settings.to_le_bytes());
    let sum = crc32c(&head[..20]);
    head[20..].copy_from_slice(&sum.to_le_bytes());
    head
}

fn check_header<R: Record>(path: &Path, settings: u64, head: &[u8; HEADER_BYTES]) -> Result<(), DedupError> {
    let expected = header::<R>(settings);
    if *head == expected {
        return Ok(());
    }
    let is_whole = head[..8] == MAGIC && crc32c(&head[..20]).to_le_bytes() == head[20..];
    if !is_whole {
        let what = "it is not the header of a run file, or its checksum does not match".into();
        return Err(DedupError::Damaged { path: path.to_path_buf(), place: Place::Header, what });
    }
    let shown = |head: &[u8; HEADER_BYTES]| {
        let mut rest = &head[12..];
        let settings = take(&mut rest).map_or(0, u64::from_le_bytes);
        format!("kind {}, settings {settings:016x}", head[8..12].escape_ascii())
    };
    Err(DedupError::OtherWork { path: path.to_path_buf(), expected: shown(&expected), got: shown(head) })
}

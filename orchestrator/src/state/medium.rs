//! Where a journal's bytes lie: a file, or memory that a simulation can cut at any byte that was not synced.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes in memory with the length that a crash leaves at least.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Disk>>);

#[derive(Debug, Default)]
struct Disk {
    bytes: Vec<u8>,
    synced: usize,
}

impl MemoryDisk {
    /// What is there.
    pub fn bytes(&self) -> Vec<u8> {
        self.with(|disk| disk.bytes.clone())
    }

    /// A crash: of what was not synced only the first `kept` bytes stay.
    pub fn crash(&self, kept: usize) {
        self.with(|disk| {
            let length = (disk.synced + kept).min(disk.bytes.len());
            disk.bytes.truncate(length);
            disk.synced = length;
        });
    }

    /// Bytes that a crash may take.
    pub fn unsynced(&self) -> usize {
        self.with(|disk| disk.bytes.len() - disk.synced)
    }

    fn with<T>(&self, change: impl FnOnce(&mut Disk) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Where a journal's bytes lie.
#[derive(Debug)]
pub(super) enum Medium {
    /// A file.
    File(File),
    /// Memory.
    Memory(MemoryDisk),
}

impl Medium {
    /// Cuts to `end` and goes on from there.
    pub(super) fn cut(&mut self, end: u64) -> std::io::Result<()> {
        match self {
            Self::File(file) => {
                file.set_len(end)?;
                file.seek(SeekFrom::Start(end)).map(|_| ())
            }
            Self::Memory(disk) => {
                disk.with(|disk| {
                    disk.bytes.truncate(end as usize);
                    disk.synced = disk.synced.min(end as usize);
                });
                Ok(())
            }
        }
    }

    /// Appends.
    pub(super) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Memory(disk) => {
                disk.with(|disk| disk.bytes.extend_from_slice(bytes));
                Ok(())
            }
        }
    }

    /// Returns when what was appended is durable.
    pub(super) fn sync(&mut self) -> std::io::Result<()> {
        match self {
            Self::File(file) => file.sync_data(),
            Self::Memory(disk) => {
                disk.with(|disk| disk.synced = disk.bytes.len());
                Ok(())
            }
        }
    }
}

/// Makes a folder's entries durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all())
}

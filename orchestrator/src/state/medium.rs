//! What a journal is written to: a file, or memory that can lose power at any moment, for the simulation.

use std::fs::File;
use std::io::{Error, Result, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a journal is written to.
pub(super) trait Medium: std::fmt::Debug + Send {
    /// Adds bytes at the end; they may be lost until [`Medium::sync`] is done.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes everything that was added durable.
    fn sync(&mut self) -> Result<()>;

    /// Cuts to `end` and goes on from there.
    fn cut(&mut self, end: u64) -> Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> Result<()> {
        self.sync_data()
    }

    fn cut(&mut self, end: u64) -> Result<()> {
        self.set_len(end)?;
        self.seek(SeekFrom::Start(end)).map(|_| ())
    }
}

/// A file in memory that knows which of its bytes are durable.
#[derive(Debug, Clone, Default)]
pub struct MemoryFile(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    bytes: Vec<u8>,
    durable: usize,
    syncs_left: Option<u32>,
}

impl MemoryFile {
    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets power fail at the sync after `syncs` more of them.
    pub fn fail_after(&self, syncs: u32) {
        self.contents().syncs_left = Some(syncs);
    }

    /// Power comes back: of what was not durable the first `share` is there.
    pub fn restart(&self, share: f64) {
        let mut contents = self.contents();
        let torn = contents.bytes.len() - contents.durable;
        let kept = contents.durable + (torn as f64 * share) as usize;
        contents.bytes.truncate(kept);
        contents.durable = contents.bytes.len();
        contents.syncs_left = None;
    }

    /// What is in it.
    pub fn read(&self) -> Vec<u8> {
        self.contents().bytes.clone()
    }
}

impl Medium for MemoryFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.contents().bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let mut contents = self.contents();
        match &mut contents.syncs_left {
            Some(0) => return Err(Error::other("the power failed")),
            Some(left) => *left -= 1,
            None => {}
        }
        contents.durable = contents.bytes.len();
        Ok(())
    }

    fn cut(&mut self, end: u64) -> Result<()> {
        let mut contents = self.contents();
        if contents.syncs_left == Some(0) {
            return Err(Error::other("the power failed"));
        }
        contents.bytes.truncate(end as usize);
        contents.durable = contents.durable.min(end as usize);
        Ok(())
    }
}

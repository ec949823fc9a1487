//! How a packed file is read on behind damage.

use std::io::{Seek, SeekFrom};

use memchr::memmem;

use super::{Input, Packing, ReadError};
use crate::read::{gzip, zst};

/// How far behind a damage's discovery the next member may begin.
const LOOK_BACK_BYTES: u64 = 64 << 10;
/// Packed bytes that tell whether a member is one of records.
const TRIAL_BYTES: usize = 4 << 10;

impl Input {
    /// Goes on behind damage, at the next member whose data begins with `prefix`. The window is empty then.
    ///
    /// Returns whether there is one.
    pub(in crate::read) fn resynchronise(&mut self, prefix: &[u8]) -> Result<bool, ReadError> {
        let member = self.member_offset;
        let found_at = self.raw_offset;
        let from = found_at.saturating_sub(LOOK_BACK_BYTES).max(member + 1).max(self.broken_offset);
        self.broken_offset = found_at.max(member + 1);
        self.position += (self.end - self.start) as u64;
        (self.start, self.end) = (0, 0);
        self.marks.clear();
        self.seek_raw(from)?;
        let magic: &[u8] = match &mut self.packing {
            Packing::Plain => return Ok(false),
            Packing::Gzip(gzip) => {
                gzip.reset();
                &gzip::MAGIC
            }
            Packing::Zst(zst) => {
                zst.reset();
                &zst::MAGIC
            }
        };
        let finder = memmem::Finder::new(magic);
        loop {
            let packed = self.raw.get(self.raw_start..self.raw_end).unwrap_or_default();
            let Some(at) = finder.find(packed) else {
                self.pass_raw(packed.len().saturating_sub(magic.len() - 1));
                if !self.read_raw()? {
                    return Ok(false);
                }
                continue;
            };
            self.pass_raw(at);
            while self.raw_end - self.raw_start < TRIAL_BYTES && self.read_raw()? {}
            let packed = self.raw.get(self.raw_start..self.raw_end).unwrap_or_default();
            let packed = packed.get(..TRIAL_BYTES).unwrap_or(packed);
            let good = match &self.packing {
                Packing::Zst(_) => zst::begins_with(packed, prefix, &self.dictionary),
                _ => gzip::begins_with(packed, prefix),
            };
            if good {
                self.broken = None;
                return Ok(true);
            }
            self.pass_raw(1);
        }
    }

    fn pass_raw(&mut self, length: usize) {
        self.raw_start += length;
        self.raw_offset += length as u64;
    }

    fn seek_raw(&mut self, offset: u64) -> Result<(), ReadError> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| ReadError::io(&self.path, error))?;
        (self.raw_start, self.raw_end, self.raw_offset) = (0, 0, offset);
        Ok(())
    }
}

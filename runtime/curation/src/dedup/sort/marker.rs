//! Markers of finished inputs: one small file each, so that finishing one costs the same whatever their number.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crc32c::crc32c;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::run::sync_folder_of;
use crate::dedup::error::{DedupError, Place};

/// What a finished input left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Marker {
    /// Kind of its records.
    pub(super) kind: String,
    /// Fingerprint of the work's settings.
    pub(super) settings: u64,
    /// The input's name.
    pub(super) name: String,
    /// Run files.
    pub(super) num_runs: usize,
    /// Records in them.
    pub(super) num_records: u64,
}

/// What the files of an input begin with.
pub(super) fn prefix_of(name: &str) -> String {
    format!("in-{:032x}", xxh3_128(name.as_bytes()))
}

impl Marker {
    /// Where the marker of an input lies.
    pub(super) fn path(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{}.done", prefix_of(name)))
    }

    /// The input's run files.
    pub(super) fn runs(&self, folder: &Path) -> Vec<PathBuf> {
        let prefix = prefix_of(&self.name);
        (0..self.num_runs).map(|run| folder.join(format!("{prefix}-{run:06}.run"))).collect()
    }

    /// Writes the marker; what it says is true from here on.
    pub(super) fn write(&self, folder: &Path) -> Result<(), DedupError> {
        let path = Self::path(folder, &self.name);
        let temporary = path.with_extension("tmp");
        let text = serde_json::to_string(self)
            .map_err(|error| DedupError::Io { path: path.clone(), source: std::io::Error::other(error) })?;
        let line = format!("{text}\n{:08x}\n", crc32c(text.as_bytes()));
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&temporary)?;
            file.write_all(line.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&temporary, &path)
        };
        write().map_err(DedupError::io(&path))?;
        sync_folder_of(&path)
    }

    /// Reads a marker.
    pub(super) fn read(path: &Path) -> Result<Self, DedupError> {
        let bytes = std::fs::read(path).map_err(DedupError::io(path))?;
        Self::parse(&bytes).ok_or_else(|| DedupError::Damaged {
            path: path.to_path_buf(),
            place: Place::Header,
            what: "its checksum does not match".into(),
        })
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
        let (text, sum) = text.split_once('\n')?;
        let expected = format!("{:08x}", crc32c(text.as_bytes()));
        (sum == expected).then(|| serde_json::from_str(text).ok())?
    }
}

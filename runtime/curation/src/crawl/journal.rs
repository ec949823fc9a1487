//! What a crawl has found and done, line by line, on disk before it counts.
//!
//! An address that was found is a line, and one that is done. Lines of the links of a page stand before the line that says that the page is done. A last line
//! without its end was being written when the crawl was killed, and is cut off.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{CrawlError, CrawlSkip};

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Line {
    /// The parameters that bind the journal to its crawl; the first line.
    Crawl { fingerprint: String },
    /// An address waits.
    Found {
        url: String,
        depth: u32,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        via: Vec<String>,
    },
    /// An address was not taken up.
    Skipped { url: String, reason: CrawlSkip },
    /// An address is done.
    Done(Done),
    /// A sitemap is read.
    Sitemap { url: String },
}

/// The end of an address.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Done {
    pub(super) url: String,
    /// The answer's status; 0 if there was none.
    pub(super) status: u16,
    /// Why it gave no page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) skip: Option<CrawlSkip>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) detail: String,
    /// Whether it is in the archive.
    pub(super) archived: bool,
    /// Bytes of its body.
    pub(super) bytes: u64,
    #[serde(default)]
    pub(super) truncated: bool,
    #[serde(default)]
    pub(super) nofollow: u64,
    /// The archive's end behind it.
    pub(super) file: u32,
    pub(super) file_bytes: u64,
}

/// The file. It is locked as long as this lives: two crawls can't write into one folder.
pub(super) struct Journal {
    path: PathBuf,
    file: File,
}

impl Journal {
    /// Opens a journal, and gives what it has line by line.
    ///
    /// # Errors
    /// It is another crawl's, is in use, is damaged, or the disk fails.
    pub(super) fn open(
        path: &Path,
        fingerprint: &str,
        replay: &mut dyn FnMut(Line),
    ) -> Result<Self, CrawlError> {
        let io = |error| CrawlError::io(path, error);
        let file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(CrawlError::Busy { path: path.to_path_buf() }),
            Err(TryLockError::Error(error)) => return Err(io(error)),
        }
        let mut reader = BufReader::new(file);
        let (mut good_bytes, mut number, mut text) = (0_u64, 0_u64, Vec::new());
        loop {
            text.clear();
            let read = reader.read_until(b'\n', &mut text).map_err(io)?;
            if !text.ends_with(b"\n") {
                break;
            }
            number += 1;
            let line: Line = serde_json::from_slice(&text).map_err(|error| CrawlError::Journal {
                path: path.to_path_buf(),
                line: number,
                detail: error.to_string(),
            })?;
            match line {
                Line::Crawl { fingerprint: own } if number == 1 && own != fingerprint => {
                    return Err(CrawlError::OtherCrawl { path: path.to_path_buf() });
                }
                line => replay(line),
            }
            good_bytes += read as u64;
        }
        let file = reader.into_inner();
        file.set_len(good_bytes).map_err(io)?;
        let mut journal = Self { path: path.to_path_buf(), file };
        if number == 0 {
            journal.append(&[Line::Crawl { fingerprint: fingerprint.to_owned() }])?;
        }
        Ok(journal)
    }

    /// Appends lines, and has them on disk when it returns, with those that were noted before.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn append(&mut self, lines: &[Line]) -> Result<(), CrawlError> {
        self.note(lines)?;
        self.file.sync_data().map_err(|error| CrawlError::io(&self.path, error))
    }

    /// Appends lines that may be lost in a crash: what they say would be found out again without a request.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn note(&mut self, lines: &[Line]) -> Result<(), CrawlError> {
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)
                .map_err(|error| CrawlError::io(&self.path, error.into()))?;
            text.push(b'\n');
        }
        self.file.write_all(&text).map_err(|error| CrawlError::io(&self.path, error))
    }
}

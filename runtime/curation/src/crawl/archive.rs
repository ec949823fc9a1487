//! The archive's files: WARC 1.1, one gzip member a record.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::fetch::Fetched;
use super::{Crawl, CrawlError};

/// Where the archive ends: the number of its last file and that file's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct End {
    pub(super) file: u32,
    pub(super) bytes: u64,
}

/// Writes records.
pub(super) struct Archive {
    folder: PathBuf,
    file: File,
    end: End,
    max_bytes: u64,
    user_agent: String,
    respect_robots: bool,
}

/// The name of a file of the archive.
pub(super) fn file_name(number: u32) -> String {
    format!("crawl-{number:05}.warc.gz")
}

impl Archive {
    /// Opens the archive at a known end; what is behind it was not told to the journal and goes.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn open(folder: &Path, end: End, crawl: &Crawl) -> Result<Self, CrawlError> {
        let mut later = end.file + 1;
        while folder.join(file_name(later)).exists() {
            let path = folder.join(file_name(later));
            std::fs::remove_file(&path).map_err(|error| CrawlError::io(&path, error))?;
            later += 1;
        }
        let path = folder.join(file_name(end.file));
        let file = open_at(&path, end.bytes).map_err(|error| CrawlError::io(&path, error))?;
        let (user_agent, respect_robots) = (crawl.user_agent.clone(), crawl.respect_robots);
        let mut archive = Self {
            folder: folder.to_path_buf(),
            file,
            end,
            max_bytes: crawl.warc_bytes,
            user_agent,
            respect_robots,
        };
        if end.bytes == 0 {
            archive.begin_file()?;
        }
        Ok(archive)
    }

    /// Writes request and answer, and has them on disk when it returns.
    ///
    /// # Errors
    /// The disk fails.
    pub(super) fn write(&mut self, url: &str, fetched: &Fetched) -> Result<End, CrawlError> {
        if self.end.bytes >= self.max_bytes {
            self.end = End { file: self.end.file + 1, bytes: 0 };
            let path = self.folder.join(file_name(self.end.file));
            self.file = open_at(&path, 0).map_err(|error| CrawlError::io(&path, error))?;
            self.begin_file()?;
        }
        let date = now();
        let id = record_id(&[url.as_bytes(), date.as_bytes(), b"response"]);
        let block = [fetched.head.as_slice(), &fetched.body].concat();
        let mut fields = vec![
            ("WARC-Type", "response".to_owned()),
            ("WARC-Record-ID", id.clone()),
            ("WARC-Date", date.clone()),
            ("WARC-Target-URI", url.to_owned()),
            ("Content-Type", "application/http; msgtype=response".to_owned()),
            ("WARC-Payload-Digest", digest(&fetched.body)),
        ];
        if let Some(address) = fetched.address {
            fields.push(("WARC-IP-Address", address.to_string()));
        }
        if let Some(reason) = fetched.truncated {
            fields.push(("WARC-Truncated", reason.to_owned()));
        }
        let answer = member(&fields, &block);
        let request = [
            ("WARC-Type", "request".to_owned()),
            ("WARC-Record-ID", record_id(&[url.as_bytes(), date.as_bytes(), b"request"])),
            ("WARC-Date", date),
            ("WARC-Target-URI", url.to_owned()),
            ("WARC-Concurrent-To", id),
            ("Content-Type", "application/http; msgtype=request".to_owned()),
        ];
        self.append(&[member(&request, &fetched.request), answer].concat())?;
        Ok(self.end)
    }

    fn begin_file(&mut self) -> Result<(), CrawlError> {
        let date = now();
        let name = file_name(self.end.file);
        let robots = if self.respect_robots { "classic" } else { "ignore" };
        let version = env!("CARGO_PKG_VERSION");
        let agent = &self.user_agent;
        let info = format!(
            "software: cupola/{version}\r\nformat: WARC File Format 1.1\r\nhttp-header-user-agent: {agent}\r\nrobots: {robots}\r\n"
        );
        let fields = [
            ("WARC-Type", "warcinfo".to_owned()),
            ("WARC-Record-ID", record_id(&[name.as_bytes(), date.as_bytes()])),
            ("WARC-Date", date),
            ("WARC-Filename", name),
            ("Content-Type", "application/warc-fields".to_owned()),
        ];
        self.append(&member(&fields, info.as_bytes()))?;
        // The name must be there after a crash as well as the bytes.
        let synced = File::open(&self.folder).and_then(|folder| folder.sync_all());
        synced.map_err(|error| CrawlError::io(&self.folder, error))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), CrawlError> {
        let path = || self.folder.join(file_name(self.end.file));
        self.file.write_all(bytes).map_err(|error| CrawlError::io(&path(), error))?;
        self.file.sync_data().map_err(|error| CrawlError::io(&path(), error))?;
        self.end.bytes += bytes.len() as u64;
        Ok(())
    }

    pub(super) fn end(&self) -> End {
        self.end
    }
}

fn open_at(path: &Path, bytes: u64) -> std::io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let there = file.metadata()?.len();
    if there < bytes {
        let detail =
            format!("has {there} bytes of the {bytes} that the journal speaks of; crawl into another folder");
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, detail));
    }
    file.set_len(bytes)?;
    Ok(file)
}

/// The time as WARC writes it.
fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn member(fields: &[(&str, String)], block: &[u8]) -> Vec<u8> {
    let mut record = b"WARC/1.1\r\n".to_vec();
    for (name, value) in fields {
        record.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    record.extend_from_slice(format!("WARC-Block-Digest: {}\r\n", digest(block)).as_bytes());
    record.extend_from_slice(format!("Content-Length: {}\r\n\r\n", block.len()).as_bytes());
    record.extend_from_slice(block);
    record.extend_from_slice(b"\r\n\r\n");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // A vector takes all.
    let _ = encoder.write_all(&record);
    encoder.finish().unwrap_or_default()
}

/// A name for a record that no other has: a UUID (version 8, RFC 9562) of what it is about.
fn record_id(parts: &[&[u8]]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let hash = hash.finalize();
    let mut half = [0; 16];
    half.copy_from_slice(&hash[..16]);
    let hex = format!("{:032x}", u128::from_be_bytes(half));
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..]);
    format!("<urn:uuid:{a}-{b}-8{c}-8{d}-{e}>")
}

/// A digest as WARC writes it: base 32 (RFC 4648).
fn digest(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = Sha256::digest(bytes);
    let mut text = String::from("sha256:");
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in hash {
        bits = (bits << 8) | u32::from(byte);
        held += 8;
        while held >= 5 {
            held -= 5;
            text.push(char::from(ALPHABET[(bits >> held & 31) as usize]));
        }
        bits &= 31;
    }
    if held > 0 {
        text.push(char::from(ALPHABET[(bits << (5 - held) & 31) as usize]));
    }
    // 32 bytes are 52 characters, padded to 56.
    text + "===="
}

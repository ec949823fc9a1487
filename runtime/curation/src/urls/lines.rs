//! The entries of a list: one a line, without comments, unpacked where it is gzip.

use std::io::{BufRead, BufReader, Read};

use flate2::read::MultiGzDecoder;

use super::error::UrlError;

/// Most bytes that a list may unpack to.
const MAX_BYTES: u64 = 8 << 30;
/// Longest line, bytes.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// A line that is no entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// The list.
    pub list: String,
    /// Counted from 1.
    pub line: u64,
    /// The start of the line.
    pub text: String,
}

/// Gives each entry of a list with its line.
pub(super) fn for_each(list: &str, bytes: &[u8], mut take: impl FnMut(u64, &str)) -> Result<(), UrlError> {
    let is_gzip = bytes.starts_with(&[0x1f, 0x8b]);
    let unpacked: Box<dyn Read + '_> =
        if is_gzip { Box::new(MultiGzDecoder::new(bytes)) } else { Box::new(bytes) };
    let mut reader = BufReader::with_capacity(1 << 16, unpacked);
    let (mut line, mut number, mut total) = (Vec::new(), 0, 0);
    loop {
        line.clear();
        let read = (&mut reader).take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
        let length =
            read.map_err(|error| UrlError::Gzip { list: list.into(), message: error.to_string() })? as u64;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        total += length;
        if length > MAX_LINE_BYTES {
            return Err(UrlError::LongLine { list: list.into(), line: number, limit_bytes: MAX_LINE_BYTES });
        }
        if total > MAX_BYTES {
            return Err(UrlError::TooLarge { list: list.into(), limit_bytes: MAX_BYTES });
        }
        let text = String::from_utf8_lossy(&line);
        let entry = text.trim_start_matches('\u{feff}').trim();
        // A comment may stand behind an entry, parted by a blank: `#` is part of addresses.
        let entry = entry.split_once(" #").map_or(entry, |(entry, _)| entry.trim_end());
        if !entry.is_empty() && !entry.starts_with('#') {
            take(number, entry);
        }
    }
}

//! An HTTP response as a record's block holds it.

use std::borrow::Cow;

use super::chunked::dechunk;
use super::coding::unpack;
use super::header::block_end;
use crate::read::item::Refusal;
use crate::read::{Limits, SkipReason};

/// What is needed of a response.
#[derive(Debug)]
pub(super) struct Response<'a> {
    pub(super) status: u16,
    pub(super) content_type: &'a [u8],
    pub(super) language: &'a [u8],
    encodings: String,
    chunked: bool,
    stored: &'a [u8],
}

/// A body without its codings.
pub(super) struct Body<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether its end is missing.
    pub(super) cut: bool,
}

impl<'a> Response<'a> {
    /// Parses status line and header block.
    ///
    /// # Errors
    /// There is no status line; the header block is over its limits.
    pub(super) fn parse(block: &'a [u8], limits: &Limits) -> Result<Self, Refusal> {
        let line = block.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let Some(status) = status(line) else {
            let begin = line.get(..40).unwrap_or(line).escape_ascii().to_string();
            return Err((SkipReason::BadHttpHeader, begin));
        };
        let end = block_end(block, 0).unwrap_or(block.len());
        if end as u64 > limits.header_bytes {
            return Err((SkipReason::HeadersTooLarge, format!("{end} bytes of HTTP header")));
        }
        let (head, stored) = block.split_at_checked(end).unwrap_or((block, &[]));
        let (content_type, language) = (&[][..], &[][..]);
        let mut response =
            Response { status, content_type, language, encodings: String::new(), chunked: false, stored };
        for (at, line) in head.split(|byte| *byte == b'\n').skip(1).enumerate() {
            if at as u64 > limits.num_headers {
                return Err((
                    SkipReason::HeadersTooLarge,
                    format!("more than {} fields", limits.num_headers),
                ));
            }
            if let Some(colon) = memchr::memchr(b':', line) {
                let (name, value) = line.split_at_checked(colon).unwrap_or_default();
                response.set(name.trim_ascii(), value.get(1..).unwrap_or_default().trim_ascii());
            }
        }
        Ok(response)
    }

    fn set(&mut self, name: &[u8], value: &'a [u8]) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("Content-Type") && self.content_type.is_empty() {
            self.content_type = value;
        } else if is("Content-Language") {
            self.language = value;
        } else if is("Content-Encoding") {
            if !self.encodings.is_empty() {
                self.encodings.push(',');
            }
            self.encodings.push_str(&String::from_utf8_lossy(value));
        } else if is("Transfer-Encoding") {
            self.chunked |= value.to_ascii_lowercase().ends_with(b"chunked");
        }
    }

    /// The body without its transfer and content codings.
    ///
    /// # Errors
    /// See [`unpack`].
    pub(super) fn body(&self, limits: &Limits) -> Result<Body<'a>, Refusal> {
        let mut cut = false;
        let mut bytes = Cow::Borrowed(self.stored);
        if self.chunked
            && let Some(joined) = dechunk(self.stored)
        {
            cut = !joined.complete;
            bytes = Cow::Owned(joined.body);
        }
        let unpacked = unpack(bytes, &self.encodings, limits)?;
        if unpacked.body.len() as u64 > limits.body_bytes {
            return Err((SkipReason::BodyTooLarge, format!("{} bytes", unpacked.body.len())));
        }
        Ok(Body { bytes: unpacked.body, cut: cut || unpacked.cut })
    }
}

/// The status of `HTTP/1.1 200 OK`; the reason may be missing.
fn status(line: &[u8]) -> Option<u16> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.next().filter(|word| word.starts_with(b"HTTP/"))?;
    let status = std::str::from_utf8(words.next()?).ok()?.parse().ok()?;
    (100..1000).contains(&status).then_some(status)
}

//! Content codings of a body (RFC 9110, section 8.4), with a bound on what they unpack to.

use std::borrow::Cow;
use std::io::{self, BufReader, Read};

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use crate::read::item::Refusal;
use crate::read::{Limits, SkipReason};

/// A frame of zstd may ask for a window of two to this many bytes: what RFC 9659 allows on the web.
const ZSTD_WINDOW_LOG: u32 = 23;

/// An unpacked body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unpacked<'a> {
    /// Its bytes.
    pub(super) body: Cow<'a, [u8]>,
    /// Whether the packed bytes ended too early.
    pub(super) cut: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

/// Takes off the codings that a `Content-Encoding` names, the last one first.
///
/// A body that plainly is not in a coding is left as it is: crawlers that store bodies unpacked leave the header as it was.
///
/// # Errors
/// A coding that is not known, too many of them, damage before anything was unpacked, and bodies over the limits.
pub(super) fn unpack<'a>(
    body: Cow<'a, [u8]>,
    encodings: &str,
    limits: &Limits,
) -> Result<Unpacked<'a>, Refusal> {
    // Bombs are judged by what came over the wire, however many codings it has.
    let stored_bytes = body.len() as u64;
    let mut unpacked = Unpacked { body, cut: false };
    for (depth, name) in encodings.split(',').rev().map(str::trim).enumerate() {
        if depth as u64 >= limits.num_codings {
            let detail = format!("more than {} codings", limits.num_codings);
            return Err((SkipReason::UnknownContentEncoding, detail));
        }
        let Some(coding) = coding(name)? else { continue };
        if !is_in(coding, &unpacked.body) {
            continue;
        }
        match unpack_one(coding, &unpacked.body, stored_bytes, limits)? {
            Some((body, cut)) => unpacked = Unpacked { body: Cow::Owned(body), cut: unpacked.cut || cut },
            None if looks_plain(&unpacked.body) => {}
            None => return Err((SkipReason::BadContentEncoding, name.to_owned())),
        }
    }
    Ok(unpacked)
}

fn coding(name: &str) -> Result<Option<Coding>, Refusal> {
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "gzip" | "x-gzip" => Ok(Some(Coding::Gzip)),
        "deflate" => Ok(Some(Coding::Deflate)),
        "br" => Ok(Some(Coding::Brotli)),
        "zstd" => Ok(Some(Coding::Zstd)),
        // What servers write that mean no coding.
        "" | "identity" | "none" | "utf-8" | "utf8" | "binary" | "8bit" | "chunked" => Ok(None),
        _ => Err((SkipReason::UnknownContentEncoding, name.chars().take(40).collect())),
    }
}

/// Whether a body can be in a coding, by its first bytes; brotli and raw deflate have none.
fn is_in(coding: Coding, body: &[u8]) -> bool {
    match coding {
        Coding::Gzip => body.starts_with(&[0x1f, 0x8b]),
        Coding::Zstd => body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        Coding::Deflate | Coding::Brotli => !body.is_empty(),
    }
}

fn looks_plain(body: &[u8]) -> bool {
    let head = body.get(..1024).unwrap_or(body);
    head.trim_ascii_start().starts_with(b"<")
        || head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace())
}

/// `None`: nothing of it could be unpacked. The flag says that it ended in the middle.
fn unpack_one(
    coding: Coding,
    packed: &[u8],
    stored_bytes: u64,
    limits: &Limits,
) -> Result<Option<(Vec<u8>, bool)>, Refusal> {
    let unpacked = match coding {
        Coding::Gzip => drain(MultiGzDecoder::new(packed), stored_bytes, limits)?,
        // Browsers take both forms, since servers send both.
        Coding::Deflate => match drain(ZlibDecoder::new(packed), stored_bytes, limits)? {
            (body, _) if body.is_empty() => drain(DeflateDecoder::new(packed), stored_bytes, limits)?,
            zlib => zlib,
        },
        Coding::Brotli => {
            drain(brotli_decompressor::Decompressor::new(packed, 16 << 10), stored_bytes, limits)?
        }
        Coding::Zstd => {
            let decoder = zstd::Decoder::with_buffer(BufReader::new(packed)).and_then(|mut decoder| {
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Ok(decoder)
            });
            match decoder {
                Ok(decoder) => drain(decoder, stored_bytes, limits)?,
                Err(_) => (Vec::new(), true),
            }
        }
    };
    let (body, broken) = unpacked;
    Ok((!body.is_empty() || !broken).then_some((body, broken)))
}

/// All that a decoder gives, and whether it failed at the end.
fn drain(mut decoder: impl Read, stored_bytes: u64, limits: &Limits) -> Result<(Vec<u8>, bool), Refusal> {
    const STEP_BYTES: usize = 64 << 10;
    let mut body = Vec::new();
    loop {
        let length = body.len();
        body.resize(length + STEP_BYTES, 0);
        let read = decoder.read(body.get_mut(length..).unwrap_or_default());
        body.truncate(length + read.as_ref().map_or(0, |read| *read));
        if limits.is_bomb(stored_bytes, body.len() as u64) {
            return Err((SkipReason::ExpandsTooMuch, format!("{} bytes of {stored_bytes}", body.len())));
        }
        if body.len() as u64 > limits.body_bytes {
            return Err((SkipReason::BodyTooLarge, format!("more than {} bytes", limits.body_bytes)));
        }
        match read {
            Ok(0) => return Ok((body, false)),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Ok((body, true)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn body(packed: &[u8], encodings: &str) -> Result<(Vec<u8>, bool), Refusal> {
        let unpacked = unpack(Cow::Borrowed(packed), encodings, &Limits::default())?;
        Ok((unpacked.body.into_owned(), unpacked.cut))
    }

    #[test]
    fn every_coding_is_taken_off_also_one_on_another() {
        let text = b"<p>one two three</p>".repeat(100);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
        raw.write_all(&text).unwrap();
        let whole = Ok((text.clone(), false));
        assert_eq!(body(&gzip(&text), "GZIP"), whole);
        assert_eq!(body(&zlib.finish().unwrap(), "deflate"), whole);
        assert_eq!(body(&raw.finish().unwrap(), "deflate"), whole);
        assert_eq!(body(&zstd::encode_all(text.as_slice(), 1).unwrap(), "zstd"), whole);
        assert_eq!(body(&gzip(&zstd::encode_all(text.as_slice(), 1).unwrap()), "zstd, gzip"), whole);
        assert_eq!(body(&text, "gzip"), whole, "a header that was left behind");
        assert_eq!(body(&text, "br"), whole);
    }

    #[test]
    fn what_cannot_be_unpacked_is_named() {
        let reason = |packed: &[u8], encodings: &str| body(packed, encodings).unwrap_err().0;
        assert_eq!(reason(b"x", "compress"), SkipReason::UnknownContentEncoding);
        assert_eq!(reason(b"x", "gzip,gzip,gzip,gzip,gzip"), SkipReason::UnknownContentEncoding);
        assert_eq!(reason(&[0x1f, 0x8b, 8, 0xff, 0, 0], "gzip"), SkipReason::BadContentEncoding);
        assert_eq!(reason(&gzip(&gzip(&vec![0; 200 << 20])), "gzip, gzip"), SkipReason::ExpandsTooMuch);
        let noise: Vec<u8> = (0..40_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(reason(&gzip(&noise), "gzip"), SkipReason::BodyTooLarge);
        let text = b"one two three ".repeat(10_000);
        let packed = gzip(&text);
        let (part, cut) = body(&packed[..packed.len() / 2], "gzip").unwrap();
        assert!(cut && !part.is_empty() && text.starts_with(&part));
    }
}

//! Whether content is HTML, text or neither: by its declared type, by its first bytes where there is none (WHATWG, MIME Sniffing).

use super::SkipReason;
use super::item::Refusal;

/// What content is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Html,
    Text,
}

/// Bytes that sniffing looks at.
const SNIFFED_BYTES: usize = 1445;

/// The begins of HTML, each followed by a blank or `>`.
const HTML_BEGINS: [&str; 17] = [
    "<!doctype html",
    "<html",
    "<head",
    "<script",
    "<iframe",
    "<h1",
    "<div",
    "<font",
    "<table",
    "<a",
    "<style",
    "<title",
    "<b",
    "<body",
    "<br",
    "<p",
    "<meta",
];

/// The begins of formats that are no text.
const BINARY_BEGINS: [&[u8]; 22] = [
    b"%PDF-",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x89PNG",
    b"GIF87a",
    b"GIF89a",
    b"\xff\xd8\xff",
    b"RIFF",
    b"\x1f\x8b",
    b"\x7fELF",
    b"OggS",
    b"ID3",
    b"wOFF",
    b"wOF2",
    b"Rar!",
    b"7z\xbc\xaf\x27\x1c",
    b"BZh9",
    b"\xfd7zXZ",
    b"SQLite format 3",
    b"\x28\xb5\x2f\xfd",
    b"\xca\xfe\xba\xbe",
    b"\xd0\xcf\x11\xe0",
];

/// The type of content by its `Content-Type`, and by the content itself where there is none. `None`: there is no declared type, and
/// no content was given.
///
/// # Errors
/// The type is neither HTML nor text.
pub(super) fn media_of(content_type: &[u8], content: Option<&[u8]>) -> Result<Option<Media>, Refusal> {
    let essence = content_type.split(|byte| matches!(byte, b';' | b',')).next().unwrap_or_default();
    let essence = String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase();
    match essence.as_str() {
        "text/html" | "application/xhtml+xml" => Ok(Some(Media::Html)),
        "text/plain" => Ok(Some(Media::Text)),
        // What servers and crawlers write for "I do not know".
        "" | "unk" | "unknown" | "no-type" | "*/*" | "application/unknown" | "unknown/unknown" => {
            Ok(content.map(sniff))
        }
        _ => Err((SkipReason::ContentType, essence.chars().take(80).collect())),
    }
}

fn sniff(content: &[u8]) -> Media {
    let head = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let head = head.get(..SNIFFED_BYTES).unwrap_or(head).trim_ascii_start();
    let begins = |word: &str| {
        head.get(..word.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(word.as_bytes()))
            && matches!(head.get(word.len()), Some(b' ' | b'>' | b'\t' | b'\n' | b'\r' | b'\x0c'))
    };
    let is_html = HTML_BEGINS.iter().any(|word| begins(word)) || head.starts_with(b"<!--");
    if is_html { Media::Html } else { Media::Text }
}

/// Refuses content that is no text, whatever it is called.
///
/// # Errors
/// It begins as a known format does, or has control characters that text has not.
pub(super) fn not_text(content: &[u8]) -> Result<(), Refusal> {
    let trimmed = content.trim_ascii_start();
    if let Some(begin) = BINARY_BEGINS.iter().find(|begin| trimmed.starts_with(begin)) {
        return Err((SkipReason::Binary, format!("begins with {}", begin.escape_ascii())));
    }
    let utf16 = content.starts_with(b"\xff\xfe") || content.starts_with(b"\xfe\xff");
    let head = content.get(..SNIFFED_BYTES).unwrap_or(content);
    let control = head.iter().filter(|byte| matches!(byte, 1..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f)).count();
    // Text of two bytes a character has a zero in many; other text has hardly a control character.
    if !utf16 && control * 20 > head.len() {
        return Err((SkipReason::Binary, format!("{control} control characters in {} bytes", head.len())));
    }
    Ok(())
}

/// Refuses decoded text that is mostly what no encoding has a meaning for.
///
/// # Errors
/// More than one character in ten is U+FFFD or NUL.
pub(super) fn not_decoded(text: &str, num_replaced: u64) -> Result<(), Refusal> {
    let nul = memchr::memchr_iter(0, text.as_bytes()).count() as u64;
    let odd = nul + num_replaced;
    if odd > 0 && odd * 10 > text.chars().count() as u64 {
        return Err((SkipReason::Binary, format!("{num_replaced} undecodable and {nul} NUL characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_declared_or_sniffed() {
        let media =
            |content_type: &[u8], content: &[u8]| media_of(content_type, Some(content)).ok().flatten();
        assert_eq!(media(b"Text/HTML; charset=x", b""), Some(Media::Html));
        assert_eq!(media(b"text/plain", b"<html>"), Some(Media::Text));
        assert_eq!(media(b"", b"\xef\xbb\xbf \n<!DOCTYPE HTML>"), Some(Media::Html));
        assert_eq!(media(b"", b"<article>"), Some(Media::Text));
        assert_eq!(media(b"image/png", b"<html>"), None);
    }

    #[test]
    fn binary_in_disguise_is_refused() {
        assert!(not_text(b"\n%PDF-1.4").is_err());
        assert!(not_text(b"\x01\x02\x03\x04 text").is_err());
        assert!(not_text("plain \u{1b}[1m text, é".as_bytes()).is_ok());
        assert!(not_decoded("a\0b\0c\0", 0).is_err());
        assert!(not_decoded("one\0 of many characters", 0).is_ok());
    }
}

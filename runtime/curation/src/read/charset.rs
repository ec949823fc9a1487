//! Bytes to text: byte order mark, declared encoding, the page's own declaration, then a guess (WHATWG Encoding and HTML standards).
//!
//! One deviation: bytes that are valid UTF-8 and not ASCII are UTF-8, also where a single-byte encoding is declared. Servers that declare
//! their default for everything are common; text in such an encoding that is valid UTF-8 by chance is not.

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use memchr::memmem;

use super::item::Refusal;
use super::media::not_decoded;

/// Bytes in which a page declares its encoding.
const PRESCANNED_BYTES: usize = 1024;
/// Bytes that a guess is made from.
const GUESSED_BYTES: usize = 64 << 10;

/// Text, and how it was decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded<'a> {
    /// The text, without a byte order mark.
    pub text: Cow<'a, str>,
    /// The encoding's WHATWG name.
    pub charset: &'static str,
    /// Characters that became U+FFFD.
    pub num_replaced: u64,
}

/// Decodes content. `content_type` is the header that may name the encoding.
///
/// # Errors
/// The bytes are no text in any encoding.
pub fn decode<'a>(
    bytes: &'a [u8],
    content_type: Option<&[u8]>,
    is_html: bool,
) -> Result<Decoded<'a>, Refusal> {
    let (encoding, body) = match Encoding::for_bom(bytes) {
        Some((encoding, length)) => (encoding, bytes.get(length..).unwrap_or_default()),
        None => (choose(bytes, content_type, is_html), bytes),
    };
    let (text, had_errors) = encoding.decode_without_bom_handling(body);
    let mut num_replaced = 0;
    if had_errors {
        let replacement = "\u{fffd}".as_bytes();
        let own = if encoding == UTF_8 { memmem::find_iter(body, replacement).count() } else { 0 };
        num_replaced = (memmem::find_iter(text.as_bytes(), replacement).count() - own) as u64;
    }
    not_decoded(&text, num_replaced)?;
    Ok(Decoded { text, charset: encoding.name(), num_replaced })
}

fn choose(bytes: &[u8], content_type: Option<&[u8]>, is_html: bool) -> &'static Encoding {
    let declared = content_type.and_then(charset_of).and_then(Encoding::for_label);
    let declared = declared.or_else(|| is_html.then(|| prescan(bytes)).flatten());
    let is_utf8 = || std::str::from_utf8(bytes).is_ok();
    match declared {
        Some(encoding) if encoding.is_single_byte() && !bytes.is_ascii() && is_utf8() => UTF_8,
        Some(encoding) => encoding,
        None if is_utf8() => UTF_8,
        None => guess(bytes),
    }
}

fn guess(bytes: &[u8]) -> &'static Encoding {
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    // Markup is the same in all of them: what tells is where the first other byte stands.
    let first = bytes.iter().position(|byte| !byte.is_ascii()).unwrap_or(0);
    let sample = bytes.get(first..).unwrap_or_default();
    detector.feed(sample.get(..GUESSED_BYTES).unwrap_or(sample), true);
    detector.guess(None, Utf8Detection::Allow)
}

/// The `charset` parameter of a `Content-Type`.
fn charset_of(content_type: &[u8]) -> Option<&[u8]> {
    let at = find_word(content_type, b"charset")?;
    let rest = content_type.get(at + 7..)?.trim_ascii_start().strip_prefix(b"=")?.trim_ascii_start();
    match rest.first()? {
        quote @ (b'"' | b'\'') => {
            let rest = rest.get(1..)?;
            rest.get(..memchr::memchr(*quote, rest)?)
        }
        _ => rest.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b';' | b',')).next(),
    }
}

fn find_word(bytes: &[u8], word: &[u8]) -> Option<usize> {
    bytes.windows(word.len()).position(|window| window.eq_ignore_ascii_case(word))
}

/// The encoding that a page declares in its first bytes, by the HTML standard's "prescan a byte stream to determine its encoding".
fn prescan(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = bytes.get(..PRESCANNED_BYTES).unwrap_or(bytes);
    let mut at = 0;
    while at < head.len() {
        let rest = head.get(at..)?;
        if rest.starts_with(b"<!--") {
            // `<!-->` is a whole comment.
            at += 2 + memmem::find(rest.get(2..)?, b"-->")? + 3;
        } else if rest.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case(b"<meta"))
            && rest.get(5).is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'/')
        {
            let mut tag = Attributes { rest: rest.get(6..)? };
            if let Some(encoding) = tag.declared() {
                return Some(encoding);
            }
            at = head.len() - tag.rest.len();
        } else if is_tag(rest) {
            let name = rest.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'>')?;
            let mut tag = Attributes { rest: rest.get(name..)? };
            while tag.next().is_some() {}
            at = head.len() - tag.rest.len();
        } else if matches!(rest, [b'<', b'!' | b'/' | b'?', ..]) {
            at += memchr::memchr(b'>', rest)? + 1;
        } else {
            at += 1;
        }
    }
    None
}

fn is_tag(rest: &[u8]) -> bool {
    match rest {
        [b'<', b'/', letter, ..] | [b'<', letter, ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

/// The attributes of a tag, lower case.
struct Attributes<'a> {
    rest: &'a [u8],
}

impl Iterator for Attributes<'_> {
    type Item = (Vec<u8>, Vec<u8>);

    fn next(&mut self) -> Option<Self::Item> {
        let skip = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'/';
        let start = self.rest.iter().position(|byte| !skip(byte)).unwrap_or(self.rest.len());
        self.rest = self.rest.get(start..)?;
        if *self.rest.first()? == b'>' {
            self.rest = self.rest.get(1..)?;
            return None;
        }
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>');
        // A name may begin with `=`.
        let name_end = self.rest.iter().skip(1).position(|byte| is_end(byte) || *byte == b'=');
        let name_end = name_end.map_or(self.rest.len(), |at| at + 1);
        let name = self.rest.get(..name_end)?.to_ascii_lowercase();
        self.rest = self.rest.get(name_end..)?;
        let Some(value) = self.rest.trim_ascii_start().strip_prefix(b"=") else {
            return Some((name, Vec::new()));
        };
        let value = value.trim_ascii_start();
        let quote = value.first().filter(|byte| matches!(byte, b'"' | b'\''));
        let (value, rest) = if let Some(quote) = quote {
            let value = value.get(1..)?;
            let end = memchr::memchr(*quote, value).unwrap_or(value.len());
            (value.get(..end)?, value.get(end + 1..).unwrap_or_default())
        } else {
            let end = value.iter().position(|byte| byte.is_ascii_whitespace() || *byte == b'>');
            value.split_at_checked(end.unwrap_or(value.len()))?
        };
        self.rest = rest;
        Some((name, value.to_ascii_lowercase()))
    }
}

impl Attributes<'_> {
    /// The encoding that a `<meta>` with these attributes declares.
    fn declared(&mut self) -> Option<&'static Encoding> {
        let (mut from_charset, mut from_content, mut is_pragma) = (None, None, false);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        for (name, value) in self.by_ref() {
            if seen.contains(&name) {
                continue;
            }
            match name.as_slice() {
                b"http-equiv" => is_pragma = value == b"content-type",
                b"charset" => from_charset = Encoding::for_label(&value),
                b"content" => from_content = charset_of(&value).and_then(Encoding::for_label),
                _ => {}
            }
            seen.push(name);
        }
        let found = from_charset.or(from_content.filter(|_| is_pragma))?;
        // A declaration that can be read as ASCII is not in UTF-16; the standard maps the other label too.
        Some(match found.name() {
            _ if found == UTF_16LE || found == UTF_16BE => UTF_8,
            "x-user-defined" => WINDOWS_1252,
            _ => found,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charset(bytes: &[u8], content_type: &str) -> &'static str {
        decode(bytes, Some(content_type.as_bytes()), true).unwrap().charset
    }

    #[test]
    fn a_mark_comes_before_the_header_and_the_header_before_the_page() {
        let page = b"<!-- x --><META charset='koi8-r'><p>\xd0\xd2\xc9\xd7\xc5\xd4";
        assert_eq!(charset(page, "text/html"), "KOI8-R");
        assert_eq!(charset(page, "text/html; Charset = \"windows-1251\""), "windows-1251");
        assert_eq!(
            charset(&[b"\xef\xbb\xbf", &b"caf\xc3\xa9"[..]].concat(), "text/html; charset=koi8-r"),
            "UTF-8"
        );
        assert_eq!(charset(b"\xff\xfea\0b\0", ""), "UTF-16LE");
    }

    #[test]
    fn pages_declare_their_encoding_as_the_standard_says() {
        let found = |page: &[u8]| prescan(page).map(Encoding::name);
        let pragma = b"<meta content='text/html; charset=sjis' http-equiv=Content-Type>";
        assert_eq!(found(pragma), Some("Shift_JIS"));
        assert_eq!(found(b"<meta content='text/html; charset=sjis'>"), None);
        assert_eq!(found(b"<!--<meta charset=sjis>--><meta charset=gbk />"), Some("GBK"));
        assert_eq!(found(b"<!--><meta charset=gbk>"), Some("GBK"));
        assert_eq!(found(b"<a title='<meta charset=sjis>'><meta charset=utf-16>"), Some("UTF-8"));
        assert_eq!(found(b"<meta charset=nonsense><meta charset=big5>"), Some("Big5"));
        assert_eq!(found(b"<meta"), None);
        assert_eq!(found(b"<meta charset="), None);
    }

    #[test]
    fn undeclared_text_is_guessed_and_a_wrong_default_does_not_win() {
        let russian: Vec<u8> =
            encoding_rs::WINDOWS_1251.encode("Привет, мир, как дела сегодня").0.into_owned();
        assert_eq!(charset(&russian, ""), "windows-1251");
        assert_eq!(charset("café crème".as_bytes(), "text/html; charset=iso-8859-1"), "UTF-8");
        assert_eq!(charset(b"caf\xe9", "text/html; charset=iso-8859-1"), "windows-1252");
    }

    #[test]
    fn replaced_characters_are_counted_and_noise_is_refused() {
        let decoded = decode(b"a \xff long enough text \xef\xbf\xbd, here", Some(b"x; charset=utf-8"), false);
        assert_eq!(decoded.unwrap().num_replaced, 1);
        assert!(decode(&[0xff; 64], Some(b"x; charset=utf-8"), false).is_err());
    }
}

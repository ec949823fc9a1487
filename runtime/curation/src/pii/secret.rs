//! Secrets without a make of their own: assignments of random-looking values, passwords in URLs, private keys.

use std::ops::Range;

use super::context::{after, before, is_wordy, run_end};

/// Most bytes of a private key's text (an RSA key of 16,384 bits takes 13 KB).
const MOST_KEY: usize = 16 << 10;
/// Least and most bytes of a value.
const VALUE: std::ops::RangeInclusive<usize> = 16..=512;
/// Values that say that they are none.
const PLACEHOLDERS: [&str; 18] = [
    "example",
    "sample",
    "placeholder",
    "changeme",
    "change_me",
    "change-me",
    "dummy",
    "your",
    "xxxx",
    "insert",
    "todo",
    "redacted",
    "0000",
    "1234567890",
    "abcdef123456",
    "process.env",
    "getenv",
    "secrets.",
];

/// A value of a PEM private key, from its first line to its last, or as far as base64 goes.
pub(super) fn private_key(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let label_end = run_end(bytes, start + "-----BEGIN".len(), 40, |byte| {
        byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
    });
    let label = text.get(start..label_end)?;
    let label = label.strip_suffix(" BLOCK").unwrap_or(label);
    if !label.ends_with(" PRIVATE KEY") || !text[label_end..].starts_with("-----") {
        return None;
    }
    let body = label_end + 5;
    let most = (body + MOST_KEY).min(text.len());
    let most = (body..=most).rev().find(|at| text.is_char_boundary(*at))?;
    if let Some(foot) = text[body..most].find("-----END ") {
        let line = body + foot + "-----END ".len();
        let end = run_end(bytes, line, 40, |byte| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b' '
        });
        let end = run_end(bytes, end, 5, |byte| byte == b'-');
        return Some(start..end);
    }
    let is_body = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=\n\r\t \\".contains(&byte);
    let end = run_end(bytes, body, MOST_KEY, is_body);
    // What a key's last line and a sentence after it share is cut at the last long word.
    let body_text = text.get(body..end)?;
    let last = body_text.split_whitespace().rfind(|word| word.len() >= 20);
    let end = last.map_or(body, |word| word.as_ptr() as usize - text.as_ptr() as usize + word.len());
    Some(start..end)
}

/// The password in `scheme://user:password@host`, whose `://` is at `start`.
pub(super) fn url_password(text: &str, start: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let plain = |byte: u8| byte > b' ' && byte < 0x7f && !b"/@:<>\"'`{}[]()|\\".contains(&byte);
    let user = start + 3;
    let colon = run_end(bytes, user, 64, plain);
    (colon > user && bytes.get(colon) == Some(&b':')).then_some(())?;
    let end = run_end(bytes, colon + 1, 128, |byte| plain(byte) || byte == b':');
    (end > colon + 3 && bytes.get(end) == Some(&b'@')).then_some(())?;
    let password = text.get(colon + 1..end)?;
    let shown = ["password", "passwd", "pass", "pwd", "secret", "passw0rd", "user", "token"];
    let stands_for = shown.iter().any(|word| password.eq_ignore_ascii_case(word))
        || password.contains('$')
        || password.starts_with('%');
    let stars = password.bytes().all(|byte| byte == b'*' || byte == b'x' || byte == b'X' || byte == b'.');
    (!stands_for && !stars && !is_placeholder(password)).then_some(colon + 1..end)
}

/// What a name of a secret is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `password`: any strong word.
    Password,
    /// `api_key`, `token`: a random value.
    Key,
    /// `Bearer`: a random value after a blank.
    Bearer,
}

/// The value given to the name that ends at `end`: `api_key = "…"`, `"token": "…"`, `PASSWORD=…`.
pub(super) fn assigned(text: &str, end: usize, kind: Kind) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    if kind == Kind::Bearer {
        let start = run_end(bytes, end, 1, |byte| byte == b' ');
        return value(text, start, None, kind).filter(|_| start > end);
    }
    let name = run_end(bytes, end, 24, |byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    let closed = run_end(bytes, name, 1, |byte| matches!(byte, b'"' | b'\'' | b']'));
    let blank = run_end(bytes, closed, 3, |byte| byte == b' ');
    let sign = run_end(bytes, blank, 2, |byte| matches!(byte, b'=' | b':' | b'>'));
    if sign == blank || text[blank..].starts_with("==") || text[blank..].starts_with("::") {
        return None;
    }
    let start = run_end(bytes, sign, 3, |byte| byte == b' ');
    match bytes.get(start) {
        Some(quote @ (b'"' | b'\'' | b'`')) => value(text, start + 1, Some(*quote), kind),
        _ => value(text, start, None, kind),
    }
}

fn value(text: &str, start: usize, quote: Option<u8>, kind: Kind) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let end = if let Some(quote) = quote {
        let is_value = |byte: u8| byte > b' ' && byte < 0x7f && byte != quote && !b"<>".contains(&byte);
        let end = run_end(bytes, start, *VALUE.end(), is_value);
        (bytes.get(end) == Some(&quote)).then_some(end)?
    } else {
        let is_value = |byte: u8| byte.is_ascii_alphanumeric() || b"+/=_-.~!@#%^&*?".contains(&byte);
        let end = run_end(bytes, start, *VALUE.end(), is_value);
        start + text[start..end].trim_end_matches(['.', '?', '!']).len()
    };
    let found = text.get(start..end)?;
    let next = after(text, end);
    if is_wordy(next) || next == Some('(') || next == Some('<') || is_placeholder(found) {
        return None;
    }
    let strong = if kind == Kind::Password { is_password(found, quote.is_some()) } else { false };
    (strong || is_random(found)).then_some(start..end)
}

fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| lower.contains(word))
        || value.starts_with(['$', '{', '%'])
        || value.contains("${")
        || value.contains("{{")
}

/// Whether a value looks drawn at random: long, of letters and digits, and with nearly as much information as its length allows.
fn is_random(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let others = value.len() - digits - letters;
    // `config.token2.value`, `a/b/c.rs`, `some-long-name-2`: names and paths have words between their signs.
    let is_path = value.split(['.', '/', '-', '_', ':']).all(|part| part.len() < 12);
    let bits = entropy(value);
    VALUE.contains(&value.len())
        && digits >= 2
        && letters >= 2
        && 4 * others <= value.len()
        && !is_path
        && bits >= 3.0
}

/// Whether a value is a password that somebody chose with care: three of four kinds of characters.
fn is_password(value: &str, quoted: bool) -> bool {
    let has = |test: fn(&u8) -> bool| usize::from(value.bytes().any(|byte| test(&byte)));
    let kinds = has(u8::is_ascii_lowercase)
        + has(u8::is_ascii_uppercase)
        + has(u8::is_ascii_digit)
        + has(u8::is_ascii_punctuation);
    let names = value.contains(['(', ')', '[', ']', ';', '/']) || value.contains("::") || value.contains('.');
    (8..=64).contains(&value.len())
        && kinds >= if quoted { 3 } else { 4 }
        && has(u8::is_ascii_digit) == 1
        && !names
}

/// Bits a character, by how often each character stands in the value.
pub(super) fn entropy(value: &str) -> f64 {
    let mut counts = [0u32; 256];
    value.bytes().for_each(|byte| counts[byte as usize] += 1);
    let total = value.len() as f64;
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether a name that starts at `start` is one of its own or the end of a longer name, not the end of a word.
pub(super) fn is_name_part(text: &str, start: usize) -> bool {
    let previous = before(text, start);
    let first = after(text, start);
    let camel = first.is_some_and(char::is_uppercase) && previous.is_some_and(char::is_lowercase);
    !previous.is_some_and(char::is_alphanumeric) || camel
}

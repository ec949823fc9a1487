//! The tokenizer: one pass over the bytes, tags with the attributes that matter, and where raw text ends. Follows the HTML standard's states (§13.2.5)
//! without being a state machine: every construct is scanned to its end where it starts, and what never ends ends with the page.

use super::dom::{Attr, Attribute, Dom};
use super::entities::Place;
use super::tag::{LONGEST_NAME, Tag};

/// What the tokenizer found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    /// Text from one byte to another.
    Text(usize, usize),
    /// A start tag; its attributes are the last of the page from `attributes` on.
    Start { tag: Tag, name: u32, attributes: usize, is_closed: bool },
    /// An end tag.
    End { tag: Tag, name: u32 },
    /// A comment, a doctype, or something of that kind.
    Nothing,
    /// The page is over.
    Over,
}

/// Where the tokenizer is.
#[derive(Debug, Default)]
pub(super) struct Lexer {
    pub(super) at: usize,
}

impl Lexer {
    /// Reads the next token; the attributes go into `dom`.
    pub(super) fn next(&mut self, dom: &mut Dom, is_foreign: bool) -> Token {
        let bytes = dom.source.as_bytes();
        let start = self.at;
        let mut from = start;
        loop {
            let Some(at) = memchr::memchr(b'<', &bytes[from..]).map(|offset| from + offset) else {
                self.at = bytes.len();
                return if start < bytes.len() { Token::Text(start, bytes.len()) } else { Token::Over };
            };
            let opens = match bytes.get(at + 1) {
                Some(b'!' | b'?' | b'/') => true,
                Some(byte) => byte.is_ascii_alphabetic(),
                None => false,
            };
            if opens && at > start {
                self.at = at;
                return Token::Text(start, at);
            }
            if opens {
                return self.markup(dom, is_foreign);
            }
            from = at + 1;
        }
    }

    /// Reads what starts with `<` and is no text.
    fn markup(&mut self, dom: &mut Dom, is_foreign: bool) -> Token {
        let bytes = dom.source.as_bytes();
        match (bytes[self.at + 1], bytes.get(self.at + 2)) {
            (b'!', _) => self.declaration(bytes, is_foreign),
            (b'/', Some(byte)) if byte.is_ascii_alphabetic() => {
                self.at += 2;
                let (tag, name) = self.name(bytes);
                let attributes = dom.attributes.len();
                self.attributes(dom);
                dom.attributes.truncate(attributes);
                Token::End { tag, name }
            }
            (b'/' | b'?', _) => self.skip_past_greater(bytes),
            _ => {
                self.at += 1;
                let (tag, name) = self.name(bytes);
                let attributes = dom.attributes.len();
                match self.attributes(dom) {
                    Some(is_closed) => Token::Start { tag, name, attributes, is_closed },
                    None => Token::Over,
                }
            }
        }
    }

    fn skip_past_greater(&mut self, bytes: &[u8]) -> Token {
        self.at = memchr::memchr(b'>', &bytes[self.at..]).map_or(bytes.len(), |offset| self.at + offset + 1);
        Token::Nothing
    }

    /// Reads a comment, a CDATA section (text, within SVG and MathML) or a doctype.
    fn declaration(&mut self, bytes: &[u8], is_foreign: bool) -> Token {
        let rest = &bytes[self.at..];
        if rest.starts_with(b"<!--") {
            self.at += comment_length(rest);
            return Token::Nothing;
        }
        if is_foreign && rest.starts_with(b"<![CDATA[") {
            let start = self.at + 9;
            let length = memchr::memmem::find(&bytes[start..], b"]]>");
            self.at = length.map_or(bytes.len(), |length| start + length + 3);
            return Token::Text(start, length.map_or(bytes.len(), |length| start + length));
        }
        self.skip_past_greater(bytes)
    }

    /// Reads a tag's name: the element and, for one that is unknown, a hash of its name.
    fn name(&mut self, bytes: &[u8]) -> (Tag, u32) {
        let start = self.at;
        let mut small = [0_u8; LONGEST_NAME];
        let mut hash = 0x811c_9dc5_u32;
        while let Some(&byte) = bytes.get(self.at) {
            if matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'/' | b'>') {
                break;
            }
            let lower = byte.to_ascii_lowercase();
            if let Some(slot) = small.get_mut(self.at - start) {
                *slot = lower;
            }
            hash = (hash ^ u32::from(lower)).wrapping_mul(0x0100_0193);
            self.at += 1;
        }
        let tag = small.get(..self.at - start).map_or(Tag::Unknown, Tag::of);
        (tag, if tag == Tag::Unknown { hash } else { 0 })
    }

    /// Reads the attributes up to and with `>`; `None` where the page ends before it. Says whether the tag ends with `/>`.
    fn attributes(&mut self, dom: &mut Dom) -> Option<bool> {
        let bytes = dom.source.as_bytes();
        let first = dom.attributes.len();
        loop {
            let byte = *bytes.get(self.at)?;
            match byte {
                b'>' => {
                    self.at += 1;
                    return Some(false);
                }
                b'/' if bytes.get(self.at + 1) == Some(&b'>') => {
                    self.at += 2;
                    return Some(true);
                }
                b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'/' => self.at += 1,
                _ => self.attribute(dom, first)?,
            }
        }
    }

    /// Reads one attribute; the first of a name counts.
    fn attribute(&mut self, dom: &mut Dom, first: usize) -> Option<()> {
        let bytes = dom.source.as_bytes();
        let start = self.at;
        self.at += 1;
        while !matches!(bytes.get(self.at)?, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'/' | b'>' | b'=') {
            self.at += 1;
        }
        let name = attribute_name(&bytes[start..self.at]);
        self.skip_white(bytes);
        let mut value = (self.at, self.at);
        if bytes.get(self.at) == Some(&b'=') {
            self.at += 1;
            self.skip_white(bytes);
            value = self.attribute_value(bytes)?;
        }
        let Some(name) = name else { return Some(()) };
        if dom.attributes[first..].iter().all(|attribute| attribute.name != name) {
            let (span, decoded) = dom.keep(value.0, value.1, Some(Place::Attribute));
            dom.attributes.push(Attribute { name, decoded, value: span });
        }
        Some(())
    }

    fn attribute_value(&mut self, bytes: &[u8]) -> Option<(usize, usize)> {
        let quote = *bytes.get(self.at)?;
        if quote == b'"' || quote == b'\'' {
            let start = self.at + 1;
            let end = start + memchr::memchr(quote, &bytes[start..])?;
            self.at = end + 1;
            return Some((start, end));
        }
        let start = self.at;
        while !matches!(bytes.get(self.at)?, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'>') {
            self.at += 1;
        }
        Some((start, self.at))
    }

    fn skip_white(&mut self, bytes: &[u8]) {
        while matches!(bytes.get(self.at), Some(b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')) {
            self.at += 1;
        }
    }

    /// Reads the content of a raw text element and its end tag: from where to where the text goes.
    pub(super) fn raw_text(&mut self, source: &str, name: &str) -> (usize, usize) {
        let bytes = source.as_bytes();
        let start = self.at;
        let end =
            if name == "script" { script_end(bytes, start) } else { raw_end(bytes, start, name.as_bytes()) };
        self.at = memchr::memchr(b'>', &bytes[end..]).map_or(bytes.len(), |offset| end + offset + 1);
        (start, end)
    }
}

fn attribute_name(name: &[u8]) -> Option<Attr> {
    let mut small = [0_u8; 16];
    let small = small.get_mut(..name.len())?;
    for (slot, byte) in small.iter_mut().zip(name) {
        *slot = byte.to_ascii_lowercase();
    }
    Attr::of(small)
}

/// The length of the comment at the start of `rest`, with its ends.
fn comment_length(rest: &[u8]) -> usize {
    if rest[4..].starts_with(b">") {
        return 5;
    }
    if rest[4..].starts_with(b"->") {
        return 6;
    }
    for offset in memchr::memchr_iter(b'>', &rest[4..]) {
        let before = &rest[4..4 + offset];
        if before.ends_with(b"--") || before.ends_with(b"--!") {
            return 4 + offset + 1;
        }
    }
    rest.len()
}

/// Whether `</name` stands at the start of `rest`, as a whole name.
fn is_end_tag(rest: &[u8], name: &[u8]) -> bool {
    rest.get(1) == Some(&b'/') && is_name(rest.get(2..), name)
}

fn is_name(rest: Option<&[u8]>, name: &[u8]) -> bool {
    let Some(rest) = rest else { return false };
    rest.len() >= name.len()
        && rest[..name.len()].eq_ignore_ascii_case(name)
        && matches!(rest.get(name.len()), None | Some(b'\t' | b'\n' | b'\x0c' | b'\r' | b' ' | b'/' | b'>'))
}

fn raw_end(bytes: &[u8], start: usize, name: &[u8]) -> usize {
    let mut tags = memchr::memchr_iter(b'<', &bytes[start..]).map(|offset| start + offset);
    tags.find(|at| is_end_tag(&bytes[*at..], name)).unwrap_or(bytes.len())
}

/// Where a script ends: at its end tag, but not at that of a script that it writes within `<!-- -->` (the standard's double escaped state).
fn script_end(bytes: &[u8], start: usize) -> usize {
    let mut is_escaped = false;
    let mut is_double = false;
    let mut at = start;
    while let Some(offset) = memchr::memchr2(b'<', b'>', &bytes[at..]) {
        let found = at + offset;
        let rest = &bytes[found..];
        at = found + 1;
        if rest[0] == b'>' {
            if is_escaped && bytes[start..found].ends_with(b"--") {
                (is_escaped, is_double) = (false, false);
            }
        } else if rest.starts_with(b"<!--") {
            is_escaped = true;
            at = found + 2;
        } else if is_end_tag(rest, b"script") {
            if !is_double {
                return found;
            }
            is_double = false;
        } else if is_escaped && is_name(rest.get(1..), b"script") {
            is_double = true;
        }
    }
    // A comment that never ends must not swallow the page: browsers go back likewise, to the first end tag.
    raw_end(bytes, start, b"script")
}

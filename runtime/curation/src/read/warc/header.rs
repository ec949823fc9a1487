//! The header block of a record.

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// About the file.
    Warcinfo,
    /// What a server answered.
    Response,
    /// A thing without the protocol's message around it.
    Resource,
    /// What a client asked.
    Request,
    /// About another record.
    Metadata,
    /// A page that was the same as before.
    Revisit,
    /// Another form of a page: of WET its text.
    Conversion,
    /// A part of a record in another file.
    Continuation,
    /// None of these.
    Unknown,
}

impl RecordKind {
    /// Whether records of this kind hold no page by their nature: they are counted, and are no loss.
    pub fn is_content_free(self) -> bool {
        matches!(self, Self::Warcinfo | Self::Request | Self::Metadata | Self::Revisit)
    }

    fn parse(name: &[u8]) -> Self {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let kinds = [
            ("response", Self::Response),
            ("request", Self::Request),
            ("metadata", Self::Metadata),
            ("warcinfo", Self::Warcinfo),
            ("conversion", Self::Conversion),
            ("resource", Self::Resource),
            ("revisit", Self::Revisit),
            ("continuation", Self::Continuation),
        ];
        kinds.into_iter().find(|(word, _)| is(word)).map_or(Self::Unknown, |(_, kind)| kind)
    }
}

/// A span of the header block.
pub(super) type Span = (usize, usize);

/// The fields of a record that matter here, as spans of its header block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) kind: RecordKind,
    pub(super) kind_name: Span,
    /// Bytes of the block; `None` if the field is missing or no number.
    pub(super) block_bytes: Option<u64>,
    pub(super) uri: Span,
    pub(super) id: Span,
    pub(super) date: Span,
    pub(super) content_type: Span,
    pub(super) language: Span,
    pub(super) truncated: Span,
}

/// Why a header block is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// A line is no field.
    NotAField,
    /// There are more fields than the limit.
    TooMany,
}

impl Header {
    /// Parses a block from its version line to its blank line.
    ///
    /// # Errors
    /// A line without a colon before any field; too many fields.
    pub(super) fn parse(block: &[u8], num_headers: u64) -> Result<Self, HeaderError> {
        let none = (0, 0);
        let mut header = Self {
            kind: RecordKind::Unknown,
            kind_name: none,
            block_bytes: None,
            uri: none,
            id: none,
            date: none,
            content_type: none,
            language: none,
            truncated: none,
        };
        let mut lines = Lines { block, at: 0 };
        lines.next();
        let (mut fields, mut wrong) = (0_u64, 0_u64);
        for (start, end) in lines {
            let line = block.get(start..end).unwrap_or_default();
            // Continued lines are of fields that nobody here asks for.
            if line.is_empty() || matches!(line.first(), Some(b' ' | b'\t')) {
                continue;
            }
            fields += 1;
            if fields > num_headers {
                return Err(HeaderError::TooMany);
            }
            let Some(colon) = memchr::memchr(b':', line) else {
                wrong += 1;
                continue;
            };
            let name = line.get(..colon).unwrap_or_default().trim_ascii();
            header.set(name, trimmed(block, (start + colon + 1, end)), block);
        }
        if wrong > 0 && header.block_bytes.is_none() {
            return Err(HeaderError::NotAField);
        }
        Ok(header)
    }

    fn set(&mut self, name: &[u8], value: Span, block: &[u8]) {
        let text = block.get(value.0..value.1).unwrap_or_default();
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("Content-Length") {
            self.block_bytes = std::str::from_utf8(text).ok().and_then(|digits| {
                digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
            });
        } else if is("Content-Type") {
            self.content_type = value;
        } else if !name.get(..5).is_some_and(|head| head.eq_ignore_ascii_case(b"WARC-")) {
            // Another's field.
        } else if is("WARC-Type") {
            self.kind = RecordKind::parse(text);
            self.kind_name = value;
        } else if is("WARC-Target-URI") {
            // Wget writes the address between angle brackets.
            let bracketed = text.len() > 1 && text.starts_with(b"<") && text.ends_with(b">");
            self.uri = if bracketed { (value.0 + 1, value.1 - 1) } else { value };
        } else if is("WARC-Record-ID") {
            self.id = value;
        } else if is("WARC-Date") {
            self.date = value;
        } else if is("WARC-Identified-Content-Language") {
            self.language = value;
        } else if is("WARC-Truncated") {
            self.truncated = value;
        }
    }
}

fn trimmed(block: &[u8], (start, end): Span) -> Span {
    let value = block.get(start..end).unwrap_or_default();
    let start = end - value.trim_ascii_start().len();
    (start, start + value.trim_ascii().len())
}

/// The lines of a block, without their ends.
struct Lines<'a> {
    block: &'a [u8],
    at: usize,
}

impl Iterator for Lines<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let rest = self.block.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += length + 1;
        let line = rest.get(..length).unwrap_or_default();
        Some((start, start + line.strip_suffix(b"\r").unwrap_or(line).len()))
    }
}

/// The end of a header block: the bytes up to and with its first blank line.
pub(super) fn block_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let line_end = at + memchr::memchr(b'\n', bytes.get(at..)?)? + 1;
        match bytes.get(line_end..)? {
            [b'\n', ..] => return Some(line_end + 1),
            [b'\r', b'\n', ..] => return Some(line_end + 2),
            _ => at = line_end,
        }
    }
}

/// Whether bytes begin a record: `WARC/` and a version.
pub(super) fn is_version(bytes: &[u8]) -> bool {
    matches!(bytes, [b'W', b'A', b'R', b'C', b'/', b'0'..=b'9', b'.', b'0'..=b'9', ..])
}

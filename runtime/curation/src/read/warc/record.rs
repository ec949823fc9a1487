//! One record.

use super::header::{Header, RecordKind, Span, block_end};

/// One record, as long as the reader does not move on.
#[derive(Debug)]
pub struct Record<'a> {
    /// What it is.
    pub kind: RecordKind,
    /// Where it begins: an offset of the file.
    pub offset: u64,
    /// Its block: of a response the HTTP message.
    pub block: &'a [u8],
    head: &'a [u8],
    header: Header,
}

impl<'a> Record<'a> {
    pub(super) fn new(header: Header, offset: u64, head: &'a [u8], block: &'a [u8]) -> Self {
        Self { kind: header.kind, offset, block, head, header }
    }

    fn text(&self, (start, end): Span) -> Option<String> {
        let text = String::from_utf8_lossy(self.head.get(start..end)?).into_owned();
        (!text.is_empty()).then_some(text)
    }

    /// `WARC-Target-URI`.
    pub fn uri(&self) -> Option<String> {
        self.text(self.header.uri)
    }

    /// `WARC-Record-ID`.
    pub fn id(&self) -> Option<String> {
        self.text(self.header.id)
    }

    /// `WARC-Date`.
    pub fn date(&self) -> Option<String> {
        self.text(self.header.date)
    }

    /// `WARC-Identified-Content-Language`.
    pub fn language(&self) -> Option<String> {
        self.text(self.header.language)
    }

    /// `WARC-Truncated`.
    pub fn truncated(&self) -> Option<String> {
        self.text(self.header.truncated)
    }

    /// `WARC-Type`, as it is written.
    pub fn kind_name(&self) -> Option<String> {
        self.text(self.header.kind_name)
    }

    /// `Content-Type` of the block.
    pub fn content_type(&self) -> &'a [u8] {
        self.head.get(self.header.content_type.0..self.header.content_type.1).unwrap_or_default()
    }

    /// The body, where the block is an HTTP message, else the block.
    pub fn payload(&self) -> &'a [u8] {
        let is_http = self.block.starts_with(b"HTTP/") || self.kind == RecordKind::Request;
        if !is_http {
            return self.block;
        }
        block_end(self.block, 0).and_then(|end| self.block.get(end..)).unwrap_or_default()
    }

    /// The name by which people find it.
    pub(crate) fn name(&self) -> String {
        name(self.head, &self.header, self.offset)
    }
}

/// The name of a record with this header block.
pub(super) fn name(head: &[u8], header: &Header, offset: u64) -> String {
    [header.uri, header.id]
        .into_iter()
        .filter_map(|(start, end)| head.get(start..end))
        .find(|text| !text.is_empty())
        .map_or_else(|| at_offset(offset), |text| String::from_utf8_lossy(text).into_owned())
}

/// The name of what has none.
pub(super) fn at_offset(offset: u64) -> String {
    format!("byte {offset}")
}

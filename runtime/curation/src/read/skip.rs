//! What was not read, and why: a closed list, so that a report can count it and a reader of the report can act.

use serde::{Deserialize, Serialize};

/// Why a record, a line, a row or the rest of a file gave no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// The compressed data is damaged.
    BrokenArchive,
    /// The compressed data ends in the middle.
    TruncatedArchive,
    /// A checksum of the compressed data is not that of the bytes.
    BadChecksum,
    /// The data unpacks to more than its size allows.
    ExpandsTooMuch,
    /// The file is an ARC, the predecessor of WARC.
    ArcFormat,
    /// Bytes between records that are no record.
    NotAWarcRecord,
    /// A record's header block is no list of fields.
    BadWarcHeader,
    /// A header block is over its limit.
    HeadersTooLarge,
    /// A record has no usable `Content-Length`.
    BadContentLength,
    /// Another record begins inside this one.
    WrongLength,
    /// The file ends inside the record.
    TruncatedRecord,
    /// A record, line, value or file is over its limit.
    RecordTooLarge,
    /// A record's type is not one of WARC's.
    UnknownRecordType,
    /// A response does not begin with an HTTP status line.
    BadHttpHeader,
    /// The server did not answer with the page.
    HttpStatus,
    /// The content is neither HTML nor text.
    ContentType,
    /// A content encoding that is not known, or too many of them.
    UnknownContentEncoding,
    /// The body is not what its content encoding says.
    BadContentEncoding,
    /// The body is over its limit when unpacked.
    BodyTooLarge,
    /// The content is called text, and is not.
    Binary,
    /// There is nothing in it.
    Empty,
    /// The text is not UTF-8.
    InvalidUtf8,
    /// A line is not JSON, or not an object.
    BadJson,
    /// A line's arrays and objects are nested over the limit.
    JsonTooDeep,
    /// There is no text in the field or column that should have it.
    MissingText,
    /// The file is no Parquet file, or its footer is damaged.
    BrokenParquet,
    /// A part of a Parquet file is damaged.
    BrokenRowGroup,
}

impl SkipReason {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 27] = [
        Self::BrokenArchive,
        Self::TruncatedArchive,
        Self::BadChecksum,
        Self::ExpandsTooMuch,
        Self::ArcFormat,
        Self::NotAWarcRecord,
        Self::BadWarcHeader,
        Self::HeadersTooLarge,
        Self::BadContentLength,
        Self::WrongLength,
        Self::TruncatedRecord,
        Self::RecordTooLarge,
        Self::UnknownRecordType,
        Self::BadHttpHeader,
        Self::HttpStatus,
        Self::ContentType,
        Self::UnknownContentEncoding,
        Self::BadContentEncoding,
        Self::BodyTooLarge,
        Self::Binary,
        Self::Empty,
        Self::InvalidUtf8,
        Self::BadJson,
        Self::JsonTooDeep,
        Self::MissingText,
        Self::BrokenParquet,
        Self::BrokenRowGroup,
    ];

    /// The stable name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::BrokenArchive => "broken_archive",
            Self::TruncatedArchive => "truncated_archive",
            Self::BadChecksum => "bad_checksum",
            Self::ExpandsTooMuch => "expands_too_much",
            Self::ArcFormat => "arc_format",
            Self::NotAWarcRecord => "not_a_warc_record",
            Self::BadWarcHeader => "bad_warc_header",
            Self::HeadersTooLarge => "headers_too_large",
            Self::BadContentLength => "bad_content_length",
            Self::WrongLength => "wrong_length",
            Self::TruncatedRecord => "truncated_record",
            Self::RecordTooLarge => "record_too_large",
            Self::UnknownRecordType => "unknown_record_type",
            Self::BadHttpHeader => "bad_http_header",
            Self::HttpStatus => "http_status",
            Self::ContentType => "content_type",
            Self::UnknownContentEncoding => "unknown_content_encoding",
            Self::BadContentEncoding => "bad_content_encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::Binary => "binary",
            Self::Empty => "empty",
            Self::InvalidUtf8 => "invalid_utf8",
            Self::BadJson => "bad_json",
            Self::JsonTooDeep => "json_too_deep",
            Self::MissingText => "missing_text",
            Self::BrokenParquet => "broken_parquet",
            Self::BrokenRowGroup => "broken_row_group",
        }
    }

    /// A sentence for people.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::BrokenArchive => "The compressed data is damaged.",
            Self::TruncatedArchive => "The compressed data ends in the middle.",
            Self::BadChecksum => "A checksum of the compressed data is not that of the bytes.",
            Self::ExpandsTooMuch => "The data unpacks to more than its size allows, as a bomb does.",
            Self::ArcFormat => {
                "The file is an ARC, the predecessor of WARC; convert it (`warcio recompress`)."
            }
            Self::NotAWarcRecord => "Bytes between records are no record.",
            Self::BadWarcHeader => "The header block of a record is no list of `Name: value` lines.",
            Self::HeadersTooLarge => "A header block has more bytes or fields than the limit.",
            Self::BadContentLength => "A record has no `Content-Length`, or one that is no number.",
            Self::WrongLength => "Another record begins before this one's `Content-Length` ends.",
            Self::TruncatedRecord => "The file ends inside the record.",
            Self::RecordTooLarge => "A record, line, value or file has more bytes than the limit.",
            Self::UnknownRecordType => "The record's `WARC-Type` is not one of WARC's.",
            Self::BadHttpHeader => "The response does not begin with an HTTP status line.",
            Self::HttpStatus => "The server answered with another status than those asked for.",
            Self::ContentType => "The content is neither HTML nor plain text.",
            Self::UnknownContentEncoding => "A content encoding is not known, or there are too many of them.",
            Self::BadContentEncoding => "The body is not in the content encoding that its header names.",
            Self::BodyTooLarge => "The unpacked body has more bytes than the limit.",
            Self::Binary => "The content is called text, and is not.",
            Self::Empty => "There is no text in it.",
            Self::InvalidUtf8 => "The text is not UTF-8.",
            Self::BadJson => "The line is not a JSON object.",
            Self::JsonTooDeep => "Arrays and objects are nested deeper than the limit.",
            Self::MissingText => "The field or column of the text is missing or holds no text.",
            Self::BrokenParquet => "The file is no Parquet file, or its footer is damaged.",
            Self::BrokenRowGroup => "The rest of a row group is damaged.",
        }
    }
}

impl std::fmt::Display for SkipReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of a file that gave no document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Its place among the file's items.
    pub index: u64,
    /// Where it begins: a byte of the file as it lies on disk; of a Parquet file the row group.
    pub offset: u64,
    /// Its name: the address or record id, `line N`, `row N of group N`, or where it begins.
    pub name: String,
    /// Why.
    pub reason: SkipReason,
    /// What was there instead of what was expected, in a few words; often empty.
    pub detail: String,
    /// Bytes that were passed over, as far as it is known.
    pub bytes: u64,
}

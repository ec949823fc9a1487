//! Files to raw documents, in file order, with bounded memory.
//!
//! Bytes → unpacked window ([`input`]) → records, lines, rows or whole files → [`Item`]s. Three promises:
//! - nothing is lost silently: what gives no document is a [`Skipped`] with its name, place and reason, or a record that holds no content
//!   by its type and is counted;
//! - a [`Cursor`] taken after an item, and a reader opened at it, give exactly the items that follow;
//! - every size has a limit ([`Limits`]); the reader holds one record at a time, whatever the file.
//!
//! Sources: WARC 1.1 (ISO 28500:2017), RFC 9112 (chunks), RFC 9110 (content codings), RFC 1952 (gzip members), RFC 8878 (zstd frames), the WHATWG
//! standards for encodings, MIME sniffing and the HTML encoding prescan.

mod charset;
mod cursor;
mod dataset;
mod error;
mod file;
mod format;
mod gzip;
mod input;
mod item;
mod json;
mod limits;
mod lines;
mod markdown;
mod media;
mod rows;
mod skip;
pub mod warc;
mod whole;
mod zst;

pub use self::charset::{Decoded, decode};
pub use self::cursor::Cursor;
pub use self::dataset::{DatasetFile, DatasetListing, Split, Unread, list_dataset};
pub use self::error::ReadError;
pub use self::file::FileReader;
pub use self::format::{Fields, Format, Statuses};
pub use self::item::{Content, Item, RawDocument};
pub use self::limits::Limits;
pub use self::skip::{SkipReason, Skipped};

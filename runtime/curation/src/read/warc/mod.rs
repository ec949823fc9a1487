//! Web archives: records, their HTTP messages, and the documents in them.
//!
//! Read are WARC 0.18, 1.0 and 1.1, plain, gzipped (a member for each record or one for all) and as `.warc.zst`. A damaged record is one skip: the
//! reader goes on at the next line that begins a record, or at the next member.

mod chunked;
mod coding;
mod header;
mod http;
mod page;
mod record;
mod records;

pub use self::header::RecordKind;
pub(super) use self::page::document;
pub(crate) use self::page::html_of;
pub use self::record::Record;
pub use self::records::{Entry, Records};

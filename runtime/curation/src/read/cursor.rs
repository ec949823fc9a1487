//! Where a reader stands in a file.

use serde::{Deserialize, Serialize};

/// A place between two items of a file. A reader that is opened there yields exactly the items that follow.
///
/// `default()` is the file's begin. Its meaning belongs to the format; it is good for the same bytes, read as the same format.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Items before it.
    pub index: u64,
    /// The byte of the file at which to begin: of a compressed one the begin of a member or frame; the row group of a Parquet file.
    pub offset: u64,
    /// Unpacked bytes after `offset` that are passed over; rows of a Parquet file.
    pub within: u64,
    /// Lines before it, of a JSONL file.
    pub line: u64,
    /// Records before it that hold no content by their type: requests, metadata, revisits, file information.
    pub not_content: u64,
    /// The byte up to which damage has been passed over: the search for the next member never goes back behind it.
    pub damage: u64,
    /// Whether nothing follows.
    pub ended: bool,
}

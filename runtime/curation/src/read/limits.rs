//! How much of hostile input is taken: all in bytes and counts, never in seconds.

/// Limits of a file's reader. What is over a limit is one named skip; the reader never holds more than a few times
/// the largest of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a WARC record, a line, a Parquet value or a whole file, unpacked.
    pub record_bytes: u64,
    /// Bytes of a body after its transfer and content codings.
    pub body_bytes: u64,
    /// A member or body may unpack to this many times its size, once it is over `expansion_floor_bytes`.
    pub expansion_ratio: u64,
    /// Unpacked bytes below which no ratio is asked for: a small page of blanks is no bomb.
    pub expansion_floor_bytes: u64,
    /// Bytes of a record's header block, and of an HTTP header block.
    pub header_bytes: u64,
    /// Fields of a header block.
    pub num_headers: u64,
    /// Nested arrays and objects of a JSON line.
    pub json_depth: u64,
    /// Content encodings on top of each other.
    pub num_codings: u64,
    /// Unpacked bytes of the columns that are read, of one Parquet row group.
    pub row_group_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            record_bytes: 64 << 20,
            body_bytes: 32 << 20,
            expansion_ratio: 200,
            expansion_floor_bytes: 4 << 20,
            header_bytes: 64 << 10,
            num_headers: 1_000,
            json_depth: 100,
            num_codings: 4,
            row_group_bytes: 1 << 30,
        }
    }
}

impl Limits {
    /// Whether this much out of that much is a bomb.
    pub(super) fn is_bomb(&self, packed_bytes: u64, unpacked_bytes: u64) -> bool {
        unpacked_bytes > self.expansion_floor_bytes
            && unpacked_bytes > packed_bytes.saturating_mul(self.expansion_ratio)
    }
}

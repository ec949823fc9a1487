//! What can be wrong with a list of addresses.

/// A list that can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// The gzip stream is broken.
    #[error("the list `{list}` can't be unpacked: {message}")]
    Gzip {
        /// The list.
        list: String,
        /// What the unpacker says.
        message: String,
    },
    /// The list unpacks to more than anyone's list has.
    #[error("the list `{list}` unpacks to more than {limit_bytes} bytes")]
    TooLarge {
        /// The list.
        list: String,
        /// The limit.
        limit_bytes: u64,
    },
    /// A line is longer than any address.
    #[error("line {line} of the list `{list}` is longer than {limit_bytes} bytes")]
    LongLine {
        /// The list.
        list: String,
        /// Counted from 1.
        line: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// The substrings are too many for their automaton.
    #[error("the substrings can't be searched for: {message}")]
    Substrings {
        /// What the automaton says.
        message: String,
    },
}

//! What makes a page be dropped: too much of something. Malformed HTML is no error: every byte sequence is some page.

/// What a page may have too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Bytes of source.
    Bytes,
    /// Elements and texts.
    Nodes,
    /// Elements within elements.
    Depth,
    /// Blocks of text.
    Blocks,
    /// Open elements looked at while end tags were matched, per byte of source.
    Steps,
}

impl std::fmt::Display for Work {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Bytes => "bytes",
            Self::Nodes => "nodes",
            Self::Depth => "nested elements",
            Self::Blocks => "blocks of text",
            Self::Steps => "steps per byte to match its end tags",
        })
    }
}

/// Why a page has no text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HtmlError {
    /// The page is larger, deeper or more tangled than a page that people read.
    #[error("the page has more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: Work,
        /// How much of it is allowed.
        limit: usize,
    },
}

/// How much work one page may make. Units of work, not time: a page's fate is the same on every machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of source.
    pub max_bytes: usize,
    /// Elements and texts of the tree.
    pub max_nodes: usize,
    /// Elements within elements; browsers flatten what is deeper than 512.
    pub max_depth: usize,
    /// Blocks of text; each has some kilobytes of features.
    pub max_blocks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_bytes: 32 << 20, max_nodes: 2_000_000, max_depth: 4_096, max_blocks: 50_000 }
    }
}

//! What a crawl did.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Why an address gave no page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrawlSkip {
    /// A host or path that may not be visited.
    OutOfScope,
    /// robots.txt forbids it.
    Robots,
    /// robots.txt can't be had: the host is left alone.
    RobotsUnavailable,
    /// robots.txt asks for longer pauses than the crawl makes.
    CrawlDelay,
    /// The page asks not to be kept.
    Noindex,
    /// The host's address is not of the public internet.
    PrivateAddress,
    /// A redirect leads back to an address of its own chain.
    RedirectLoop,
    /// More redirects than the limit.
    TooManyRedirects,
    /// A redirect leads nowhere.
    BadRedirect,
    /// More links from a seed than the limit.
    TooDeep,
    /// A path that looks like a trap: very long, or with parts that repeat.
    Trap,
    /// More addresses of this shape than the limit.
    TooManyAlike,
    /// More pages of the host than the limit.
    HostBudget,
    /// More addresses than are remembered.
    FrontierFull,
    /// The server can't be reached, or does not answer in time.
    Unreachable,
    /// The server answered with an error.
    HttpStatus,
}

impl CrawlSkip {
    /// The stable name, as it stands in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::OutOfScope => "out_of_scope",
            Self::Robots => "robots",
            Self::RobotsUnavailable => "robots_unavailable",
            Self::CrawlDelay => "crawl_delay",
            Self::Noindex => "noindex",
            Self::PrivateAddress => "private_address",
            Self::RedirectLoop => "redirect_loop",
            Self::TooManyRedirects => "too_many_redirects",
            Self::BadRedirect => "bad_redirect",
            Self::TooDeep => "too_deep",
            Self::Trap => "trap",
            Self::TooManyAlike => "too_many_alike",
            Self::HostBudget => "host_budget",
            Self::FrontierFull => "frontier_full",
            Self::Unreachable => "unreachable",
            Self::HttpStatus => "http_status",
        }
    }
}

/// How far a crawl is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// Pages in the archive.
    pub pages: u64,
    /// Addresses that wait.
    pub queued: u64,
    /// Bytes of bodies.
    pub bytes: u64,
    /// The address that was done last.
    pub url: String,
}

/// The result of a crawl, over all its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrawlSummary {
    /// Answers in the archive, redirects among them.
    pub responses: u64,
    /// Pages in the archive: answers with a status of 200 to 299.
    pub pages: u64,
    /// Bytes of bodies in the archive.
    pub bytes: u64,
    /// Bodies that were cut at a limit.
    pub truncated: u64,
    /// Addresses without a page, by reason. Each stands in the journal by its address.
    pub skipped: BTreeMap<String, u64>,
    /// Links that no page was sought behind because the page forbids it.
    pub nofollow: u64,
    /// Addresses that were found and not asked for, because the crawl's budget was used up or it was ended.
    pub left: u64,
    /// Whether nothing is left.
    pub finished: bool,
    /// The archive's files, in the folder.
    pub files: Vec<String>,
}

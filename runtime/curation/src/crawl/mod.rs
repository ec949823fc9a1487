//! A polite crawler that writes WARC.
//!
//! Seeds → frontier → one fetch a host at a time → `crawl-NNNNN.warc.gz` + `crawl.journal`. It keeps to robots.txt (RFC 9309), waits between requests to a
//! host, never leaves the hosts that it may visit, and connects to no private address unless it is told to: the address is looked at when it is resolved
//! for the connection, so that a name that changes its address gains nothing.
//!
//! One thread: a tokio runtime of its own drives the fetches of many hosts, and one loop owns frontier, journal and archive. A page is on disk before the
//! journal says so, and the journal says so before the next page of its host is asked for; after a kill the crawl goes on and asks at most for
//! the pages again that were under way.
//!
//! It is the one part of this crate that has a clock: politeness is a matter of seconds.

mod address;
mod archive;
mod canonical;
mod error;
mod fetch;
mod frontier;
mod journal;
mod links;
mod robots;
mod rules;
mod scope;
mod sitemap;
mod summary;
mod tally;
mod work;

use std::path::Path;
use std::time::Duration;

pub use self::canonical::Canonical;
pub use self::error::CrawlError;
pub use self::summary::{CrawlSkip, CrawlSummary, Progress};

/// What to crawl, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Crawl {
    /// Where it begins.
    pub seeds: Vec<String>,
    /// Hosts that it may visit: `example.org`, `example.org:8080`, or `*.example.org` for all below a domain.
    pub allowed_hosts: Vec<String>,
    /// Prefixes of paths that it may visit; empty for all.
    pub allowed_paths: Vec<String>,
    /// Prefixes of paths that it may not visit.
    pub denied_paths: Vec<String>,
    /// Links from a seed to a page.
    pub max_depth: u32,
    /// Requests to one host per second.
    pub rate: f64,
    /// Whether robots.txt, `nofollow` and `noindex` are kept to.
    pub respect_robots: bool,
    /// Whether the sitemaps that robots.txt names are read.
    pub sitemaps: bool,
    /// Whether it may connect to loopback, private, link-local and other addresses that are not of the public internet.
    pub allow_private_addresses: bool,
    /// Pages in all.
    pub max_pages: u64,
    /// Pages of one host.
    pub max_pages_per_host: u64,
    /// Addresses of one host that differ only in numbers and in the values of their query.
    pub max_alike: u64,
    /// Addresses that are remembered.
    pub max_urls: u64,
    /// Bytes of bodies in all.
    pub max_bytes: u64,
    /// Bytes of one body; the rest is cut and the record says so.
    pub max_body_bytes: u64,
    /// Redirects one after the other.
    pub max_redirects: u32,
    /// Times that a page is asked for again after a failure that may pass.
    pub max_retries: u32,
    /// The first pause before asking again; it doubles each time. A server's `Retry-After` counts where it is longer.
    pub retry_pause: Duration,
    /// The longest pause between two requests that a host may ask for; a host that asks for more is left alone.
    pub max_pause: Duration,
    /// Until a server must have begun to answer.
    pub answer_timeout: Duration,
    /// Until an answer must be complete; what came until then is kept.
    pub body_timeout: Duration,
    /// Bytes per second below which an answer is cut, over any ten seconds or the body's timeout if that is shorter.
    pub min_bytes_per_sec: u64,
    /// Hosts that are asked at the same time.
    pub max_connections: usize,
    /// Bytes of one WARC file, about.
    pub warc_bytes: u64,
    /// Who asks, and how to reach them: `name/1.0 (+https://example.org/bot)`.
    pub user_agent: String,
    /// How addresses are made canonical.
    pub canonical: Canonical,
}

impl Default for Crawl {
    fn default() -> Self {
        Self {
            seeds: Vec::new(),
            allowed_hosts: Vec::new(),
            allowed_paths: Vec::new(),
            denied_paths: Vec::new(),
            max_depth: 5,
            rate: 1.0,
            respect_robots: true,
            sitemaps: true,
            allow_private_addresses: false,
            max_pages: 10_000,
            max_pages_per_host: 10_000,
            max_alike: 1_000,
            max_urls: 2_000_000,
            max_bytes: 10 << 30,
            max_body_bytes: 16 << 20,
            max_redirects: 5,
            max_retries: 3,
            retry_pause: Duration::from_secs(5),
            max_pause: Duration::from_mins(2),
            answer_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_mins(2),
            min_bytes_per_sec: 500,
            max_connections: 32,
            warc_bytes: 1 << 30,
            user_agent: String::new(),
            canonical: Canonical::default(),
        }
    }
}

impl Crawl {
    /// Crawls into a folder, or goes on with the crawl that the folder has. `go_on` is called after each page; `false` ends the crawl in
    /// order, to be gone on with later.
    ///
    /// # Errors
    /// A field that can't be used, a folder with another crawl or a damaged journal, a disk that fails. What goes wrong with a page is no error: it
    /// is in the summary.
    pub fn run(&self, folder: &Path, go_on: &dyn Fn(Progress) -> bool) -> Result<CrawlSummary, CrawlError> {
        work::run(self, folder, go_on)
    }
}

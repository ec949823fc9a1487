//! The loop of a crawl: it owns all state; fetches run beside it and come back to it.

mod answer;

use std::path::Path;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use url::Url;

use super::archive::{Archive, End, file_name};
use super::canonical::canonical;
use super::fetch::{Failure, Fetched, Fetcher};
use super::frontier::{Frontier, Job, Rules, Taken, Target};
use super::journal::{Done, Journal, Line};
use super::rules::rules_of;
use super::sitemap;
use super::tally::{add, count, replay};
use super::{Crawl, CrawlError, CrawlSkip, CrawlSummary, Progress};

/// Addresses that are begun before the loop looks at what came back.
const MAX_BEGUN: usize = 1_000;
/// Bytes of a sitemap as it is sent.
const MAX_SITEMAP_BYTES: u64 = 50 << 20;

/// What came back.
enum Came {
    Robots(Url, Rules),
    Sitemap(Url, Option<Vec<u8>>),
    Page(Target, Result<Fetched, Failure>),
}

struct Work<'a> {
    crawl: &'a Crawl,
    fetcher: Fetcher,
    product: String,
    frontier: Frontier,
    journal: Journal,
    archive: Archive,
    summary: CrawlSummary,
    under_way: FuturesUnordered<LocalBoxFuture<'a, Came>>,
    /// Pages among these.
    pages_under_way: u64,
}

/// See [`Crawl::run`].
pub(super) fn run(
    crawl: &Crawl,
    folder: &Path,
    go_on: &dyn Fn(Progress) -> bool,
) -> Result<CrawlSummary, CrawlError> {
    if tokio::runtime::Handle::try_current().is_ok() {
        return Err(CrawlError::InsideRuntime);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| CrawlError::Client(error.to_string()))?;
    let mut work = Work::open(crawl, folder)?;
    runtime.block_on(work.all(go_on))?;
    drop(std::mem::take(&mut work.under_way));
    // A name that is being resolved can't be called back.
    runtime.shutdown_timeout(Duration::from_millis(100));
    Ok(work.finish())
}

/// What of a crawl's parameters may not change between its runs.
fn fingerprint(crawl: &Crawl) -> String {
    let Crawl { seeds, allowed_hosts, allowed_paths, denied_paths, max_depth, canonical, .. } = crawl;
    let text = format!("{seeds:?}{allowed_hosts:?}{allowed_paths:?}{denied_paths:?}{max_depth}{canonical:?}");
    blake3::hash(text.as_bytes()).to_hex().to_string()
}

/// The name by which robots.txt files know the crawler.
///
/// # Errors
/// The user agent has no name, or no way to reach its owner.
fn product_token(user_agent: &str) -> Result<String, CrawlError> {
    let token: String =
        user_agent.chars().take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
    let has_contact = user_agent.contains('@') || user_agent.contains("://");
    if token.is_empty() || !has_contact || !user_agent.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
        let problem = "must be a name and a way to reach you: `name/1.0 (+https://example.org/bot)`";
        return Err(CrawlError::field("user_agent", format!("`{user_agent}` {problem}")));
    }
    Ok(token)
}

impl<'a> Work<'a> {
    fn open(crawl: &'a Crawl, folder: &Path) -> Result<Self, CrawlError> {
        let product = product_token(&crawl.user_agent)?;
        let mut frontier = Frontier::new(crawl)?;
        let mut seeds = Vec::new();
        for seed in &crawl.seeds {
            let url = canonical(seed, None, crawl.canonical);
            let url =
                url.ok_or_else(|| CrawlError::field("seeds", format!("`{seed}` is no address of a page")))?;
            if !frontier.scope().allows(&url) {
                let problem = format!(
                    "`{seed}` is on a host or path that may not be visited; add it to `allowed_hosts`"
                );
                return Err(CrawlError::field("seeds", problem));
            }
            seeds.push(url);
        }
        if seeds.is_empty() {
            return Err(CrawlError::field("seeds", "names no page to begin with"));
        }
        std::fs::create_dir_all(folder).map_err(|error| CrawlError::io(folder, error))?;
        let (mut summary, mut end) = (CrawlSummary::default(), End::default());
        let journal = Journal::open(&folder.join("crawl.journal"), &fingerprint(crawl), &mut |line| {
            replay(line, &mut frontier, &mut summary, &mut end);
        })?;
        let mut work = Self {
            crawl,
            fetcher: Fetcher::new(crawl)?,
            product,
            frontier,
            journal,
            archive: Archive::open(folder, end, crawl)?,
            summary,
            under_way: FuturesUnordered::new(),
            pages_under_way: 0,
        };
        let mut lines = Vec::new();
        for url in seeds {
            work.found(Target { url, depth: 0, via: Vec::new(), tries: 0 }, &mut lines);
        }
        work.journal.append(&lines)?;
        Ok(work)
    }

    async fn all(&mut self, go_on: &dyn Fn(Progress) -> bool) -> Result<(), CrawlError> {
        loop {
            self.begin()?;
            let next_at = if self.may_begin() { self.frontier.next_at() } else { None };
            if self.under_way.is_empty() && next_at.is_none() {
                return Ok(());
            }
            let wait =
                next_at.map_or(Duration::from_hours(1), |at| at.saturating_duration_since(Instant::now()));
            let may_wait = self.under_way.len() < self.crawl.max_connections;
            let came = if self.under_way.is_empty() {
                tokio::time::sleep(wait).await;
                None
            } else if may_wait {
                tokio::time::timeout(wait, self.under_way.next()).await.unwrap_or(None)
            } else {
                self.under_way.next().await
            };
            let Some(came) = came else { continue };
            if let Some(url) = self.came(came)? {
                let progress = Progress {
                    pages: self.summary.pages,
                    queued: self.frontier.queued(),
                    bytes: self.summary.bytes,
                    url: url.into(),
                };
                if !go_on(progress) {
                    return Ok(());
                }
            }
        }
    }

    fn may_begin(&self) -> bool {
        self.under_way.len() < self.crawl.max_connections
            && self.summary.pages + self.pages_under_way < self.crawl.max_pages
            && self.summary.bytes < self.crawl.max_bytes
    }

    /// Begins what can be begun now.
    fn begin(&mut self) -> Result<(), CrawlError> {
        let needs_rules = self.crawl.respect_robots || self.crawl.sitemaps;
        // Addresses that are refused after all cost no wait; between so many of them the fetches go on.
        for _ in 0..MAX_BEGUN {
            if !self.may_begin() {
                break;
            }
            let Some(job) = self.frontier.next(Instant::now(), needs_rules) else { break };
            let fetcher = self.fetcher.clone();
            match job {
                Job::Robots(url) => {
                    let crawl = self.crawl;
                    let product = self.product.clone();
                    let scope = self.frontier.scope().clone();
                    self.under_way.push(Box::pin(async move {
                        let rules = rules_of(&url, &fetcher, crawl, &scope, &product).await;
                        Came::Robots(url, rules)
                    }));
                }
                Job::Sitemap(url) => self.under_way.push(Box::pin(async move {
                    let fetched = fetcher.fetch(&url, MAX_SITEMAP_BYTES).await.ok();
                    let body = fetched.filter(|fetched| fetched.status == 200).map(|fetched| fetched.body);
                    Came::Sitemap(url, body)
                })),
                Job::Page(target) => {
                    if let Some(reason) = self.refused(&target) {
                        let line = self.line_of(&target, Done { skip: Some(reason), ..Done::default() });
                        self.journal.note(&[line])?;
                        self.frontier.free(&target.url, false, Duration::ZERO);
                        continue;
                    }
                    self.pages_under_way += 1;
                    self.under_way.push(Box::pin(async move {
                        let fetched = fetcher.fetch(&target.url, fetcher.limits.body_bytes).await;
                        Came::Page(target, fetched)
                    }));
                }
            }
        }
        Ok(())
    }

    /// Why a page may not be asked for, after all.
    fn refused(&mut self, target: &Target) -> Option<CrawlSkip> {
        if self.crawl.respect_robots {
            let path = &target.url[url::Position::BeforePath..];
            match self.frontier.rules(&target.url) {
                Some(Rules::Closed(reason)) => return Some(*reason),
                Some(Rules::Known(robots)) if !robots.allows(path) => return Some(CrawlSkip::Robots),
                _ => {}
            }
        }
        // A page that is asked for again was counted.
        let within = target.tries > 0 || self.frontier.count_page(&target.url, self.crawl.max_pages_per_host);
        (!within).then_some(CrawlSkip::HostBudget)
    }

    /// Takes what came; gives the address if it was that of a page.
    fn came(&mut self, came: Came) -> Result<Option<Url>, CrawlError> {
        match came {
            Came::Robots(url, rules) => {
                if let (Rules::Known(robots), true) = (&rules, self.crawl.sitemaps) {
                    let sitemaps = robots
                        .sitemaps
                        .iter()
                        .filter_map(|link| canonical(link, Some(&url), self.crawl.canonical));
                    sitemaps.for_each(|sitemap| self.frontier.offer_sitemap(sitemap));
                }
                self.frontier.set_rules(&url, rules, self.crawl.max_pause);
                self.frontier.free(&url, true, Duration::ZERO);
                Ok(None)
            }
            Came::Sitemap(url, body) => {
                let listed = body.map(|body| sitemap::parse(&body)).unwrap_or_default();
                let mut lines = Vec::new();
                for page in &listed.pages {
                    if let Some(page) = canonical(page, Some(&url), self.crawl.canonical) {
                        self.found(Target { url: page, depth: 0, via: Vec::new(), tries: 0 }, &mut lines);
                    }
                }
                for other in &listed.sitemaps {
                    if let Some(other) = canonical(other, Some(&url), self.crawl.canonical) {
                        self.frontier.offer_sitemap(other);
                    }
                }
                // A list of lists is read again after a kill, so that the lists in it are.
                if listed.sitemaps.is_empty() {
                    lines.push(Line::Sitemap { url: url.to_string() });
                }
                self.journal.append(&lines)?;
                self.frontier.free(&url, true, Duration::ZERO);
                Ok(None)
            }
            Came::Page(target, fetched) => {
                self.pages_under_way -= 1;
                let url = target.url.clone();
                let pause = self.page(&target, fetched)?;
                self.frontier.free(&url, true, pause);
                Ok(Some(url))
            }
        }
    }

    /// Takes up an address, or names why not.
    fn found(&mut self, target: Target, lines: &mut Vec<Line>) {
        let (url, depth, via) = (target.url.to_string(), target.depth, target.via.clone());
        match self.frontier.offer(target) {
            Taken::Known => {}
            Taken::Waits => lines.push(Line::Found { url, depth, via }),
            Taken::Refused(reason) => {
                // Too deep is counted at the end: it may be found nearer yet. What is not remembered is counted each time.
                if reason != CrawlSkip::TooDeep {
                    count(&mut self.summary, reason);
                }
                if reason != CrawlSkip::FrontierFull {
                    lines.push(Line::Skipped { url, reason });
                }
            }
        }
    }

    /// Notes that an address is done, behind the lines of what it led to.
    fn done(&mut self, target: &Target, done: Done, mut lines: Vec<Line>) -> Result<(), CrawlError> {
        lines.push(self.line_of(target, done));
        self.journal.append(&lines)
    }

    /// Counts an address that is done, and gives its line.
    fn line_of(&mut self, target: &Target, done: Done) -> Line {
        let End { file, bytes } = self.archive.end();
        let done = Done { url: target.url.to_string(), file, file_bytes: bytes, ..done };
        add(&mut self.summary, &done);
        Line::Done(done)
    }

    fn finish(mut self) -> CrawlSummary {
        let too_deep = self.frontier.too_deep();
        if too_deep > 0 {
            self.summary.skipped.insert(CrawlSkip::TooDeep.name().to_owned(), too_deep);
        }
        self.summary.left = self.frontier.queued() + self.pages_under_way;
        self.summary.finished = self.summary.left == 0;
        self.summary.files = (0..=self.archive.end().file).map(file_name).collect();
        self.summary
    }
}

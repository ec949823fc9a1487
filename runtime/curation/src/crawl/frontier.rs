//! Addresses that wait, by host, and when each host may be asked again.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use url::Url;

use super::robots::Robots;
use super::scope::{Scope, Shapes};
use super::{Crawl, CrawlError, CrawlSkip};

/// Sitemaps of one host.
const MAX_SITEMAPS: usize = 50;

/// An address that waits.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    pub(super) depth: u32,
    /// The redirects that led to it.
    pub(super) via: Vec<String>,
    pub(super) tries: u32,
}

/// What robots.txt says of one origin of a host.
#[derive(Debug, Clone)]
pub(super) enum Rules {
    /// They are known.
    Known(Robots),
    /// The host is left alone.
    Closed(CrawlSkip),
}

/// What is to be done next at a host.
#[derive(Debug, Clone)]
pub(super) enum Job {
    /// Read robots.txt of the origin of this address.
    Robots(Url),
    /// Read a sitemap.
    Sitemap(Url),
    /// Ask for a page.
    Page(Target),
}

struct Host {
    waiting: VecDeque<Target>,
    sitemaps: VecDeque<Url>,
    num_sitemaps: usize,
    /// By origin: scheme, host and port.
    rules: BTreeMap<String, Rules>,
    pause: Duration,
    next_at: Instant,
    busy: bool,
    pages: u64,
}

/// What a new address came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It waits.
    Waits,
    /// It is refused, and was not before.
    Refused(CrawlSkip),
    /// It is known.
    Known,
}

/// All hosts.
pub(super) struct Frontier {
    hosts: BTreeMap<String, Host>,
    seen: HashSet<[u8; 16]>,
    /// Addresses that were found only too deep.
    too_deep: HashSet<[u8; 16]>,
    seen_sitemaps: HashSet<[u8; 16]>,
    shapes: Shapes,
    scope: Scope,
    max_depth: u32,
    max_alike: u64,
    max_urls: u64,
    pause: Duration,
    queued: u64,
}

/// What is remembered of a text: two that differ have the same key by no accident that happens.
pub(super) fn key(url: &str) -> [u8; 16] {
    let mut key = [0; 16];
    for (to, from) in key.iter_mut().zip(blake3::hash(url.as_bytes()).as_bytes()) {
        *to = *from;
    }
    key
}

/// The origin of an address, to which its robots.txt belongs.
pub(super) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

impl Frontier {
    /// # Errors
    /// A field of the crawl can't be used.
    pub(super) fn new(crawl: &Crawl) -> Result<Self, CrawlError> {
        let pause = Duration::try_from_secs_f64(1.0 / crawl.rate).map_err(|_| {
            CrawlError::field(
                "rate",
                format!("{} is no rate; write requests per second, above 0", crawl.rate),
            )
        })?;
        Ok(Self {
            hosts: BTreeMap::new(),
            seen: HashSet::new(),
            too_deep: HashSet::new(),
            seen_sitemaps: HashSet::new(),
            shapes: Shapes::default(),
            scope: Scope::new(crawl)?,
            max_depth: crawl.max_depth,
            max_alike: crawl.max_alike,
            max_urls: crawl.max_urls,
            pause,
            queued: 0,
        })
    }

    /// Addresses that wait.
    pub(super) fn queued(&self) -> u64 {
        self.queued
    }

    /// Addresses that were found only deeper than the limit.
    pub(super) fn too_deep(&self) -> u64 {
        self.too_deep.len() as u64
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Takes up an address that was found.
    pub(super) fn offer(&mut self, target: Target) -> Taken {
        let url = key(target.url.as_str());
        if self.seen.contains(&url) {
            return Taken::Known;
        }
        if self.seen.len() as u64 >= self.max_urls {
            return Taken::Refused(CrawlSkip::FrontierFull);
        }
        let refused = if !self.scope.allows(&target.url) {
            Some(CrawlSkip::OutOfScope)
        } else if target.depth > self.max_depth {
            // It may be found again nearer to a seed: it is not done with.
            let new = (self.too_deep.len() as u64) < self.max_urls && self.too_deep.insert(url);
            return if new { Taken::Refused(CrawlSkip::TooDeep) } else { Taken::Known };
        } else {
            self.shapes.refuse(&target.url, self.max_alike)
        };
        self.too_deep.remove(&url);
        self.seen.insert(url);
        if let Some(reason) = refused {
            return Taken::Refused(reason);
        }
        self.queued += 1;
        self.host(&target.url).waiting.push_back(target);
        Taken::Waits
    }

    /// What the journal said of an address that was refused.
    pub(super) fn replay_refused(&mut self, url: &str, reason: CrawlSkip) {
        match reason {
            CrawlSkip::TooDeep => self.too_deep.insert(key(url)),
            _ => self.seen.insert(key(url)),
        };
    }

    /// What the journal said of an address that is done.
    pub(super) fn replay_done(&mut self, url: &Url, asked: bool) {
        let host = self.host(url);
        let before = host.waiting.len();
        // The oldest are done first.
        if let Some(at) = host.waiting.iter().position(|target| target.url == *url) {
            host.waiting.remove(at);
        }
        host.pages += u64::from(asked);
        let removed = (before - host.waiting.len()) as u64;
        self.queued -= removed;
    }

    fn host(&mut self, url: &Url) -> &mut Host {
        let pause = self.pause;
        self.hosts.entry(url.host_str().unwrap_or_default().to_owned()).or_insert_with(|| Host {
            waiting: VecDeque::new(),
            sitemaps: VecDeque::new(),
            num_sitemaps: 0,
            rules: BTreeMap::new(),
            pause,
            next_at: Instant::now(),
            busy: false,
            pages: 0,
        })
    }

    /// A host that may be asked now, and for what. It is busy until [`Frontier::free`].
    pub(super) fn next(&mut self, now: Instant, needs_rules: bool) -> Option<Job> {
        let host = self.hosts.values_mut().find(|host| host.is_ready() && host.next_at <= now)?;
        host.busy = true;
        if let Some(sitemap) = host.sitemaps.pop_front() {
            return Some(Job::Sitemap(sitemap));
        }
        let target = host.waiting.pop_front()?;
        if needs_rules && !host.rules.contains_key(&origin(&target.url)) {
            let url = target.url.clone();
            host.waiting.push_front(target);
            return Some(Job::Robots(url));
        }
        self.queued -= 1;
        Some(Job::Page(target))
    }

    /// When the next host may be asked.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.hosts.values().filter(|host| host.is_ready()).map(|host| host.next_at).min()
    }

    /// A host was asked, or was not (`asked`), and may be asked again after its pause or a longer one.
    pub(super) fn free(&mut self, url: &Url, asked: bool, pause: Duration) {
        let host = self.host(url);
        host.busy = false;
        if asked {
            host.next_at = Instant::now() + host.pause.max(pause);
        }
    }

    /// Puts an address back, to be asked for first.
    pub(super) fn put_back(&mut self, target: Target) {
        self.queued += 1;
        self.host(&target.url).waiting.push_front(target);
    }

    /// The rules of an address's origin.
    pub(super) fn rules(&self, url: &Url) -> Option<&Rules> {
        self.hosts.get(url.host_str().unwrap_or_default())?.rules.get(&origin(url))
    }

    /// Notes an origin's rules, and the sitemaps that they name.
    pub(super) fn set_rules(&mut self, url: &Url, rules: Rules, max_pause: Duration) {
        let mut rules = rules;
        let host = self.host(url);
        if let Rules::Known(robots) = &rules
            && let Some(secs) = robots.delay_secs
        {
            match Duration::try_from_secs_f64(secs) {
                Ok(asked) if asked <= max_pause => host.pause = host.pause.max(asked),
                _ => rules = Rules::Closed(CrawlSkip::CrawlDelay),
            }
        }
        host.rules.insert(origin(url), rules);
    }

    /// Takes up a sitemap; one of a host that may not be visited is passed over.
    pub(super) fn offer_sitemap(&mut self, url: Url) {
        if !self.scope.allows(&url) || !self.seen_sitemaps.insert(key(url.as_str())) {
            return;
        }
        let host = self.host(&url);
        host.num_sitemaps += 1;
        if host.num_sitemaps <= MAX_SITEMAPS {
            host.sitemaps.push_back(url);
        }
    }

    /// What the journal said of a sitemap that is read.
    pub(super) fn replay_sitemap(&mut self, url: &str) {
        self.seen_sitemaps.insert(key(url));
    }

    /// Counts a page of the host; says whether its budget allows it.
    pub(super) fn count_page(&mut self, url: &Url, max_pages: u64) -> bool {
        let host = self.host(url);
        let allowed = host.pages < max_pages;
        host.pages += u64::from(allowed);
        allowed
    }
}

impl Host {
    fn is_ready(&self) -> bool {
        !self.busy && (!self.waiting.is_empty() || !self.sitemaps.is_empty())
    }
}

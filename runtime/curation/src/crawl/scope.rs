//! Where a crawl may go, and addresses that look like traps.

use std::collections::HashMap;

use url::Url;

use super::frontier::key;
use super::{Crawl, CrawlError, CrawlSkip};

/// Parts of a path.
const MAX_PATH_PARTS: usize = 16;
/// Times that one part may stand in a path.
const MAX_REPEATS: usize = 3;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Allowed {
    Host(String),
    HostPort(String, u16),
    Below(String),
}

/// Hosts and paths that may be visited.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    hosts: Vec<Allowed>,
    paths: Vec<String>,
    denied: Vec<String>,
}

impl Scope {
    /// # Errors
    /// No hosts, or one that is none.
    pub(super) fn new(crawl: &Crawl) -> Result<Self, CrawlError> {
        if crawl.allowed_hosts.is_empty() {
            let problem = "names no host; write the hosts that may be visited, for instance `example.org`";
            return Err(CrawlError::field("allowed_hosts", problem));
        }
        let hosts = crawl.allowed_hosts.iter().map(|host| allowed(host)).collect::<Result<_, _>>()?;
        Ok(Self { hosts, paths: crawl.allowed_paths.clone(), denied: crawl.denied_paths.clone() })
    }

    pub(super) fn allows(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or(0);
        let host_allowed = self.hosts.iter().any(|allowed| match allowed {
            Allowed::Host(name) => name == host,
            Allowed::HostPort(name, number) => name == host && *number == port,
            Allowed::Below(domain) => {
                host.strip_suffix(domain.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            }
        });
        let begins = |prefix: &String| url.path().starts_with(prefix.as_str());
        host_allowed
            && (self.paths.is_empty() || self.paths.iter().any(begins))
            && !self.denied.iter().any(begins)
    }
}

fn allowed(text: &str) -> Result<Allowed, CrawlError> {
    let wrong = || {
        CrawlError::field(
            "allowed_hosts",
            format!("`{text}` is no host; write `example.org`, not an address"),
        )
    };
    if let Some(domain) = text.strip_prefix("*.") {
        let url = Url::parse(&format!("http://{domain}/")).map_err(|_| wrong())?;
        return Ok(Allowed::Below(url.host_str().ok_or_else(wrong)?.to_owned()));
    }
    // With a scheme that has no default port, a port that is written is not lost.
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| wrong())?;
    let host = url
        .host_str()
        .filter(|_| url.path() == "/" && url.username().is_empty())
        .ok_or_else(wrong)?
        .to_owned();
    let written = text.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    Ok(written.map_or_else(|| Allowed::Host(host.clone()), |port| Allowed::HostPort(host.clone(), port)))
}

/// Counts of addresses by shape, which find endless ones.
#[derive(Default)]
pub(super) struct Shapes {
    counts: HashMap<[u8; 16], u64>,
}

impl Shapes {
    /// Looks at an address that is new. `None`: it looks like one of a page.
    pub(super) fn refuse(&mut self, url: &Url, max_alike: u64) -> Option<CrawlSkip> {
        let parts: Vec<&str> = url.path().split('/').filter(|part| !part.is_empty()).collect();
        let repeats = |part: &&str| parts.iter().filter(|other| *other == part).count();
        if parts.len() > MAX_PATH_PARTS || parts.iter().any(|part| repeats(part) > MAX_REPEATS) {
            return Some(CrawlSkip::Trap);
        }
        let count = self.counts.entry(key(&shape(url))).or_insert(0);
        *count += 1;
        (*count > max_alike).then_some(CrawlSkip::TooManyAlike)
    }
}

/// An address without what counts up: each number is `0`, and of the query only the names stay.
fn shape(url: &Url) -> String {
    let mut shape = url.host_str().unwrap_or_default().to_owned();
    let mut in_number = false;
    for c in url.path().chars() {
        if !c.is_ascii_digit() {
            shape.push(c);
        } else if !in_number {
            shape.push('0');
        }
        in_number = c.is_ascii_digit();
    }
    let mut names: Vec<&str> =
        url.query().unwrap_or_default().split('&').filter_map(|part| part.split('=').next()).collect();
    names.sort_unstable();
    names.dedup();
    shape.push('?');
    shape.push_str(&names.join("&"));
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn hosts_and_paths_bound_the_crawl() {
        let crawl = Crawl {
            allowed_hosts: ["a.example", "b.example:8080", "*.c.example"].map(str::to_owned).to_vec(),
            denied_paths: vec!["/private/".into()],
            ..Crawl::default()
        };
        let scope = Scope::new(&crawl).unwrap();
        for text in [
            "http://a.example/",
            "https://a.example:9/x",
            "http://b.example:8080/",
            "http://x.c.example/",
            "http://c.example/",
        ] {
            assert!(scope.allows(&url(text)), "{text}");
        }
        for text in
            ["http://b.example/", "http://xa.example/", "http://xc.example/", "http://a.example/private/x"]
        {
            assert!(!scope.allows(&url(text)), "{text}");
        }
        assert!(Scope::new(&Crawl::default()).is_err());
        assert!(Scope::new(&Crawl { allowed_hosts: vec!["http://x/".into()], ..Crawl::default() }).is_err());
    }

    #[test]
    fn addresses_that_repeat_or_count_up_are_traps() {
        let mut shapes = Shapes::default();
        assert_eq!(shapes.refuse(&url("http://h/a/b/a/b/a/b/a/b"), 10), Some(CrawlSkip::Trap));
        assert_eq!(shapes.refuse(&url(&format!("http://h/{}", "x/y".repeat(20))), 10), Some(CrawlSkip::Trap));
        for day in 0..10 {
            assert_eq!(shapes.refuse(&url(&format!("http://h/cal/{day}?x={day}")), 10), None);
        }
        assert_eq!(shapes.refuse(&url("http://h/cal/11?x=7"), 10), Some(CrawlSkip::TooManyAlike));
        assert_eq!(shapes.refuse(&url("http://h/other/11?x=7"), 10), None);
    }
}

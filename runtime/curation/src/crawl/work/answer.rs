//! What becomes of a page's answer: its links, its place in the archive, another try, the address that it leads to.

use std::time::Duration;

use super::{Done, Failure, Fetched, Line, Target, Work};
use crate::crawl::canonical::canonical;
use crate::crawl::links::links;
use crate::crawl::{CrawlError, CrawlSkip};
use crate::read::Limits;
use crate::read::warc::html_of;

/// What came back for a page.
type Answer = Result<Fetched, Failure>;

impl Work<'_> {
    /// Takes a page's answer; gives the pause that its server needs.
    pub(super) fn page(&mut self, target: &Target, fetched: Answer) -> Result<Duration, CrawlError> {
        let skipped = |reason, detail| Done { skip: Some(reason), detail, ..Done::default() };
        let fetched = match fetched {
            Ok(fetched) => fetched,
            Err(Failure::Private) => {
                let done = skipped(CrawlSkip::PrivateAddress, String::new());
                return self.done(target, done, Vec::new()).map(|()| Duration::ZERO);
            }
            Err(Failure::Unreachable(detail)) => {
                if let Some(pause) = self.again(target, None) {
                    return Ok(pause);
                }
                let done = skipped(CrawlSkip::Unreachable, detail);
                return self.done(target, done, Vec::new()).map(|()| Duration::ZERO);
            }
        };
        let may_pass = matches!(fetched.status, 408 | 429 | 500 | 502 | 503 | 504);
        if may_pass && let Some(pause) = self.again(target, fetched.retry_after.as_deref()) {
            return Ok(pause);
        }
        let mut done = Done {
            status: fetched.status,
            bytes: fetched.body.len() as u64,
            truncated: fetched.truncated.is_some(),
            archived: true,
            ..Done::default()
        };
        let mut lines = Vec::new();
        match (fetched.status, &fetched.location) {
            (200..300, _) => {
                let block = [fetched.head.as_slice(), &fetched.body].concat();
                if let Some(html) = html_of(&block, &Limits::default()) {
                    let (tag, respect) = (&fetched.robots_tag, self.crawl.respect_robots);
                    let found = links(&html, &target.url, tag, respect, self.crawl.canonical);
                    done.nofollow = found.nofollow;
                    for url in found.urls {
                        self.found(
                            Target { url, depth: target.depth + 1, via: Vec::new(), tries: 0 },
                            &mut lines,
                        );
                    }
                    if found.noindex {
                        (done.archived, done.skip) = (false, Some(CrawlSkip::Noindex));
                    }
                }
            }
            (301 | 302 | 303 | 307 | 308, Some(location)) => {
                self.redirect(target, location, &mut done, &mut lines);
            }
            (300..400, _) => done.skip = Some(CrawlSkip::BadRedirect),
            _ => done.skip = Some(CrawlSkip::HttpStatus),
        }
        if done.archived {
            self.archive.write(target.url.as_str(), &fetched)?;
        }
        self.done(target, done, lines).map(|()| Duration::ZERO)
    }

    /// Puts a page back to be asked for again, if it may be; gives the pause before that.
    fn again(&mut self, target: &Target, retry_after: Option<&str>) -> Option<Duration> {
        if target.tries >= self.crawl.max_retries {
            return None;
        }
        let doubled = self.crawl.retry_pause.saturating_mul(1 << target.tries.min(16));
        let asked = retry_after.and_then(pause_asked).unwrap_or_default();
        self.frontier.put_back(Target { tries: target.tries + 1, ..target.clone() });
        Some(doubled.max(asked).min(self.crawl.max_pause))
    }

    fn redirect(&mut self, target: &Target, location: &str, done: &mut Done, lines: &mut Vec<Line>) {
        let own = target.url.as_str();
        let next = canonical(location, Some(&target.url), self.crawl.canonical);
        let reason = match &next {
            None => Some(CrawlSkip::BadRedirect),
            Some(url) if url.as_str() == own || target.via.iter().any(|via| via == url.as_str()) => {
                Some(CrawlSkip::RedirectLoop)
            }
            _ if target.via.len() as u64 >= u64::from(self.crawl.max_redirects) => {
                Some(CrawlSkip::TooManyRedirects)
            }
            _ => None,
        };
        if let (None, Some(url)) = (reason, next) {
            let via = target.via.iter().cloned().chain([own.to_owned()]).collect();
            self.found(Target { url, depth: target.depth, via, tries: 0 }, lines);
        } else {
            done.skip = reason;
            done.detail = location.chars().take(200).collect();
        }
    }
}

/// The pause that a server asks for: seconds or a date.
fn pause_asked(retry_after: &str) -> Option<Duration> {
    let text = retry_after.trim();
    if let Ok(secs) = text.parse() {
        return Some(Duration::from_secs(secs));
    }
    let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    let left = until.as_second().saturating_sub(jiff::Timestamp::now().as_second());
    u64::try_from(left).ok().map(Duration::from_secs)
}

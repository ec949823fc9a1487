//! The counts of a crawl, as it goes and from the journal of its earlier runs.

use url::Url;

use super::archive::End;
use super::frontier::{Frontier, Target};
use super::journal::{Done, Line};
use super::{CrawlSkip, CrawlSummary};

/// Counts an address without a page.
pub(super) fn count(summary: &mut CrawlSummary, reason: CrawlSkip) {
    *summary.skipped.entry(reason.name().to_owned()).or_insert(0) += 1;
}

/// Counts an address that is done.
pub(super) fn add(summary: &mut CrawlSummary, done: &Done) {
    if let Some(reason) = done.skip {
        count(summary, reason);
    }
    summary.nofollow += done.nofollow;
    if done.archived {
        summary.responses += 1;
        summary.pages += u64::from((200..300).contains(&done.status));
        summary.bytes += done.bytes;
        summary.truncated += u64::from(done.truncated);
    }
}

/// One line of an earlier run's journal.
pub(super) fn replay(line: Line, frontier: &mut Frontier, summary: &mut CrawlSummary, end: &mut End) {
    match line {
        Line::Crawl { .. } => {}
        Line::Sitemap { url } => frontier.replay_sitemap(&url),
        Line::Skipped { url, reason } => {
            frontier.replay_refused(&url, reason);
            if reason != CrawlSkip::TooDeep {
                count(summary, reason);
            }
        }
        Line::Found { url, depth, via } => {
            if let Ok(url) = Url::parse(&url) {
                frontier.offer(Target { url, depth, via, tries: 0 });
            }
        }
        Line::Done(done) => {
            *end = End { file: done.file, bytes: done.file_bytes };
            if let Ok(url) = Url::parse(&done.url) {
                let asked = done.status != 0
                    || matches!(done.skip, Some(CrawlSkip::Unreachable | CrawlSkip::PrivateAddress));
                frontier.replay_done(&url, asked);
            }
            add(summary, &done);
        }
    }
}

//! What an origin allows: its robots.txt, fetched as RFC 9309 (section 2.3) says.

use url::Url;

use super::canonical::canonical;
use super::fetch::{Failure, Fetcher};
use super::frontier::Rules;
use super::robots::{MAX_ROBOTS_BYTES, Robots};
use super::scope::Scope;
use super::{Crawl, CrawlSkip};

/// Redirects of a robots.txt: what the RFC asks for at least.
const MAX_ROBOTS_REDIRECTS: u32 = 5;

/// Reads robots.txt of an address's origin: an error of the server closes the host, one of ours (4xx) opens it. Redirects are followed within the scope.
pub(super) async fn rules_of(
    page: &Url,
    fetcher: &Fetcher,
    crawl: &Crawl,
    scope: &Scope,
    product: &str,
) -> Rules {
    let unavailable = || {
        if crawl.respect_robots {
            Rules::Closed(CrawlSkip::RobotsUnavailable)
        } else {
            Rules::Known(Robots::default())
        }
    };
    let Ok(mut url) = page.join("/robots.txt") else { return unavailable() };
    let (mut redirects, mut tries) = (0, 0);
    loop {
        let fetched = fetcher.fetch(&url, MAX_ROBOTS_BYTES as u64).await;
        match fetched {
            Err(Failure::Private) => return Rules::Closed(CrawlSkip::PrivateAddress),
            Ok(fetched) if (200..300).contains(&fetched.status) => {
                return Rules::Known(Robots::parse(&fetched.body, product));
            }
            Ok(fetched) if (300..400).contains(&fetched.status) => {
                let next =
                    fetched.location.and_then(|location| canonical(&location, Some(&url), crawl.canonical));
                redirects += 1;
                match next.filter(|next| scope.allows(next) && redirects <= MAX_ROBOTS_REDIRECTS) {
                    Some(next) => url = next,
                    None => return unavailable(),
                }
            }
            Ok(fetched) if (400..500).contains(&fetched.status) && fetched.status != 429 => {
                return Rules::Known(Robots::default());
            }
            _ => {
                if tries >= crawl.max_retries {
                    return unavailable();
                }
                tokio::time::sleep(crawl.retry_pause.saturating_mul(1 << tries.min(16)).min(crawl.max_pause))
                    .await;
                tries += 1;
            }
        }
    }
}

//! One request and its answer, within limits of bytes and seconds.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use reqwest::{Client, Response, Version, header};
use tokio::time::timeout;
use url::{Host, Url};

use super::address::{PRIVATE, is_public, resolver};
use super::{Crawl, CrawlError};

/// The time over which a server's speed is looked at.
const SPEED_WINDOW: Duration = Duration::from_secs(10);
/// What the crawler says it takes.
const ACCEPT: &str = "text/html,application/xhtml+xml,text/plain;q=0.8,*/*;q=0.1";
/// Codings that it undoes to find links; the archive has the body as it came.
const ACCEPT_ENCODING: &str = "gzip, br";

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Fetched {
    pub(super) status: u16,
    /// The request as an HTTP message.
    pub(super) request: Vec<u8>,
    /// Status line and header block of the answer, with its blank line.
    pub(super) head: Vec<u8>,
    pub(super) body: Vec<u8>,
    /// Why the body was cut, in WARC's words: `length`, `time` or `disconnect`.
    pub(super) truncated: Option<&'static str>,
    pub(super) address: Option<IpAddr>,
    pub(super) location: Option<String>,
    pub(super) retry_after: Option<String>,
    pub(super) robots_tag: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// The host's address is not of the public internet.
    Private,
    /// The server can't be reached or does not speak HTTP.
    Unreachable(String),
}

/// What an answer may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct FetchLimits {
    pub(super) body_bytes: u64,
    pub(super) answer_timeout: Duration,
    pub(super) body_timeout: Duration,
    pub(super) min_bytes_per_sec: u64,
}

/// A client that can be shared.
#[derive(Clone)]
pub(super) struct Fetcher {
    client: Client,
    allow_private: bool,
    user_agent: String,
    pub(super) limits: FetchLimits,
}

impl Fetcher {
    /// # Errors
    /// The client can't be made.
    pub(super) fn new(crawl: &Crawl) -> Result<Self, CrawlError> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            // A proxy would connect in our place, past the resolver.
            .no_proxy()
            .referer(false)
            .http1_only()
            .pool_max_idle_per_host(1)
            .connect_timeout(crawl.answer_timeout)
            .user_agent(&crawl.user_agent)
            .dns_resolver(resolver(crawl.allow_private_addresses))
            .build()
            .map_err(|error| CrawlError::Client(error.to_string()))?;
        Ok(Self {
            client,
            allow_private: crawl.allow_private_addresses,
            user_agent: crawl.user_agent.clone(),
            limits: FetchLimits {
                body_bytes: crawl.max_body_bytes,
                answer_timeout: crawl.answer_timeout,
                body_timeout: crawl.body_timeout,
                min_bytes_per_sec: crawl.min_bytes_per_sec,
            },
        })
    }

    /// Asks for an address; redirects are the caller's.
    ///
    /// # Errors
    /// See [`Failure`].
    pub(super) async fn fetch(&self, url: &Url, body_bytes: u64) -> Result<Fetched, Failure> {
        // Addresses in figures are not resolved, so the resolver does not see them.
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            _ => None,
        };
        if !self.allow_private && literal.is_some_and(|address| !is_public(address)) {
            return Err(Failure::Private);
        }
        let asked = self
            .client
            .get(url.clone())
            .header(header::ACCEPT, ACCEPT)
            .header(header::ACCEPT_ENCODING, ACCEPT_ENCODING)
            .send();
        let answer = match timeout(self.limits.answer_timeout, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(failure(&error)),
            Err(_) => return Err(Failure::Unreachable("no answer in time".to_owned())),
        };
        let address = answer.remote_addr().map(|address| address.ip());
        if !self.allow_private && address.is_some_and(|address| !is_public(address)) {
            return Err(Failure::Private);
        }
        let text = |name: header::HeaderName| {
            answer.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut fetched = Fetched {
            status: answer.status().as_u16(),
            request: self.request(url),
            head: head(&answer),
            body: Vec::new(),
            truncated: None,
            address,
            location: text(header::LOCATION),
            retry_after: text(header::RETRY_AFTER),
            robots_tag: text(header::HeaderName::from_static("x-robots-tag")).unwrap_or_default(),
        };
        fetched.truncated = self.body(answer, &mut fetched.body, body_bytes).await;
        Ok(fetched)
    }

    /// Reads a body up to its limits; says why it was cut.
    async fn body(&self, mut answer: Response, body: &mut Vec<u8>, body_bytes: u64) -> Option<&'static str> {
        let begin = Instant::now();
        let window = SPEED_WINDOW.min(self.limits.body_timeout);
        let (mut window_begin, mut window_bytes) = (begin, 0_u64);
        loop {
            let left = self.limits.body_timeout.saturating_sub(begin.elapsed());
            let wait = left.min(window.saturating_sub(window_begin.elapsed()));
            match timeout(wait, answer.chunk()).await {
                Ok(Ok(None)) => return None,
                Ok(Err(_)) => return Some("disconnect"),
                Ok(Ok(Some(chunk))) => {
                    let room = (body_bytes - body.len() as u64).min(chunk.len() as u64) as usize;
                    body.extend_from_slice(chunk.get(..room).unwrap_or_default());
                    window_bytes += chunk.len() as u64;
                    if room < chunk.len() {
                        return Some("length");
                    }
                }
                Err(_) if begin.elapsed() >= self.limits.body_timeout => return Some("time"),
                Err(_) => {}
            }
            if window_begin.elapsed() >= window {
                let least = self.limits.min_bytes_per_sec as f64 * window.as_secs_f64();
                if (window_bytes as f64) < least {
                    return Some("time");
                }
                (window_begin, window_bytes) = (Instant::now(), 0);
            }
        }
    }

    fn request(&self, url: &Url) -> Vec<u8> {
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        let port = url.port().map_or_else(String::new, |port| format!(":{port}"));
        let host = url.host_str().unwrap_or_default();
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}{port}\r\nUser-Agent: {}\r\nAccept: {ACCEPT}\r\n\
             Accept-Encoding: {ACCEPT_ENCODING}\r\n\r\n",
            self.user_agent
        )
        .into_bytes()
    }
}

/// Whether a failure is the resolver's word on private addresses.
fn failure(error: &reqwest::Error) -> Failure {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut words = Vec::new();
    while let Some(error) = cause {
        let text = error.to_string();
        if text.contains(PRIVATE) {
            return Failure::Private;
        }
        words.push(text);
        cause = error.source();
    }
    Failure::Unreachable(words.pop().unwrap_or_default())
}

/// Status line and headers as the archive has them. The library has joined chunks already, so their header goes by another name, as other
/// crawlers do it.
fn head(answer: &Response) -> Vec<u8> {
    let version = if answer.version() == Version::HTTP_10 { "1.0" } else { "1.1" };
    let status = answer.status();
    let mut head =
        format!("HTTP/{version} {} {}\r\n", status.as_u16(), status.canonical_reason().unwrap_or_default());
    head = head.trim_end().to_owned() + "\r\n";
    let mut head = head.into_bytes();
    for (name, value) in answer.headers() {
        if name == header::TRANSFER_ENCODING {
            head.extend_from_slice(b"x-crawler-");
        }
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

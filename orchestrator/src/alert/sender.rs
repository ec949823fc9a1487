//! Sending: one POST, behind a trait so that tests answer themselves.

use std::io::{ErrorKind, Read};
use std::time::Duration;

use reqwest::blocking::Client;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;

use super::SecretText;

/// The longest that a receiver may take, from the connection to the end of its answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that are read.
const MOST_BYTES: u64 = 1_024;

/// A header's name and value.
pub(super) type Header = (&'static str, String);

/// A POST.
#[derive(Debug, Clone)]
pub struct Post<'a> {
    /// Where to.
    pub url: &'a SecretText,
    /// Headers beside the type of the body.
    pub headers: Vec<(&'static str, String)>,
    /// JSON.
    pub body: &'a [u8],
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Retry-After`.
    pub retry_after: Option<String>,
    /// The beginning of its text. It may repeat what it was sent: it is shown to who tries a webhook, and never recorded.
    pub text: String,
}

/// Why there is no answer. Nothing here says where the POST went.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// A secret has no value, or can't be used; what, in words.
    #[error("{0}")]
    Secret(String),
    /// No connection came about.
    #[error("no connection: {0}")]
    Connect(String),
    /// It took too long.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    TimedOut,
    /// The HTTP client could not be made.
    #[error("no HTTP client could be made: {0}")]
    Client(String),
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// Sends POSTs.
pub trait Sender: Send {
    /// Sends one and waits for the answer.
    fn send(&mut self, post: &Post<'_>) -> Result<Answer, SendError>;
}

/// Sends over HTTP. Its client is made when the first POST is sent: who has nothing to tell needs none.
#[derive(Debug, Clone, Default)]
pub struct HttpSender(Option<Client>);

impl HttpSender {
    /// A sender that follows no redirect: a secret URL is told to nobody but its owner.
    pub fn new() -> Self {
        Self::default()
    }

    fn client(&mut self) -> Result<&Client, SendError> {
        if self.0.is_none() {
            let builder = Client::builder().timeout(TIMEOUT).redirect(Policy::none()).referer(false);
            let builder = builder.user_agent(concat!("cupola/", env!("CARGO_PKG_VERSION")));
            self.0 = Some(builder.build().map_err(|error| SendError::Client(cause(&error)))?);
        }
        self.0.as_ref().ok_or_else(|| SendError::Client("it is gone".to_owned()))
    }
}

impl Sender for HttpSender {
    fn send(&mut self, post: &Post<'_>) -> Result<Answer, SendError> {
        let mut request = self.client()?.post(post.url.expose()).header(CONTENT_TYPE, "application/json");
        for (name, value) in &post.headers {
            request = request.header(*name, value);
        }
        let response = request.body(post.body.to_vec()).send().map_err(|error| failure(&error))?;
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let (status, retry_after) = (response.status().as_u16(), retry_after.map(str::to_owned));
        let mut bytes = Vec::new();
        // The status says it all: a text that breaks off changes nothing.
        let _ = response.take(MOST_BYTES).read_to_end(&mut bytes);
        Ok(Answer { status, retry_after, text: String::from_utf8_lossy(&bytes).trim().to_owned() })
    }
}

/// An error of the client without anything of the URL.
fn failure(error: &reqwest::Error) -> SendError {
    if error.is_timeout() {
        SendError::TimedOut
    } else if error.is_builder() {
        SendError::Secret("the URL is none that a POST can be sent to".to_owned())
    } else if error.is_connect() {
        SendError::Connect(cause(error))
    } else {
        SendError::Broken(cause(error))
    }
}

/// The kind of the I/O error behind an error: its own text may hold the host.
fn cause(error: &reqwest::Error) -> String {
    let first = std::error::Error::source(error);
    let mut causes = std::iter::successors(first, |error| error.source());
    let kind = causes.find_map(|error| error.downcast_ref::<std::io::Error>()).map(std::io::Error::kind);
    match kind {
        Some(
            kind @ (ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::AddrNotAvailable),
        ) => kind.to_string(),
        _ => "the host was not found, or it did not speak HTTP or TLS as it should".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with this text and gives what came.
    fn serve(answer: &'static str) -> (SecretText, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook/s3cr3t", listener.local_addr().unwrap());
        let served = std::thread::spawn(move || {
            let mut stream = BufReader::new(listener.accept().unwrap().0);
            let (mut request, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                request.push_str(&line);
                line.clear();
            }
            let length = request.lines().find_map(|line| line.strip_prefix("content-length: "));
            let mut body = vec![0; length.unwrap().parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            request
        });
        (SecretText::new(&url), served)
    }

    fn post(url: &SecretText) -> Result<Answer, SendError> {
        let headers = vec![("webhook-id", "alert_1".to_owned())];
        HttpSender::new().send(&Post { url, headers, body: b"{}" })
    }

    #[test]
    fn a_post_has_its_headers_and_body_and_the_answer_is_read() {
        let (url, served) = serve("HTTP/1.1 503 x\r\nretry-after: 7\r\ncontent-length: 4\r\n\r\nbusy");
        let answer = post(&url).unwrap();
        assert_eq!(answer, Answer { status: 503, retry_after: Some("7".into()), text: "busy".into() });
        let request = served.join().unwrap();
        assert!(request.starts_with("POST /hook/s3cr3t HTTP/1.1") && request.ends_with("{}"), "{request}");
        assert!(
            request.contains("webhook-id: alert_1") && request.contains("content-type: application/json")
        );
    }

    #[test]
    fn a_redirect_is_an_answer_and_is_not_followed() {
        let (url, served) =
            serve("HTTP/1.1 302 x\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(post(&url).unwrap().status, 302);
        served.join().unwrap();
    }

    #[test]
    fn an_error_says_nothing_of_the_url() {
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let urls = [
            format!("http://{closed}/s3cr3t"),
            "http://s3cr3t.invalid/".to_owned(),
            "s3cr3t".to_owned(),
            "ftp://s3cr3t/".to_owned(),
        ];
        for url in urls {
            let error = post(&SecretText::new(&url)).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(!text.contains("s3cr3t") && !text.contains(&closed.port().to_string()), "{text}");
        }
    }
}

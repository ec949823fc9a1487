//! JSON over HTTP. A key never reaches an error's text: neither by the URL, nor by what a server says back.

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use cupola_specs::spec::SecretRef;
use reqwest::blocking::{Client, RequestBuilder};
use reqwest::redirect::Policy;
use serde_json::Value;

use super::TelemetryError;

/// Time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Time until a connection is there.
const CONNECT: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const MOST_BYTES: u64 = 4 << 20;
/// Most characters of a refusal that are told.
const MOST_WORDS: usize = 200;

/// Who asks.
#[derive(Clone)]
pub(super) enum Credentials {
    /// Nobody in particular.
    None,
    /// Whoever has the token.
    Bearer(String),
    /// A user with a password.
    Basic(String, String),
}

impl Credentials {
    fn secret(&self) -> &str {
        match self {
            Self::None => "",
            Self::Bearer(secret) | Self::Basic(_, secret) => secret,
        }
    }
}

/// The value of a secret of this process.
pub(super) fn secret(secret: &SecretRef) -> Result<String, TelemetryError> {
    let value = std::env::var(&secret.name).unwrap_or_default().trim().to_owned();
    if value.is_empty() { Err(TelemetryError::NoSecret(secret.name.clone())) } else { Ok(value) }
}

/// One server.
pub(super) struct Server {
    client: Client,
    base: String,
    credentials: Credentials,
}

/// An answer: status and body, where the server took or refused what was asked.
pub(super) struct Answer {
    /// HTTP's status.
    pub(super) status: u16,
    /// The body; null where it is no JSON.
    pub(super) body: Value,
    /// Its first words, without the key.
    words: String,
}

impl Server {
    /// A server at a URL. Redirects are not followed: a key is told to nobody but its owner.
    pub(super) fn new(base: &str, credentials: Credentials) -> Result<Self, TelemetryError> {
        let builder = Client::builder().timeout(TIMEOUT).connect_timeout(CONNECT).redirect(Policy::none());
        let builder = builder.user_agent(concat!("cupola/", env!("CARGO_PKG_VERSION")));
        let client = builder.build().map_err(|error| TelemetryError::Refused(cause(&error)))?;
        Ok(Self { client, base: base.to_owned(), credentials })
    }

    /// Posts JSON.
    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Answer, TelemetryError> {
        self.ask(self.client.post(format!("{}{path}", self.base)).json(body))
    }

    /// Gets JSON.
    pub(super) fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, TelemetryError> {
        self.ask(self.client.get(format!("{}{path}", self.base)).query(query))
    }

    fn ask(&self, request: RequestBuilder) -> Result<Answer, TelemetryError> {
        let request = match &self.credentials {
            Credentials::None => request,
            Credentials::Bearer(token) => request.bearer_auth(token),
            Credentials::Basic(user, password) => request.basic_auth(user, Some(password)),
        };
        let response = request.send().map_err(|error| {
            let words = cause(&error);
            if error.is_builder() { TelemetryError::Refused(words) } else { TelemetryError::Busy(words) }
        })?;
        let status = response.status().as_u16();
        let mut bytes = Vec::new();
        response
            .take(MOST_BYTES)
            .read_to_end(&mut bytes)
            .map_err(|error| TelemetryError::Busy(error.kind().to_string()))?;
        let words = self.without_key(&String::from_utf8_lossy(&bytes));
        if matches!(status, 408 | 425 | 429) || status >= 500 {
            return Err(TelemetryError::Busy(format!("status {status}: {words}")));
        }
        Ok(Answer { status, body: serde_json::from_slice(&bytes).unwrap_or_default(), words })
    }

    /// The first words of a text, without the key.
    fn without_key(&self, text: &str) -> String {
        let key = self.credentials.secret();
        let text = if key.is_empty() { text.to_owned() } else { text.replace(key, "[secret]") };
        text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(MOST_WORDS).collect()
    }
}

impl Answer {
    /// The body of what was taken.
    pub(super) fn taken(self) -> Result<Value, TelemetryError> {
        if (200..300).contains(&self.status) { Ok(self.body) } else { Err(self.refusal()) }
    }

    /// What the server said as an error.
    pub(super) fn refusal(&self) -> TelemetryError {
        TelemetryError::Refused(format!("status {}: {}", self.status, self.words))
    }
}

/// Why a request did not come through, without its URL.
fn cause(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut next = error.source();
    while let Some(inner) = next {
        if let Some(io) = inner.downcast_ref::<std::io::Error>() {
            return io.kind().to_string();
        }
        next = inner.source();
    }
    "it was not found, or did not speak HTTP as it should".to_owned()
}

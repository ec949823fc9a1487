//! What a server is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cupola_specs::contract::{AdapterSource, Quantization, Speculation};
use cupola_specs::job::{Device, Precision};

use crate::ServeError;

/// Everything that a server needs to know.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The models; the first answers where a request is not about one of them.
    pub models: Vec<ModelSource>,
    /// A state folder's `served.json`, whose models are served instead, and whose changes are followed.
    pub follow: Option<PathBuf>,
    /// Whether the model that another one replaced stays in memory, one for each name, so that going back takes no time.
    pub keep_replaced: bool,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Answers that are generated at the same time.
    pub max_slots: usize,
    /// Answers that may wait for a slot; more are refused with 429.
    pub max_queue: usize,
    /// Threads of the tensor library; 0 takes one for a small network, else all cores.
    pub threads: usize,
    /// Tokens of prompt and answer together; 0 takes the model's own limit.
    pub context: usize,
    /// Where networks run.
    pub device: Device,
    /// Number format.
    pub precision: Precision,
    /// Weights in fewer bits.
    pub quantization: Quantization,
    /// Tokens of a transformer whose keys and values are kept; 0 takes a whole context for each answer that is generated at the same time.
    pub cache_tokens: usize,
    /// Adapters beside the models, each under a name of its own.
    pub adapters: Vec<AdapterSource>,
    /// What guesses the tokens that follow, for each model.
    pub speculation: Option<Speculation>,
    /// A key without limits, where there is one.
    pub api_key: Option<String>,
    /// A file of keys, each with a name and limits of its own. Clients must send a key where there is a file or `api_key`.
    pub keys_file: Option<PathBuf>,
    /// A file of what must not be asked and not be said.
    pub moderation_file: Option<PathBuf>,
    /// Web origins that may call the API from a browser, besides the server's own page.
    pub cors_origins: Vec<String>,
    /// The certificate, where the server speaks TLS.
    pub tls: Option<TlsFiles>,
    /// What one request may ask for.
    pub limits: RequestLimits,
    /// What clients may do with connections.
    pub connections: ConnectionLimits,
    /// How the server stops.
    pub drain: Drain,
}

/// Where a model comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSource {
    /// The name that clients ask for; none takes the folder's step name from its manifest, or the folder's own name.
    pub name: Option<String>,
    /// A folder in Hugging Face's layout, with the tokenizer's files, or a GGUF file.
    pub path: PathBuf,
    /// The fingerprint under which it was promoted; none takes the manifest's.
    pub fingerprint: Option<String>,
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self { name: None, path, fingerprint: None }
    }
}

/// Files of TLS, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// That certificate's key.
    pub key: PathBuf,
}

/// What one request may ask for.
#[derive(Debug, Clone)]
pub struct RequestLimits {
    /// Longest body.
    pub body_bytes: usize,
    /// Longest prompt; 0 takes what the context holds.
    pub prompt_tokens: usize,
    /// Longest answer; 0 takes what the context leaves.
    pub output_tokens: usize,
    /// Longest time from an answer's admission to its end.
    pub time: Duration,
}

/// What clients may do with connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Most open connections.
    pub max: usize,
    /// Most open connections of one address; of IPv6, of one network of 64 bits.
    pub max_per_address: usize,
    /// Longest time for a request's line and headers, and for a connection without a request.
    pub header_timeout: Duration,
    /// After `body_grace`, a body must have come at this rate; 0 asks for none.
    pub min_body_bytes_per_sec: usize,
    /// How long a body may be below its rate.
    pub body_grace: Duration,
    /// Longest time that a client may leave its answer unread while the system's buffers are full.
    pub write_timeout: Duration,
    /// Silence after which TCP asks whether the peer is there; 0 never asks.
    pub tcp_keepalive: Duration,
}

/// How the server stops.
#[derive(Debug, Clone)]
pub struct Drain {
    /// How long `/ready` says no before requests are refused.
    pub notice: Duration,
    /// How long running answers may go on after that.
    pub limit: Duration,
}

impl ServeConfig {
    /// The defaults for a model folder.
    pub fn new(model: PathBuf) -> Self {
        Self {
            models: vec![model.into()],
            follow: None,
            keep_replaced: false,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_slots: 8,
            max_queue: 64,
            threads: 0,
            context: 0,
            device: Device::Auto,
            precision: Precision::Auto,
            quantization: Quantization::None,
            cache_tokens: 0,
            adapters: Vec::new(),
            speculation: None,
            api_key: None,
            keys_file: None,
            moderation_file: None,
            cors_origins: Vec::new(),
            tls: None,
            limits: RequestLimits {
                body_bytes: 4 << 20,
                prompt_tokens: 0,
                output_tokens: 0,
                time: Duration::from_mins(10),
            },
            connections: ConnectionLimits {
                max: 1024,
                max_per_address: 256,
                header_timeout: Duration::from_secs(10),
                min_body_bytes_per_sec: 1024,
                body_grace: Duration::from_secs(10),
                write_timeout: Duration::from_secs(30),
                tcp_keepalive: Duration::from_mins(1),
            },
            drain: Drain { notice: Duration::from_secs(5), limit: Duration::from_secs(30) },
        }
    }

    /// Refuses settings that would let nothing through, and origins that no browser sends.
    pub(crate) fn check(&self) -> Result<(), ServeError> {
        if self.models.is_empty() && self.follow.is_none() {
            return Err(ServeError::Setting {
                field: "model",
                got: "none".into(),
                expected: "a model folder, or a file to follow",
            });
        }
        let counts = [
            ("max-slots", self.max_slots),
            ("max-connections", self.connections.max),
            ("max-connections-per-address", self.connections.max_per_address),
            ("max-body-bytes", self.limits.body_bytes),
        ];
        let times = [
            ("max-request-secs", self.limits.time),
            ("header-timeout-secs", self.connections.header_timeout),
            ("write-timeout-secs", self.connections.write_timeout),
        ];
        let of_times = times.into_iter().map(|(field, time)| (field, time.as_millis() as usize));
        if let Some((field, _)) = counts.into_iter().chain(of_times).find(|(_, value)| *value == 0) {
            return Err(ServeError::Setting { field, got: "0".into(), expected: "at least 1" });
        }
        if self.connections.max > MAX_CONNECTIONS {
            let got = self.connections.max.to_string();
            return Err(ServeError::Setting { field: "max-connections", got, expected: "at most 1000000" });
        }
        match self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            None => Ok(()),
            Some(origin) => Err(ServeError::Setting {
                field: "cors-origin",
                got: origin.clone(),
                expected: "a scheme, a host and perhaps a port, as in https://app.example:8443",
            }),
        }
    }
}

/// More descriptors than a process gets.
const MAX_CONNECTIONS: usize = 1_000_000;

/// Whether a browser could send it as `Origin`: no path, no wildcard.
fn is_origin(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let is_known = ["http", "https"].contains(&scheme);
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let is_host = !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._[]:".contains(&byte));
    is_known && is_host && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_nothing_through_is_refused() {
        let named = |change: fn(&mut ServeConfig)| {
            let mut config = ServeConfig::new(PathBuf::new());
            change(&mut config);
            match config.check() {
                Err(ServeError::Setting { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert!(ServeConfig::new(PathBuf::new()).check().is_ok());
        assert_eq!(named(|config| config.max_slots = 0), "max-slots");
        assert_eq!(named(|config| config.connections.max = usize::MAX), "max-connections");
        assert_eq!(named(|config| config.limits.time = Duration::ZERO), "max-request-secs");
        assert_eq!(named(|config| config.cors_origins = vec!["*".into()]), "cors-origin");
    }

    #[test]
    fn origins_are_what_browsers_send() {
        for origin in ["https://app.example", "http://localhost:3000", "http://[::1]:80", "http://[::1]"] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in
            ["*", "app.example", "https://app.example/", "https://*.example", "https://a:b", "https://"]
        {
            assert!(!is_origin(other), "{other}");
        }
    }
}

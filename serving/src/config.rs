//! What a server is told at its start.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cupola_specs::job::Precision;

/// Everything that a server needs to know.
#[derive(Debug, Clone)]
pub struct ServeConfig {
    /// The model's folder, in Hugging Face's layout, with the tokenizer's files.
    pub model: PathBuf,
    /// The name that clients ask for; none takes the folder's step name from its manifest, or the folder's own name.
    pub name: Option<String>,
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
    /// Number format.
    pub precision: Precision,
    /// Clients must send this key, where there is one.
    pub api_key: Option<String>,
    /// Web origins that may call the API from a browser, besides the server's own page.
    pub cors_origins: Vec<String>,
    /// Longest request body.
    pub max_body_bytes: usize,
    /// How long running answers may take to end after a stop signal.
    pub drain: Duration,
}

impl ServeConfig {
    /// The defaults for a model folder.
    pub fn new(model: PathBuf) -> Self {
        Self {
            model,
            name: None,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            max_slots: 8,
            max_queue: 64,
            threads: 0,
            context: 0,
            precision: Precision::Auto,
            api_key: None,
            cors_origins: Vec::new(),
            max_body_bytes: 4 << 20,
            drain: Duration::from_secs(30),
        }
    }
}

//! What can keep the server from starting.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::path::PathBuf;

use cupola_runtime::job::StepError;
use cupola_runtime::seal::SealError;

/// Errors of loading a model and of listening.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A CUDA device is asked for.
    #[error("--device cuda: {0}")]
    NoCuda(String),
    /// The folder is not a model.
    #[error("{path} is not a model folder: {message}")]
    ModelFolder {
        /// The folder or the file in it.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The tokenizer and the network do not belong together.
    #[error(
        "the tokenizer has {tokenizer} tokens and the network's vocabulary {network}: they do not belong together"
    )]
    Vocabulary {
        /// Tokens of the tokenizer.
        tokenizer: usize,
        /// Rows of the embedding.
        network: usize,
    },
    /// A setting outside its range.
    #[error("`{field}` is {got}; expected {expected}")]
    Setting {
        /// The option.
        field: &'static str,
        /// What was given.
        got: String,
        /// The range.
        expected: &'static str,
    },
    /// The model is not what was sealed.
    #[error("{path}: {source}")]
    Seal {
        /// The model.
        path: PathBuf,
        /// What differs.
        source: Box<SealError>,
    },
    /// An adapter can't be served.
    #[error("adapter '{name}' of {path}: {message}")]
    Adapter {
        /// Its name.
        name: String,
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A draft model can't be used.
    #[error("draft model {path}: {message}")]
    Draft {
        /// Its folder.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Two models would have one name.
    #[error("two models or adapters have the name '{name}'")]
    TwoModels {
        /// The name.
        name: String,
    },
    /// The file that is followed can't be used.
    #[error("{path}: {message}")]
    ServedFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The keys file can't be used.
    #[error("keys file {path}: {message}")]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The file of moderation can't be used.
    #[error("moderation file {path}: {message}")]
    Moderation {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The certificate or its key can't be used.
    #[error("TLS: {path}: {message}")]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The collector of spans can't be used.
    #[error("--otlp-endpoint: {0}")]
    Collector(#[from] cupola_otlp::EndpointError),
    /// The address could not be listened on.
    #[error("listening on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The engine could not start.
    #[error("starting the engine: {0}")]
    Engine(#[from] cupola_runtime::generate::GenerateError),
    /// The engine's thread could not start.
    #[error("starting the engine's thread: {0}")]
    Thread(std::io::Error),
    /// The model's loading ended without a result.
    #[error("loading the model: {0}")]
    Loading(std::io::Error),
}

impl ServeError {
    /// What the user can do; empty where nothing helps.
    pub fn hint(&self) -> Cow<'static, str> {
        let hint = match self {
            Self::Seal { source, .. } => return source.facts().hint,
            Self::TwoModels { .. } => "give one of them a name: `--model NAME=DIR`",
            Self::Draft { .. } => {
                "give a smaller model of the same vocabulary, or `--speculate prompt-lookup`"
            }
            Self::Adapter { .. } => {
                "give a PEFT folder (or a tuning's artifact) beside the model that it was trained on: `--model BASE --adapter NAME=DIR`"
            }
            Self::ServedFile { .. } => "`cupola promote` makes it; `cupola doctor` writes it anew",
            Self::ModelFolder { .. } => {
                "give a folder with config.json, model.safetensors and the tokenizer's files, such as a model of the store"
            }
            Self::Vocabulary { .. } => "copy the tokenizer that the model was trained with into its folder",
            Self::Listen { .. } => "is another server running there? choose another --listen address",
            Self::NoCuda(_) => "`--device cpu` runs on the CPU",
            Self::Setting { .. } => "correct the option",
            Self::Engine(_) => "a smaller --max-slots or --context takes less memory",
            Self::Keys { .. } => {
                "each entry has a name and the SHA-256 of its key; `cupola-serve --new-key NAME --keys FILE` makes one"
            }
            Self::Moderation { .. } => {
                "SERVING.md shows a whole file under \"Moderation\"; correct the place that is named"
            }
            Self::Tls { .. } => {
                "--tls-cert takes the chain as PEM, the server's own certificate first, and --tls-key that certificate's key"
            }
            Self::Collector(_) => {
                "OTLP goes over HTTP, uncompressed: `--otlp-endpoint http://127.0.0.1:4318`"
            }
            Self::Thread(_) | Self::Loading(_) => "",
        };
        Cow::Borrowed(hint)
    }
}

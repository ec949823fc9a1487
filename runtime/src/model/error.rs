//! Errors of loading, saving and building a network.

use std::path::{Path, PathBuf};

use super::gguf::GgufError;
use crate::job::{ErrorFacts, StepError};

/// An error of a network.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A config or weights file is not what it should be.
    #[error("{path}: {message}")]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong, expected and got.
        message: String,
    },
    /// A field of a `config.json` without which the network would be a guess.
    #[error("{path}: {field}: expected {expected}, got {got}")]
    ConfigField {
        /// The config.
        path: PathBuf,
        /// The field.
        field: String,
        /// What it should be.
        expected: &'static str,
        /// What it is; null where it is not there.
        got: String,
    },
    /// A class that we do not carry.
    #[error("{path}: model_type {got:?}: expected {expected}")]
    UnknownType {
        /// The config.
        path: PathBuf,
        /// Its class.
        got: String,
        /// The classes that are carried.
        expected: &'static str,
    },
    /// A tensor that the network needs and no file of the folder has.
    #[error("{path}: no tensor {name}")]
    MissingTensor {
        /// The file, or the index of the files.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor that belongs to no layer of the network.
    #[error("{path}: tensor {name} belongs to no layer of this network")]
    ExtraTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// A tensor of another shape than the config says.
    #[error("{path}: tensor {name}: expected shape {expected:?}, got {got:?}")]
    TensorShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// By the config.
        expected: Vec<i64>,
        /// In the file.
        got: Vec<i64>,
    },
    /// Input and output embeddings that the config says are one, and are not.
    #[error("{path}: tensors {name} and {other} differ, and tie_word_embeddings says that they are one")]
    Untied {
        /// The file.
        path: PathBuf,
        /// The input embedding.
        name: String,
        /// The output embedding.
        other: String,
    },
    /// Weights as a Python program.
    #[error("{path}: weights in pickle, which runs what it holds when it is read")]
    Pickle {
        /// The file.
        path: PathBuf,
    },
    /// A folder without weights.
    #[error("{path}: no model.safetensors and no model.safetensors.index.json")]
    NoWeights {
        /// The folder.
        path: PathBuf,
    },
    /// A file that an index names and that is not there.
    #[error("{index} names {file}, which is not there")]
    MissingShard {
        /// The index.
        index: PathBuf,
        /// The file's name.
        file: String,
    },
    /// A weights file that ends too early, or is no safetensors file.
    #[error("{path}: no whole safetensors file: {message}")]
    BrokenShard {
        /// The file.
        path: PathBuf,
        /// What the format's reader says.
        message: String,
    },
    /// A GGUF file's.
    #[error(transparent)]
    Gguf(#[from] GgufError),
    /// A shape that no network has.
    #[error("model shape: {0}")]
    Shape(String),
    /// Adapters beside what is no module of the network.
    #[error("lora.targets: {0}")]
    LoraTarget(String),
    /// Adapters that are not what the step says.
    #[error("{path}: lora.{field}: expected {expected}, got {got}")]
    AdapterMismatch {
        /// The adapters' config.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// By the step, or the model.
        expected: String,
        /// In the adapters.
        got: String,
    },
    /// Adapters of a form that is not carried out.
    #[error("{path}: {field}: expected {expected}, got {got}")]
    AdapterForm {
        /// The adapters' config.
        path: PathBuf,
        /// PEFT's field.
        field: String,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// libtorch refused a call.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),
}

impl ModelError {
    pub(super) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn format(path: &Path, message: impl Into<String>) -> Self {
        Self::Format { path: path.to_path_buf(), message: message.into() }
    }
}

impl StepError for ModelError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::Format { .. } => ErrorFacts::user(
                "model_format",
                "export the model again, or check that the folder is a whole Hugging Face model",
            ),
            Self::ConfigField { .. } => {
                ErrorFacts::user("model_config_field", "complete config.json from where the model comes from")
            }
            Self::UnknownType { .. } => ErrorFacts::user(
                "model_type_unknown",
                "give a model of one of these classes, or convert it with transformers where it is one of them in all but name",
            ),
            Self::MissingTensor { .. } => ErrorFacts::user(
                "tensor_missing",
                "fetch the weights again, and check that config.json is theirs",
            ),
            Self::ExtraTensor { .. } => ErrorFacts::user(
                "tensor_extra",
                "check that config.json belongs to these weights; a part that this version does not carry has to be taken out",
            ),
            Self::TensorShape { .. } => {
                ErrorFacts::user("tensor_shape", "check that config.json belongs to these weights")
            }
            Self::Untied { .. } => {
                ErrorFacts::user("embeddings_untied", "set tie_word_embeddings to false in config.json")
            }
            Self::Pickle { .. } => ErrorFacts::user(
                "weights_pickle",
                "load the model with transformers where you trust it, and save it again: `save_pretrained` writes safetensors",
            ),
            Self::NoWeights { .. } => ErrorFacts::user(
                "weights_missing",
                "give the folder that holds config.json and model.safetensors",
            ),
            Self::MissingShard { .. } => {
                ErrorFacts::user("shard_missing", "fetch the missing file beside the index")
            }
            Self::BrokenShard { .. } => {
                ErrorFacts::user("shard_broken", "fetch the file again; its size is not what its header says")
            }
            Self::Gguf(error) => error.facts(),
            Self::Shape(_) => ErrorFacts::user(
                "model_shape",
                "change the sizes under `model:`; `cupola explain pretrain.model` lists them",
            ),
            Self::LoraTarget(_) => ErrorFacts::user(
                "lora_target",
                "change `lora.targets`; all-linear is every matrix that the model has",
            ),
            Self::AdapterMismatch { .. } => ErrorFacts::user(
                "adapter_mismatch",
                "leave the field out beside `lora.from`, or give the adapters and the model that belong together",
            ),
            Self::AdapterForm { .. } => ErrorFacts::user(
                "adapter_form",
                "merge these adapters into their model with PEFT (`merge_and_unload`), and tune that",
            ),
            Self::Torch(_) => ErrorFacts::bug("libtorch", ""),
        }
    }
}

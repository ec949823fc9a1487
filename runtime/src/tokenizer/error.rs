//! Errors of the tokenizer room.

use std::path::{Path, PathBuf};

use cupola_tokenizer::EngineError;
use cupola_tokenizer::report::ReferenceError;
use cupola_tokenizer::train::TrainError;

use crate::data::DataError;
use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;

/// An error of training, loading or using a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The corpus could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tokenizer file holds something that this encoder does not carry out.
    #[error("{path}: {field}: expected {expected}, got {got}")]
    File {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What the encoder carries out.
        expected: String,
        /// What stands there.
        got: String,
    },
    /// A GGUF file is broken.
    #[error(transparent)]
    Gguf(#[from] Box<ModelError>),
    /// A parameter makes no sense.
    #[error("{field}: expected {expected}, got {got}")]
    Parameter {
        /// The field.
        field: String,
        /// What is right.
        expected: String,
        /// What it is.
        got: String,
    },
    /// The pretokenisation pattern is no regex.
    #[error("pattern {pattern:?}: {message}")]
    Pattern {
        /// The regex.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The chat template is broken, refuses the chat, or is not there.
    #[error("chat template: {message}")]
    Template {
        /// What is wrong.
        message: String,
    },
    /// The chat template writes texts in its own way, so that the answer's tokens can't be told from its own.
    #[error(
        "chat template: it rewrites the messages' texts, so the answer's tokens can't be told from its own"
    )]
    Rewrites,
    /// The chat template asks for today's date where nothing may depend on it.
    #[error(
        "chat template: it asks for today's date (`strftime_now`), so that it would be another one each day"
    )]
    Clock,
    /// A document has an id that the vocabulary does not have.
    #[error("{file}: token id {id}, and the vocabulary has {vocab_size} tokens")]
    IdOutOfRange {
        /// The document's file.
        file: String,
        /// The id.
        id: u32,
        /// Size of the vocabulary.
        vocab_size: u64,
    },
    /// The tokens of a document are not its whole text.
    #[error("{file}: a text of {expected} bytes became tokens of {got} bytes")]
    TextLost {
        /// The document's file.
        file: String,
        /// Bytes of the text.
        expected: u64,
        /// Bytes of its tokens.
        got: u64,
    },
    /// There is no vocabulary.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A file is no tokenizer to compare with.
    #[error("compare: {0}")]
    Reference(#[from] ReferenceError),
}

impl TokenizerError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// An error of the engine's, with the file that it found it in.
    pub(super) fn engine(path: &Path, error: EngineError) -> Self {
        match error {
            EngineError::Pattern { pattern, message } => Self::Pattern { pattern, message },
            EngineError::Field { field, expected, got } => {
                Self::File { path: path.to_path_buf(), field, expected, got }
            }
        }
    }
}

impl StepError for TokenizerError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Data(error) => error.facts(),
            Self::Gguf(error) => error.facts(),
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::File { .. } => ErrorFacts::user(
                "tokenizer_file",
                "tokenizers over bytes load: those of Cupola, of Hugging Face with BPE or Unigram, and .tiktoken files",
            ),
            Self::Parameter { .. } => ErrorFacts::user("parameter", ""),
            Self::Pattern { .. } => ErrorFacts::user(
                "pattern",
                "use gpt2, gpt4, o200k or code, or a regex in Rust's or Oniguruma's syntax",
            ),
            Self::Template { .. } | Self::Rewrites => ErrorFacts::user("chat_template", ""),
            Self::Clock => ErrorFacts::user(
                "chat_template",
                "write a fixed date into the template, or ask `strftime_now is defined` and give one where it is not",
            ),
            Self::IdOutOfRange { .. } => ErrorFacts::bug("token_id", ""),
            Self::TextLost { .. } => ErrorFacts::bug("text_lost", ""),
            Self::Reference(_) => ErrorFacts::user("compare", ""),
            Self::Train(error) => match error {
                TrainError::Empty => ErrorFacts::user("empty_corpus", ""),
                TrainError::Spill { source, .. } => ErrorFacts::io(source),
                _ => ErrorFacts::user("parameter", ""),
            },
        }
    }
}

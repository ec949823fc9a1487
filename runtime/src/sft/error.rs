//! Errors of the sft room.

use crate::data::DataError;
use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::seal::SealError;
use crate::tokenizer::TokenizerError;
use crate::train::TrainError;

/// An error of reading, packing, scoring or training on chats.
#[derive(Debug, thiserror::Error)]
pub enum SftError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A corpus could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The tokenizer or its template refused.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The model could not be read or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The model's seal could not be made.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The tensor library refused.
    #[error("tensor library: {0}")]
    Tensor(#[from] tch::TchError),
    /// A file could not be written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a chat file is not a chat.
    #[error("{file}:{line}: {message}")]
    Line {
        /// The file's stable name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong, with what was expected.
        message: String,
    },
    /// The tokenizer carries another template than the spec names.
    #[error("template: expected {expected:?}, but the tokenizer's template is {got}")]
    Template {
        /// What the spec says.
        expected: String,
        /// What the tokenizer has.
        got: String,
    },
    /// No chat is left to train on or to evaluate with.
    #[error("{what}: nothing is left ({dropped} were longer than {row_tokens} tokens)")]
    Empty {
        /// Which set.
        what: &'static str,
        /// Sequences that did not fit a row.
        dropped: usize,
        /// Tokens of a row.
        row_tokens: usize,
    },
    /// A micro-batch in which no token carries loss.
    #[error("{stage}: step {step}, micro-batch {micro} has no token that carries loss")]
    NothingTrained {
        /// The stage.
        stage: &'static str,
        /// Optimiser step.
        step: u64,
        /// Micro-batch of the step.
        micro: u64,
    },
    /// A self-test found a difference.
    #[error("self-test `{check}`: expected {expected}, got {got}, tolerance {tolerance}")]
    SelfTest {
        /// Name of the check.
        check: &'static str,
        /// One way.
        expected: f64,
        /// The other way.
        got: f64,
        /// Largest difference allowed.
        tolerance: f64,
    },
}

impl SftError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl Into<std::path::PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

impl StepError for SftError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Data(error) => error.facts(),
            Self::Tokenizer(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Seal(error) => error.facts(),
            Self::Tensor(_) => ErrorFacts::bug("tensor", ""),
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::Line { .. } => ErrorFacts::user(
                "broken_line",
                r#"each line is {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}"#,
            ),
            Self::Template { .. } => {
                ErrorFacts::user("template_mismatch", "name the template that the tokenizer job stored")
            }
            Self::Empty { .. } => {
                ErrorFacts::user("no_data", "raise `context.length`, or give data that fits it")
            }
            Self::NothingTrained { .. } => {
                ErrorFacts::user("micro_batch_without_loss", "every chat needs an assistant's turn with text")
            }
            Self::SelfTest { .. } => ErrorFacts::bug(
                "self_test",
                "the network's document masks are wrong for this shape; report it with the job file",
            ),
        }
    }
}

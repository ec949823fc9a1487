//! Errors of the frame, and what every step's error says about itself.

use std::path::{Path, PathBuf};

use cupola_specs::contract::{ErrorClass, Failure};

/// What every error of a step says about itself.
pub trait StepError: std::error::Error {
    /// What to do about it.
    fn class(&self) -> ErrorClass;
    /// A stable short name, in snake case.
    fn code(&self) -> &'static str;
    /// What the user can do; empty where nothing helps.
    fn hint(&self) -> String;
}

/// Turns an error into the stream's last word. Causes that the message does not say already are appended.
pub fn failure_of(error: &dyn StepError) -> Failure {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = inner.source();
    }
    Failure { class: error.class(), code: error.code().to_owned(), message, hint: error.hint() }
}

/// An error of the worker's frame.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The job file is missing or does not parse.
    #[error("job file {path}: {message}")]
    JobFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A step asked for an input that the job file does not name.
    #[error("step {step}: no input {role:?} in the job file (it has {got})")]
    MissingInput {
        /// The step.
        step: String,
        /// The role asked for.
        role: String,
        /// The roles there are.
        got: String,
    },
    /// The list of source files is broken.
    #[error("source list {path}, line {line}: {message}")]
    SourceList {
        /// The list.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A source file is not what it was when the plan was made.
    #[error("source file {name} changed since the plan: expected {expected}, got {got}")]
    SourceChanged {
        /// The file's stable name.
        name: String,
        /// What the plan saw.
        expected: String,
        /// What the worker read.
        got: String,
    },
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The job asks for a CUDA device and there is none.
    #[error("step {step}: device cuda was asked for, and this process sees no CUDA device")]
    NoCuda {
        /// The step.
        step: String,
    },
    /// A thread pool could not be made.
    #[error("thread pool of {threads} threads: {message}")]
    Threads {
        /// Threads asked for.
        threads: u32,
        /// Why.
        message: String,
    },
    /// The orchestrator asked the worker to stop (SIGTERM).
    #[error("cancelled: the worker was asked to stop")]
    Cancelled,
}

impl JobError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io { path: path.as_ref().to_path_buf(), source }
    }
}

impl StepError for JobError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::JobFile { .. } | Self::MissingInput { .. } | Self::SourceList { .. } => ErrorClass::Bug,
            Self::SourceChanged { .. } | Self::NoCuda { .. } => ErrorClass::User,
            Self::Io { .. } | Self::Threads { .. } | Self::Cancelled => ErrorClass::Transient,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::JobFile { .. } => "job_file",
            Self::MissingInput { .. } => "missing_input",
            Self::SourceList { .. } => "source_list",
            Self::SourceChanged { .. } => "source_changed",
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => "storage_full",
            Self::Io { .. } => "io",
            Self::NoCuda { .. } => "no_cuda",
            Self::Threads { .. } => "threads",
            Self::Cancelled => "cancelled",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::SourceChanged { .. } => {
                "run `cupola apply` again: the new plan reads the new content".into()
            }
            Self::NoCuda { .. } => "set `device: cpu` or `device: auto`".into(),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                "free space on the disk that holds the state folder; `cupola gc` removes old artifacts".into()
            }
            _ => String::new(),
        }
    }
}

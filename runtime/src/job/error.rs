//! Errors of the frame, and what every step's error says about itself.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cupola_specs::contract::{ErrorClass, Failure};

/// The code of a step that was asked to stop.
pub(super) const CANCELLED: &str = "cancelled";

/// What an error says about itself, beside its message.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorFacts {
    /// What to do about it.
    pub class: ErrorClass,
    /// A stable short name, in snake case.
    pub code: Cow<'static, str>,
    /// What the user can do; empty where nothing helps.
    pub hint: Cow<'static, str>,
}

impl ErrorFacts {
    /// Trying again may help.
    pub fn transient(code: &'static str, hint: &'static str) -> Self {
        Self { class: ErrorClass::Transient, code: code.into(), hint: hint.into() }
    }

    /// The user has to change something.
    pub fn user(code: &'static str, hint: &'static str) -> Self {
        Self { class: ErrorClass::User, code: code.into(), hint: hint.into() }
    }

    /// A file could not be read or written. What is not there, or not to be read, is no more so at the next attempt.
    pub fn io(error: &std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Self::transient(
                Failure::STORAGE_FULL,
                "free space on the disk that holds the state folder; `cupola gc` removes old artifacts",
            ),
            ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
                Self::user("file_missing", "check that what the job reads is whole and of the right kind")
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Self::user("file_denied", "give the user that runs the worker the right to use this file")
            }
            _ => Self::transient("io", ""),
        }
    }

    /// A programmer has to change something.
    pub fn bug(code: &'static str, hint: &'static str) -> Self {
        Self { class: ErrorClass::Bug, code: code.into(), hint: hint.into() }
    }
}

/// What every error of a step says about itself.
pub trait StepError: std::error::Error {
    /// Class, code and hint; an error that only carries another one says what that one says.
    fn facts(&self) -> ErrorFacts;
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
    let ErrorFacts { class, code, hint } = error.facts();
    Failure { class, code: code.into_owned(), message, hint: hint.into_owned() }
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
    /// The job asks for the same bits at each run, and the device cannot give them.
    #[error("step {step}: {message}")]
    NotDeterministic {
        /// The step.
        step: String,
        /// Why not.
        message: String,
    },
    /// A thread pool could not be made.
    #[error("thread pool of {threads} threads: {message}")]
    Threads {
        /// Threads asked for.
        threads: u32,
        /// Why.
        message: String,
    },
    /// The environment says another number of ranks than the job, or not all that a rank must know.
    #[error("ranks: {message}")]
    Ranks {
        /// Expected and got.
        message: String,
    },
    /// A rank other than the first has done its part: what follows training is the first one's.
    #[error("this rank's part is done")]
    PartDone,
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
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::JobFile { .. } => ErrorFacts::bug("job_file", ""),
            Self::MissingInput { .. } => ErrorFacts::bug("missing_input", ""),
            Self::SourceList { .. } => ErrorFacts::bug("source_list", ""),
            Self::SourceChanged { .. } => ErrorFacts::user(
                "source_changed",
                "run `cupola apply` again: the new plan reads the new content",
            ),
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::NoCuda { .. } => ErrorFacts::user("no_cuda", "set `device: cpu` or `device: auto`"),
            Self::NotDeterministic { .. } => {
                ErrorFacts::user("not_deterministic", "set `deterministic: auto`, or `device: cpu`")
            }
            Self::Threads { .. } => ErrorFacts::transient("threads", ""),
            Self::Ranks { .. } => ErrorFacts::user(
                "ranks",
                "start as many workers as `parallel.data` says, each with RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT, or one without any",
            ),
            Self::PartDone => ErrorFacts::bug(Failure::PART_DONE, ""),
            Self::Cancelled => ErrorFacts::transient(Failure::CANCELLED, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_another_attempt_may_mend_is_tried_again() {
        for (kind, class, code) in [
            (ErrorKind::NotFound, ErrorClass::User, "file_missing"),
            (ErrorKind::PermissionDenied, ErrorClass::User, "file_denied"),
            (ErrorKind::StorageFull, ErrorClass::Transient, "storage_full"),
            (ErrorKind::TimedOut, ErrorClass::Transient, "io"),
        ] {
            let facts = ErrorFacts::io(&kind.into());
            assert_eq!((facts.class, facts.code.as_ref()), (class, code));
        }
    }
}

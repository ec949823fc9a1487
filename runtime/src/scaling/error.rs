//! Errors of the scaling room.

use std::path::{Path, PathBuf};

use cupola_specs::job::Family;

use crate::job::{ErrorFacts, JobError, StepError};
use crate::model::ModelError;
use crate::train::TrainError;

/// An error of a sweep, a fit or a forecast.
#[derive(Debug, thiserror::Error)]
pub enum ScalingError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The training loop's error.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The network's error.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
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
    /// A law says nothing about a family.
    #[error("the law has no fit of family {family:?} that forecasts a loss; it has {got}")]
    NoFit {
        /// The family asked for.
        family: Family,
        /// The fits there are.
        got: String,
    },
    /// No method could be fitted to a family.
    #[error("family {family:?}: {num_points} usable runs hold none of the methods: {reason}")]
    TooFewRuns {
        /// The family.
        family: Family,
        /// Usable runs.
        num_points: usize,
        /// What each method lacked.
        reason: String,
    },
    /// Every learning rate of a budget diverged.
    #[error("{tokens} tokens: the loss of every run (learning rates {rates:?}) became no number")]
    Diverged {
        /// Tokens of the runs.
        tokens: u64,
        /// The grid's learning rates.
        rates: Vec<f64>,
    },
    /// There is no run to fit.
    #[error("the sweeps hold no run")]
    NoRuns,
    /// A plot could not be drawn.
    #[error("plot {path}: {message}")]
    Plot {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
}

impl ScalingError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }

    /// Says what is wrong with a file's JSON.
    pub fn parse(path: &Path, error: &serde_json::Error) -> Self {
        Self::Parse { path: path.to_path_buf(), message: error.to_string() }
    }
}

impl StepError for ScalingError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Train(error) => error.facts(),
            Self::Model(error) => error.facts(),
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::Parse { .. } => ErrorFacts::bug("bad_file", ""),
            Self::Parameter { .. } => ErrorFacts::user("bad_parameter", ""),
            Self::NoFit { .. } => {
                ErrorFacts::user("no_fit", "add the family to the scaling job's `families`")
            }
            Self::TooFewRuns { .. } => {
                ErrorFacts::user("too_few_runs", "add depths or token budgets to the scaling job's `grid`")
            }
            Self::Diverged { .. } => ErrorFacts::user("diverged", "lower the grid's `lr`"),
            Self::NoRuns => ErrorFacts::bug("no_runs", ""),
            Self::Plot { .. } => ErrorFacts::bug("plot", ""),
        }
    }
}

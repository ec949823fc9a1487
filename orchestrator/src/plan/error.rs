//! What keeps a spec from becoming a plan.

use std::fmt::Write as _;
use std::path::PathBuf;

use cupola_specs::contract::ErrorClass;

use super::CycleEdge;

/// Most jobs that an error lists.
const MAX_LISTED: usize = 30;

/// What keeps a spec from becoming a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A reference leads nowhere.
    #[error("step `{step}` reads `{reference}`, which no job of the spec gives")]
    Reference {
        /// The step.
        step: String,
        /// The reference.
        reference: String,
    },
    /// Steps wait for each other: every edge of the circle.
    #[error("{}", circle(.0))]
    Cycle(Vec<CycleEdge>),
    /// Two steps have the same name.
    #[error("two steps have the name `{name}`")]
    SameName {
        /// The name.
        name: String,
    },
    /// A file pattern is no glob.
    #[error("`{pattern}` is not a file pattern: {problem}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why.
        problem: String,
    },
    /// A file pattern matches nothing.
    #[error("no file matches `{pattern}` ({label})")]
    NoFile {
        /// The pattern.
        pattern: String,
        /// Whose it is.
        label: String,
    },
    /// A source file or folder can't be read.
    #[error("{path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A path that can't be written into a job file.
    #[error("{path}: the path is not valid UTF-8")]
    PathEncoding {
        /// The path.
        path: PathBuf,
    },
    /// More ranks than this machine has places for.
    #[error("step `{step}` has {ranks} ranks, and this machine has {has} {of}")]
    Ranks {
        /// The step.
        step: String,
        /// Ranks asked for.
        ranks: u32,
        /// Places for them.
        has: u32,
        /// What a rank takes one of.
        of: &'static str,
    },
    /// A folder that is given as an artifact and is none.
    #[error("{path}: {problem}")]
    Artifact {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A job that the command line names.
    #[error("there is no job `{name}`; the spec has {known}")]
    UnknownJob {
        /// As given.
        name: String,
        /// What there is.
        known: String,
    },
    /// The plan of an earlier run could not be read from the journal.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
    /// The graph could not be drawn.
    #[error("the plan can't be drawn: {problem}")]
    Drawing {
        /// Why.
        problem: String,
    },
    /// Parameters could not be written as JSON.
    #[error("could not encode parameters: {0}")]
    Encode(#[from] serde_json::Error),
}

impl PlanError {
    /// The command line names a job that is not there.
    pub(super) fn unknown_job(name: &str, jobs: &[&str]) -> Self {
        let mut known = jobs[..jobs.len().min(MAX_LISTED)].join(", ");
        if jobs.len() > MAX_LISTED {
            let _ = write!(known, " and {} others", jobs.len() - MAX_LISTED);
        }
        Self::UnknownJob { name: name.to_owned(), known }
    }

    /// What to do about it.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Encode(_) | Self::Drawing { .. } => ErrorClass::Bug,
            Self::State(error) => error.class(),
            _ => ErrorClass::User,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Cycle(_) => "take one of these edges out",
            Self::NoFile { .. } => "patterns are relative to the spec's folder; `**` goes through folders",
            Self::Ranks { .. } => "lower `parallel.data`: fewer ranks give the same model but for rounding",
            Self::Unreadable { .. } => "check that it exists and that you may read it",
            Self::Artifact { .. } => {
                "give a folder that `cupola export` or `cupola run --out` wrote, or a Hugging Face model"
            }
            _ => "",
        }
    }
}

/// A circle in one line, and each of its edges in another.
fn circle(edges: &[CycleEdge]) -> String {
    let names: Vec<&str> = edges.iter().map(|edge| edge.step.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    let mut text = format!("these steps wait for each other: {} → {first}", names.join(" → "));
    for edge in edges {
        let _ = write!(text, "\n  {edge}");
    }
    text
}

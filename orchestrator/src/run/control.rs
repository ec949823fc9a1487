//! Requests of other processes to the one that drives a run: one small file each, taken in order, gone when it was carried out.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Request;
use crate::plan::{Plan, PlannedStep};
use crate::promote::Change;
use crate::state::{Act, Fact, Projection, StateDir, StateError, now_millis};

/// What another process asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlRequest {
    /// What to do.
    pub verb: ControlVerb,
    /// The run; the newest where none is named.
    pub run: Option<String>,
    /// One step or job of it; all where none is named.
    pub step: Option<String>,
    /// Who asks: recorded by the process that carries it out.
    #[serde(default)]
    pub act: Act,
    /// A change of what is served; only with [`ControlVerb::Promotion`].
    #[serde(default)]
    pub change: Option<Change>,
}

impl ControlRequest {
    /// A request with what is recorded of it.
    pub fn new(verb: ControlVerb, run: Option<String>, step: Option<String>, act: Act) -> Self {
        let act = Act { verb: verb.as_str().to_owned(), run: run.clone(), ..act };
        Self { verb, run, step, act, change: None }
    }

    /// A request to change what is served.
    pub fn promotion(change: Change, act: Act) -> Self {
        Self { verb: ControlVerb::Promotion, run: None, step: None, act, change: Some(change) }
    }

    /// The facts of a change of what is served, with who asked for it; none where something else changed since it was made.
    pub(super) fn promotion_facts(&self, projection: &Projection) -> Result<Vec<Fact>, serde_json::Error> {
        let facts = self.change.as_ref().map(|change| change.facts(projection)).transpose()?.flatten();
        let acted = Fact::Acted(Box::new(self.act.clone()));
        Ok(facts.map_or_else(Vec::new, |facts| std::iter::once(acted).chain(facts).collect()))
    }

    /// The fact that says who asked for it.
    pub(super) fn fact(&self, run: &str) -> Fact {
        let act = self.act.clone();
        Fact::Acted(Box::new(Act { verb: self.verb.as_str().to_owned(), run: Some(run.to_owned()), ..act }))
    }
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ControlVerb {
    /// Checkpoint and stop for good.
    Cancel,
    /// Checkpoint and stop until resumed.
    Pause,
    /// Go on.
    Resume,
    /// Run failed steps again.
    Retry,
    /// Change what is served.
    Promotion,
}

impl ControlVerb {
    /// The verb's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
            Self::Promotion => "promotion",
        }
    }
}

/// Leaves a request for the process that holds the folder; gives the file that is gone once it was taken.
pub fn leave_request(dir: &StateDir, request: &ControlRequest) -> Result<PathBuf, StateError> {
    let folder = dir.control();
    std::fs::create_dir_all(&folder).map_err(StateError::io(&folder))?;
    let mut draft = tempfile::NamedTempFile::new_in(&folder).map_err(StateError::io(&folder))?;
    draft.write_all(&serde_json::to_vec(request)?).map_err(StateError::io(&folder))?;
    let path = folder.join(format!("{}-{}.json", now_millis(), std::process::id()));
    draft.persist(&path).map_err(|error| StateError::Io { path: path.clone(), source: error.error })?;
    Ok(path)
}

/// Takes the requests that were left, oldest first; one that can't be read is dropped.
pub fn take_requests(folder: &Path) -> Vec<ControlRequest> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut requests = Vec::new();
    for path in paths {
        let bytes = std::fs::read(&path).unwrap_or_default();
        let _ = std::fs::remove_file(&path);
        requests.extend(serde_json::from_slice::<ControlRequest>(&bytes).ok());
    }
    requests
}

/// What a request asks of the scheduler of this run; nothing where it is of another run.
pub(super) fn requests_of(request: &ControlRequest, run: &str, plan: &Plan) -> Vec<Request> {
    if request.run.as_ref().is_some_and(|wanted| wanted != run) {
        return Vec::new();
    }
    let steps: Option<Vec<usize>> = request.step.as_ref().map(|wanted| {
        let of_name = |planned: &PlannedStep| planned.step.name == *wanted || planned.step.job == *wanted;
        plan.steps.iter().enumerate().filter(|(_, planned)| of_name(planned)).map(|(at, _)| at).collect()
    });
    match (request.verb, steps) {
        (ControlVerb::Cancel, None) => vec![Request::Cancel],
        (ControlVerb::Cancel, Some(steps)) => steps.into_iter().map(Request::CancelStep).collect(),
        (ControlVerb::Retry, None) => vec![Request::Retry(None)],
        (ControlVerb::Retry, Some(steps)) => {
            steps.into_iter().map(|step| Request::Retry(Some(step))).collect()
        }
        (ControlVerb::Pause, _) => vec![Request::Pause],
        (ControlVerb::Resume, _) => vec![Request::Resume],
        (ControlVerb::Promotion, _) => Vec::new(),
    }
}

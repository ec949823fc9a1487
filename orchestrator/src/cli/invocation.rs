//! How a run was asked for, so that `resume`, `retry` and `why` can ask for the same again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::load::{Prepared, SelectArgs, SpecArgs, prepare};
use super::{CliError, Global};
use crate::state::{Fact, Projection, RunView, StateError};

const TOPIC: &str = "invocation";

/// How a run was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Invocation {
    pub(super) spec: PathBuf,
    pub(super) overrides: Vec<(String, String)>,
    pub(super) only: Vec<String>,
    pub(super) from: Vec<String>,
}

impl Invocation {
    /// What the command line says.
    pub(super) fn new(spec: &SpecArgs, select: &SelectArgs) -> Self {
        Self {
            spec: std::path::absolute(&spec.spec).unwrap_or_else(|_| spec.spec.clone()),
            overrides: spec.overrides.clone(),
            only: select.only.clone(),
            from: select.from.clone(),
        }
    }

    /// How this run was asked for.
    pub(super) fn of(projection: &Projection, run: &RunView) -> Self {
        let note = projection.note(TOPIC, &run.plan_hash);
        let known = note.and_then(|value| serde_json::from_value(value.clone()).ok());
        known.unwrap_or_else(|| Self {
            spec: run.spec_path.clone(),
            overrides: Vec::new(),
            only: Vec::new(),
            from: Vec::new(),
        })
    }

    /// The fact that notes it for a plan, if that is news.
    pub(super) fn fact(&self, projection: &Projection, plan_hash: &str) -> Result<Option<Fact>, StateError> {
        let value = serde_json::to_value(self)?;
        let is_known = projection.note(TOPIC, plan_hash) == Some(&value);
        let fact = || Fact::Noted { topic: TOPIC.to_owned(), key: plan_hash.to_owned(), value };
        Ok((!is_known).then(fact))
    }

    /// The arguments that ask for it.
    pub(super) fn arguments(&self) -> (SpecArgs, SelectArgs) {
        let overrides = self.overrides.clone();
        let spec = SpecArgs { spec: self.spec.clone(), overrides, ..SpecArgs::default() };
        (spec, SelectArgs { only: self.only.clone(), from: self.from.clone() })
    }
}

/// Plans what was asked for, with the spec as it is now.
pub(super) fn prepare_again(global: &Global, invocation: &Invocation) -> Result<Prepared, CliError> {
    let (spec, select) = invocation.arguments();
    prepare(global, &spec, &select)
}

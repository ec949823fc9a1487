//! What the newest spec of a name says about serving, as the journal keeps it: hands decide by the same rules as runs.

use std::net::SocketAddr;
use std::path::PathBuf;

use cupola_specs::gate::GateNames;
use cupola_specs::job::EvalParams;
use cupola_specs::spec::{Approval, ArtifactRef, Reference, ResolvedSpec};
use serde::{Deserialize, Serialize};

use crate::plan::result_step;
use crate::state::{Fact, Projection};

const RULES: &str = "promotion_rules";

/// What a spec says about serving.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// The spec's name.
    pub spec: String,
    /// The model.
    pub model: ModelRules,
    /// What clients call it.
    pub name: String,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The gate; none where every successful run's model is served.
    pub promote_if: Option<String>,
    /// Whether a person decides too.
    pub approval: Approval,
    /// The eval jobs that measure the model.
    pub evals: Vec<EvalRules>,
}

/// Where the model is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelRules {
    /// A step of the spec.
    Step(String),
    /// A folder.
    Folder(PathBuf),
}

/// An eval job that measures the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalRules {
    /// The job, which is its step too.
    pub job: String,
    /// What it measures.
    pub params: EvalParams,
}

impl Rules {
    /// What a spec says; none where it serves nothing.
    pub fn of(spec: &ResolvedSpec) -> Option<Self> {
        let serve = spec.serve.as_ref()?;
        let (model, name) = match &serve.model {
            ArtifactRef::Job(reference) => {
                (ModelRules::Step(result_step(spec, reference)?), reference.job.clone())
            }
            ArtifactRef::Path(path) => {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                (ModelRules::Folder(path.clone()), name.unwrap_or_else(|| "model".to_owned()))
            }
        };
        let evals = spec.served_evals().into_iter().filter_map(|eval| {
            let job = result_step(spec, &Reference { job: eval.job.to_owned(), part: None })?;
            Some(EvalRules { job, params: eval.params.clone() })
        });
        Some(Self {
            spec: spec.name.clone(),
            model,
            name,
            listen: serve.listen,
            promote_if: serve.promote_if.clone(),
            approval: serve.approval,
            evals: evals.collect(),
        })
    }

    /// What the gate may name.
    pub fn gate_names(&self) -> GateNames {
        GateNames::of(self.evals.iter().map(|eval| (eval.job.as_str(), &eval.params)))
    }

    /// The fact that keeps them, where they are news.
    pub fn fact(&self, projection: &Projection) -> Result<Option<Fact>, serde_json::Error> {
        let value = serde_json::to_value(self)?;
        let is_known = projection.note(RULES, &self.spec) == Some(&value);
        Ok((!is_known).then(|| Fact::Noted { topic: RULES.to_owned(), key: self.spec.clone(), value }))
    }
}

/// The rules of a spec's newest run.
pub fn rules_of(projection: &Projection, spec: &str) -> Option<Rules> {
    Rules::deserialize(projection.note(RULES, spec)?).ok()
}

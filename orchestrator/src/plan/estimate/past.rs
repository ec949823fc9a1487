//! What steps took before.

use cupola_specs::job::{Device, ModelParams, StepParams, TokenBudget};
use serde_json::{Map, Value};

use super::TokenNeed;
use super::stages::{DataFacts, trainings};
use super::training::Training;
use crate::plan::{Input, Plan, PlannedStep, Step};
use crate::state::{Projection, StateError};

/// What a step took the last time that it was done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    /// Seconds over all its attempts.
    pub(super) secs: f64,
    /// FLOPs of training; 0 where none were told.
    pub(super) training_flops: f64,
    /// What it trained, as it was estimated; none where it trained nothing.
    pub(super) trainings: Vec<Training>,
    /// Peak resident memory.
    pub(super) peak_bytes: u64,
    pub(super) artifact_bytes: u64,
}

impl Taken {
    /// Whether its peak is one of tensors: on a CUDA device they are elsewhere.
    pub(super) fn is_on_cpu(&self) -> bool {
        self.trainings.iter().all(|training| training.device == Device::Cpu)
    }
}

/// The history of a plan's steps.
pub(super) struct Past<'a> {
    plan: &'a Plan,
    projection: &'a Projection,
}

impl<'a> Past<'a> {
    pub(super) fn new(plan: &'a Plan, projection: &'a Projection) -> Self {
        Self { plan, projection }
    }

    /// What the step of this name took; none where no attempt of it is known.
    pub(super) fn of(&self, step: &str) -> Result<Option<Taken>, StateError> {
        let Some(planned) = self.projection.last_done(&self.plan.spec_name, step)? else { return Ok(None) };
        let attempts = self.projection.attempts(&planned.fingerprint);
        let millis: i64 = attempts
            .iter()
            .filter_map(|attempt| {
                Some(attempt.ended_millis? - attempt.submitted_millis).filter(|millis| *millis >= 0)
            })
            .sum();
        let artifact = self.projection.artifacts().get(&planned.fingerprint);
        Ok((!attempts.is_empty()).then(|| Taken {
            secs: millis as f64 / 1e3,
            training_flops: planned.training_flops,
            // Those of an earlier version that are of another form say nothing.
            trainings: serde_json::from_value(planned.trainings).unwrap_or_default(),
            peak_bytes: attempts.iter().map(|attempt| attempt.peak_rss_bytes).max().unwrap_or(0),
            artifact_bytes: artifact.map_or(0, |artifact| artifact.size_bytes),
        }))
    }

    /// What a step trains, with what is known of its data.
    pub(super) fn trainings(&self, planned: &PlannedStep) -> Result<Vec<Training>, StateError> {
        let step = &planned.step;
        let data = match step.params {
            StepParams::Sft(_) | StepParams::RewardModel(_) | StepParams::Optimize(_) => {
                self.data(planned)?
            }
            _ => None,
        };
        Ok(trainings(self.plan, step, (self.side(step, "train"), self.side(step, "validation")), data))
    }

    /// What a run of a step of its kind told of the same data: this step's, else another one's of the plan.
    fn data(&self, planned: &PlannedStep) -> Result<Option<DataFacts>, StateError> {
        let kind = planned.step.kind();
        let others = self
            .plan
            .steps
            .iter()
            .filter(|other| other.step.kind() == kind && other.step.name != planned.step.name);
        for name in std::iter::once(planned).chain(others).map(|other| &other.step.name) {
            let Some(before) = self.projection.last_done(&self.plan.spec_name, name)? else { continue };
            let is_data = |role: &str| role.starts_with("data.") || role == "preferences";
            let is_same = planned
                .inputs
                .iter()
                .filter(|(role, _)| is_data(role))
                .all(|(role, hash)| before.inputs.get(role) == Some(hash));
            let artifact = self.projection.artifacts().get(&before.fingerprint);
            let told = artifact
                .filter(|_| is_same && planned.sources == before.sources)
                .and_then(|a| data_of(&a.summary));
            if told.is_some() {
                return Ok(told);
            }
        }
        Ok(None)
    }

    /// Tokens that a pretraining reads, where that is known before it runs.
    pub(super) fn tokens(&self, step: &Step) -> Option<TokenNeed> {
        let StepParams::Pretrain(params) = &step.params else { return None };
        let needed = match (&params.tokens, &params.model) {
            (TokenBudget::Count { tokens }, _) => *tokens as f64,
            (TokenBudget::PerParam { ratio }, ModelParams::Shape(shape)) => ratio * shape.num_params() as f64,
            _ => return None,
        };
        Some(TokenNeed { needed, available: self.side(step, "train") })
    }

    /// Tokens on a side of what a step reads, if they are encoded: of all its corpora to train on, of its own alone to validate.
    fn side(&self, step: &Step, side: &str) -> Option<u64> {
        let is_read = |role: &str| role == "tokens" || (side == "train" && role.starts_with("tokens."));
        let corpora = step.inputs.iter().filter(|(role, _)| is_read(role));
        let prefix = format!("{side}.");
        let mut available = 0;
        for (_, input) in corpora {
            let Input::Step(name) = input else { return None };
            let fingerprint = &self.plan.step(name)?.fingerprint;
            let summary = &self.projection.artifacts().get(fingerprint)?.summary;
            let counts =
                summary.iter().filter(|(name, _)| name.starts_with(&prefix) && name.ends_with(".tokens"));
            available += counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        }
        (available > 0).then_some(available)
    }
}

/// What the summary of a stage's artifact says of its data.
fn data_of(summary: &Map<String, Value>) -> Option<DataFacts> {
    let number = |name: &str| summary.get(name).and_then(Value::as_f64);
    let items = number("chats").or_else(|| number("pairs"))?;
    Some(DataFacts { tokens: number("data_tokens")?, items, loss_share: number("trained_share")? })
}

//! What steps took before.

use cupola_specs::job::{Device, ModelParams, StepParams, TokenBudget};
use serde_json::{Map, Value};

use super::TokenNeed;
use super::stages::{DataFacts, trainings};
use super::training::Training;
use crate::plan::{Input, Plan, PlannedStep, Step};
use crate::state::{self, Projection, StateError};

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
    pub(super) fn of(&self, step: &PlannedStep) -> Result<Option<Taken>, StateError> {
        let Some(before) = self.projection.last_done(&self.plan.spec_name, &step.step.name)? else {
            return Ok(None);
        };
        let attempts = self.projection.attempts(&before.fingerprint);
        let millis: i64 = attempts
            .iter()
            .filter_map(|attempt| {
                Some(attempt.ended_millis? - attempt.submitted_millis).filter(|millis| *millis >= 0)
            })
            .sum();
        if attempts.is_empty() {
            return Ok(None);
        }
        let artifact = self.projection.artifacts().get(&before.fingerprint);
        Ok(Some(Taken {
            secs: millis as f64 / 1e3,
            training_flops: before.training_flops,
            peak_bytes: attempts.iter().map(|attempt| attempt.peak_rss_bytes).max().unwrap_or(0),
            artifact_bytes: artifact.map_or(0, |artifact| artifact.size_bytes),
            trainings: self.trained(step, before)?,
        }))
    }

    /// What a step that is done has trained. Its run was planned before its data was there: what is known of that now counts.
    fn trained(&self, step: &PlannedStep, before: state::PlannedStep) -> Result<Vec<Training>, StateError> {
        if before.fingerprint == step.fingerprint {
            return self.trainings(step);
        }
        // Those of an earlier version that are of another form say nothing.
        let mut trainings: Vec<Training> = serde_json::from_value(before.trainings).unwrap_or_default();
        let tokens = before.inputs.get("tokens").and_then(|tokens| self.projection.artifacts().get(tokens));
        if let Some(held_out) = tokens.and_then(|tokens| tokens_of(&tokens.summary, "validation")) {
            for training in &mut trainings {
                training.held_out_tokens = training.held_out_tokens.min(held_out as f64);
            }
        }
        Ok(trainings)
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
        let mut available = 0;
        for (_, input) in corpora {
            let Input::Step(name) = input else { return None };
            let fingerprint = &self.plan.step(name)?.fingerprint;
            available += tokens_of(&self.projection.artifacts().get(fingerprint)?.summary, side).unwrap_or(0);
        }
        (available > 0).then_some(available)
    }
}

/// What the summary of encoded tokens says of a side, if it says anything.
fn tokens_of(summary: &Map<String, Value>, side: &str) -> Option<u64> {
    let prefix = format!("{side}.");
    let counts = summary.iter().filter(|(name, _)| name.starts_with(&prefix) && name.ends_with(".tokens"));
    let tokens = counts.filter_map(|(_, count)| count.as_u64()).sum();
    (tokens > 0).then_some(tokens)
}

/// What the summary of a stage's artifact says of its data.
fn data_of(summary: &Map<String, Value>) -> Option<DataFacts> {
    let number = |name: &str| summary.get(name).and_then(Value::as_f64);
    let items = number("chats").or_else(|| number("pairs"))?;
    Some(DataFacts { tokens: number("data_tokens")?, items, loss_share: number("trained_share")? })
}

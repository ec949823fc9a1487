//! What steps took before.

use cupola_specs::job::{ModelParams, StepParams, TokenBudget};

use super::{TokenNeed, num_params};
use crate::plan::{Input, Plan, Step};
use crate::state::{Projection, StateError};

/// What a step took the last time that it was done.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    /// Seconds over all its attempts.
    pub(super) secs: f64,
    /// FLOPs of training; 0 where none were told.
    pub(super) training_flops: f64,
    pub(super) peak_bytes: u64,
    pub(super) artifact_bytes: u64,
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
            peak_bytes: attempts.iter().map(|attempt| attempt.peak_rss_bytes).max().unwrap_or(0),
            artifact_bytes: artifact.map_or(0, |artifact| artifact.size_bytes),
        }))
    }

    /// Tokens that a pretraining reads, where that is known before it runs.
    pub(super) fn tokens(&self, step: &Step) -> Option<TokenNeed> {
        let StepParams::Pretrain(params) = &step.params else { return None };
        let needed = match (&params.tokens, &params.model) {
            (TokenBudget::Count { tokens }, _) => *tokens as f64,
            (TokenBudget::PerParam { ratio }, ModelParams::Shape(shape)) => ratio * num_params(shape),
            _ => return None,
        };
        Some(TokenNeed { needed, available: self.available(step) })
    }

    /// Tokens on the train side of what a step reads, if they are encoded.
    fn available(&self, step: &Step) -> Option<u64> {
        let corpora = step.inputs.iter().filter(|(role, _)| role.split('.').next() == Some("tokens"));
        let mut available = 0;
        for (_, input) in corpora {
            let Input::Step(name) = input else { return None };
            let fingerprint = &self.plan.step(name)?.fingerprint;
            let summary = &self.projection.artifacts().get(fingerprint)?.summary;
            let counts =
                summary.iter().filter(|(name, _)| name.starts_with("train.") && name.ends_with(".tokens"));
            available += counts.filter_map(|(_, count)| count.as_u64()).sum::<u64>();
        }
        (available > 0).then_some(available)
    }
}

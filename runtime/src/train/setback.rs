//! Setbacks: a loss or a gradient that is no number, or a loss that rises too far, and what a run does about it.
//!
//! One bad step is left out: the weights stay as they are and the next step goes on, as OLMo 2 does (2025, arXiv:2501.00656). Where several in a
//! row are bad it is the weights that are: the run goes back to before the trouble and leaves out all steps up to its end, as PaLM did
//! by hand (Chowdhery et al. 2022, arXiv:2204.02311, section 5.1). Both count, up to a limit; every step that was left out is recorded.
//!
//! Exactness: where a run goes back to follows from the steps that were bad, not from when states were saved, so a run that is killed at any
//! moment still ends with the same bytes. What was left out before a run went back is in a file beside the states, since the states after
//! that place are of a course that was given up. What was wrong with each bad step, and which data it read, is in another file there, also
//! where the run fails, and in `training.json` where it ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use cupola_specs::artifact::BadStep;
use cupola_specs::job::OptimizerParams;
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::checkpoint::Progress;
use crate::job::{JobError, write_durably};

const FILE: &str = "setbacks.json";
/// The record of bad steps, for people.
const BAD_FILE: &str = "bad_steps.json";
/// Bad steps in a row after which it is the weights that are bad.
const PATIENCE: u64 = 3;
/// A run goes back to a multiple of this many steps, at least as many before the first bad one.
const BACK_STEPS: u64 = 32;
/// Good losses that a new one is compared with.
const WINDOW: usize = 128;
/// Fewest of them.
const LEAST: usize = 32;

/// When a run gives up, and what counts as a spike.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SetbackLimits {
    /// Setbacks that a run may have.
    pub max_setbacks: u64,
    /// Standard deviations above the mean of the last losses from which on a loss is a spike; 0 is off.
    pub spike_sigma: f64,
}

impl SetbackLimits {
    /// Those of an optimiser's parameters.
    pub fn of(params: &OptimizerParams) -> Self {
        Self { max_setbacks: params.max_setbacks, spike_sigma: params.spike_sigma }
    }
}

/// What is wrong with a step, before the optimiser has seen it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Trouble {
    /// The loss is no number.
    Loss(f64),
    /// The norm of the gradient is no number.
    Gradient(f64),
    /// The loss is above this limit.
    Spike {
        /// The loss.
        loss: f64,
        /// The most that was expected.
        limit: f64,
    },
}

impl Trouble {
    /// The trouble in words.
    pub(super) fn words(self) -> String {
        match self {
            Self::Loss(loss) => format!("the loss is {loss}"),
            Self::Gradient(norm) => format!("the gradient norm is {norm}"),
            Self::Spike { loss, limit } => format!("the loss is {loss:.4}, above {limit:.4}"),
        }
    }

    fn error(self, step: u64) -> TrainError {
        match self {
            Self::Loss(loss) => TrainError::NotFinite { step, loss },
            Self::Gradient(norm) => TrainError::GradientNotFinite { step, norm },
            Self::Spike { loss, limit } => TrainError::Spike { step, loss, limit },
        }
    }
}

/// A bad step: what is wrong, and the micro-batch that gave it away; none where only the whole step is bad.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bad {
    /// What is wrong.
    pub(super) trouble: Trouble,
    /// The micro-batch.
    pub(super) micro: Option<u64>,
}

/// What follows from a bad step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is left out.
    LeaveOut,
    /// The run goes back to where this many steps are done.
    GoBack(u64),
}

/// The setbacks of a run so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Setbacks {
    /// Steps that are left out.
    pub(super) left_out: BTreeSet<u64>,
    /// How often something was wrong.
    pub(super) count: u64,
    /// What was wrong with each bad step.
    pub(super) bad: BTreeMap<u64, BadStep>,
    /// Bad steps in a row up to now.
    streak: u64,
    /// The last good losses.
    recent: VecDeque<f64>,
}

impl Setbacks {
    /// Those that were noted when a run went back.
    pub(super) fn read(folder: &Path) -> Result<Self, TrainError> {
        let path = folder.join(FILE);
        match std::fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| TrainError::Data { path, message: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(JobError::io(&path, error).into()),
        }
    }

    /// Notes them for the attempt that begins where the run goes back to.
    pub(super) fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(FILE);
        let noted = Self { streak: 0, recent: VecDeque::new(), ..self.clone() };
        let text = serde_json::to_vec(&noted)
            .map_err(|error| TrainError::Data { path: path.clone(), message: error.to_string() })?;
        Ok(write_durably(&path, &text)?)
    }

    /// Notes what is wrong with a step.
    pub(super) fn note(&mut self, step: BadStep) {
        self.bad.insert(step.step, step);
    }

    /// Writes down what was wrong with steps, where a user finds it whatever becomes of the run.
    pub(super) fn write_bad(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join(BAD_FILE);
        let all: Vec<&BadStep> = self.bad.values().collect();
        let text = serde_json::to_vec_pretty(&all)
            .map_err(|error| TrainError::Data { path: path.clone(), message: error.to_string() })?;
        Ok(write_durably(&path, &text)?)
    }

    /// Whether a state knows of all that was left out before it: if not, it is of a course that was given up.
    pub(super) fn is_on_course(&self, state: &Progress) -> bool {
        self.left_out.range(..state.steps).all(|step| state.setbacks.left_out.contains(step))
    }

    /// Goes on from a state of this course, with what was noted since.
    pub(super) fn resume(self, state: Option<&Progress>) -> Self {
        let Some(Progress { setbacks: before, .. }) = state else { return self };
        Self {
            bad: before.bad.clone().into_iter().chain(self.bad).collect(),
            left_out: self.left_out.union(&before.left_out).copied().collect(),
            count: self.count.max(before.count),
            streak: before.streak,
            recent: before.recent.clone(),
        }
    }

    /// Whether a step is left out; the steps that are do not run.
    pub(super) fn leaves_out(&mut self, step: u64) -> bool {
        let known = self.left_out.contains(&step);
        if known {
            self.streak = 0;
        }
        known
    }

    /// What is wrong with a loss, if anything.
    pub(super) fn judge(&self, loss: f64, limits: SetbackLimits) -> Option<Trouble> {
        if !loss.is_finite() {
            return Some(Trouble::Loss(loss));
        }
        if limits.spike_sigma <= 0.0 || self.recent.len() < LEAST {
            return None;
        }
        let count = self.recent.len() as f64;
        let mean = self.recent.iter().sum::<f64>() / count;
        let variance = self.recent.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / (count - 1.0);
        let limit = mean + limits.spike_sigma * variance.sqrt();
        (loss > limit).then_some(Trouble::Spike { loss, limit })
    }

    /// Takes in a good step's loss.
    pub(super) fn take_good(&mut self, loss: f64, limits: SetbackLimits) {
        self.streak = 0;
        // Without a limit nobody asks for them.
        if limits.spike_sigma > 0.0 {
            self.recent.push_back(loss);
            if self.recent.len() > WINDOW {
                self.recent.pop_front();
            }
        }
    }

    /// Takes in a bad step; an error where the run has had its share, or there is nothing left to go back to.
    pub(super) fn take_bad(
        &mut self,
        step: u64,
        trouble: Trouble,
        limits: SetbackLimits,
    ) -> Result<Verdict, TrainError> {
        self.count += 1;
        if self.count > limits.max_setbacks {
            return Err(trouble.error(step));
        }
        self.left_out.insert(step);
        self.streak += 1;
        if self.streak < PATIENCE {
            return Ok(Verdict::LeaveOut);
        }
        let mut first = step;
        while first > 0 && self.left_out.contains(&(first - 1)) {
            first -= 1;
        }
        if first == 0 {
            return Err(trouble.error(step));
        }
        let back = (first / BACK_STEPS * BACK_STEPS).saturating_sub(BACK_STEPS);
        self.left_out.extend(back..=step);
        Ok(Verdict::GoBack(back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SetbackLimits = SetbackLimits { max_setbacks: 4, spike_sigma: 6.0 };

    #[test]
    fn one_bad_step_is_left_out_and_the_third_in_a_row_sends_the_run_back() {
        let mut setbacks = Setbacks::default();
        let nan = Trouble::Loss(f64::NAN);
        assert_eq!(setbacks.take_bad(70, nan, LIMITS).unwrap(), Verdict::LeaveOut);
        setbacks.take_good(1.0, LIMITS);
        for step in [100, 101] {
            assert_eq!(setbacks.take_bad(step, nan, LIMITS).unwrap(), Verdict::LeaveOut);
        }
        assert_eq!(setbacks.take_bad(102, nan, LIMITS).unwrap(), Verdict::GoBack(64));
        assert_eq!(setbacks.left_out, (64..=102).collect());
        assert!(matches!(setbacks.take_bad(103, nan, LIMITS), Err(TrainError::NotFinite { step: 103, .. })));
    }

    #[test]
    fn a_run_that_is_bad_from_its_first_step_on_fails() {
        let mut setbacks = Setbacks::default();
        let bad =
            |setbacks: &mut Setbacks, step| setbacks.take_bad(step, Trouble::Gradient(f64::INFINITY), LIMITS);
        assert_eq!(bad(&mut setbacks, 0).unwrap(), Verdict::LeaveOut);
        assert_eq!(bad(&mut setbacks, 1).unwrap(), Verdict::LeaveOut);
        assert!(matches!(bad(&mut setbacks, 2), Err(TrainError::GradientNotFinite { step: 2, .. })));
    }

    #[test]
    fn a_spike_is_far_above_the_last_losses_and_nothing_is_one_before_there_are_enough() {
        let mut setbacks = Setbacks::default();
        for at in 0..LEAST - 1 {
            setbacks.take_good(2.0 + 0.1 * (at % 2) as f64, LIMITS);
        }
        assert_eq!(setbacks.judge(1e9, LIMITS), None);
        setbacks.take_good(2.1, LIMITS);
        // Mean 2.05, standard deviation 0.0508.
        assert_eq!(setbacks.judge(2.3, LIMITS), None);
        let Some(Trouble::Spike { limit, .. }) = setbacks.judge(2.4, LIMITS) else { panic!("it is one") };
        assert!((limit - 2.3548).abs() < 1e-3, "{limit}");
        assert_eq!(setbacks.judge(1e9, SetbackLimits { spike_sigma: 0.0, ..LIMITS }), None);
    }
}

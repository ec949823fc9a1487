//! The learning rate of each step, as a factor of the peak: linear warm-up, then the shape of each phase.
//!
//! Step s of a warm-up of w has the factor (s + 1) / w. The first phase's shape begins behind the warm-up, every other where its phase does, and each at the
//! level that the one before it ends with. A fall over n steps has its first step at the level that it begins with, and would be at its last one with the
//! step after the phase: `linear_to_zero` over 4 steps is 1, 3/4, 1/2, 1/4.
//!
//! A factor follows from the step alone, so that a run that goes on from a state has the factors of one that was never stopped.

use cupola_specs::job::{LrShape, PhaseParams, Span};

/// The rate of a phase.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PhaseRate {
    /// Where it ends, share of all steps.
    pub until: f64,
    /// Its shape.
    pub shape: LrShape,
    /// The factor where it ends, of the shapes that fall to one.
    pub last: f64,
}

impl PhaseRate {
    /// From the peak to zero over a whole run: fine-tuning's.
    pub const TO_ZERO: Self = Self { until: 1.0, shape: LrShape::LinearToZero, last: 0.0 };
}

impl From<&PhaseParams> for PhaseRate {
    fn from(phase: &PhaseParams) -> Self {
        Self { until: phase.until, shape: phase.lr, last: phase.lr_final }
    }
}

/// A phase in steps.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Phase {
    /// The step that its shape begins with.
    begin: u64,
    /// The first step that is not in it.
    end: u64,
    shape: LrShape,
    /// Factor where it begins.
    first: f64,
    /// Factor where it ends, of the shapes that fall to one.
    last: f64,
}

/// Learning-rate factors by step.
#[derive(Debug, Clone, PartialEq)]
pub struct LrSchedule {
    warmup_steps: u64,
    phases: Vec<Phase>,
}

impl LrSchedule {
    /// A schedule of `steps` steps.
    pub fn new(steps: u64, warmup: Span, phases: &[PhaseRate]) -> Self {
        let warmup_steps = match warmup {
            Span::Share(share) => (share * steps as f64).ceil() as u64,
            Span::Steps(steps) => steps,
        };
        let (mut begin, mut first) = (0, 1.0);
        let mut made = Vec::with_capacity(phases.len());
        for phase in phases {
            let end = (phase.until * steps as f64).round() as u64;
            let phase = Phase {
                begin: warmup_steps.clamp(begin, end.max(begin)),
                end,
                shape: phase.shape,
                first,
                last: phase.last,
            };
            (begin, first) = (end, phase.at(end));
            made.push(phase);
        }
        Self { warmup_steps, phases: made }
    }

    /// Steps of the warm-up.
    pub fn warmup_steps(&self) -> u64 {
        self.warmup_steps
    }

    /// The factor of the peak at step `step` (from 0); behind the last step, that which the run ended with.
    pub fn factor(&self, step: u64) -> f64 {
        let warm = if step < self.warmup_steps { (step + 1) as f64 / self.warmup_steps as f64 } else { 1.0 };
        let phase = self.phases.iter().find(|phase| step < phase.end);
        match phase.or(self.phases.last()) {
            Some(phase) => warm * phase.at(step.min(phase.end)),
            None => warm,
        }
    }
}

impl Phase {
    /// The factor at a step, the warm-up aside; at `end` that which the phase ends with.
    fn at(&self, step: u64) -> f64 {
        let length = (self.end - self.begin.min(self.end)).max(1);
        let share = (step.saturating_sub(self.begin) as f64 / length as f64).min(1.0);
        // A phase without a step of its own ends as it would have.
        let share = if step >= self.end { 1.0 } else { share };
        let Self { first, last, .. } = *self;
        match self.shape {
            LrShape::Constant => first,
            LrShape::LinearToZero => first * (1.0 - share),
            LrShape::Linear => first + (last - first) * share,
            LrShape::Cosine => last + (first - last) * 0.5 * (1.0 + (std::f64::consts::PI * share).cos()),
            LrShape::OneMinusSqrt => first - (first - last) * share.sqrt(),
            LrShape::InverseSqrt => {
                let from = self.begin.max(1) as f64;
                first * (from / (step as f64 + 1.0).max(from)).sqrt()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_WARMUP: Span = Span::Steps(0);

    fn rate(until: f64, shape: LrShape, last: f64) -> PhaseRate {
        PhaseRate { until, shape, last }
    }

    /// Each step of a run of `wanted.len()` steps, and the one after it.
    fn table(warmup: Span, phases: &[PhaseRate], wanted: &[f64]) {
        let schedule = LrSchedule::new(wanted.len() as u64 - 1, warmup, phases);
        for (step, expected) in wanted.iter().enumerate() {
            let got = schedule.factor(step as u64);
            assert!((got - expected).abs() < 1e-4, "{phases:?}, step {step}: {got}, and not {expected}");
        }
        let [later, last] = [1 << 40, wanted.len() as u64 - 1].map(|step| schedule.factor(step).to_bits());
        assert_eq!(later, last);
    }

    #[test]
    fn each_shape_has_its_table() {
        use std::f64::consts::FRAC_1_SQRT_2;

        use LrShape::{Constant, Cosine, InverseSqrt, Linear, LinearToZero, OneMinusSqrt};
        let all = |shape, last| [rate(1.0, shape, last)];
        table(NO_WARMUP, &all(Constant, 0.0), &[1.0; 6]);
        table(NO_WARMUP, &all(LinearToZero, 0.0), &[1.0, 0.75, 0.5, 0.25, 0.0]);
        table(NO_WARMUP, &all(Linear, 0.2), &[1.0, 0.8, 0.6, 0.4, 0.2]);
        // 0.1 + 0.45 · (1 + cos(π·s/4)).
        table(NO_WARMUP, &all(Cosine, 0.1), &[1.0, 0.8682, 0.55, 0.2318, 0.1]);
        table(NO_WARMUP, &all(Cosine, 0.0), &[1.0, 0.8536, 0.5, 0.1464, 0.0]);
        // 1 - √(s/4).
        table(NO_WARMUP, &all(OneMinusSqrt, 0.0), &[1.0, 0.5, 0.2929, 0.1340, 0.0]);
        table(NO_WARMUP, &all(OneMinusSqrt, 0.5), &[1.0, 0.75, 0.6464, 0.5670, 0.5]);
        // √(1/(s+1)), and √(2/(s+1)) behind a warm-up of 2.
        table(NO_WARMUP, &all(InverseSqrt, 0.0), &[1.0, FRAC_1_SQRT_2, 0.5774, 0.5, 0.4472]);
        table(Span::Steps(2), &all(InverseSqrt, 0.0), &[0.5, 1.0, 0.8165, FRAC_1_SQRT_2, 0.6325]);
    }

    #[test]
    fn the_first_shape_begins_behind_the_warm_up() {
        // As transformers' linear and cosine schedules from the warm-up's end on.
        table(Span::Steps(2), &[PhaseRate::TO_ZERO], &[0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);
        table(Span::Share(0.3), &[PhaseRate::TO_ZERO], &[0.5, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);
        table(Span::Steps(1), &[rate(1.0, LrShape::Cosine, 0.0)], &[1.0, 1.0, 0.8536, 0.5, 0.1464, 0.0]);
        // A warm-up that is all of the run.
        table(Span::Share(1.0), &[rate(1.0, LrShape::Constant, 0.0)], &[0.25, 0.5, 0.75, 1.0, 1.0]);
        // One over the first phase's end.
        let two = [rate(0.25, LrShape::Constant, 0.0), rate(1.0, LrShape::LinearToZero, 0.0)];
        table(Span::Steps(4), &two, &[0.25, 0.5, 0.75, 1.0, 1.0, 0.75, 0.5, 0.25, 0.0]);
    }

    #[test]
    fn phases_join_at_their_borders() {
        use LrShape::{Constant, Cosine, Linear, LinearToZero, OneMinusSqrt};
        // Warm-up, stable, decay.
        let wsd = [rate(0.5, Constant, 0.0), rate(1.0, OneMinusSqrt, 0.0)];
        table(Span::Steps(2), &wsd, &[0.5, 1.0, 1.0, 1.0, 1.0, 0.5, 0.2929, 0.1340, 0.0]);
        let classic = [rate(0.8, Constant, 0.0), rate(1.0, LinearToZero, 0.0)];
        table(Span::Share(0.1), &classic, &[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5, 0.0]);
        // Each goes on at the level of the one before it.
        let three = [rate(0.4, Cosine, 0.5), rate(0.6, Constant, 0.0), rate(1.0, LinearToZero, 0.0)];
        table(NO_WARMUP, &three, &[1.0, 0.9268, 0.75, 0.5732, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125, 0.0]);
        let up = [rate(0.5, Linear, 0.5), rate(1.0, Linear, 1.0)];
        table(NO_WARMUP, &up, &[1.0, 0.75, 0.5, 0.75, 1.0]);
        // A phase too short for a step of its own.
        let empty = [rate(0.5, Constant, 0.0), rate(0.51, Linear, 0.5), rate(1.0, LinearToZero, 0.0)];
        table(NO_WARMUP, &empty, &[1.0, 1.0, 0.5, 0.25, 0.0]);
    }
}

//! The learning rate of each step: linear warm-up, then the shape of each phase, all relative to the peak.

use cupola_specs::job::LrShape;

/// A phase of the schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SchedulePhase {
    /// The step where the phase ends (not in it).
    pub end_step: u64,
    /// Its shape.
    pub shape: LrShape,
}

/// Learning-rate factors by step.
#[derive(Debug, Clone, PartialEq)]
pub struct LrSchedule {
    warmup_steps: u64,
    phases: Vec<SchedulePhase>,
}

impl LrSchedule {
    /// A schedule of `steps` steps; `warmup` is a share of them, and phases end at their `until` shares.
    pub fn new(steps: u64, warmup: f64, phases: &[(f64, LrShape)]) -> Self {
        let phases = phases
            .iter()
            .map(|&(until, shape)| SchedulePhase { end_step: (until * steps as f64).round() as u64, shape })
            .collect();
        Self { warmup_steps: (warmup * steps as f64).ceil() as u64, phases }
    }

    /// The factor of the peak at step `step` (from 0).
    pub fn factor(&self, step: u64) -> f64 {
        let warm = if self.warmup_steps == 0 {
            1.0
        } else {
            ((step + 1) as f64 / self.warmup_steps as f64).min(1.0)
        };
        let mut begin = 0;
        for phase in &self.phases {
            if step < phase.end_step {
                return warm * within(phase.shape, step - begin, phase.end_step - begin);
            }
            begin = phase.end_step;
        }
        0.0
    }
}

/// The factor `done` steps into a phase of `length`.
fn within(shape: LrShape, done: u64, length: u64) -> f64 {
    let share = done as f64 / length as f64;
    match shape {
        LrShape::Constant => 1.0,
        LrShape::LinearToZero => 1.0 - share,
        LrShape::Cosine => 0.1 + 0.45 * (1.0 + (std::f64::consts::PI * share).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_stays_and_falls() {
        let schedule = LrSchedule::new(100, 0.1, &[(0.8, LrShape::Constant), (1.0, LrShape::LinearToZero)]);
        let near = |step, expected: f64| {
            assert!(
                (schedule.factor(step) - expected).abs() < 1e-12,
                "step {step}: {}",
                schedule.factor(step)
            );
        };
        near(0, 0.1);
        near(9, 1.0);
        near(79, 1.0);
        near(80, 1.0);
        near(90, 0.5);
        near(99, 0.05);
        near(100, 0.0);
        let cosine = LrSchedule::new(10, 0.0, &[(1.0, LrShape::Cosine)]);
        assert!((cosine.factor(0) - 1.0).abs() < 1e-12 && (cosine.factor(5) - 0.55).abs() < 1e-12);
    }
}

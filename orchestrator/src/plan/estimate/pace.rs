//! How fast this machine trains: its rates, and by how much what was reckoned with them was off before.

use cupola_specs::job::StepKind;

use super::past::Taken;
use super::rates::KnownRates;
use super::training::Training;
use super::work::Speed;
use super::{Draft, SecsFrom, usual, work};
use crate::plan::{Plan, PlannedStep};

/// How fast this machine trains: its rates, and by how much they were off before.
pub(super) struct Pace<'a> {
    rates: &'a KnownRates,
    /// Measured seconds over reckoned ones, by kind.
    by_kind: Vec<(StepKind, f64)>,
    /// FLOP/s of the largest training that is remembered.
    flops_per_sec: Option<f64>,
}

impl<'a> Pace<'a> {
    pub(super) fn of(plan: &Plan, drafts: &[Option<Draft>], rates: &'a KnownRates) -> Self {
        let mut pace = Self { rates, by_kind: Vec::new(), flops_per_sec: None };
        let taken = plan
            .steps
            .iter()
            .zip(drafts)
            .filter_map(|(planned, draft)| Some((planned.step.kind(), draft.as_ref()?.taken.as_ref()?)));
        let mut largest = 0.0;
        for (kind, taken) in taken {
            if let Some(off) = pace.off(taken) {
                pace.by_kind.push((kind, off));
            }
            if taken.training_flops > largest && taken.secs > 0.0 {
                largest = taken.training_flops;
                pace.flops_per_sec = Some(taken.training_flops / taken.secs);
            }
        }
        pace
    }

    /// Rates that fit a training: measured ones, else those of a usual core.
    fn by_rates(&self, training: &Training) -> Speed<'_> {
        let measured = self.rates.find(training.rates_of());
        Speed { rates: measured.unwrap_or_else(|| usual::rates(training.precision)), trial: None }
    }

    /// The same, and what a trial of the training took; none where there was none.
    fn by_trial(&self, training: &Training) -> Option<Speed<'_>> {
        let trial = self.rates.trial(training)?;
        Some(Speed { trial: Some(trial), ..self.by_rates(training) })
    }

    /// Seconds of trainings by the rates; none where their length is not known.
    fn reckoned(&self, trainings: &[Training]) -> Option<f64> {
        sum_secs(trainings, |training| Some(self.by_rates(training)))
    }

    /// Seconds of trainings that were all tried.
    pub(super) fn secs_by_trial(&self, trainings: &[Training]) -> Option<f64> {
        sum_secs(trainings, |training| self.by_trial(training))
    }

    /// By how much what was reckoned of a past run is off.
    fn off(&self, taken: &Taken) -> Option<f64> {
        let reckoned = self.reckoned(&taken.trainings)?;
        (taken.secs > 0.0).then(|| taken.secs / reckoned)
    }

    /// The middle of how far off runs of a kind were, or of all.
    fn off_of(&self, kind: Option<StepKind>) -> Option<f64> {
        let mut all: Vec<f64> = self
            .by_kind
            .iter()
            .filter(|(of, _)| kind.is_none_or(|kind| kind == *of))
            .map(|(_, off)| *off)
            .collect();
        all.sort_by(f64::total_cmp);
        (!all.is_empty()).then(|| all[all.len() / 2])
    }

    fn is_measured(&self, trainings: &[Training]) -> bool {
        trainings.iter().all(|training| self.rates.find(training.rates_of()).is_some())
    }

    /// The correction of a step's time, and what it is from.
    fn correction(
        &self,
        planned: &PlannedStep,
        trainings: &[Training],
        taken: Option<&Taken>,
    ) -> Option<(f64, SecsFrom)> {
        if let Some(off) = taken.and_then(|taken| self.off(taken)) {
            return Some((off, SecsFrom::SameStep));
        }
        if let Some(off) = self.off_of(Some(planned.step.kind())) {
            return Some((off, SecsFrom::SameKind));
        }
        if self.is_measured(trainings) {
            return Some((1.0, SecsFrom::Rates));
        }
        self.off_of(None).map(|off| (off, SecsFrom::AnyTraining))
    }

    /// Seconds of a step from its start to its end.
    pub(super) fn secs(
        &self,
        planned: &PlannedStep,
        trainings: &[Training],
        (flops, taken): (Option<f64>, Option<&Taken>),
    ) -> Option<(f64, SecsFrom)> {
        // A run of the same passes knows all that a trial knows, and what is around them.
        let ran_alike = taken.is_some_and(|taken| have_same_passes(&taken.trainings, trainings));
        if let Some(secs) = self.secs_by_trial(trainings).filter(|_| !ran_alike) {
            return Some((secs, SecsFrom::Trial));
        }
        if let Some(reckoned) = self.reckoned(trainings)
            && let Some((off, from)) = self.correction(planned, trainings, taken)
        {
            return Some((reckoned * off, from));
        }
        match (flops, taken) {
            (Some(flops), Some(taken)) if taken.training_flops > 0.0 => {
                Some((taken.secs * flops / taken.training_flops, SecsFrom::SameStep))
            }
            (_, Some(taken)) => Some((taken.secs, SecsFrom::SameStep)),
            (Some(flops), None) => self.flops_per_sec.map(|rate| (flops / rate, SecsFrom::AnyTraining)),
            (None, None) => None,
        }
    }

    /// Seconds of a step by measured rates alone.
    pub(super) fn secs_by_rates(&self, trainings: &[Training]) -> Option<f64> {
        self.reckoned(trainings).filter(|_| self.is_measured(trainings))
    }

    /// Seconds of one optimiser step of the longest training, at measured rates.
    pub(super) fn optimizer_step_secs(&self, planned: &PlannedStep, trainings: &[Training]) -> Option<f64> {
        let last = trainings.iter().max_by_key(|training| training.steps)?;
        if let Some(speed) = self.by_trial(last) {
            return Some(work::step_secs(last, speed).all());
        }
        let (off, _) = self.correction(planned, trainings, None)?;
        work::is_counted(last).then(|| off * work::step_secs(last, self.by_rates(last)).all())
    }
}

/// Seconds of a step's trainings, each at a speed of its own; none where one is not known.
fn sum_secs<'a>(trainings: &[Training], speed: impl Fn(&Training) -> Option<Speed<'a>>) -> Option<f64> {
    if trainings.is_empty() || !trainings.iter().all(work::is_counted) {
        return None;
    }
    let mut secs = work::start_secs();
    for training in trainings {
        secs += work::training_secs(training, speed(training)?)?;
    }
    Some(secs)
}

/// Whether trainings differ in their length alone.
fn have_same_passes(before: &[Training], now: &[Training]) -> bool {
    let passes = |trainings: &[Training]| {
        trainings.iter().map(|training| (training.trial(), training.ranks, training.zero)).collect::<Vec<_>>()
    };
    passes(before) == passes(now)
}

//! How fast this machine trains: its rates, and by how much what was reckoned with them was off before.

use cupola_specs::contract::MachineRates;
use cupola_specs::job::StepKind;

use super::past::Taken;
use super::rates::KnownRates;
use super::training::Training;
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
    fn rates_of(&self, training: &Training) -> &MachineRates {
        self.rates.find(training.rates_of()).unwrap_or_else(|| usual::rates(training.precision))
    }

    /// Seconds of trainings by the rates; none where their length is not known.
    fn reckoned(&self, trainings: &[Training]) -> Option<f64> {
        if trainings.is_empty() || !trainings.iter().all(work::is_counted) {
            return None;
        }
        let mut secs = work::start_secs();
        for training in trainings {
            secs += work::training_secs(training, self.rates_of(training))?;
        }
        Some(secs)
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
        let (off, _) = self.correction(planned, trainings, None)?;
        work::is_counted(last).then(|| off * work::step_secs(last, self.rates_of(last)).all())
    }
}

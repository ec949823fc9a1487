//! The stretches of a run: each has one row length, and its rows have an order of their own.
//!
//! Where rows get longer, the network's positions and RoPE change with them and the tokens of an optimiser step stay the same. Rows of another
//! length are other rows: the second stretch begins a pass of its own over each domain.

use std::collections::BTreeMap;

use cupola_specs::artifact::PhaseRecord;
use cupola_specs::job::{Batch, ExtendParams, ModelShape, PhaseCorpus, PhaseParams, RopeExtension};

use super::token_data::domain_of;
use super::{AutoChoice, MixtureOrder, MixturePhase, RowId, RowSet, RowShape, TokenData, TrainError};

/// Optimiser steps with one row length.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub(super) begin_step: u64,
    /// The step where it ends (not in it).
    pub(super) end_step: u64,
    pub(super) rows: RowSet<'a>,
    pub(super) batch: Batch,
    /// The network's shape meanwhile.
    pub(super) shape: ModelShape,
    order: MixtureOrder,
}

/// What the stretches of a run are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct StretchPlan<'r> {
    pub(super) shape: &'r ModelShape,
    pub(super) rows: RowShape,
    pub(super) phases: &'r [PhaseParams],
    pub(super) extend: Option<ExtendParams>,
    pub(super) steps: u64,
    pub(super) batch: Batch,
    pub(super) seed: u64,
}

impl StretchPlan<'_> {
    /// The stretches, in order, and what a rule chose.
    pub(super) fn stretches<'a>(
        &self,
        data: &'a TokenData,
    ) -> Result<(Vec<Stretch<'a>>, Vec<AutoChoice>), TrainError> {
        let Some(extend) = self.extend else {
            return Ok((
                vec![self.one(data, 0..self.steps, self.rows, (self.batch, self.shape.clone()))?],
                Vec::new(),
            ));
        };
        if self.steps < 2 {
            return Err(TrainError::Refused(
                "a run of one optimiser step has no end with longer rows".into(),
            ));
        }
        let long = ((extend.tokens * self.steps as f64).round() as u64).clamp(1, self.steps - 1);
        let begin = self.steps - long;
        let factor = extend.length / self.rows.context_length;
        let batch = self.batch.of_longer_rows(factor);
        let (shape, chosen) = extended(self.shape, self.rows.context_length, extend);
        let short = self.one(data, 0..begin, self.rows, (self.batch, self.shape.clone()))?;
        let rows = self.rows.of_length(extend.length);
        Ok((vec![short, self.one(data, begin..self.steps, rows, (batch, shape))?], chosen))
    }

    fn one<'a>(
        &self,
        data: &'a TokenData,
        steps: std::ops::Range<u64>,
        rows: RowShape,
        (batch, shape): (Batch, ModelShape),
    ) -> Result<Stretch<'a>, TrainError> {
        let rows = RowSet::new(data, rows)?;
        let mixture: Vec<MixturePhase> = self
            .overlaps(steps.clone())
            .map(|(end, phase)| MixturePhase {
                end_row: (end - steps.start) * batch.rows,
                weights: mixture_of(phase, data),
            })
            .collect();
        // The first stretch keeps the run's own seed.
        let seed = if steps.start == 0 {
            self.seed
        } else {
            self.seed ^ rows.shape().context_length.rotate_left(40)
        };
        let order = MixtureOrder::new(&rows.sizes(), &mixture, seed)?;
        Ok(Stretch { begin_step: steps.start, end_step: steps.end, rows, batch, shape, order })
    }

    /// The phases that have steps in a range, each with the step where it ends there.
    fn overlaps(&self, steps: std::ops::Range<u64>) -> impl Iterator<Item = (u64, &PhaseParams)> {
        let mut begin = steps.start;
        self.phases.iter().filter_map(move |phase| {
            let end = ((phase.until * self.steps as f64).round() as u64).min(steps.end);
            let is_here = end > begin;
            begin = begin.max(end);
            is_here.then_some((end, phase))
        })
    }

    /// What `training.json` says of the stretches: one entry for each phase in each.
    pub(super) fn records(&self, stretches: &[Stretch]) -> Vec<PhaseRecord> {
        let of_stretch = |stretch: &Stretch| {
            let mut begin_step = stretch.begin_step;
            let records: Vec<PhaseRecord> = self
                .overlaps(stretch.begin_step..stretch.end_step)
                .map(|(end_step, phase)| PhaseRecord {
                    begin_step: std::mem::replace(&mut begin_step, end_step),
                    end_step,
                    context_length: stretch.rows.shape().context_length,
                    step_rows: stretch.batch.rows,
                    weights: mixture_of(phase, stretch.rows.data()),
                    lr: phase.lr,
                    lr_final: phase.lr_final,
                })
                .collect();
            records
        };
        stretches.iter().flat_map(of_stretch).collect()
    }
}

/// Weights by the names of all domains: those of other corpora have their share, and the job's own what is left. Where a phase says no weights of a corpus that it reads,
/// the corpus has fitted them itself.
fn mixture_of(phase: &PhaseParams, data: &TokenData) -> BTreeMap<String, f64> {
    let of = |input: u64, weights: &BTreeMap<String, f64>| {
        if weights.is_empty() { data.corpus_mixture(input) } else { weights.clone() }
    };
    if phase.corpora.is_empty() {
        return of(0, &phase.weights);
    }
    let rest = 1.0 - phase.corpora.iter().map(|corpus| corpus.share).sum::<f64>();
    // By a rest of rounding nothing is read.
    let own = if rest > 1e-9 { of(0, &phase.weights) } else { phase.weights.clone() };
    let own = own.into_iter().map(|(name, weight)| (name, weight * rest.max(0.0)));
    let others = phase.corpora.iter().flat_map(|PhaseCorpus { input, share, weights }| {
        of(*input, weights).into_iter().map(move |(name, weight)| (domain_of(*input, &name), weight * share))
    });
    own.chain(others).collect()
}

impl Stretch<'_> {
    /// The rows of micro-batch `micro` of a step.
    pub(super) fn micro_rows(&self, step: u64, micro: u64) -> Vec<RowId> {
        let from = (step - self.begin_step) * self.batch.rows + micro * self.batch.micro_rows;
        self.order.range(from, self.batch.micro_rows)
    }

    /// All rows of a step.
    pub(super) fn step_rows(&self, step: u64) -> Vec<RowId> {
        self.order.range((step - self.begin_step) * self.batch.rows, self.batch.rows)
    }

    /// Optimiser steps.
    pub(super) fn steps(&self) -> u64 {
        self.end_step - self.begin_step
    }

    /// How often it goes through each domain.
    pub(super) fn epochs(&self) -> Vec<f64> {
        self.order.epochs()
    }

    /// How often its first `steps` steps go through each domain.
    pub(super) fn epochs_at(&self, steps: u64) -> Vec<f64> {
        self.order.epochs_at(steps * self.batch.rows)
    }
}

/// [`Batch::for_longer_rows`], and what that chose.
pub(super) fn for_longer_rows(batch: Batch, factor: u64) -> (Batch, Option<AutoChoice>) {
    let longer = batch.for_longer_rows(factor);
    let choice = AutoChoice {
        name: "step_rows",
        rule: format!("whole micro-batches, and as many tokens in rows {factor} times as long"),
        value: longer.rows as f64,
    };
    (longer, (longer != batch).then_some(choice))
}

/// The network's shape with longer rows, and what a rule chose of it.
fn extended(shape: &ModelShape, before: u64, extend: ExtendParams) -> (ModelShape, Vec<AutoChoice>) {
    let mut longer = shape.clone();
    longer.max_position_embeddings = shape.max_position_embeddings.max(extend.length);
    match extend.rope {
        RopeExtension::Theta { theta } => {
            longer.rope_theta = theta;
            (longer, Vec::new())
        }
        RopeExtension::Scaling { scaling } => {
            longer.rope_scaling = scaling;
            (longer, Vec::new())
        }
        RopeExtension::Stretched => {
            let dim = shape.head_dim as f64;
            let factor = extend.length as f64 / before as f64;
            // A head of two has one rotation, which no base changes.
            let exponent = if dim > 2.0 { dim / (dim - 2.0) } else { 0.0 };
            longer.rope_theta = shape.rope_theta * factor.powf(exponent);
            let rule = format!("{} · {factor}^(D / (D − 2)), D = {dim}", shape.rope_theta);
            let choice = AutoChoice { name: "extend.rope.theta", rule, value: longer.rope_theta };
            (longer, vec![choice])
        }
    }
}

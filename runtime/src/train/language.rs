//! Next-token prediction on token shards: the objective that pretraining and scaling runs share.
//!
//! A step's loss is the mean over all its tokens that carry loss, on whichever ranks and in whichever micro-batches they are.
//!
//! Shapes: `B` rows, `T` context length.

use std::collections::BTreeMap;
use std::time::Instant;

use cupola_specs::artifact::{DomainRecord, PhaseRecord};
use cupola_specs::job::{
    BatchParams, ExtendParams, ModelShape, OptimizerParams, PhaseParams, Precision, RunSize,
};
use tch::{Device, Kind};

use super::stretch::{Stretch, StretchPlan, for_longer_rows};
use super::{
    AutoChoice, Curves, LrSchedule, Objective, OptimizerSettings, PhaseRate, RowId, RowSet, RowShape,
    StepLoss, TokenData, TrainError, choose_batch, choose_rates, eased_batch, losses_with_normalizer,
};
use crate::job::StepContext;
use crate::model::{Network, Parameter, cross_entropy};
use crate::telemetry::{DataPosition, StepWork};

/// What a run is made of: everything that decides its bits.
#[derive(Debug, Clone)]
pub struct Recipe<'a> {
    /// The network.
    pub shape: &'a ModelShape,
    /// Tokens that it sees, rounded to whole optimiser steps.
    pub tokens: u64,
    /// Optimisers.
    pub optimizer: &'a OptimizerParams,
    /// Batch sizes.
    pub batch: BatchParams,
    /// Mixture and rate by phase.
    pub phases: &'a [PhaseParams],
    /// What rows are like.
    pub rows: RowShape,
    /// Longer rows at the end.
    pub extend: Option<ExtendParams>,
    /// Most passes over a domain's rows.
    pub max_epochs: Option<f64>,
    /// Number format.
    pub precision: Precision,
    /// How often the micro-batch is halved.
    pub micro_batch_halvings: u32,
    /// Ranks that share a step's micro-batches.
    pub ranks: u64,
    /// Seed of the weights.
    pub init_seed: u64,
    /// Seed of the data order.
    pub order_seed: u64,
}

/// A language model in training.
pub struct LanguageRun<'a> {
    /// The network.
    pub network: Network,
    /// Optimiser steps of the run.
    pub steps: u64,
    /// Tokens of the run, padding counted.
    pub tokens: u64,
    /// FLOPs of the run.
    pub flops: f64,
    /// Optimisers at their peaks.
    pub settings: OptimizerSettings,
    /// Rates by step.
    pub schedule: LrSchedule,
    /// What a rule chose.
    pub chosen: Vec<AutoChoice>,
    /// What the run reads of each domain.
    pub domains: BTreeMap<String, DomainRecord>,
    /// Stretches with one mixture, one rate and one row length.
    pub phases: Vec<PhaseRecord>,
    stretches: Vec<Stretch<'a>>,
    precision: Precision,
    /// Factor of log² Z.
    z_loss: f64,
    /// Tokens that carry loss in the step that was asked for last.
    step_tokens: Option<(u64, u64)>,
    evaluation: Option<Evaluation<'a>>,
}

/// What happens between steps: given the network, the steps done and the curves.
pub type Evaluation<'a> = Box<dyn FnMut(&Network, u64, &mut Curves) -> Result<(), TrainError> + 'a>;

impl<'a> LanguageRun<'a> {
    /// Makes the network and the order of its rows.
    pub fn new(recipe: &Recipe, data: &'a TokenData, device: Device) -> Result<Self, TrainError> {
        let network = Network::init(recipe.shape, data.index.vocab_size as i64, recipe.init_seed, device)?;
        Self::of(network, recipe, data)
    }

    /// The same without weights: what a run would be.
    pub fn outline(recipe: &Recipe, data: &'a TokenData) -> Result<Self, TrainError> {
        let network = Network::outline(recipe.shape, data.index.vocab_size as i64)?;
        Self::of(network, recipe, data)
    }

    fn of(network: Network, recipe: &Recipe, data: &'a TokenData) -> Result<Self, TrainError> {
        if recipe.rows.document_mask && !network.supports_documents() {
            return Err(TrainError::Refused(
                "an LSTM carries its state across the documents of a row: set `context.document_mask: false`"
                    .into(),
            ));
        }
        let length = recipe.rows.context_length;
        let size = RunSize::of(recipe.shape, data.index.vocab_size, recipe.tokens, length);
        let (batch, mut chosen) = choose_batch(&recipe.batch, &size, length);
        let (batch, choice) = match recipe.extend {
            Some(extend) => for_longer_rows(batch, extend.length / length),
            None => (batch, None),
        };
        chosen.extend(choice);
        let batch = eased_batch(batch, recipe.micro_batch_halvings)?.shared(recipe.ranks);
        let step_tokens = (batch.rows * length) as f64;
        let steps = (recipe.tokens as f64 / step_tokens).round().max(1.0) as u64;
        let rates = choose_rates(recipe.optimizer, recipe.shape, recipe.precision, (&size, step_tokens));
        chosen.extend(rates.chosen);
        let phases: Vec<PhaseRate> = recipe.phases.iter().map(PhaseRate::from).collect();
        let plan = StretchPlan {
            shape: recipe.shape,
            rows: recipe.rows,
            phases: recipe.phases,
            extend: recipe.extend,
            steps,
            batch,
            seed: recipe.order_seed,
        };
        let (stretches, by_rule) = plan.stretches(data)?;
        chosen.extend(by_rule);
        let domains = domain_records(data, &stretches);
        refuse_repetition(&domains, recipe.max_epochs)?;
        let tokens_of = |stretch: &Stretch| stretch.steps() * batch.rows * length;
        let flops_of = |stretch: &Stretch| {
            tokens_of(stretch) as f64 * network.flops_per_token(stretch.rows.shape().context_length)
        };
        Ok(Self {
            steps,
            tokens: stretches.iter().map(tokens_of).sum(),
            flops: stretches.iter().map(flops_of).sum(),
            network,
            settings: rates.settings,
            schedule: LrSchedule::new(steps, recipe.optimizer.warmup, &phases),
            chosen,
            domains,
            phases: plan.records(&stretches),
            stretches,
            precision: recipe.precision,
            z_loss: recipe.optimizer.z_loss,
            step_tokens: None,
            evaluation: None,
        })
    }

    /// Says what happens between steps.
    pub fn evaluate_with(&mut self, evaluation: Evaluation<'a>) {
        self.evaluation = Some(evaluation);
    }

    /// Rows of an optimiser step, where the run begins.
    pub fn step_rows(&self) -> u64 {
        self.stretches[0].batch.rows
    }

    /// Rows of a forward pass, where the run begins.
    pub fn micro_rows(&self) -> u64 {
        self.stretches[0].batch.micro_rows
    }

    /// The row lengths of the run, each with the step where it ends (not in it).
    pub fn row_shapes(&self) -> Vec<(u64, RowShape)> {
        self.stretches.iter().map(|stretch| (stretch.end_step, stretch.rows.shape())).collect()
    }

    /// All rows that the run begins with.
    pub fn row_set(&self) -> &RowSet<'a> {
        &self.stretches[0].rows
    }

    /// The first rows of the run, at most as many as its first step has.
    pub fn first_rows(&self, count: u64) -> Vec<RowId> {
        let mut rows = self.stretches[0].step_rows(0);
        rows.truncate(count as usize);
        rows
    }

    /// The loss of some of the rows that the run begins with, divided by `tokens` tokens.
    pub fn rows_loss(&self, rows: &[RowId], tokens: u64) -> Result<StepLoss, TrainError> {
        self.loss_in(&self.stretches[0], rows, tokens)
    }

    fn loss_in(&self, stretch: &Stretch, rows: &[RowId], tokens: u64) -> Result<StepLoss, TrainError> {
        let begin = Instant::now();
        let batch = stretch.rows.batch(rows, self.network.device())?; // [B, T]
        let data_secs = begin.elapsed().as_secs_f64();
        let (inputs, targets, layout) = (&batch.inputs, &batch.targets, &batch.layout);
        let (of_step, tokens) = (tokens as f64, stretch.rows.tokens_of(rows));
        if self.z_loss == 0.0 {
            let losses = cross_entropy(&self.network, inputs, targets, layout, self.precision); // [B, T]
            let loss = losses.sum(Kind::Float) / of_step;
            return Ok(StepLoss { loss, auxiliary: None, tokens, metrics: Vec::new(), data_secs });
        }
        let (losses, log_z) = losses_with_normalizer(&self.network, inputs, targets, layout, self.precision); // [B, T]
        let z_loss = log_z.square().sum(Kind::Float) * (self.z_loss / of_step);
        let metrics = vec![("z_loss", z_loss.double_value(&[]))];
        let loss = losses.sum(Kind::Float) / of_step;
        Ok(StepLoss { loss, auxiliary: Some(z_loss), tokens, metrics, data_secs })
    }

    /// The rows of a micro-batch.
    pub fn rows_of(&self, step: u64, micro: u64) -> Vec<RowId> {
        self.stretches[self.stretch_at(step)].micro_rows(step, micro)
    }

    /// Gives the network the positions and the RoPE that its weights have after some steps.
    pub fn settle(&mut self, steps: u64) -> Result<(), TrainError> {
        self.enter(steps.saturating_sub(1)).map(|_| ())
    }

    /// Which stretch a step belongs to.
    fn stretch_at(&self, step: u64) -> usize {
        self.stretches.partition_point(|stretch| stretch.end_step <= step).min(self.stretches.len() - 1)
    }

    /// Gives the network the positions and the RoPE of a step, wherever the run comes from.
    fn enter(&mut self, step: u64) -> Result<usize, TrainError> {
        let at = self.stretch_at(step);
        let shape = &self.stretches[at].shape;
        if self.network.shape() != shape {
            let (scaling, positions) = (shape.rope_scaling, shape.max_position_embeddings);
            self.network.set_rope(shape.rope_theta, scaling, positions)?;
        }
        Ok(at)
    }

    /// Opens the shards that a step's run reads: the train sides of its corpora, and the held-out side of its own.
    pub fn open(ctx: &StepContext) -> Result<(TokenData, TokenData), TrainError> {
        let own = &ctx.input("tokens")?.path;
        let others = (1..).map_while(|place| ctx.optional_input(&format!("tokens.{place}")));
        let others = others.map(|input| TokenData::train(&input.path)).collect::<Result<_, _>>()?;
        Ok((TokenData::train(own)?.join(others)?, TokenData::validation(own)?))
    }
}

/// What a run reads of each domain.
fn domain_records(data: &TokenData, stretches: &[Stretch]) -> BTreeMap<String, DomainRecord> {
    let epochs: Vec<Vec<f64>> = stretches.iter().map(Stretch::epochs).collect();
    let record = |(domain, name): (usize, &str)| {
        let (mut sum, mut places, mut padding) = (0.0, 0.0, 0.0);
        for (stretch, epochs) in stretches.iter().zip(&epochs) {
            let rows = &stretch.rows;
            let read = epochs[domain] * (rows.num_rows(domain) * rows.shape().context_length) as f64;
            sum += epochs[domain];
            places += read;
            padding += read * rows.padding(domain);
        }
        let num_tokens = data.shard(domain).num_tokens;
        let padding = if places > 0.0 { padding / places } else { 0.0 };
        (name.to_owned(), DomainRecord { num_tokens, epochs: sum, padding })
    };
    data.domains().enumerate().map(record).collect()
}

/// Refuses a run that reads a domain more often than it may.
fn refuse_repetition(
    domains: &BTreeMap<String, DomainRecord>,
    max_epochs: Option<f64>,
) -> Result<(), TrainError> {
    let most = max_epochs.unwrap_or(f64::INFINITY);
    match domains.iter().find(|(_, domain)| domain.epochs > most) {
        Some((name, domain)) => Err(TrainError::Exhausted {
            domain: name.clone(),
            num_tokens: domain.num_tokens,
            epochs: domain.epochs,
            max_epochs: most,
        }),
        None => Ok(()),
    }
}

impl Objective for LanguageRun<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.network.parameters().iter().map(Parameter::handle).collect()
    }

    fn micro_batches(&self, step: u64) -> u64 {
        let batch = self.stretches[self.stretch_at(step)].batch;
        batch.rows / batch.micro_rows
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let at = self.enter(step)?;
        let stretch = &self.stretches[at];
        let tokens = match self.step_tokens {
            Some((known, tokens)) if known == step => tokens,
            _ => stretch.rows.tokens_of(&stretch.step_rows(step)),
        };
        let part = self.loss_in(stretch, &stretch.micro_rows(step, micro), tokens);
        self.step_tokens = Some((step, tokens));
        part
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        let rows = &self.stretches[self.stretch_at(step)].rows;
        self.rows_of(step, micro).into_iter().map(|row| rows.name(row)).collect()
    }

    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError> {
        self.settle(done)?;
        match &mut self.evaluation {
            Some(evaluation) => evaluation(&self.network, done, curves),
            None => Ok(()),
        }
    }

    fn data_cursor(&self, done: u64) -> u64 {
        let steps_in =
            |stretch: &Stretch| done.clamp(stretch.begin_step, stretch.end_step) - stretch.begin_step;
        self.stretches.iter().map(|stretch| steps_in(stretch) * stretch.batch.rows).sum()
    }

    fn work(&mut self, step: u64) -> Option<StepWork> {
        let stretch = &self.stretches[self.stretch_at(step)];
        let length = stretch.rows.shape().context_length;
        let flops = self.network.flops_per_token(length) * (stretch.batch.rows * length) as f64;
        Some(StepWork { flops, precision: self.precision })
    }

    fn data_position(&self, done: u64) -> DataPosition {
        let (mut tokens, mut epochs) = (0, BTreeMap::<String, f64>::new());
        for stretch in &self.stretches {
            let steps = done.clamp(stretch.begin_step, stretch.end_step) - stretch.begin_step;
            tokens += steps * stretch.batch.rows * stretch.rows.shape().context_length;
            for ((name, _), more) in stretch.rows.sizes().into_iter().zip(stretch.epochs_at(steps)) {
                *epochs.entry(name).or_insert(0.0) += more;
            }
        }
        DataPosition {
            rows: self.data_cursor(done),
            tokens: Some(tokens),
            epochs: epochs.into_iter().collect(),
        }
    }
}

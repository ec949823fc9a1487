//! Next-token prediction on token shards: the objective that pretraining and scaling runs share.
//!
//! Shapes: `B` rows, `T` context length.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::job::{BatchParams, ModelShape, OptimizerParams, PhaseParams, Precision};
use tch::{Device, Kind};

use super::{
    AutoChoice, Batch, Curves, LrSchedule, MixtureOrder, MixturePhase, Objective, OptimizerSettings,
    StepLoss, TokenData, TrainError, choose_batch, choose_rates,
};
use crate::model::{Network, Parameter, RowLayout, cross_entropy};

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
    /// Tokens in a row.
    pub context_length: u64,
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
    /// Tokens of the run.
    pub tokens: u64,
    /// FLOPs of the run.
    pub flops: f64,
    /// Optimisers at their peaks.
    pub settings: OptimizerSettings,
    /// Rates by step.
    pub schedule: LrSchedule,
    /// What a rule chose.
    pub chosen: Vec<AutoChoice>,
    /// How often the run goes through each domain.
    pub epochs: BTreeMap<String, f64>,
    batch: Batch,
    context_length: u64,
    precision: Precision,
    data: &'a TokenData,
    order: MixtureOrder,
    evaluation: Option<Evaluation<'a>>,
}

/// What happens between steps: given the network, the steps done and the curves.
pub type Evaluation<'a> = Box<dyn FnMut(&Network, u64, &mut Curves) -> Result<(), TrainError> + 'a>;

impl<'a> LanguageRun<'a> {
    /// Makes the network and the order of its rows.
    pub fn new(recipe: &Recipe, data: &'a TokenData, device: Device) -> Result<Self, TrainError> {
        let network = Network::init(recipe.shape, data.index.vocab_size as i64, recipe.init_seed, device)?;
        let per_token = network.flops_per_token(recipe.context_length);
        let (batch, mut chosen) = choose_batch(
            &recipe.batch,
            recipe.tokens,
            recipe.tokens as f64 * per_token,
            recipe.context_length,
        );
        let batch = batch.eased(recipe.micro_batch_halvings)?.shared(recipe.ranks);
        let step_tokens = batch.rows * recipe.context_length;
        let steps = (recipe.tokens as f64 / step_tokens as f64).round().max(1.0) as u64;
        let rates = choose_rates(recipe.optimizer, recipe.shape, recipe.precision);
        chosen.extend(rates.chosen);
        let phases: Vec<_> = recipe.phases.iter().map(|phase| (phase.until, phase.lr)).collect();
        let schedule = LrSchedule::new(steps, recipe.optimizer.warmup, &phases);
        let mixture: Vec<MixturePhase> = recipe
            .phases
            .iter()
            .map(|phase| MixturePhase {
                end_row: (phase.until * steps as f64).round() as u64 * batch.rows,
                weights: phase.weights.clone(),
            })
            .collect();
        let order = MixtureOrder::new(data, recipe.context_length, &mixture, recipe.order_seed)?;
        let epochs = data.domains().map(str::to_owned).zip(order.epochs()).collect();
        let tokens = steps * step_tokens;
        Ok(Self {
            network,
            steps,
            tokens,
            flops: per_token * tokens as f64,
            settings: rates.settings,
            schedule,
            chosen,
            epochs,
            batch,
            context_length: recipe.context_length,
            precision: recipe.precision,
            data,
            order,
            evaluation: None,
        })
    }

    /// Says what happens between steps.
    pub fn evaluate_with(&mut self, evaluation: Evaluation<'a>) {
        self.evaluation = Some(evaluation);
    }

    /// Rows of an optimiser step.
    pub fn step_rows(&self) -> u64 {
        self.batch.rows
    }

    /// Rows of a forward pass.
    pub fn micro_rows(&self) -> u64 {
        self.batch.micro_rows
    }

    /// The loss of some rows, divided by `rows_in_step` rows' tokens.
    pub fn rows_loss(&self, rows: &[(usize, u64)], rows_in_step: u64) -> Result<StepLoss, TrainError> {
        let (inputs, targets) = self.data.batch(rows, self.context_length, self.network.device())?; // [B, T]
        let losses = cross_entropy(&self.network, &inputs, &targets, &RowLayout::Causal, self.precision); // [B, T]
        let loss = losses.sum(Kind::Float) / (rows_in_step * self.context_length) as f64;
        Ok(StepLoss { loss, tokens: rows.len() as u64 * self.context_length, metrics: Vec::new() })
    }

    /// Domains and rows of consecutive rows of the run.
    pub fn rows(&self, from: u64, count: u64) -> Vec<(usize, u64)> {
        self.order.range(from, count)
    }

    /// Opens the shards that a run reads.
    pub fn open(folder: &Path) -> Result<(TokenData, TokenData), TrainError> {
        Ok((TokenData::train(folder)?, TokenData::validation(folder)?))
    }
}

impl Objective for LanguageRun<'_> {
    fn parameters(&self) -> Vec<Parameter> {
        self.network.parameters().iter().map(Parameter::handle).collect()
    }

    fn micro_batches(&self, _step: u64) -> u64 {
        self.batch.rows / self.batch.micro_rows
    }

    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError> {
        let from = step * self.batch.rows + micro * self.batch.micro_rows;
        let rows = self.order.range(from, self.batch.micro_rows);
        self.rows_loss(&rows, self.batch.rows)
    }

    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String> {
        let from = step * self.batch.rows + micro * self.batch.micro_rows;
        let names: Vec<&str> = self.data.domains().collect();
        let name = |(domain, row): (usize, u64)| {
            let (begin, file) = (row * self.context_length, &self.data.shard(domain).file);
            format!("{}: tokens {begin} to {} of {file}", names[domain], begin + self.context_length)
        };
        self.order.range(from, self.batch.micro_rows).into_iter().map(name).collect()
    }

    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError> {
        match &mut self.evaluation {
            Some(evaluation) => evaluation(&self.network, done, curves),
            None => Ok(()),
        }
    }

    fn data_cursor(&self, done: u64) -> u64 {
        done * self.batch.rows
    }
}

//! What differs between the stages.

use std::collections::BTreeMap;

use cupola_specs::artifact::CurvePoint;
use tch::Tensor;

use super::TrainError;
use crate::model::Parameter;
use crate::telemetry::{DataPosition, StepWork};

/// The loss of one micro-batch.
#[derive(Debug)]
pub struct StepLoss {
    /// A scalar, already divided by what the whole optimiser step trains on: the sum over its micro-batches is the step's loss.
    pub loss: Tensor,
    /// What is trained beside the loss and is no part of what is reported as `loss`, normalised like it.
    pub auxiliary: Option<Tensor>,
    /// Tokens that carry loss in this micro-batch.
    pub tokens: u64,
    /// More numbers, each normalised like the loss: their sum over the micro-batches is the step's value.
    pub metrics: Vec<(&'static str, f64)>,
    /// Seconds until the batch was there.
    pub data_secs: f64,
}

/// A training stage.
pub trait Objective {
    /// The weights that train, in a fixed order.
    fn parameters(&self) -> Vec<Parameter>;

    /// Micro-batches of optimiser step `step` (from 0).
    fn micro_batches(&self, step: u64) -> u64;

    /// The loss of micro-batch `micro` of step `step`: a function of the weights, the seed and these two numbers only.
    fn loss(&mut self, step: u64, micro: u64) -> Result<StepLoss, TrainError>;

    /// Names of the rows of data that a micro-batch reads, by which a user finds them.
    fn row_names(&mut self, step: u64, micro: u64) -> Vec<String>;

    /// What happens after `done` steps are done: evaluation, samples. It may add to the curves, from the weights and `done` only.
    fn after_step(&mut self, done: u64, curves: &mut Curves) -> Result<(), TrainError>;

    /// The run goes back to where `done` steps are done: what was kept for steps after that is of no use any more.
    fn go_back(&mut self, _done: u64) -> Result<(), TrainError> {
        Ok(())
    }

    /// Rows of the data order that `done` steps have read.
    fn data_cursor(&self, done: u64) -> u64;

    /// What step `step` takes by the model's arithmetic; none where a step is more than the passes of one network.
    fn work(&mut self, _step: u64) -> Option<StepWork> {
        None
    }

    /// Where the run stands in its data after `done` steps.
    fn data_position(&self, done: u64) -> DataPosition {
        DataPosition { rows: self.data_cursor(done), ..DataPosition::default() }
    }
}

/// Curves by metric.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves(pub BTreeMap<String, Vec<CurvePoint>>);

impl Curves {
    /// Adds a point.
    pub fn push(&mut self, name: &str, step: u64, value: f64) {
        self.0.entry(name.to_owned()).or_default().push(CurvePoint { step, value });
    }

    /// The newest value of a curve.
    pub fn last(&self, name: &str) -> Option<f64> {
        self.0.get(name).and_then(|points| points.last()).map(|point| point.value)
    }
}

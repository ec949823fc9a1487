//! The rates of this machine, as far as they were measured, and those at sizes between the measured ones.

use std::collections::BTreeMap;

use cupola_specs::contract::{MachineRates, RateAt, RatesKey, Trial, TrialSecs};
use cupola_specs::job::{Device, Precision};
use serde::de::DeserializeOwned;

use super::training::Training;
use crate::state::Projection;

/// The topic of the journal's notes of them.
pub const MACHINE_RATES: &str = "machine_rates";
/// That of what trials took.
pub const TRIALS: &str = "training_trials";

/// What tensors live on, by name: processor or CUDA device.
fn hardware(device: Device) -> String {
    let named = if device == Device::Cuda { cuda_name() } else { processor_name() };
    named.unwrap_or_else(|| "unnamed".to_owned())
}

fn processor_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    value_of(&info, "model name")
}

fn cuda_name() -> Option<String> {
    let mut folders: Vec<_> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    value_of(&std::fs::read_to_string(folders.first()?.join("information")).ok()?, "Model")
}

/// The value of a line `name : value`.
fn value_of(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// What a training does its operations with: the rates of one are not those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatesOf {
    /// Where tensors live.
    pub device: Device,
    /// Threads of a rank.
    pub threads: u32,
    /// Ranks that share the processor.
    pub ranks: u32,
    /// Number format of the products.
    pub precision: Precision,
}

impl RatesOf {
    /// Those of a step in some ranks: on CUDA devices of their own they do not slow each other.
    pub(super) fn new(device: Device, (threads, ranks): (u32, u32), precision: Precision) -> Self {
        let ranks = if device == Device::Cuda { 1 } else { ranks };
        Self { device, threads, ranks, precision }
    }

    /// Under which they are kept on this machine.
    pub fn key(self) -> RatesKey {
        self.key_on(hardware(self.device))
    }

    fn key_on(self, hardware: String) -> RatesKey {
        let Self { device, threads, ranks, precision } = self;
        RatesKey {
            hardware,
            device,
            threads,
            ranks,
            precision,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// Under which a trial is kept, by the key of the rates that its training has.
pub fn trial_name(key: &RatesKey, trial: &Trial) -> String {
    let text = serde_json::json!(trial).to_string();
    format!("{}|{:.16}", key.name(), blake3::hash(text.as_bytes()).to_hex())
}

/// What was measured on this machine, by this version.
#[derive(Debug, Clone, Default)]
pub struct KnownRates {
    by_key: BTreeMap<String, MachineRates>,
    trials: BTreeMap<String, TrialSecs>,
    processor: String,
    cuda: String,
}

impl KnownRates {
    /// Those that the journal holds. Rates of an earlier form are none.
    pub fn read(projection: &Projection) -> Self {
        let (by_key, trials) = (noted(projection, MACHINE_RATES), noted(projection, TRIALS));
        if by_key.is_empty() && trials.is_empty() {
            return Self::default();
        }
        Self { by_key, trials, processor: hardware(Device::Cpu), cuda: hardware(Device::Cuda) }
    }

    /// The rates; none where they were not measured.
    pub fn find(&self, of: RatesOf) -> Option<&MachineRates> {
        if self.by_key.is_empty() {
            return None;
        }
        self.by_key.get(&self.key(of).name())
    }

    /// What a trial of this training took; none where there was none.
    pub(super) fn trial(&self, training: &Training) -> Option<TrialSecs> {
        if self.trials.is_empty() {
            return None;
        }
        self.trials.get(&trial_name(&self.key(training.rates_of()), &training.trial()?)).copied()
    }

    fn key(&self, of: RatesOf) -> RatesKey {
        of.key_on(if of.device == Device::Cuda { self.cuda.clone() } else { self.processor.clone() })
    }
}

/// The notes of a topic that have the form of today.
fn noted<T: DeserializeOwned>(projection: &Projection, topic: &str) -> BTreeMap<String, T> {
    let notes = projection.notes(topic);
    notes.filter_map(|(key, value)| Some((key.clone(), T::deserialize(value).ok()?))).collect()
}

/// A machine's rates, at any size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rates<'a>(&'a MachineRates);

impl<'a> Rates<'a> {
    pub(super) fn new(rates: &'a MachineRates) -> Self {
        Self(rates)
    }

    /// FLOP/s of a product whose smaller side of the weight is this.
    pub(super) fn product(self, size: f64) -> f64 {
        between(&self.0.products, size)
    }

    /// The same of the weight's gradient.
    pub(super) fn gradient(self, size: f64) -> f64 {
        between(&self.0.gradients, size)
    }

    /// Bytes a second of what runs over tensors: those of the largest that were measured, since between two uses of a tensor a pass goes through
    /// more than a cache holds.
    pub(super) fn stream(self) -> f64 {
        self.0.streams.last().map_or(f64::INFINITY, |at| at.rate)
    }

    /// Logits a second of a loss over this vocabulary, forward and backward.
    pub(super) fn loss(self, vocab: f64) -> f64 {
        between(&self.0.losses, vocab)
    }

    /// Elements a second of an activation, forward and backward, of the largest tensor that was measured.
    pub(super) fn activation(self) -> f64 {
        self.0.activations.last().map_or(f64::INFINITY, |at| at.rate)
    }

    /// FLOP/s of fused attention, forward and backward.
    pub(super) fn attention(self, head_dim: f64, row_tokens: f64) -> f64 {
        let points = self.0.attention.iter().map(|at| (at.head_dim, at.row_tokens, at.rate));
        over_both(points, head_dim, row_tokens)
    }

    /// FLOP/s of an LSTM layer, forward and backward.
    pub(super) fn recurrent(self, width: f64, rows: f64) -> f64 {
        over_both(self.0.recurrent.iter().map(|at| (at.width, at.rows, at.rate)), width, rows)
    }

    /// Seconds of so many operations on next to nothing.
    pub(super) fn operations(self, count: f64) -> f64 {
        count * self.0.operation_secs
    }
}

/// A rate between two measured sizes, on a straight line through the logarithms; beyond the last ones theirs.
fn between(rates: &[RateAt], size: f64) -> f64 {
    let above = rates.iter().position(|at| at.size >= size);
    match above {
        Some(0) => rates[0].rate,
        Some(at) => {
            let (low, high) = (rates[at - 1], rates[at]);
            let share = (size / low.size).ln() / (high.size / low.size).ln();
            low.rate * (high.rate / low.rate).powf(share)
        }
        None => rates.last().map_or(f64::INFINITY, |at| at.rate),
    }
}

/// The same over two sizes.
fn over_both(points: impl Iterator<Item = (f64, f64, f64)>, first: f64, second: f64) -> f64 {
    let points: Vec<(f64, f64, f64)> = points.collect();
    let rows: Vec<RateAt> = points
        .chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq())
        .map(|row| {
            let along: Vec<RateAt> =
                row.iter().map(|(_, size, rate)| RateAt { size: *size, rate: *rate }).collect();
            RateAt { size: row[0].0, rate: between(&along, second) }
        })
        .collect();
    between(&rows, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_between_sizes_lie_on_a_line_of_logarithms() {
        let rates = [RateAt { size: 16.0, rate: 1e9 }, RateAt { size: 64.0, rate: 4e9 }];
        assert!((between(&rates, 32.0) / 2e9 - 1.0).abs() < 1e-12);
        assert!((between(&rates, 1.0) - 1e9).abs() < 1e-3 && (between(&rates, 1e9) - 4e9).abs() < 1e-3);
        let points = [(16.0, 64.0, 1e9), (16.0, 256.0, 2e9), (64.0, 64.0, 2e9), (64.0, 256.0, 8e9)];
        let middle = over_both(points.into_iter(), 32.0, 256.0);
        assert!((middle / 4e9 - 1.0).abs() < 1e-12, "{middle}");
    }
}

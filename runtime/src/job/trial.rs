//! A few passes of a training on random tokens, timed: the time of the rest follows from their number.
//!
//! A deep network is tried with fewer of its layers, once with some and once with a few more: layers are alike, so that the difference tells
//! what each costs.
//!
//! Shapes: `B` rows, `T` tokens of a row.

use std::time::{Duration, Instant};

use cupola_specs::contract::{Trial, TrialLoss, TrialSecs};
use cupola_specs::job::{Device as Place, EmaParams, ModelShape, OptimizerParams, RunSize};
use tch::{Device, Kind, Tensor};

use crate::model::{Network, Parameter, RowLayout, cross_entropy};
use crate::rlhf::RewardModel;
use crate::sft::PackedBatch;
use crate::tokenizer::EncodedChat;
use crate::train::{Optimizer, Pace, TrainError, choose_rates, losses_with_normalizer};

/// Parameters up to which a network is tried whole.
const WHOLE_PARAMS: u64 = 64 << 20;
/// Layers that are tried of a larger one, at least.
const FEWEST_LAYERS: u64 = 2;
/// Documents of a row that holds several.
const DOCUMENTS: usize = 3;
/// Timed rounds, and the time after which no more are begun.
const MOST_ROUNDS: usize = 9;
const FEWEST_ROUNDS: usize = 3;
const ENOUGH: Duration = Duration::from_secs(2);

/// Runs the passes and updates.
///
/// # Errors
/// What the network, the optimiser or the tensor library refuses.
pub(super) fn try_training(trial: &Trial) -> Result<TrialSecs, TrainError> {
    let layers = trial.shape.num_hidden_layers;
    let (few, more) = parts(&trial.shape, trial.vocab_size);
    let first = try_layers(trial, few)?;
    if few == layers {
        return Ok(first);
    }
    let second = try_layers(trial, more)?;
    let rest = (layers - few) as f64 / (more - few) as f64;
    // Noise may not make a layer cost less than nothing.
    let extended = |first: f64, second: f64| first + rest * (second - first).max(0.0);
    Ok(TrialSecs {
        forward: extended(first.forward, second.forward),
        pass: extended(first.pass, second.pass),
        update: extended(first.update, second.update),
    })
}

/// With how many layers a network is tried, and with how many more; all of them where it is small.
fn parts(shape: &ModelShape, vocab_size: u64) -> (u64, u64) {
    let layers = shape.num_hidden_layers;
    // Every second layer may have a value embedding, and windows follow a pattern: both parts hold whole patterns, and end as the network does.
    let pattern = shape.layer_types.len().max(1) as u64;
    let step = if pattern.is_multiple_of(2) { pattern } else { 2 * pattern };
    let few = FEWEST_LAYERS + (layers - FEWEST_LAYERS.min(layers)) % step;
    if shape.total_params(vocab_size) <= WHOLE_PARAMS || few + step >= layers {
        return (layers, layers);
    }
    (few, few + step)
}

fn try_layers(trial: &Trial, layers: u64) -> Result<TrialSecs, TrainError> {
    let device = if trial.device == Place::Cuda { Device::Cuda(0) } else { Device::Cpu };
    let shape = ModelShape { num_hidden_layers: layers, ..trial.shape.clone() };
    let mut network = Network::init(&shape, trial.vocab_size as i64, 1, device)?;
    network.set_recompute(trial.recompute);
    if let Some(lora) = &trial.lora {
        network.adapt(lora, 1)?;
        network.drop_out_from(1);
    }
    let training = Training::new(trial, network)?;
    let parameters = training.parameters();
    let params = OptimizerParams {
        matrices: trial.matrices,
        others: trial.others,
        ema: trial.has_ema.then_some(EmaParams { decay: 0.9, every_steps: 1 }),
        ..OptimizerParams::default()
    };
    let tokens = trial.rows * trial.row_tokens;
    let size = RunSize::of(&shape, trial.vocab_size, tokens, trial.row_tokens);
    let settings = choose_rates(&params, &shape, trial.precision, (&size, tokens as f64)).settings;
    let mut optimizer = Optimizer::new(parameters, settings);
    let (mut all, begin) = ([Vec::new(), Vec::new(), Vec::new()], Instant::now());
    for round in 0..=MOST_ROUNDS {
        let secs = training.round(&mut optimizer, round as u64)?;
        // The first round makes threads, memory and kernels ready; where it takes long, that is a small part of it.
        if round > 0 || begin.elapsed() > 4 * ENOUGH {
            all.iter_mut().zip(secs).for_each(|(all, secs)| all.push(secs));
        }
        let is_enough = all[0].len() >= FEWEST_ROUNDS && begin.elapsed() > ENOUGH;
        if is_enough || (!all[0].is_empty() && begin.elapsed() > 4 * ENOUGH) {
            break;
        }
    }
    let [forward, pass, update] = all.map(median);
    Ok(TrialSecs { forward, pass, update })
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What is passed through the network.
enum Data {
    /// Rows of next tokens, `[B, T]` each, and their documents.
    Rows { inputs: Tensor, targets: Tensor, layout: RowLayout },
    /// Packed sequences.
    Packed(PackedBatch),
}

/// What trains.
enum Learner {
    Language(Network),
    Scores(RewardModel),
}

struct Training<'a> {
    trial: &'a Trial,
    learner: Learner,
    data: Data,
}

impl<'a> Training<'a> {
    fn new(trial: &'a Trial, network: Network) -> Result<Self, TrainError> {
        let device = network.device();
        let data = match trial.loss {
            TrialLoss::Language | TrialLoss::LanguageZ => rows(trial, device),
            TrialLoss::Chats | TrialLoss::Scores => {
                let (sequences, rows) = sequences(trial);
                let sequences: Vec<&EncodedChat> = sequences.iter().collect();
                let batch = PackedBatch::new(&sequences, &rows, device).map_err(|e| TrainError::stage(&e))?;
                Data::Packed(batch)
            }
        };
        let learner = match trial.loss {
            TrialLoss::Scores => Learner::Scores(RewardModel::new(network)),
            _ => Learner::Language(network),
        };
        Ok(Self { trial, learner, data })
    }

    fn parameters(&self) -> Vec<Parameter> {
        match &self.learner {
            Learner::Language(network) => network.trainable(),
            Learner::Scores(model) => model.parameters(),
        }
    }

    fn network(&self) -> &Network {
        match &self.learner {
            Learner::Language(network) => network,
            Learner::Scores(model) => model.net(),
        }
    }

    /// A scalar.
    fn loss(&self, is_trained: bool) -> Tensor {
        let precision = self.trial.precision;
        match (&self.learner, &self.data) {
            (Learner::Scores(model), Data::Packed(batch)) => model.scores(batch, precision).sum(Kind::Float),
            (_, Data::Packed(batch)) => -batch.log_probs(self.network(), precision).sum(Kind::Float),
            (_, Data::Rows { inputs, targets, layout }) => {
                if self.trial.loss == TrialLoss::LanguageZ && is_trained {
                    let (losses, log_z) =
                        losses_with_normalizer(self.network(), inputs, targets, layout, precision);
                    return losses.sum(Kind::Float) + log_z.square().sum(Kind::Float) * 1e-4;
                }
                cross_entropy(self.network(), inputs, targets, layout, precision).sum(Kind::Float)
            }
        }
    }

    /// Seconds of a pass forward, of one forward and backward, and of an update.
    fn round(&self, optimizer: &mut Optimizer, round: u64) -> Result<[f64; 3], TrainError> {
        // The value is asked for, as the loop does: on a CUDA device the pass is over then.
        let begin = Instant::now();
        tch::no_grad(|| self.loss(false)).f_double_value(&[])?;
        let forward = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        let loss = self.network().training_pass(round, 0, || self.loss(true));
        let loss = loss / (self.trial.rows * self.trial.row_tokens) as f64;
        loss.f_double_value(&[])?;
        loss.f_backward()?;
        self.wait()?;
        let pass = begin.elapsed().as_secs_f64();
        drop(loss);
        let begin = Instant::now();
        let norm = optimizer.grad_norm()?;
        let scale = if norm.is_finite() { (1.0 / (norm + 1e-6)).min(1.0) } else { 0.0 };
        optimizer.step(Pace { lr: 1.0, weight_decay: 1.0, momentum: 1.0 }, scale)?;
        self.wait()?;
        Ok([forward, pass, begin.elapsed().as_secs_f64()])
    }

    /// Until a CUDA device is through.
    fn wait(&self) -> Result<(), TrainError> {
        if let Device::Cuda(_) = self.network().device() {
            self.parameters()[0].tensor.f_sum(Kind::Float)?.f_double_value(&[])?;
        }
        Ok(())
    }
}

/// As good as random ids.
fn token(place: u64, vocab_size: u64) -> u64 {
    (place.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24) % vocab_size
}

fn rows(trial: &Trial, device: Device) -> Data {
    let (rows, length) = (trial.rows as i64, trial.row_tokens as i64);
    let ids = |shift: u64| {
        let ids =
            (0..trial.rows * trial.row_tokens).map(|place| token(place + shift, trial.vocab_size) as i64);
        Tensor::from_slice(&ids.collect::<Vec<_>>()).view([rows, length]).to_device(device) // [B, T]
    };
    let layout = if trial.is_masked {
        let document = (length / DOCUMENTS as i64).max(1);
        let places = Tensor::arange(length, (Kind::Int64, device)); // [T]
        let spread = |row: Tensor| row.expand([rows, length], false).contiguous(); // [B, T]
        RowLayout::Documents {
            segment: spread(places.floor_divide_scalar(document)),
            position: spread(places.remainder(document)),
        }
    } else {
        RowLayout::Causal
    };
    Data::Rows { inputs: ids(0), targets: ids(1), layout }
}

/// Sequences that fill the rows, and which rows they are in.
fn sequences(trial: &Trial) -> (Vec<EncodedChat>, Vec<Vec<usize>>) {
    let count = if trial.is_masked && trial.row_tokens >= 8 * DOCUMENTS as u64 { DOCUMENTS } else { 1 };
    let (mut sequences, mut rows) = (Vec::new(), Vec::new());
    for row in 0..trial.rows {
        rows.push((sequences.len()..sequences.len() + count).collect());
        for document in 0..count as u64 {
            let bounds = [document, document + 1].map(|at| at * trial.row_tokens / count as u64);
            let length = bounds[1] - bounds[0];
            let trained = (length * u64::from(trial.loss_percent)).div_ceil(100).clamp(1, length);
            let first = row * trial.row_tokens + bounds[0];
            let ids = (0..length).map(|place| token(first + place, trial.vocab_size) as u32).collect();
            let trained = (0..length).map(|place| place + trained >= length).collect();
            sequences.push(EncodedChat { ids, trained });
        }
    }
    (sequences, rows)
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::{
        LoraConfig, LoraTarget, MatrixOptimizer, ModelType, OtherOptimizer, Precision, Recompute,
    };

    use super::*;

    fn trial(loss: TrialLoss, shape: ModelShape) -> Trial {
        Trial {
            loss,
            shape,
            vocab_size: 512,
            device: Place::Cpu,
            threads: 1,
            precision: Precision::Fp32,
            recompute: Recompute::None,
            rows: 4,
            row_tokens: 64,
            is_masked: true,
            loss_percent: 40,
            matrices: MatrixOptimizer::Muon,
            others: OtherOptimizer::Adamw,
            has_ema: true,
            lora: None,
        }
    }

    fn shape(layers: u64) -> ModelShape {
        ModelShape {
            num_hidden_layers: layers,
            hidden_size: 64,
            intermediate_size: 128,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            head_dim: 16,
            max_position_embeddings: 64,
            ..ModelShape::plain(ModelType::Qwen3)
        }
    }

    #[test]
    fn every_loss_is_tried_and_backward_takes_longer_than_forward_alone() {
        let lora = LoraConfig {
            rank: 4,
            alpha: 8.0,
            use_rslora: false,
            targets: vec![LoraTarget::AllLinear],
            dropout: 0.1,
        };
        let losses = [TrialLoss::Language, TrialLoss::LanguageZ, TrialLoss::Chats, TrialLoss::Scores];
        let of = |loss| trial(loss, shape(2));
        let adapted = Trial { lora: Some(lora), ..of(TrialLoss::Chats) };
        let again = Trial { recompute: Recompute::Blocks, is_masked: false, ..of(TrialLoss::Language) };
        for trial in losses.map(of).into_iter().chain([adapted, again]) {
            let took = try_training(&trial).unwrap();
            assert!(
                took.forward > 0.0 && took.update > 0.0 && took.pass > took.forward,
                "{trial:?}: {took:?}"
            );
        }
    }

    #[test]
    fn a_deep_network_is_tried_in_two_parts_of_whole_patterns() {
        assert_eq!(parts(&shape(24), 512), (24, 24));
        let large = |layers| ModelShape { hidden_size: 2048, intermediate_size: 8192, ..shape(layers) };
        assert_eq!(parts(&large(24), 512), (2, 4));
        assert_eq!(parts(&large(33), 512), (3, 5));
        assert_eq!(parts(&large(4), 512), (4, 4));
        let layer_types = [cupola_specs::job::LayerType::SlidingAttention; 5].to_vec();
        assert_eq!(parts(&ModelShape { layer_types, ..large(36) }, 512), (6, 16));
    }

    #[test]
    fn packed_sequences_fill_their_rows_and_train_on_their_share() {
        let (sequences, rows) = sequences(&trial(TrialLoss::Chats, shape(1)));
        assert_eq!((rows.len(), sequences.len()), (4, 12));
        for row in rows {
            assert_eq!(row.iter().map(|at| sequences[*at].ids.len()).sum::<usize>(), 64);
        }
        let trained: usize = sequences.iter().map(|s| s.trained.iter().filter(|on| **on).count()).sum();
        assert!((100..=112).contains(&trained), "{trained} of 256");
    }
}

//! The most memory that a training step holds: weights, gradients, the optimisers' state, what the passes keep, and what the moments beside them
//! take: the self-tests, the update, validation, the copy that a checkpoint is written from, the saving of the model.
//!
//! On a CPU the allocator is told to give nothing back (`kernels/src/allocator.rs`), so that the peak of the process is the largest of these moments, and
//! the gaps between blocks of other sizes ([`GAPS`]). On a CUDA device the same tensors count without the program itself.

use cupola_specs::job::{Device, Family, MatrixOptimizer, OtherOptimizer};
use serde::Serialize;

use super::activations::Pass;
use super::training::{Stage, Training};

/// The program with libtorch in memory beside its tensors, bytes, and what oneDNN compiles for bf16 products.
const PROGRAM: f64 = 165e6;
const BF16_PROGRAM: f64 = 30e6;
/// Share of the tensors' memory that lies between them: as the allocator is set for trainings, 0.03 to 0.3 were measured. The LSTM's operator makes
/// weights anew in an order of its own.
const GAPS: f64 = 0.2;
const LSTM_GAPS: f64 = 0.35;
/// Tokens of a pass of validation, and its most rows; of a pass that scores chats.
const VALIDATION_TOKENS: f64 = 8192.0;
const VALIDATION_ROWS: f64 = 16.0;
/// Rows of the self-test at a training's start.
const TEST_ROWS: f64 = 2.0;
const WIDE: f64 = 4.0;

/// What a training takes of memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MemoryEstimate {
    /// The peak: resident memory of the worker on a CPU, of tensors on a CUDA device.
    pub peak_bytes: u64,
    /// Of it: weights, gradients and optimisers' state.
    pub state_bytes: u64,
    /// Of it: the copy that a checkpoint is written from.
    pub checkpoint_bytes: u64,
    /// What a pass over one micro-batch holds at most beside the state.
    pub pass_bytes: u64,
    /// The moment of the peak.
    pub at: Moment,
}

/// A moment of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    /// The self-tests at its start.
    SelfTest,
    /// Forward and backward.
    Pass,
    /// The optimisers' update.
    Update,
    /// Validation.
    Validation,
    /// Saving the model.
    Save,
}

impl Moment {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::SelfTest => "the self-tests at its start",
            Self::Pass => "forward and backward of a micro-batch",
            Self::Update => "the optimiser's update",
            Self::Validation => "validation",
            Self::Save => "saving the model",
        }
    }
}

/// The memory of a training.
pub(super) fn memory(training: &Training) -> MemoryEstimate {
    let parts = Parts::of(training);
    let pass = Pass::new(training, training.micro_rows);
    let copy = if training.saves_states() { parts.trained + parts.moments } else { 0.0 };
    let training_state = parts.weights + parts.gradients + parts.moments + copy;
    let moments = [
        (Moment::SelfTest, parts.weights + parts.gradients + parts.self_test(training)),
        (Moment::Pass, training_state + pass.peak()),
        (Moment::Update, training_state + parts.update(training)),
        (Moment::Validation, parts.weights + parts.gradients + validation(training, &parts)),
        (Moment::Save, parts.weights + parts.gradients + 2.0 * parts.weights),
    ];
    let (at, most) = moments
        .into_iter()
        .fold((Moment::Pass, 0.0), |most, moment| if moment.1 > most.1 { moment } else { most });
    let beside = parts.beside;
    let peak = match training.device {
        Device::Cuda => most + beside,
        Device::Cpu | Device::Auto => {
            let program = PROGRAM + if training.is_bf16() { BF16_PROGRAM } else { 0.0 };
            let gaps = if training.shape.family == Family::Lstm { LSTM_GAPS } else { GAPS };
            program + (1.0 + gaps) * (most + beside) + training.mapped_bytes
        }
    };
    MemoryEstimate {
        peak_bytes: peak as u64,
        state_bytes: (parts.weights + parts.gradients + parts.moments) as u64,
        checkpoint_bytes: copy as u64,
        pass_bytes: pass.peak() as u64,
        at,
    }
}

/// A validation pass, on the way with the optimisers' state beside it.
fn validation(training: &Training, parts: &Parts) -> f64 {
    let length = training.row_tokens as f64;
    let rows = (VALIDATION_TOKENS / length).floor().clamp(1.0, VALIDATION_ROWS);
    let state = if training.validates_on_the_way() { parts.moments } else { 0.0 };
    state + Pass::new(training, rows).inference_peak()
}

/// Bytes of what stays.
struct Parts {
    /// All weights.
    weights: f64,
    /// Those that train.
    trained: f64,
    gradients: f64,
    /// The optimisers' state.
    moments: f64,
    /// Muon's matrices.
    muon: f64,
    /// The largest group of Muon's matrices of one shape.
    muon_group: f64,
    /// The largest tensor that AdamW steps.
    largest: f64,
    /// Networks beside the one that trains.
    beside: f64,
}

impl Parts {
    fn of(training: &Training) -> Self {
        let shape = &training.shape;
        let all = shape.total_params(training.vocab_size) as f64;
        let trained = training.trained_params() as f64;
        let is_adapted = training.lora.is_some();
        let matrices = if is_adapted { trained } else { shape.product_params() as f64 };
        let table = (shape.hidden_size * training.vocab_size) as f64;
        let muon = if training.matrices == MatrixOptimizer::Muon { matrices } else { 0.0 };
        let second = match (training.matrices, training.others) {
            (MatrixOptimizer::Adamw, OtherOptimizer::Adamw) => trained,
            (MatrixOptimizer::Adamw, OtherOptimizer::Sgd) => matrices,
            (_, OtherOptimizer::Adamw) => trained - matrices,
            (_, OtherOptimizer::Sgd) => 0.0,
        };
        let averages = if training.has_ema { trained } else { 0.0 };
        let weights = WIDE * all;
        let narrow = WIDE * all * if training.is_bf16() { 0.5 } else { 1.0 };
        let beside = match training.stage {
            // The reference, where it is no part of the policy, and the reward model.
            Stage::Ppo if is_adapted => weights,
            Stage::Ppo => narrow + weights,
            _ => 0.0,
        };
        Self {
            weights,
            trained: WIDE * trained,
            gradients: WIDE * trained,
            moments: WIDE * (trained + second + averages),
            muon: WIDE * muon,
            muon_group: if muon > 0.0 { WIDE * largest_group(training) } else { 0.0 },
            largest: if is_adapted { 0.0 } else { WIDE * table },
            beside,
        }
    }

    /// The two gradients that the self-test compares, each laid end to end, or a pass with one of them there.
    fn self_test(&self, training: &Training) -> f64 {
        let rows = training.micro_rows.min(TEST_ROWS);
        if rows < TEST_ROWS {
            return self.weights;
        }
        let pass = self.trained + Pass::new(training, rows).peak();
        (3.0 * self.trained).max(pass).max(self.weights)
    }

    /// Scaled gradients, and what one tensor's or one group's step makes on its way.
    fn update(&self, training: &Training) -> f64 {
        let half = if training.is_bf16() { 0.5 } else { 1.0 };
        let adamw = 3.0 * self.largest;
        let muon = self.muon + self.muon_group * (1.0 + 4.0 * half);
        self.gradients + adamw.max(muon)
    }
}

/// Elements of the largest set of matrices of one shape, in all layers: they are stepped as one batch.
fn largest_group(training: &Training) -> f64 {
    let mut sizes: Vec<((u64, u64), u64)> = Vec::new();
    let mut add = |size: (u64, u64), count: u64| match sizes.iter_mut().find(|(known, _)| *known == size) {
        Some((_, held)) => *held += count,
        None => sizes.push((size, count)),
    };
    let (shape, layers) = (&training.shape, training.shape.num_hidden_layers);
    let width = shape.hidden_size;
    match (&training.lora, shape.layer_products()) {
        (_, products) if products.is_empty() => {
            add((4 * width, width), 2 * layers);
            add((width, width), layers);
        }
        (Some(lora), products) => {
            for product in products.iter().filter(|product| lora.adapts(product.targets)) {
                add((lora.rank, product.inputs), layers);
                add((product.outputs, lora.rank), layers);
            }
        }
        (None, products) => {
            for product in &products {
                add((product.outputs, product.inputs), layers);
            }
        }
    }
    sizes.iter().map(|((rows, columns), count)| rows * columns * count).max().unwrap_or(0) as f64
}

/// The most rows of a pass whose memory is at most this, by halving those of a training; none where one does not fit.
pub(super) fn most_rows(training: &Training, bytes: u64) -> Option<f64> {
    let halved = std::iter::successors(Some(training.micro_rows), |rows| Some((rows / 2.0).floor()));
    let mut rows = halved.skip(1).take_while(|rows| *rows >= 1.0);
    rows.find(|rows| memory(&training.with_micro_rows(*rows)).peak_bytes <= bytes)
}

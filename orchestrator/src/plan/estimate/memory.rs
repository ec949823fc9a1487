//! The most memory that a training step holds: weights, gradients, the optimisers' state, what the passes keep, and what the moments beside them
//! take: the self-tests, the update, validation, the copy that a checkpoint is written from, the saving of the model.
//!
//! With several ranks this is what one of them holds: the weights and gradients whole, the gradients once more in the buckets that are summed, and of
//! the optimisers' state all or a share. The first rank alone copies states for checkpoints; where shares were given out, every rank holds the whole state
//! for the moment in which it is put together.
//!
//! On a CPU the allocator is told to give nothing back (`kernels/src/allocator.rs`), so that the peak of the process is the largest of these moments, and
//! the gaps between blocks of other sizes ([`GAPS`]). On a CUDA device the same tensors count without the program itself.

use std::collections::BTreeMap;

use cupola_specs::job::{Device, Family, MatrixOptimizer, OtherOptimizer, Recompute};
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
    /// The peak of each rank: resident memory of its process on a CPU, of tensors on a CUDA device.
    pub peak_bytes: u64,
    /// Of it: weights, gradients, the buckets of ranks, and optimisers' state.
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
    /// Putting together the state that ranks hold in shares.
    Gather,
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
            Self::Gather => "putting together the state of all ranks",
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
    let state = parts.weights + parts.gradients + parts.buckets + parts.own_moments;
    let of_others = parts.moments - parts.own_moments;
    let moments = [
        (Moment::SelfTest, parts.weights + parts.gradients + parts.self_test(training)),
        (Moment::Pass, state + copy + pass.peak()),
        (Moment::Update, state + copy + parts.update(training)),
        (Moment::Gather, state + copy + of_others),
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
        state_bytes: state as u64,
        checkpoint_bytes: copy as u64,
        pass_bytes: pass.peak() as u64,
        at,
    }
}

/// A validation pass, on the way with the optimisers' state beside it.
fn validation(training: &Training, parts: &Parts) -> f64 {
    let length = training.row_tokens as f64;
    let rows = (VALIDATION_TOKENS / length).floor().clamp(1.0, VALIDATION_ROWS);
    let state = if training.validates_on_the_way() { parts.own_moments + parts.buckets } else { 0.0 };
    state + Pass::new(training, rows).inference_peak()
}

/// Bytes of what stays.
struct Parts {
    /// All weights.
    weights: f64,
    /// Those that train.
    trained: f64,
    gradients: f64,
    /// Room for the gradients on their way to other ranks.
    buckets: f64,
    /// The optimisers' state, and what the rank that has most of it holds.
    moments: f64,
    own_moments: f64,
    /// Share of the weights that this rank steps.
    share: f64,
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
        let second = match (training.matrices, training.others) {
            (MatrixOptimizer::Adamw, OtherOptimizer::Adamw) => trained,
            (MatrixOptimizer::Adamw, OtherOptimizer::Sgd) => matrices,
            (_, OtherOptimizer::Adamw) => trained - matrices,
            (_, OtherOptimizer::Sgd) => 0.0,
        };
        let averages = if training.has_ema { trained } else { 0.0 };
        let moments = WIDE * (trained + second + averages);
        let weights = WIDE * all;
        let narrow = WIDE * all * if training.is_bf16() { 0.5 } else { 1.0 };
        let beside = match training.stage {
            // The reference, where it is no part of the policy, and the reward model.
            Stage::Ppo { has_copy: false } => weights,
            Stage::Ppo { has_copy: true } => narrow + weights,
            _ => 0.0,
        };
        let share = if training.shares_state() { largest_share(training) } else { 1.0 };
        Self {
            weights,
            trained: WIDE * trained,
            gradients: WIDE * trained,
            buckets: if training.ranks > 1 { WIDE * trained } else { 0.0 },
            moments,
            own_moments: share * moments,
            share,
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

    /// Scaled gradients, and what Muon makes on its way; AdamW's kernel makes nothing.
    fn update(&self, training: &Training) -> f64 {
        let muon = if training.matrices == MatrixOptimizer::Muon { muon(training) } else { 0.0 };
        self.share * (self.gradients + muon)
    }
}

/// The share of the values that the rank with most of them holds, as `runtime/src/train/shares.rs` gives the weights out: the largest first, each to
/// the rank with the fewest. Vectors follow their matrices.
fn largest_share(training: &Training) -> f64 {
    let shape = &training.shape;
    let (vocab, layers) = (training.vocab_size, shape.num_hidden_layers as usize);
    let layer = training.layer_matrices();
    let mut sizes: Vec<u64> = layer.iter().map(|(rows, columns)| rows * columns).collect();
    sizes = sizes.repeat(layers);
    if training.lora.is_none() {
        let tables = if shape.tie_word_embeddings { 1 } else { 2 };
        sizes.extend(vec![vocab * shape.hidden_size; tables]);
        sizes.extend(vec![vocab * shape.key_width(); shape.num_value_embeddings() as usize]);
    }
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    let mut held = vec![0u64; training.ranks as usize];
    for size in &sizes {
        if let Some(least) = held.iter_mut().min() {
            *least += size;
        }
    }
    let all: u64 = sizes.iter().sum();
    held.into_iter().max().unwrap_or(0) as f64 / all.max(1) as f64
}

/// The most that Muon's step holds: the directions of what is left to step, and one group of matrices of one shape on its way through the iteration
/// (`runtime/src/train/optimizer/muon.rs`): stacked, the last round's result, and either the parts of the next one with two small squares, or five of these.
fn muon(training: &Training) -> f64 {
    let layers = training.shape.num_hidden_layers;
    let mut groups: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    for size in training.layer_matrices() {
        *groups.entry(size).or_default() += layers;
    }
    let bytes = |rows: u64, columns: u64, count: u64| WIDE * (rows * columns * count) as f64;
    let narrow = if training.is_bf16() { 0.5 } else { 1.0 };
    let (mut left, mut most) = (0.0, 0.0f64);
    // Stepped in the order of their shapes, each group's directions dropped when it is done: the last one has no other beside it.
    for ((rows, columns), count) in groups.into_iter().rev() {
        let group = bytes(rows, columns, count);
        let squares = bytes(rows.min(columns), rows.min(columns), count);
        left += group;
        let rounds = narrow * (4.0 * group + 2.0 * squares).max(group + 5.0 * squares);
        most = most.max(left + group + rounds);
    }
    most
}

/// How a training fits some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fitting {
    /// Rows of a pass.
    pub micro_rows: u64,
    /// What backward computes again.
    pub recompute: Recompute,
}

/// The most rows of a pass whose memory is at most this, by halving those of a training; if one does not fit, the same where blocks are computed again.
/// None where that does not fit either.
pub(super) fn fitting(training: &Training, bytes: u64) -> Option<Fitting> {
    let mut ways = vec![(training.recompute, training.micro_rows as u64 / 2)];
    if training.recompute == Recompute::None {
        ways.push((Recompute::Blocks, training.micro_rows as u64));
    }
    ways.into_iter().find_map(|(recompute, most)| {
        let halved = std::iter::successors(Some(most), |rows| Some(rows / 2));
        let micro_rows = halved.take_while(|rows| *rows >= 1).find(|rows| {
            let eased = Training { micro_rows: *rows as f64, recompute, ..training.clone() };
            memory(&eased).peak_bytes <= bytes
        })?;
        Some(Fitting { micro_rows, recompute })
    })
}

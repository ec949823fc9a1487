//! Seconds of a training step: those of a trial of that very training where there was one; else operation by operation, at the rates that a machine
//! was measured to have.
//!
//! Products count by their FLOPs at the rate of their size; what runs over a tensor once counts by the bytes that it reads and writes at the rate of
//! a tensor of that size; losses, activations, fused attention and LSTM layers by rates of their own; and each operation costs a moment whatever its size.
//!
//! Shapes: as in [`super::activations`].

use cupola_specs::contract::{MachineRates, TrialSecs};
use cupola_specs::job::{
    Activation, Device, Family, MatrixOptimizer, ModelType, OtherOptimizer, Product, Recompute,
};

use super::activations::{AttentionWay, Pass};
use super::rates::Rates;
use super::training::{Stage, Training};

/// Bytes of an fp32 number.
const WIDE: f64 = 4.0;
/// Rounds of Muon's iteration.
const ROUNDS: f64 = 5.0;
/// Operations of a block of a transformer, forward and backward, and of an LSTM layer.
const BLOCK_OPERATIONS: f64 = 150.0;
const LSTM_OPERATIONS: f64 = 60.0;
/// Operations of the rest of a pass.
const PASS_OPERATIONS: f64 = 60.0;
/// Operations of an update for each tensor.
const UPDATE_OPERATIONS: f64 = 16.0;
/// Tensors of a block, about.
const BLOCK_TENSORS: f64 = 9.0;
/// Seconds from the order to run a step to its first tensor, and from its last to its end.
const START_SECS: f64 = 1.2;
/// Seconds of drawing a weight at the start.
const DRAW_SECS: f64 = 8e-9;
/// How much longer an operation of a pass takes than a plain sum of as many bytes: heads lie apart, sums go along rows, each result is a new tensor.
const SCATTERED: f64 = 1.7;
/// What GELU and a soft cap cost, in SiLUs: their tanh is the dearest function there is.
const GELU: f64 = 5.0;
const TANH: f64 = 4.0;
/// What a loss costs that takes the normaliser apart: its exponentials are made twice, and its gradient of two parts.
const NORMALIZER: f64 = 5.0;
/// Share of forward and backward that forward is.
const FORWARD: f64 = 1.0 / 3.0;

/// Seconds of an optimiser step's parts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct StepSecs {
    /// Forward and backward of all its passes.
    pub(super) passes: f64,
    /// The update.
    pub(super) update: f64,
}

impl StepSecs {
    pub(super) fn all(self) -> f64 {
        self.passes + self.update
    }
}

/// How fast a machine does a training.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speed<'a> {
    /// Its rates.
    pub(super) rates: &'a MachineRates,
    /// What a trial took.
    pub(super) trial: Option<TrialSecs>,
}

/// Seconds of one optimiser step.
pub(super) fn step_secs(training: &Training, speed: Speed) -> StepSecs {
    let rates = Rates::new(speed.rates);
    let work = Work { training, rates, pass: Pass::new(training, training.micro_rows) };
    let share = if training.shares_state() { 1.0 / training.ranks as f64 } else { 1.0 };
    let (pass, update) = match speed.trial {
        Some(trial) => {
            (trial.pass * tried_rows(training), trial.update * work.update(share) / work.update(1.0))
        }
        None => (work.pass(), work.update(share)),
    };
    StepSecs { passes: training.passes() * pass, update: update + work.exchange() }
}

/// Rows of a pass by those of a trial, which are whole.
fn tried_rows(training: &Training) -> f64 {
    training.micro_rows / training.micro_rows.round().max(1.0)
}

/// Seconds of a training from its start to its end; none where its steps are not known.
pub(super) fn training_secs(training: &Training, speed: Speed) -> Option<f64> {
    let step = step_secs(training, speed);
    let held_out = training.held_out_tokens + training.held_out_on_the_way;
    // One rank measures while the others wait, and what is measured is not computed again.
    let rows = training.passes() * training.micro_rows;
    let share = match training.recompute {
        Recompute::None => FORWARD,
        Recompute::Blocks => FORWARD / (1.0 + FORWARD),
    };
    let per_row = match speed.trial {
        Some(trial) => trial.forward / training.micro_rows.round().max(1.0),
        None => share * step.passes / rows,
    };
    let forward = per_row * held_out / training.row_tokens as f64;
    // The self-tests take a pass of two rows, and one of each, a sampled text and the copies of weights that they compare.
    let tests = 3.0 * step.passes * 2.0 / rows.max(2.0);
    let weights = training.shape.total_params(training.vocab_size) as f64;
    Some(training.steps? as f64 * step.all() + forward + tests + DRAW_SECS * weights)
}

/// Seconds of a step around its trainings.
pub(super) fn start_secs() -> f64 {
    START_SECS
}

struct Work<'a> {
    training: &'a Training,
    rates: Rates<'a>,
    pass: Pass<'a>,
}

impl Work<'_> {
    /// Forward and backward of one micro-batch.
    fn pass(&self) -> f64 {
        let shape = &self.training.shape;
        let layers = shape.num_hidden_layers as f64;
        let (layer, operations) = match shape.family {
            Family::Transformer => (self.block(), BLOCK_OPERATIONS),
            Family::Lstm => (self.recurrent(), LSTM_OPERATIONS),
        };
        let operations = self.rates.operations(layers * operations + PASS_OPERATIONS);
        // Computed again, the blocks cost one forward more.
        let again = match (self.training.recompute, &self.training.lora) {
            (Recompute::None, _) => 1.0,
            (Recompute::Blocks, None) => 1.0 + FORWARD,
            (Recompute::Blocks, Some(_)) => 1.5,
        };
        again * (layers * layer + self.attention() + operations)
            + self.head()
            + self.embedding()
            + self.accumulation()
    }

    /// A product's forward and backward: with its weight's gradient where that trains.
    fn product(&self, tokens: f64, product: &Product) -> f64 {
        let is_frozen = self.training.lora.is_some();
        self.matrix(tokens, (product.inputs as f64, product.outputs as f64), is_frozen)
    }

    fn matrix(&self, tokens: f64, (inputs, outputs): (f64, f64), is_frozen: bool) -> f64 {
        let flops = 2.0 * tokens * inputs * outputs;
        let smaller = inputs.min(outputs);
        let gradient = if is_frozen { 0.0 } else { flops / self.rates.gradient(smaller) };
        2.0 * flops / self.rates.product(smaller) + gradient
    }

    /// Passes over `count` fp32 numbers, each a read or a write, by operations of forward and backward.
    fn streams(&self, count: f64, passes: f64) -> f64 {
        SCATTERED * self.plain(count, passes)
    }

    /// The same over what lies in one piece.
    fn plain(&self, count: f64, passes: f64) -> f64 {
        passes * WIDE * count / self.rates.stream()
    }

    /// Everything in a block but attention.
    fn block(&self) -> f64 {
        let shape = &self.training.shape;
        let tokens = self.pass.tokens();
        let products = shape.layer_products();
        let matrices: f64 = products.iter().map(|product| self.product(tokens, product)).sum();
        let weights: f64 = products.iter().map(Product::params).sum::<u64>() as f64;
        let (width, queries, keys) =
            (shape.hidden_size as f64, shape.query_width() as f64, shape.key_width() as f64);
        let inner = shape.intermediate_size as f64;
        let norms = self.norm(2.0 * width) + if shape.qk_norm { self.norm(queries + keys) } else { 0.0 };
        let turned = if shape.model_type.facts().has_rope { 20.0 } else { 0.0 };
        let rotation = self.streams(tokens * (queries + keys), turned);
        let sums = self.streams(tokens * width, 6.0 + if shape.residual_scalars { 14.0 } else { 0.0 });
        // The gradients of queries, keys and values are put together again, and the mixture is laid out by tokens.
        let layout = self.streams(tokens * (2.0 * queries + 2.0 * keys), 4.0);
        let activated = match shape.activation {
            Activation::Swiglu => {
                tokens * inner / self.rates.activation() + self.streams(tokens * inner, 11.0)
            }
            Activation::GeluNew => GELU * tokens * inner / self.rates.activation(),
            Activation::Relu2 => self.streams(tokens * inner, 13.0),
        };
        let joined = self.streams(weights, if self.training.is_bf16() { 3.0 } else { 2.0 });
        matrices + norms + rotation + sums + layout + activated + joined + self.adapters(&products)
    }

    /// A norm of vectors of this width, forward and backward.
    fn norm(&self, width: f64) -> f64 {
        let passes = match self.training.shape.model_type {
            ModelType::Gpt2 => 8.0,
            ModelType::Nanochat => 20.0,
            _ => 27.0,
        };
        let widened = if self.training.is_bf16() { 4.0 } else { 0.0 };
        self.streams(self.pass.tokens() * width, passes + widened)
    }

    fn adapters(&self, products: &[Product]) -> f64 {
        let Some(lora) = &self.training.lora else { return 0.0 };
        let tokens = self.pass.tokens();
        let rank = lora.rank as f64;
        let dropped = if lora.dropout > 0.0 { 30.0 } else { 0.0 };
        let of = |product: &Product| {
            let (inputs, outputs) = (product.inputs as f64, product.outputs as f64);
            self.matrix(tokens, (inputs, rank), false)
                + self.matrix(tokens, (rank, outputs), false)
                + self.streams(tokens * outputs, 10.0)
                + self.streams(tokens * inputs, dropped)
        };
        products.iter().filter(|product| lora.adapts(product.targets)).map(of).sum()
    }

    /// Attention of all layers.
    fn attention(&self) -> f64 {
        let training = self.training;
        let shape = &training.shape;
        if shape.family == Family::Lstm {
            return 0.0;
        }
        let (tokens, length) = (self.pass.tokens(), training.row_tokens as f64);
        let (head_dim, queries) = (shape.head_dim as f64, shape.query_width() as f64);
        let layers = shape.num_hidden_layers as f64;
        let scores = tokens * length * shape.num_attention_heads as f64;
        match self.pass.attention() {
            AttentionWay::Fused => {
                // A mask hides nothing from the operator: it multiplies all.
                let all = if training.is_masked || shape.sliding_window > 0 { 2.0 } else { 1.0 };
                let flops = all * layers * 12.0 * queries * tokens * length / 2.0;
                flops / self.rates.attention(head_dim, length)
            }
            AttentionWay::Blocks => {
                let seen = 0.5 + 0.5 * (256.0 / length).min(1.0);
                let flops = seen * layers * 12.0 * queries * tokens * length;
                flops / self.rates.product(head_dim.min(length)) + layers * self.streams(seen * scores, 8.0)
            }
        }
    }

    /// The head and the loss.
    fn head(&self) -> f64 {
        let training = self.training;
        if !training.has_logits() {
            return 0.0;
        }
        let (tokens, vocab) = (self.pass.head_tokens(), training.vocab_size as f64);
        let width = training.shape.hidden_size as f64;
        let logits = tokens * vocab;
        let loss = logits / self.rates.loss(vocab);
        let normalizer = if training.takes_normalizer() { NORMALIZER } else { 1.0 };
        let squeezed = if training.shape.logit_softcap > 0.0 {
            TANH * logits / self.rates.activation() + self.plain(logits, 14.0)
        } else {
            0.0
        };
        let narrowed = if training.is_bf16() { self.streams(logits, 3.0) } else { 0.0 };
        self.matrix(tokens, (width, vocab), training.lora.is_some())
            + normalizer * loss
            + squeezed
            + narrowed
            + self.norm(width)
    }

    /// Look-ups, and the gradient of the table.
    fn embedding(&self) -> f64 {
        let training = self.training;
        let width = training.shape.hidden_size as f64;
        let table = if training.lora.is_some() { 0.0 } else { training.vocab_size as f64 * width };
        self.streams(self.pass.tokens() * width, 5.0) + self.streams(table, 2.0)
    }

    /// New gradients are added to those of the passes before.
    fn accumulation(&self) -> f64 {
        let casts = if self.training.is_bf16() { 4.0 } else { 3.0 };
        self.plain(self.training.trained_params() as f64, casts)
    }

    /// An LSTM layer: its recurrence, the product behind it, norm and residual.
    fn recurrent(&self) -> f64 {
        let (width, tokens) = (self.training.shape.hidden_size as f64, self.pass.tokens());
        let rows = tokens / self.training.row_tokens as f64;
        let flops = 48.0 * width * width * tokens;
        flops / self.rates.recurrent(width, rows)
            + self.matrix(tokens, (width, width), false)
            + self.norm(width)
            + self.streams(tokens * width, 6.0)
    }

    /// Norm of the gradients, and the step of a share of the weights.
    fn update(&self, share: f64) -> f64 {
        let training = self.training;
        let trained = training.trained_params() as f64;
        let shape = &training.shape;
        let matrices = if training.lora.is_some() { trained } else { shape.product_params() as f64 };
        let others = trained - matrices;
        let adamw = |count: f64| self.plain(count, 22.0);
        let sgd = |count: f64| self.plain(count, 10.0);
        let of_matrices = match training.matrices {
            MatrixOptimizer::Adamw => adamw(matrices),
            MatrixOptimizer::Sgd => sgd(matrices),
            MatrixOptimizer::Muon => self.muon(),
        };
        let of_others = match training.others {
            OtherOptimizer::Adamw => adamw(others),
            OtherOptimizer::Sgd => sgd(others),
        };
        let averages = if training.has_ema { self.plain(trained, 3.0) } else { 0.0 };
        let tensors = BLOCK_TENSORS * shape.num_hidden_layers as f64 + 3.0;
        let common = self.plain(trained, 8.0) + self.rates.operations(UPDATE_OPERATIONS * tensors);
        common + share * (of_matrices + of_others + averages)
    }

    /// Gradients on their way to other ranks of this machine and back, in seconds of a rank: copied into the buckets and out of them; sent and taken in
    /// through the system, which copies on both sides; summed. Shared out, the weights go the same way, each from one rank to the others.
    fn exchange(&self) -> f64 {
        let training = self.training;
        if training.ranks < 2 {
            return 0.0;
        }
        let sent = (training.ranks - 1) as f64 / training.ranks as f64;
        let weights = if training.shares_state() { 4.0 + 4.0 * sent } else { 0.0 };
        self.plain(training.trained_params() as f64, 4.0 + 2.0 * sent * 4.0 + sent * 3.0 + weights)
    }

    /// Muon's iteration over every matrix.
    fn muon(&self) -> f64 {
        let shape = &self.training.shape;
        let layers = shape.num_hidden_layers as f64;
        let sizes = self.training.layer_matrices();
        let sizes = sizes.into_iter().map(|(rows, columns)| (rows as f64, columns as f64));
        let of = |(rows, columns): (f64, f64)| {
            let (small, large) = (f64::min(rows, columns), f64::max(rows, columns));
            let flops = ROUNDS * (4.0 * small * small * large + 2.0 * small * small * small);
            let elements = rows * columns;
            flops / self.rates.product(small)
                + self.plain(elements, 12.0 + 6.0 * ROUNDS)
                + self.plain(small * small, 8.0 * ROUNDS)
        };
        layers * sizes.map(of).sum::<f64>()
    }
}

/// Whether the arithmetic of a training is that of one network's passes: PPO's steps hold rollouts.
pub(super) fn is_counted(training: &Training) -> bool {
    !matches!(training.stage, Stage::Ppo { .. }) && training.device != Device::Auto
}

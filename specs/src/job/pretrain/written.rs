//! `kind: pretrain` as the user writes it, and the parts that every training job shares.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::optimizer_written::OptimizerWritten;
use super::{Activation, BatchRule, BestMetric, Export, Family, LayerType, LrShape, ModelType, Packing};
use crate::job::{AutoOr, Recompute};
use crate::spec::decode::{At, Decode, Named};
use crate::spec::reference::Ref;
use crate::spec::session::Session;
use crate::spec::tree::{Node, Value};
use crate::spec::units::{Count, Duration, Every, Share, Steps};
use crate::spec::written::written;

written! {
    /// Trains a base model from scratch.
    pub(crate) struct PretrainJob {
        /// The corpus.
        corpus: Ref,
        /// The tokenizer.
        tokenizer: Ref,
        /// The network.
        model: At<ModelWritten>,
        /// How many tokens it sees: a count (2.5M), {per_param: 20}, or {from: law}.
        tokens: At<TokensWritten> = "{per_param: 20}",
        /// A scaling job whose law forecasts the loss, before training, to be scored after it.
        forecast: Option<Ref>,
        /// Optimisers.
        optimizer: OptimizerWritten = "{}",
        /// Batch sizes.
        batch: BatchWritten = "{}",
        /// Mixture and learning rate by phase, in order. Default: the corpus's weights, constant to 50%, then linear_to_zero.
        phases: Option<At<Vec<At<PhaseWritten>>>>,
        /// Rows: their length, and how documents fill them.
        context: ContextWritten = "{}",
        /// Most passes over the rows of a domain; a run that needs more is refused before it trains. Default: any number, with a warning
        /// above one.
        max_epochs: Option<f64>; 0.001 ..= 1_000_000.0,
        /// Ranks.
        parallel: ParallelWritten = "{}",
        /// What the backward pass computes again instead of keeping it: none, or blocks (the inside of each layer), which takes about a third
        /// more time and far less memory. Not in the fingerprint: the result is the same to the bit.
        recompute: Recompute = "none",
        /// When states are saved, and which one becomes the model.
        checkpoint: PretrainCheckpointWritten = "{}",
        /// When the model is evaluated on the way.
        evaluate: EvaluateWritten = "{}",
    }

    /// A network: by depth (one dial derives the rest), by law, or every size by name.
    pub(crate) struct ModelWritten {
        /// The family.
        arch: Family = "transformer",
        /// Hugging Face's class that loads the saved model. Default: qwen3; llama where `qk_norm: false`; by `activation`, arcee or gpt2.
        model_type: Option<ModelType>,
        /// Layers; width 64 × depth, heads of 64, feed-forward 8/3 (swiglu) or 4 (the others) times the width.
        depth: Option<u64>; 1 ..= 128,
        /// A scaling job that recommends the size.
        from: Option<Ref>,
        /// Layers, where every size is named.
        num_hidden_layers: Option<u64>; 1 ..= 1024,
        /// Width of the residual stream.
        hidden_size: Option<u64>; 1 ..= 262_144,
        /// Width of the feed-forward layer. Default: 8/3 (swiglu) or 4 (the others) times the width, in steps of 64.
        intermediate_size: Option<u64>; 1 ..= 1_048_576,
        /// Query heads. Default: width / 64.
        num_attention_heads: Option<At<u64>>; 1 ..= 4096,
        /// Key and value heads. Default: as many as query heads.
        num_key_value_heads: Option<At<u64>>; 1 ..= 4096,
        /// Width of a head. Default: width / heads.
        head_dim: Option<u64>; 2 ..= 4096,
        /// Feed-forward activation. Default: the model_type's; swiglu.
        activation: Option<Activation>,
        /// RMS norm on queries and keys. Default: the model_type's; true.
        qk_norm: Option<bool>,
        /// Biases in attention. Default: the model_type's; false in those that may have them (llama, qwen3, arcee, nanochat).
        attention_bias: Option<bool>,
        /// Biases in the feed-forward layer. Default: the model_type's; false in those that may have them (llama, arcee).
        mlp_bias: Option<bool>,
        /// Epsilon of every norm. Default: 1e-6; 1e-5 in gpt2.
        norm_eps: Option<f64>; 1e-12 ..= 0.1,
        /// One matrix for input and output embeddings. Default: false; true in gpt2.
        tie_word_embeddings: Option<bool>,
        /// RoPE's base. Default: 10000.
        rope_theta: Option<f64>; 1.0 ..= 1e12,
        /// How RoPE's frequencies are stretched. Default: not at all.
        rope_scaling: Option<At<RopeScalingWritten>>,
        /// Tokens that a sliding layer sees, the token itself included; 0 is off (mistral, qwen2, qwen3, nanochat). Default: 0.
        sliding_window: Option<u64>; 0 ..= 1_073_741_824,
        /// What the layers see where there is a window, repeated over the layers (qwen2, qwen3, nanochat). Default: [sliding_attention].
        layer_types: Option<Vec<LayerType>>,
        /// Logits are squeezed into ± this bound by a tanh; 0 is off (nanochat). Default: 15 in nanochat.
        logit_softcap: Option<f64>; 0.0 ..= 1e6,
        /// Every second layer, the last one among them, adds a gated embedding of the token to its values (nanochat). Default: false.
        value_embeddings: Option<bool>,
        /// Learned scalars weigh the residual stream and the first embedding before each layer (nanochat). Default: false.
        residual_scalars: Option<bool>,
        /// Longest context that the config states. Default: the context's length.
        max_position_embeddings: Option<u64>; 1 ..= 1_073_741_824,
    }

    /// How RoPE's frequencies are stretched to longer contexts.
    pub(crate) struct RopeScalingWritten {
        /// The rule.
        rope_type: RopeTypeWritten,
        /// How many times longer.
        factor: f64; 1.0 ..= 1e6,
        /// Tokens of a row in the training before (yarn, llama3). Default: max_position_embeddings / factor.
        original_max_position_embeddings: Option<u64>; 1 ..= 1_073_741_824,
        /// Turns over that context above which a frequency is kept (yarn). Default: 32.
        beta_fast: Option<f64>; 0.0001 ..= 1e6,
        /// Turns below which a frequency is divided by the factor (yarn). Default: 1.
        beta_slow: Option<f64>; 0.0001 ..= 1e6,
        /// What cosines and sines are multiplied by (yarn). Default: 0.1 ln(factor) + 1.
        attention_factor: Option<f64>; 0.0001 ..= 1e6,
        /// Context over the wavelength from which on a frequency is divided (llama3). Default: 1.
        low_freq_factor: Option<f64>; 0.0001 ..= 1e6,
        /// Context over the wavelength up to which a frequency is kept (llama3). Default: 4.
        high_freq_factor: Option<f64>; 0.0001 ..= 1e6,
    }

    /// Tokens by ratio or by law.
    pub(crate) struct TokensBy {
        /// Tokens a parameter (embedding matrices not counted).
        per_param: Option<f64>; 0.0001 ..= 1_000_000.0,
        /// A scaling job that recommends the count.
        from: Option<Ref>,
    }

    /// Batch sizes.
    pub(crate) struct BatchWritten {
        /// Tokens an optimiser step, a plain count; auto (0.292 · C^0.3271 of the compute, at most 1/120 of the run, at least 2,048), or a
        /// published rule without these limits: deepseek (0.292 · C^0.3271) or power_lines (0.0306 · D^0.383 rows of 2,048 tokens of D).
        global_tokens: At<AutoOr<u64, BatchRule>> = "auto"; 1 ..= 1_000_000_000,
        /// Rows a forward pass.
        micro_batch: AutoOr<u64> = "auto"; 1 ..= 65_536,
    }

    /// One phase of a run.
    pub(crate) struct PhaseWritten {
        /// Where the phase ends, share of all tokens.
        until: At<Share>; 0.0 ..= 1.0,
        /// Sampling weight by domain of the job's corpus; they sum to 1. Default: the corpus's weights.
        weights: Option<At<Named<f64>>>; 0.0 ..= 1.0,
        /// Other corpora that the phase reads, each with its share of the rows; the job's corpus has the rest. Held-out text is that of the
        /// job's corpus.
        corpora: Option<At<Vec<At<PhaseCorpusWritten>>>>,
        /// Learning rate within the phase.
        lr: LrShape = "constant",
        /// Factor of the peak rate where the phase ends. Default: 0.1 for cosine and linear, 0 for one_minus_sqrt.
        lr_final: Option<At<f64>>; 0.0 ..= 1.0,
    }

    /// Another corpus that a phase reads.
    pub(crate) struct PhaseCorpusWritten {
        /// The corpus; the job's tokenizer encodes it.
        corpus: Ref,
        /// Its share of the phase's rows; those of all corpora sum to 100% at most.
        share: At<Share>; 0.0001 ..= 1.0,
        /// Sampling weight by its domains; they sum to 1. Default: its own weights.
        weights: Option<At<Named<f64>>>; 0.0 ..= 1.0,
    }

    /// Rows: their length, and how documents fill them.
    pub(crate) struct ContextWritten {
        /// Tokens in a row.
        length: u64 = "512"; 8 ..= 1_048_576,
        /// concat: documents one after the other, cut where a row is full. best_fit: each document whole in the fullest row with room for
        /// it, so that only those longer than a row are cut; what stays free carries no loss.
        packing: Packing = "concat",
        /// Whether the documents of a row do not see each other, each with positions from 0. Default: true with best_fit, else false.
        document_mask: Option<At<bool>>,
        /// Longer rows at the end of a run; the runs of a scaling law are not extended.
        extend: Option<At<ExtendWritten>>,
    }

    /// Row length.
    pub(crate) struct RowLengthWritten {
        /// Tokens in a row.
        length: u64 = "512"; 8 ..= 1_048_576,
    }

    /// Longer rows at the end of a run, with as many tokens an optimiser step as before.
    pub(crate) struct ExtendWritten {
        /// Tokens in a row, a multiple of those before.
        length: u64; 16 ..= 16_777_216,
        /// Share of all tokens.
        tokens: Share = "5%"; 0.0001 ..= 0.9999,
        /// What becomes of RoPE. Default: its base grows so that the slowest rotation is as much slower as rows are longer.
        rope: Option<At<RopeExtensionWritten>>,
    }

    /// What becomes of RoPE where rows get longer.
    pub(crate) struct RopeExtensionWritten {
        /// The new base.
        theta: Option<f64>; 1.0 ..= 1e12,
        /// In place of another base, how its frequencies are stretched; `max_position_embeddings` are the longer rows.
        scaling: Option<At<RopeScalingWritten>>,
    }

    /// Ranks. Not in the fingerprint: any number of them ends with the same model but for rounding.
    pub(crate) struct ParallelWritten {
        /// Ranks that split the micro-batches of each step: processes, with a CUDA device or a share of the cores each.
        data: u64 = "1"; 1 ..= 65_536,
        /// What the ranks share out beside the batch: 0 nothing, 1 the optimiser's state (ZeRO-1), with the same bits as 0.
        zero: u64 = "0"; 0 ..= 1,
        /// How long a rank waits for the others before the attempt fails and is tried again; 0 is a week.
        timeout: Duration = "5m",
    }

    /// When states are saved. Not in the fingerprint.
    pub(crate) struct CheckpointWritten {
        /// Time or steps between checkpoints; null is off.
        every: Option<Every> = "5m",
        /// How many are kept.
        keep: u64 = "2"; 1 ..= 1000,
    }

    /// When states are saved, and which one becomes the model.
    pub(crate) struct PretrainCheckpointWritten {
        /// Time or steps between checkpoints; null is off. Not in the fingerprint.
        every: Option<Every> = "5m",
        /// How many of the newest are kept. Not in the fingerprint.
        keep: u64 = "2"; 1 ..= 1000,
        /// States kept beside the newest, since an evaluation on the way was best there. Not in the fingerprint.
        keep_best: Option<At<KeepBestWritten>>,
        /// Which state's weights become the model: the last one's, or those of the best evaluation on the way.
        export: At<Export> = "last",
    }

    /// States kept since an evaluation on the way was best there.
    pub(crate) struct KeepBestWritten {
        /// The number that is compared: the least is best.
        metric: BestMetric = "validation_bpb",
        /// How many are kept.
        count: u64 = "1"; 1 ..= 100,
    }

    /// When the model is evaluated on the way.
    pub(crate) struct EvaluateWritten {
        /// Steps between evaluations; null evaluates only at the end.
        every: Option<Steps> = "500 steps",
        /// Texts sampled at each evaluation.
        samples: u64 = "2"; 0 ..= 1000,
        /// Most validation tokens of an evaluation on the way, a plain count; the last evaluation reads all. 0 reads all.
        max_tokens: u64 = "32768",
    }
}

/// How many tokens a run sees.
#[derive(Debug, Clone)]
pub(crate) enum TokensWritten {
    /// A count.
    Count(f64),
    /// By ratio or by law.
    By(TokensBy),
}

impl Decode for TokensWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if let Value::Map(_) = &node.value {
            TokensBy::decode(node, session).map(Self::By)
        } else {
            session.range = Some((1.0, 1e15));
            Count::decode(node, session).map(|count| Self::Count(count.0))
        }
    }
}

impl JsonSchema for TokensWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Tokens".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = json_schema!({
            "anyOf": [generator.subschema_for::<Count>(), generator.subschema_for::<TokensBy>()],
            "examples": ["2.5M"],
        });
        schema.insert("x-unit".to_owned(), "K, M, B, T, or an exponent (1e9)".into());
        schema
    }
}

/// A rule that stretches RoPE's frequencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RopeTypeWritten {
    /// Every frequency divided.
    Linear,
    /// The base grows with rows beyond `max_position_embeddings`.
    Dynamic,
    /// YaRN.
    Yarn,
    /// Llama 3's.
    Llama3,
}

crate::spec::decode::words!(RopeTypeWritten);

//! `kind: pretrain` as the user writes it, and the parts that every training job shares.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{Activation, BestMetric, Export, Family, LrShape, MatrixOptimizer};
use crate::job::AutoOr;
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
        /// Mixture and learning rate by phase, in order. Default: the corpus's weights, constant to 80%, then linear_to_zero.
        phases: Option<At<Vec<At<PhaseWritten>>>>,
        /// Row length.
        context: ContextWritten = "{}",
        /// Ranks.
        parallel: ParallelWritten = "{}",
        /// When states are saved, and which one becomes the model.
        checkpoint: PretrainCheckpointWritten = "{}",
        /// When the model is evaluated on the way.
        evaluate: EvaluateWritten = "{}",
    }

    /// A network: by depth (one dial derives the rest), by law, or every size by name.
    pub(crate) struct ModelWritten {
        /// The family.
        arch: Family = "transformer",
        /// Layers; width 64 × depth, heads of 64, feed-forward 8/3 (swiglu) or 4 (relu2) times the width.
        depth: Option<u64>; 1 ..= 128,
        /// A scaling job that recommends the size.
        from: Option<Ref>,
        /// Layers, where every size is named.
        num_hidden_layers: Option<u64>; 1 ..= 1024,
        /// Width of the residual stream.
        hidden_size: Option<u64>; 1 ..= 262_144,
        /// Width of the feed-forward layer. Default: 8/3 (swiglu) or 4 (relu2) times the width, in steps of 64.
        intermediate_size: Option<u64>; 1 ..= 1_048_576,
        /// Query heads. Default: width / 64.
        num_attention_heads: Option<At<u64>>; 1 ..= 4096,
        /// Key and value heads. Default: as many as query heads.
        num_key_value_heads: Option<At<u64>>; 1 ..= 4096,
        /// Feed-forward activation. Default: swiglu.
        activation: Option<Activation>,
        /// RMS norm on queries and keys. Default: true with swiglu, false with relu2.
        qk_norm: Option<bool>,
        /// One matrix for input and output embeddings. Default: false.
        tie_word_embeddings: Option<bool>,
        /// RoPE's base. Default: 10000.
        rope_theta: Option<f64>; 1.0 ..= 1e12,
        /// Longest context that the config states. Default: the context's length.
        max_position_embeddings: Option<u64>; 1 ..= 1_073_741_824,
    }

    /// Tokens by ratio or by law.
    pub(crate) struct TokensBy {
        /// Tokens a parameter (embedding matrices not counted).
        per_param: Option<f64>; 0.0001 ..= 1_000_000.0,
        /// A scaling job that recommends the count.
        from: Option<Ref>,
    }

    /// Optimisers.
    pub(crate) struct OptimizerWritten {
        /// Optimiser of the hidden matrices. Default: muon in pretrain and scaling, adamw elsewhere.
        matrices: Option<MatrixOptimizer>,
        /// Optimiser of embeddings, head and vectors.
        others: OthersWritten = "adamw",
        /// Peak learning rate of AdamW's parameters.
        lr: AutoOr<f64> = "auto"; 0.000_000_001 ..= 10.0,
        /// Peak learning rate of Muon's parameters.
        matrix_lr: AutoOr<f64> = "auto"; 0.000_000_001 ..= 10.0,
        /// Decoupled weight decay of the hidden matrices. Default: 0.1 in pretrain and scaling, 0 elsewhere.
        weight_decay: Option<f64>; 0.0 ..= 10.0,
        /// AdamW's betas.
        betas: At<Vec<f64>> = "[0.9, 0.95]"; 0.0 ..= 0.999_999,
        /// AdamW's epsilon.
        eps: f64 = "1.0e-8"; 0.0 ..= 1.0,
        /// Global gradient norm above which gradients are scaled down; 0 is off.
        grad_clip: f64 = "1"; 0.0 ..= 1_000_000.0,
        /// Linear warm-up, share of all optimiser steps.
        warmup: Share = "2%"; 0.0 ..= 1.0,
        /// Steps that may be left out since their loss or gradient is no number, or a spike; after three in a row the run goes back and
        /// leaves out what lies between. 0 fails at the first. Default: 0 in scaling, where such a run has diverged, 8 elsewhere.
        max_setbacks: Option<u64>; 0 ..= 64,
        /// A loss that is this many standard deviations above the mean of the last 128 is a spike; 0 is off.
        spike_sigma: f64 = "0"; 0.0 ..= 1_000.0,
    }

    /// Batch sizes.
    pub(crate) struct BatchWritten {
        /// Tokens an optimiser step, a plain count.
        global_tokens: AutoOr<u64> = "auto"; 1 ..= 1_000_000_000,
        /// Rows a forward pass.
        micro_batch: AutoOr<u64> = "auto"; 1 ..= 65_536,
    }

    /// One phase of a run.
    pub(crate) struct PhaseWritten {
        /// Where the phase ends, share of all tokens.
        until: At<Share>; 0.0 ..= 1.0,
        /// Sampling weight by domain; they sum to 1. Default: the corpus's weights.
        weights: Option<At<Named<f64>>>; 0.0 ..= 1.0,
        /// Learning rate within the phase.
        lr: LrShape = "constant",
    }

    /// Row length.
    pub(crate) struct ContextWritten {
        /// Tokens in a row.
        length: u64 = "512"; 8 ..= 1_048_576,
        /// Longer rows at the end of a run.
        extend: Option<ExtendWritten>,
    }

    /// Longer rows at the end of a run.
    pub(crate) struct ExtendWritten {
        /// Tokens in a row.
        length: u64; 8 ..= 16_777_216,
        /// Share of all tokens.
        tokens: Share = "5%"; 0.0 ..= 1.0,
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

/// Optimiser of embeddings, head and vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OthersWritten {
    /// AdamW.
    Adamw,
}

crate::spec::decode::words!(OthersWritten);

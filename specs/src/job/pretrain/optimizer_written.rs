//! Optimisers as the user writes them; every training job has them.

use super::{
    DecayRule, DecayShape, LrRule, MatrixOptimizer, Orthogonalization, OtherOptimizer, Parametrization,
};
use crate::job::{AutoOr, RuleOr};
use crate::spec::decode::At;
use crate::spec::units::{ShareOrSteps, Steps};
use crate::spec::written::written;

written! {
    /// Optimisers. Weight decay is decoupled and acts on the hidden matrices, and on what a group names.
    pub(crate) struct OptimizerWritten {
        /// Optimiser of the hidden matrices. Default: muon in pretrain and scaling, adamw elsewhere.
        matrices: Option<MatrixOptimizer>,
        /// Optimiser of embeddings, head and vectors.
        others: OtherOptimizer = "adamw",
        /// Peak learning rate of vectors, head (times 2 in pretrain and scaling), embeddings (times 4 there) and value embeddings (times 36 there), and
        /// of the hidden matrices where `matrices` is the same optimiser: a number; auto (0.004 · √(256 / hidden_size), found on short runs; 0.004 with another parametrization), or
        /// deepseek (0.3118 · C^-0.125 of the compute, in pretrain and scaling). Gradient descent has no rule.
        lr: At<AutoOr<f64, LrRule>> = "auto"; 0.000_000_001 ..= 10.0,
        /// Peak learning rate of the hidden matrices where `matrices` is another optimiser than `others`: a number, or auto (muon 0.02; adamw as in
        /// `lr`).
        matrix_lr: Option<At<AutoOr<f64>>>; 0.000_000_001 ..= 10.0,
        /// Decoupled weight decay of the hidden matrices: a number, or power_lines (B / (lr · D · τ), for adamw in pretrain and scaling). Default: 0.1
        /// in pretrain and scaling, 0 elsewhere.
        weight_decay: Option<At<RuleOr<f64, DecayRule>>>; 0.0 ..= 10.0,
        /// How the weight decay goes over the run.
        weight_decay_schedule: DecayShape = "constant",
        /// Factor of the weight decay at the run's end, where its schedule is linear or cosine. Default: 0.
        weight_decay_final: Option<At<f64>>; 0.0 ..= 1.0,
        /// AdamW's betas. Default: [0.8, 0.95] in pretrain and scaling, [0.9, 0.95] elsewhere.
        betas: Option<At<Vec<f64>>>; 0.0 ..= 0.999_999,
        /// AdamW's epsilon.
        eps: f64 = "1.0e-8"; 0.0 ..= 1.0,
        /// Momentum of muon and sgd. Default: 0.95.
        momentum: Option<At<f64>>; 0.0 ..= 0.999_999,
        /// Whether muon and sgd look one step ahead. Default: true.
        nesterov: Option<At<bool>>,
        /// A momentum that begins lower; from `momentum` itself is none. Default: muon's in pretrain and scaling from 0.85, else none.
        momentum_warmup: Option<At<MomentumWarmupWritten>>,
        /// How muon makes its momentum orthogonal. Default: polar_express.
        orthogonalization: Option<At<Orthogonalization>>,
        /// Weights by name with a rate or a decay of their own; the first group that fits counts, and one that fits none is an error.
        groups: Vec<At<GroupWritten>> = "[]",
        /// Global gradient norm above which gradients are scaled down; 0 is off.
        grad_clip: f64 = "1"; 0.0 ..= 1_000_000.0,
        /// Linear warm-up of the rates: a share of all optimiser steps (2%), or steps (200 steps).
        warmup: ShareOrSteps = "2%"; 0.0 ..= 1.0,
        /// Factor of log² Z in what is trained, Z being the softmax's normaliser: it keeps logits from drifting (PaLM: 0.0001). The reported loss is
        /// without it. In pretrain and scaling. Default: 0, off.
        z_loss: Option<At<f64>>; 0.0 ..= 1.0,
        /// How rates follow from width and depth, in pretrain and scaling. Default: standard.
        parametrization: Option<At<Parametrization>>,
        /// Width at which the rates hold as they are written, with mup and completep. Default: 256.
        base_width: Option<At<u64>>; 1 ..= 262_144,
        /// Depth at which the rates hold as they are written, with completep. Default: 4.
        base_depth: Option<At<u64>>; 1 ..= 1024,
        /// A moving average of the weights. It is what the end of the run evaluates and exports; evaluations on the way are of the weights themselves.
        ema: Option<EmaWritten>,
        /// Steps that may be left out since their loss or gradient is no number, or a spike; after three in a row the run goes back and
        /// leaves out what lies between. 0 fails at the first. Default: 0 in scaling, where such a run has diverged, 8 elsewhere.
        max_setbacks: Option<u64>; 0 ..= 64,
        /// A loss that is this many standard deviations above the mean of the last 128 is a spike; 0 is off.
        spike_sigma: f64 = "0"; 0.0 ..= 1_000.0,
    }

    /// A momentum that rises linearly to `momentum`.
    pub(crate) struct MomentumWarmupWritten {
        /// Where it begins.
        from: f64 = "0.85"; 0.0 ..= 0.999_999,
        /// How long it rises.
        steps: Steps = "300 steps",
    }

    /// Weights by name.
    pub(crate) struct GroupWritten {
        /// Names of weights as the model's file has them, `*` for any letters: `*.q_proj.weight`.
        pattern: String,
        /// Peak learning rate, in place of all that would be.
        lr: Option<f64>; 0.0 ..= 10.0,
        /// Decoupled weight decay.
        weight_decay: Option<f64>; 0.0 ..= 10.0,
    }

    /// A moving average of the weights.
    pub(crate) struct EmaWritten {
        /// What is left of the average when weights are taken in.
        decay: f64 = "0.999"; 0.0 ..= 0.999_999_9,
        /// Optimiser steps between two times; a step that is left out counts for none.
        every: Steps = "1 steps",
    }
}

crate::spec::decode::words!(OtherOptimizer, Orthogonalization, Parametrization, DecayShape);

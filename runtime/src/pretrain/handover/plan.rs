//! A run in the words that both engines have: one optimiser, a warm-up, one fall of the rate, one mixture, rows of one length.

use std::collections::BTreeMap;

use cupola_specs::job::{
    Activation, Family, LrShape, MatrixOptimizer, ModelShape, ModelType, Precision, PretrainParams,
    RopeScaling,
};

use super::{Engine, HandoverError, differences};
use crate::train::{LanguageRun, TokenData};

/// What is written of a run, and what is not.
#[derive(Debug)]
pub(super) struct RunPlan {
    pub(super) engine: Engine,
    pub(super) shape: ModelShape,
    pub(super) vocab_size: u64,
    pub(super) context_length: u64,
    pub(super) steps: u64,
    /// Rows of an optimiser step.
    pub(super) global_batch: u64,
    /// Rows of a forward pass.
    pub(super) micro_batch: u64,
    pub(super) lr: f64,
    pub(super) betas: [f64; 2],
    pub(super) eps: f64,
    pub(super) weight_decay: f64,
    /// Gradient norm above which gradients are scaled down; 0 is off.
    pub(super) grad_clip: f64,
    pub(super) warmup_steps: u64,
    pub(super) fall: Fall,
    pub(super) precision: Precision,
    pub(super) seed: u64,
    /// Share of the run's rows by domain.
    pub(super) mixture: BTreeMap<String, f64>,
    /// Tokens of a document by domain.
    pub(super) mean_document: BTreeMap<String, f64>,
    /// What the engine does otherwise.
    pub(super) differences: Vec<String>,
}

/// How the rate falls.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fall {
    /// The shape; constant where it does not.
    pub(super) shape: LrShape,
    /// Steps of the fall, the last ones of the run.
    pub(super) steps: u64,
    /// Factor of the peak at the run's end.
    pub(super) last: f64,
}

impl RunPlan {
    /// The run of a step; refuses what would be another model, and notes what differs in its training.
    pub(super) fn of(
        engine: Engine,
        params: &PretrainParams,
        run: &LanguageRun,
        data: &TokenData,
        seed: u64,
    ) -> Result<Self, HandoverError> {
        let shape = run.network.shape().clone();
        check_shape(engine, &shape)?;
        let settings = &run.settings;
        let warmup_steps = run.schedule.warmup_steps();
        let lr = if settings.matrices == MatrixOptimizer::Adamw { settings.matrix_lr } else { settings.lr };
        let mean = |(domain, name): (usize, &str)| {
            let shard = data.shard(domain);
            (name.to_owned(), shard.num_tokens as f64 / shard.num_documents.max(1) as f64)
        };
        let mut plan = Self {
            engine,
            vocab_size: data.index.vocab_size,
            context_length: params.context_length,
            steps: run.steps,
            global_batch: run.step_rows(),
            micro_batch: run.micro_rows(),
            lr,
            betas: settings.betas,
            eps: settings.eps,
            weight_decay: settings.weight_decay,
            grad_clip: params.optimizer.grad_clip,
            warmup_steps,
            fall: fall(engine, params, run.steps, warmup_steps)?,
            precision: params.precision,
            seed,
            mixture: mixture(run),
            mean_document: data.domains().enumerate().map(mean).collect(),
            differences: Vec::new(),
            shape,
        };
        plan.differences = differences::of(&plan, params, run);
        Ok(plan)
    }
}

/// Refuses a network that the engine does not have.
pub(super) fn check_shape(engine: Engine, shape: &ModelShape) -> Result<(), HandoverError> {
    let none = |what: &str| Err(HandoverError::Network { engine: engine.name(), what: what.to_owned() });
    if shape.family == Family::Lstm {
        return none("LSTM");
    }
    let is_carried = match engine {
        Engine::Megatron => matches!(
            shape.model_type,
            ModelType::Llama | ModelType::Qwen2 | ModelType::Qwen3 | ModelType::Mistral | ModelType::Arcee
        ),
        Engine::Torchtitan => {
            matches!(shape.model_type, ModelType::Llama | ModelType::Qwen3 | ModelType::Mistral)
        }
    };
    if !is_carried {
        return none(&format!("model of the class {:?}", shape.model_type));
    }
    let has_biases = shape.attention_bias || shape.mlp_bias;
    let parts = [
        (shape.value_embeddings, "value embeddings (model.value_embeddings)"),
        (shape.residual_scalars, "scalars of the residual stream (model.residual_scalars)"),
        (shape.logit_softcap > 0.0, "bound of the logits (model.logit_softcap)"),
        (shape.sliding_window > 0, "sliding window here (model.sliding_window)"),
        (shape.rope_scaling != RopeScaling::Default, "such stretch of RoPE (model.rope_scaling)"),
        (shape.activation == Activation::GeluNew, "GELU of this form (model.activation)"),
        (
            engine == Engine::Torchtitan && shape.activation != Activation::Swiglu,
            "such activation (model.activation)",
        ),
        (engine == Engine::Torchtitan && has_biases, "biases (model.attention_bias, model.mlp_bias)"),
        (
            engine == Engine::Megatron
                && (shape.mlp_bias || shape.attention_bias && shape.model_type != ModelType::Qwen2),
            "biases but those of queries, keys and values in qwen2 (model.attention_bias, model.mlp_bias)",
        ),
    ];
    match parts.into_iter().find(|(has, _)| *has) {
        Some((_, what)) => none(what),
        None => Ok(()),
    }
}

/// The one fall of the rates, with a constant rate before it.
fn fall(engine: Engine, params: &PretrainParams, steps: u64, warmup: u64) -> Result<Fall, HandoverError> {
    let refused = || {
        let shapes: Vec<String> = params.phases.iter().map(|phase| format!("{:?}", phase.lr)).collect();
        HandoverError::Rates { engine: engine.name(), got: shapes.join(", ") }
    };
    let constant = Fall { shape: LrShape::Constant, steps: 0, last: 1.0 };
    let Some((last, before)) = params.phases.split_last() else { return Ok(constant) };
    if before.iter().any(|phase| phase.lr != LrShape::Constant) || last.lr == LrShape::InverseSqrt {
        return Err(refused());
    }
    let begin = before.last().map_or(0.0, |phase| phase.until);
    let begin = ((begin * steps as f64).round() as u64).max(warmup);
    let factor = match last.lr {
        LrShape::Constant => return Ok(constant),
        LrShape::LinearToZero => 0.0,
        _ => last.lr_final,
    };
    let shape = if last.lr == LrShape::LinearToZero { LrShape::Linear } else { last.lr };
    Ok(Fall { shape, steps: steps.saturating_sub(begin).max(1), last: factor })
}

/// Each domain's share of all rows.
fn mixture(run: &LanguageRun) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    let tokens = |phase: &cupola_specs::artifact::PhaseRecord| {
        ((phase.end_step - phase.begin_step) * phase.step_rows * phase.context_length) as f64
    };
    let all: f64 = run.phases.iter().map(tokens).sum();
    for phase in &run.phases {
        for (domain, weight) in phase.weights.iter().filter(|(_, weight)| **weight > 0.0) {
            *shares.entry(domain.clone()).or_insert(0.0) += weight * tokens(phase) / all;
        }
    }
    shares
}

//! `kind: scaling` as the user writes it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::FitMethod;
use crate::job::pretrain::optimizer_written::OptimizerWritten;
use crate::job::pretrain::written::{BatchWritten, ContextWritten, PhaseWritten};
use crate::job::{Activation, Family};
use crate::spec::decode::{At, Decode, decode_word};
use crate::spec::list::Filled;
use crate::spec::reference::Ref;
use crate::spec::session::Session;
use crate::spec::tree::{Node, Value};
use crate::spec::units::{Count, Flops};
use crate::spec::written::written;

written! {
    /// Trains a grid of small models and fits scaling laws to them: the size, the tokens and the forecast of the big run.
    pub(crate) struct ScalingJob {
        /// The corpus.
        corpus: Ref,
        /// The tokenizer.
        tokenizer: Ref,
        /// Families of networks, each with its own law.
        families: Filled<At<Family>> = "[transformer]",
        /// What is trained.
        grid: GridWritten,
        /// Fits: isoflop, parametric, envelope.
        methods: Filled<FitMethod> = "[parametric]",
        /// What the recommendation is for.
        target: At<TargetWritten> = "{budget: true}",
        /// compute_optimal, or {inference_tokens: 1T} for a model that will serve so many tokens.
        objective: ObjectiveWritten = "compute_optimal",
        /// Feed-forward activation. Default: that of the pretrain job that uses this law, else swiglu.
        activation: Option<Activation>,
        /// Optimisers. Default: those of the pretrain job that uses this law.
        optimizer: Option<OptimizerWritten>,
        /// Batch sizes. Default: those of the pretrain job that uses this law.
        batch: Option<BatchWritten>,
        /// Mixture and learning rate by phase. Default: those of the pretrain job that uses this law.
        phases: Option<At<Vec<At<PhaseWritten>>>>,
        /// Row length. Default: that of the pretrain job that uses this law, else 512.
        context: Option<ContextWritten>,
    }

    /// What a scaling job trains: every depth with every token budget and learning rate.
    pub(crate) struct GridWritten {
        /// Layers; the width is 64 times the depth.
        depths: Filled<At<u64>>; 1 ..= 128,
        /// Token budgets, tokens a parameter (embedding matrices not counted).
        tokens_per_param: Vec<f64> = "[]"; 0.0001 ..= 1_000_000.0,
        /// Token budgets as counts (500K), the same at every depth: size and tokens vary apart, which holds a law best.
        tokens: Vec<Count> = "[]"; 1.0 ..= 1e15,
        /// Learning rates: from 0.1 multiples of the automatic one, below absolute. The best of each budget counts.
        lr: Filled<f64> = "[1]"; 0.000_000_001 ..= 100.0,
    }

    /// What the recommendation is for: one of budget, flops, or params and tokens.
    pub(crate) struct TargetWritten {
        /// The spec's budget at the throughput that the sweep measures.
        budget: Option<bool>,
        /// An amount of compute.
        flops: Option<Flops>; 1.0 ..= 1e30,
        /// A size; only the loss is forecast.
        params: Option<Count>; 1.0 ..= 1e14,
        /// A token count, with params.
        tokens: Option<Count>; 1.0 ..= 1e15,
    }

    /// A model that will serve many tokens is better smaller and trained for longer.
    pub(crate) struct InferenceWritten {
        /// Tokens that it will serve.
        inference_tokens: Count; 1.0 ..= 1e18,
    }
}

/// What a recommendation optimises.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ObjectiveWritten {
    /// The lowest loss for the compute.
    ComputeOptimal,
    /// Training and serving together.
    Inference(f64),
}

/// The word of [`ObjectiveWritten`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ObjectiveWord {
    /// The lowest loss for the compute.
    ComputeOptimal,
}

impl Decode for ObjectiveWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) => {
                InferenceWritten::decode(node, session).map(|w| Self::Inference(w.inference_tokens.0))
            }
            _ => decode_word::<ObjectiveWord>(node, session).map(|_| Self::ComputeOptimal),
        }
    }
}

impl JsonSchema for ObjectiveWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Objective".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "compute_optimal" }, generator.subschema_for::<InferenceWritten>()] })
    }
}

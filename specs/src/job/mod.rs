//! The seven job kinds of the spec and the steps that they lower to.
//!
//! | job | steps |
//! |---|---|
//! | data | `data` |
//! | tokenizer | `tokenizer` |
//! | scaling | `tokens` (shared), one `sweep` for each family and depth, `fit` |
//! | pretrain | `tokens` (shared), `pretrain` |
//! | sft | `sft` |
//! | rlhf | `preferences`, `reward_model`, `optimize`, as the stage and the method need |
//! | eval | `eval` |
//!
//! A step's parameters are resolved: nothing optional that has a default, no path, no host name. They are hashed into its fingerprint.

mod data;
mod eval;
mod lora;
mod parallel;
mod pretrain;
mod recompute;
mod rlhf;
mod scaling;
mod sft;
mod step;
mod tokenizer;

/// The jobs as the user writes them.
pub(crate) mod written {
    pub(crate) use super::data::written::DataJob;
    pub(crate) use super::eval::written::EvalJob;
    pub(crate) use super::pretrain::written::PretrainJob;
    pub(crate) use super::rlhf::written::{RlhfJob, Stage};
    pub(crate) use super::scaling::written::ScalingJob;
    pub(crate) use super::sft::written::SftJob;
    pub(crate) use super::tokenizer::written::TokenizerJob;
}

/// The way from each job as written to its resolved body.
pub(crate) mod resolve {
    pub(crate) use super::data::mixture::{CorpusMixture, check_sum};
    pub(crate) use super::data::resolve::data;
    pub(crate) use super::eval::resolve::eval;
    pub(crate) use super::pretrain::resolve::pretrain;
    pub(crate) use super::rlhf::resolve::rlhf;
    pub(crate) use super::scaling::resolve::scaling;
    pub(crate) use super::sft::resolve::sft;
    pub(crate) use super::tokenizer::resolve::tokenizer;
}

pub use data::{
    CrawlParams, DataParams, DecontaminateParams, DedupParams, DedupScope, Expression, ExpressionProblem,
    ExtractParams, FilterParams, LanguageParams, MinhashParams, PairsParams, PiiAction, PiiParams,
    QualityParams, SIGNALS, Signal, SourceFormat, SourceParams, SplitParams, SplitUnit,
    ToxicityClassifierParams, ToxicityParams, UrlList, WordRule,
};
pub use eval::{EvalParams, JudgeParams, MultipleChoiceParams, Scoring, SuiteParams};
pub use lora::{AdapterParams, LoraConfig, LoraParams, LoraTarget};
pub use parallel::ParallelParams;
pub use pretrain::{
    Activation, AutoOr, Batch, BatchChoice, BatchParams, BatchRule, BestMetric, CheckpointParams, DecayRule,
    DecayShape, EmaParams, EvaluateParams, Export, ExtendParams, Family, GroupParams, KeepBest, LayerType,
    LrRule, LrShape, MatrixOptimizer, ModelFacts, ModelParams, ModelShape, ModelType, MomentumWarmup, NoRule,
    OptimizerParams, Orthogonalization, OtherOptimizer, Packing, Parametrization, Part, PhaseCorpus,
    PhaseParams, PretrainParams, Product, RopeExtension, RopeScaling, RuleOr, RunSize, Span, TokenBudget,
};
pub use recompute::Recompute;
pub use rlhf::{Labeler, Method, OptimizeParams, PreferencesParams, RewardModelParams};
pub use scaling::{FitMethod, FitParams, FitTarget, SweepParams};
pub use sft::{SftParams, TrainOn};
pub use step::{Device, Precision, StepKind, StepParams};
pub use tokenizer::{
    CODE_PATTERN, Digits, GPT2_PATTERN, GPT4_PATTERN, O200K_PATTERN, TokenizerAlgorithm, TokenizerParams,
    TokensParams,
};

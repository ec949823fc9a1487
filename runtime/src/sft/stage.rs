//! What the fine-tuning stages share around the training loop: rates, batch sizes, and the folder that they leave.

use std::collections::BTreeMap;

use cupola_specs::artifact::{Interval, TrainingRecord};
use cupola_specs::job::{
    AutoOr, BatchParams, CheckpointParams, LoraParams, MatrixOptimizer, OptimizerParams, Precision, RuleOr,
};

use super::{ItemSchedule, SftError};
use crate::job::{StepContext, write_durably};
use crate::model::{Network, SaveFacts};
use crate::tokenizer::Tokenizer;
use crate::train::{
    EMA_RULE, Factors, LrSchedule, OptimizerSettings, Peaks, PhaseRate, Scaling, SetbackLimits, TrainOutcome,
    TrainPlan,
};

/// Width at which the automatic rates were found.
const RATE_WIDTH: f64 = 256.0;
/// How much faster adapters learn than all weights do (Schulman et al., LoRA Without Regret, 2025).
const LORA_RATE: f64 = 10.0;

/// The automatic rules of a stage, found on short runs at width 256.
#[derive(Debug, Clone, Copy)]
pub struct StageRules {
    /// The stage's name in records and progress events.
    pub stage: &'static str,
    /// AdamW's rate at width 256; it goes with 1/√width.
    pub lr: f64,
    /// Muon's rate.
    pub matrix_lr: f64,
    /// Tokens of an optimiser step.
    pub global_tokens: u64,
}

/// What `auto` chose: field to (rule, value).
pub type Chosen = BTreeMap<String, (String, f64)>;

/// Makes a loaded network ready to train: backward computes again what the step asks for, and where the stage has adapters they go beside
/// its weights, anew or from where they were, and it is said how much trains.
pub fn prepare(ctx: &StepContext, net: &mut Network, lora: Option<&LoraParams>) -> Result<(), SftError> {
    net.set_recompute(ctx.job().recompute);
    let origin = match lora {
        None => return Ok(()),
        Some(LoraParams::Fresh(config)) => {
            net.adapt(config, ctx.seed("lora"))?;
            "fresh adapters"
        }
        Some(LoraParams::Adapter(params)) => {
            net.adapt_from(&ctx.input("adapter")?.path, params)?;
            "adapters that go on from where they were"
        }
    };
    let trained: usize = net.trainable().iter().map(|parameter| parameter.tensor.numel()).sum();
    ctx.events().log(format!("{origin}: {trained} parameters train beside {}", net.total_params()));
    Ok(())
}

/// Resolves the rates of a stage; input embeddings get the plain rate, since fine-tuning must not move them further than the rest.
///
/// Published rules are for training from scratch: the language refuses them here, and so the stage's own rule is all that `auto` can be.
pub fn stage_rates(
    params: &OptimizerParams,
    net: &Network,
    precision: Precision,
    rules: StageRules,
    chosen: &mut Chosen,
) -> OptimizerSettings {
    let lr = match params.lr {
        AutoOr::Value(lr) => lr,
        AutoOr::Auto | AutoOr::Rule(_) => {
            let mut value = rules.lr * (RATE_WIDTH / net.shape().hidden_size as f64).sqrt();
            let mut rule = format!("{}: {} · √({RATE_WIDTH} / hidden_size)", rules.stage, rules.lr);
            if net.is_adapted() {
                value *= LORA_RATE;
                rule = format!("{rule} · {LORA_RATE} with adapters");
            }
            chosen.insert("lr".into(), (rule, value));
            value
        }
    };
    let matrix_lr = match (params.matrices, params.matrix_lr) {
        (_, AutoOr::Value(lr)) => lr,
        (MatrixOptimizer::Muon, AutoOr::Auto) => {
            let rule = format!("{}: the same at every width", rules.stage);
            chosen.insert("matrix_lr".into(), (rule, rules.matrix_lr));
            rules.matrix_lr
        }
        (MatrixOptimizer::Adamw | MatrixOptimizer::Sgd, AutoOr::Auto) => lr,
    };
    if let Some(ema) = params.ema {
        chosen.insert("ema".into(), (EMA_RULE.to_owned(), ema.decay));
    }
    let weight_decay = match params.weight_decay {
        RuleOr::Value(decay) => decay,
        RuleOr::Rule(_) => 0.0,
    };
    let peaks = Peaks { lr, matrix_lr, factors: Factors::ONE, weight_decay };
    OptimizerSettings::new(params, peaks, Scaling::NONE, precision)
}

/// Resolves a stage's batch for items (rows, pairs) of `item_tokens` tokens on average.
pub fn item_schedule(
    params: &BatchParams,
    num_items: usize,
    item_tokens: f64,
    epochs: f64,
    rules: StageRules,
    chosen: &mut Chosen,
) -> ItemSchedule {
    let choice = params.choose_items(item_tokens, rules.stage, rules.global_tokens);
    chosen.extend(choice.chosen.into_iter().map(|(name, rule, value)| (name.to_owned(), (rule, value))));
    ItemSchedule::new(num_items as u64, epochs, choice.batch.rows, choice.batch.micro_rows)
}

/// The loop's plan: warm-up, then linearly to zero.
pub fn stage_plan(
    params: &OptimizerParams,
    optimizer: &OptimizerSettings,
    steps: u64,
    checkpoint: CheckpointParams,
    rules: StageRules,
) -> TrainPlan {
    TrainPlan {
        steps,
        optimizer: optimizer.clone(),
        schedule: LrSchedule::new(steps, params.warmup, &[PhaseRate::TO_ZERO]),
        grad_clip: params.grad_clip,
        setbacks: SetbackLimits::of(params),
        checkpoint,
        export: None,
        stage: rules.stage.to_owned(),
    }
}

/// What a stage learnt about its model.
#[derive(Debug, Default)]
pub struct StageResult {
    /// What `auto` chose.
    pub chosen: Chosen,
    /// Final numbers.
    pub finals: BTreeMap<String, Interval>,
    /// Warnings by code.
    pub warnings: BTreeMap<String, u64>,
    /// Tokens that went through the network, trained or not.
    pub tokens_read: u64,
    /// Tokens of a row.
    pub context_length: u64,
}

/// Makes `training.json`'s content.
pub fn training_record(
    stage: &str,
    net: &Network,
    outcome: &TrainOutcome,
    result: StageResult,
) -> TrainingRecord {
    TrainingRecord {
        stage: stage.to_owned(),
        total_params: net.total_params(),
        params: net.num_params(),
        steps: outcome.steps,
        tokens: outcome.tokens,
        flops: net.flops_per_token(result.context_length) * result.tokens_read as f64,
        data_cursor: outcome.data_cursor,
        left_out: outcome.left_out.clone(),
        bad_steps: outcome.bad_steps.clone(),
        exported_step: outcome.exported_step,
        phases: Vec::new(),
        domains: BTreeMap::new(),
        chosen: result.chosen,
        curves: outcome.curves.0.clone(),
        finals: result.finals,
        forecast: None,
        warnings: result.warnings.into_iter().chain(outcome.warnings.clone()).collect(),
    }
}

/// What a saved folder says about its special tokens.
pub fn save_facts(tokenizer: &Tokenizer) -> SaveFacts {
    SaveFacts {
        bos_token_id: tokenizer.bos_id(),
        stop_token_ids: tokenizer.chat().stop_ids(),
        pad_token_id: tokenizer.pad_id().unwrap_or(tokenizer.bos_id()),
    }
}

/// Writes the tokenizer's files and `training.json` beside the weights.
pub fn save_beside(
    ctx: &StepContext,
    tokenizer: &Tokenizer,
    record: &TrainingRecord,
) -> Result<(), SftError> {
    tokenizer.copy_files(ctx.staging())?;
    let path = ctx.staging().join("training.json");
    let json = serde_json::to_vec_pretty(record).map_err(|error| SftError::io(&path, error.into()))?;
    Ok(write_durably(&path, &json)?)
}

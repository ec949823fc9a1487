//! The trainings of a step, from its parameters: rows, passes and steps as the worker will choose them.

use cupola_specs::job::{
    Batch, BatchParams, ExtendParams, LoraConfig, LoraParams, Method, ModelParams, ModelShape,
    OptimizeParams, OptimizerParams, Precision, PretrainParams, RewardModelParams, RunSize, SftParams,
    StepParams, SweepParams, TokenBudget, TrainOn,
};

use super::flops::vocab_size;
use super::training::{Stage, Training};
use crate::plan::{Input, Plan, Step};

/// Most held-out tokens of a final loss, as in `runtime/src/train/validation.rs`.
const FINAL_TOKENS: u64 = 262_144;
/// The same of a run of a sweep.
const SWEEP_TOKENS: u64 = 65_536;
/// Fewest tokens of a run of a sweep.
const LEAST_SWEEP_TOKENS: u64 = 16 * 2048;
/// How full rows are of answers, which are not cut: what packing reaches of a few dozen of any length up to a row's. Chats are counted in rows.
const ANSWER_FILL: f64 = 0.85;
/// Share of a chat's tokens that carry loss, where no run has told it.
const ASSISTANT_SHARE: f64 = 0.6;

/// What is known of the data of a stage behind pretraining.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct DataFacts {
    /// Tokens of a pass over it.
    pub(super) tokens: f64,
    /// Chats or pairs.
    pub(super) items: f64,
    /// Share of the tokens that carry loss.
    pub(super) loss_share: f64,
}

/// Threads of a rank of a step.
pub(super) fn threads_of(step: &Step) -> u32 {
    (step.settings.cores / step.settings.parallel.data.max(1)).max(1)
}

/// What all trainings of a step share.
struct Common<'a> {
    step: &'a Step,
    shape: ModelShape,
    vocab_size: u64,
    /// Held-out tokens that there are, where that is known.
    held_out: Option<u64>,
    /// Tokens that there are, where that is known.
    available: Option<u64>,
}

/// The trainings of a step, one after the other: several in a sweep; none where it trains nothing or its size is not known.
pub(super) fn trainings(
    plan: &Plan,
    step: &Step,
    sides: (Option<u64>, Option<u64>),
    data: Option<DataFacts>,
) -> Vec<Training> {
    let Some((shape, vocab_size)) = network(plan, step) else { return Vec::new() };
    let common = Common { step, shape, vocab_size, available: sides.0, held_out: sides.1 };
    match &step.params {
        StepParams::Pretrain(params) => {
            pretrain(&common, params).map_or_else(Vec::new, |run| stretches(run, params.extend))
        }
        StepParams::Sweep(params) => sweep(&common, params),
        StepParams::Sft(params) => {
            adapters(plan, step).map_or_else(|_| Vec::new(), |lora| vec![sft(&common, params, (lora, data))])
        }
        StepParams::RewardModel(params) => adapters(plan, step)
            .map_or_else(|_| Vec::new(), |lora| vec![reward_model(&common, params, (lora, data))]),
        StepParams::Optimize(params) => adapters(plan, step)
            .ok()
            .and_then(|lora| optimize(&common, params, (lora, data)))
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}

/// Adapters of a tuning, if it has any, and what is known of its data.
type Tuned = (Option<LoraConfig>, Option<DataFacts>);

/// What a step trains is not known before it runs.
struct Unknown;

/// The adapters that a step trains, if any.
fn adapters(plan: &Plan, step: &Step) -> Result<Option<LoraConfig>, Unknown> {
    let lora = match &step.params {
        StepParams::Sft(params) => &params.lora,
        StepParams::RewardModel(params) => &params.lora,
        StepParams::Optimize(params) => &params.lora,
        _ => &None,
    };
    let asked = match lora {
        None => return Ok(None),
        Some(LoraParams::Fresh(config)) => return Ok(Some(config.clone())),
        Some(LoraParams::Adapter(asked)) => asked,
    };
    let before = match step.inputs.get("adapter").ok_or(Unknown)? {
        Input::Step(name) => adapters(plan, &plan.step(name).ok_or(Unknown)?.step)?.ok_or(Unknown)?,
        Input::Folder(_) => LoraConfig {
            rank: asked.rank.ok_or(Unknown)?,
            alpha: asked.alpha.unwrap_or(1.0),
            use_rslora: asked.use_rslora.unwrap_or(false),
            targets: asked.targets.clone().ok_or(Unknown)?,
            dropout: 0.0,
        },
    };
    Ok(Some(LoraConfig { dropout: asked.dropout, ..before }))
}

/// The network that a step trains, where its sizes are known before it runs.
fn network(plan: &Plan, step: &Step) -> Option<(ModelShape, u64)> {
    let before = |role: &str| match step.inputs.get(role)? {
        Input::Step(name) => network(plan, &plan.step(name)?.step),
        Input::Folder(_) => None,
    };
    match &step.params {
        StepParams::Pretrain(params) => {
            let ModelParams::Shape(shape) = &params.model else { return None };
            let longest = params.extend.map_or(params.context_length, |extend| extend.length);
            let max_position_embeddings = shape.max_position_embeddings.max(longest);
            Some((ModelShape { max_position_embeddings, ..shape.clone() }, vocab_size(plan, step)?))
        }
        StepParams::Sweep(params) => Some((params.shape.clone(), vocab_size(plan, step)?)),
        StepParams::Sft(_) => before("model"),
        StepParams::RewardModel(_) | StepParams::Optimize(_) => before("policy"),
        _ => None,
    }
}

impl Common<'_> {
    /// A training of next tokens; the rest is filled in by its stage.
    fn training(&self, optimizer: &OptimizerParams, precision: Precision, row_tokens: u64) -> Training {
        let parallel = self.step.settings.parallel;
        Training {
            stage: Stage::Language,
            shape: self.shape.clone(),
            vocab_size: self.vocab_size,
            precision,
            device: self.step.settings.device,
            threads: threads_of(self.step),
            ranks: u64::from(parallel.data.max(1)),
            zero: parallel.zero,
            recompute: self.step.settings.recompute,
            row_tokens,
            micro_rows: 1.0,
            step_rows: 1.0,
            steps: None,
            loss_share: 1.0,
            is_masked: false,
            matrices: optimizer.matrices,
            others: optimizer.others,
            has_ema: optimizer.ema.is_some(),
            has_z_loss: optimizer.z_loss > 0.0,
            lora: None,
            held_out_tokens: 0.0,
            held_out_on_the_way: 0.0,
            state_steps: 0,
            state_secs: 0.0,
            secs: None,
            mapped_bytes: 0.0,
        }
    }

    fn held_out(&self, most: u64) -> f64 {
        let most = if most == 0 { u64::MAX } else { most };
        self.held_out.unwrap_or(FINAL_TOKENS).min(most) as f64
    }

    /// Bytes of ids that are mapped and read: two for each up to a vocabulary of 65,536, else four.
    fn mapped(&self, tokens: u64) -> f64 {
        let id_bytes = if self.vocab_size <= 1 << 16 { 2.0 } else { 4.0 };
        id_bytes * self.available.map_or(tokens, |available| tokens.min(available)) as f64
    }

    /// A run of some tokens from scratch; with how many times as long rows it ends, if it does.
    fn run(&self, batch: &BatchParams, (tokens, factor): (u64, Option<u64>), base: Training) -> Training {
        let size = RunSize::of(&self.shape, self.vocab_size, tokens, base.row_tokens);
        let batch = batch.choose(&size, base.row_tokens).batch;
        let batch = factor.map_or(batch, |factor| batch.for_longer_rows(factor)).shared(base.ranks);
        let step_tokens = batch.rows * base.row_tokens;
        Training {
            micro_rows: batch.micro_rows as f64,
            step_rows: batch.rows as f64,
            steps: Some((tokens as f64 / step_tokens as f64).round().max(1.0) as u64),
            mapped_bytes: self.mapped(tokens),
            ..base
        }
    }

    /// A stage behind pretraining, in rows that are packed full: items are rows, or pairs of `item_tokens` tokens.
    fn stage(
        batch: &BatchParams,
        (stage_tokens, item_tokens): (u64, f64),
        (epochs, data): (f64, Option<DataFacts>),
        base: Training,
    ) -> Training {
        let Batch { rows, micro_rows } = batch.choose_items(item_tokens, "", stage_tokens).batch;
        let row_tokens = base.row_tokens as f64;
        let fill = if matches!(base.stage, Stage::Reward | Stage::Pairs) { ANSWER_FILL } else { 1.0 };
        let rows_each = item_tokens / (fill * row_tokens);
        let items = data.map(|data| (epochs * data.tokens / item_tokens).round().max(1.0));
        let step_items = items.map_or(rows as f64, |items| (rows as f64).min(items));
        let of_rank = (step_items / base.ranks as f64).floor().max(1.0);
        let micro_items = (micro_rows as f64).min(of_rank);
        let pass_tokens = micro_items * item_tokens;
        if pass_tokens < row_tokens {
            // What does not fill a row makes a shorter one.
            return Training {
                row_tokens: pass_tokens.max(1.0) as u64,
                micro_rows: 1.0,
                step_rows: (step_items * item_tokens / pass_tokens).max(1.0),
                steps: items.map(|items| (items / step_items).ceil() as u64),
                ..base
            };
        }
        Training {
            micro_rows: (micro_items * rows_each).max(1.0),
            step_rows: (step_items * rows_each).max(1.0),
            loss_share: fill * base.loss_share,
            steps: items.map(|items| (items / step_items).ceil() as u64),
            ..base
        }
    }
}

fn pretrain(common: &Common, params: &PretrainParams) -> Option<Training> {
    let tokens = match params.tokens {
        TokenBudget::Count { tokens } => tokens,
        TokenBudget::PerParam { ratio } => (ratio * common.shape.num_params() as f64) as u64,
        TokenBudget::FromLaw => return None,
    };
    let base = common.training(&params.optimizer, params.precision, params.context_length);
    let factor = params.extend.map(|extend| extend.length / params.context_length);
    let run = common.run(&params.batch, (tokens, factor), base);
    let evaluations = match (params.evaluate.every_steps, run.steps) {
        (0, _) | (_, None) => 0.0,
        (every, Some(steps)) => (steps / every) as f64,
    };
    Some(Training {
        is_masked: params.document_mask,
        held_out_tokens: common.held_out(FINAL_TOKENS),
        held_out_on_the_way: evaluations * common.held_out(params.evaluate.max_tokens),
        state_steps: params.checkpoint.every_steps,
        state_secs: params.checkpoint.every_secs,
        ..run
    })
}

/// A run as one training for each length of its rows: longer ones at its end are fewer, and hold as many tokens.
fn stretches(run: Training, extend: Option<ExtendParams>) -> Vec<Training> {
    let Some(extend) = extend else { return vec![run] };
    let batch = Batch { rows: run.step_rows as u64, micro_rows: run.micro_rows as u64 };
    let batch = batch.of_longer_rows(extend.length / run.row_tokens);
    let long_steps = run.steps.map(|steps| (extend.tokens * steps as f64).round() as u64);
    let long = Training {
        row_tokens: extend.length,
        micro_rows: batch.micro_rows as f64,
        step_rows: batch.rows as f64,
        steps: long_steps,
        ..run.clone()
    };
    let steps = run.steps.zip(long_steps).map(|(all, long)| all - long.min(all));
    vec![Training { steps, held_out_tokens: 0.0, held_out_on_the_way: 0.0, ..run }, long]
}

fn sweep(common: &Common, params: &SweepParams) -> Vec<Training> {
    let base = common.training(&params.optimizer, params.precision, params.context_length);
    let by_ratio =
        params.tokens_per_param.iter().map(|ratio| (ratio * common.shape.num_params() as f64).round() as u64);
    let most = common.available.unwrap_or(u64::MAX);
    let mut budgets: Vec<u64> = by_ratio
        .chain(params.tokens.iter().copied())
        .map(|tokens| tokens.min(most).max(LEAST_SWEEP_TOKENS))
        .collect();
    budgets.sort_unstable();
    budgets.dedup();
    let of = |tokens: u64| {
        let run = common.run(&params.batch, (tokens, None), base.clone());
        Training { is_masked: params.document_mask, held_out_tokens: common.held_out(SWEEP_TOKENS), ..run }
    };
    let mut runs: Vec<Training> =
        budgets.into_iter().flat_map(|tokens| params.lr.iter().map(move |_| tokens)).map(of).collect();
    if let Some(last) = runs.last_mut() {
        last.held_out_tokens += common.held_out(FINAL_TOKENS);
    }
    runs
}

fn sft(common: &Common, params: &SftParams, (lora, data): Tuned) -> Training {
    let base = common.training(&params.optimizer, params.precision, params.context_length);
    let share = if params.train_on == TrainOn::All { 1.0 } else { ASSISTANT_SHARE };
    let base = Training {
        stage: Stage::Chats,
        is_masked: true,
        loss_share: data.map_or(share, |data| data.loss_share),
        lora,
        state_steps: params.checkpoint.every_steps,
        state_secs: params.checkpoint.every_secs,
        // The held-out chats, before and after.
        held_out_tokens: data.map_or(0.0, |data| 2.0 * params.validation * data.tokens),
        ..base
    };
    let row = params.context_length as f64;
    Common::stage(&params.batch, (SftParams::STEP_TOKENS, row), (params.epochs, data), base)
}

/// Tokens of a pair where no run has told them: both answers fill a row.
fn pair_tokens(row_tokens: u64, data: Option<DataFacts>) -> f64 {
    data.map_or(row_tokens as f64, |data| data.tokens / data.items.max(1.0))
}

fn reward_model(common: &Common, params: &RewardModelParams, (lora, data): Tuned) -> Training {
    let base = common.training(&params.optimizer, params.precision, params.context_length);
    let base = Training {
        stage: Stage::Reward,
        is_masked: true,
        loss_share: 0.0,
        lora,
        state_steps: params.checkpoint.every_steps,
        state_secs: params.checkpoint.every_secs,
        ..base
    };
    let pair = pair_tokens(params.context_length, data);
    Common::stage(&params.batch, (RewardModelParams::STEP_TOKENS, pair), (params.epochs, data), base)
}

fn optimize(common: &Common, params: &OptimizeParams, (lora, data): Tuned) -> Option<Training> {
    let has_copy = !matches!(params.lora, Some(LoraParams::Fresh(_)));
    let base = common.training(&params.optimizer, params.precision, params.context_length);
    let base = Training {
        stage: if params.method == Method::Ppo { Stage::Ppo { has_copy } } else { Stage::Pairs },
        is_masked: true,
        loss_share: data.map_or(ASSISTANT_SHARE, |data| data.loss_share),
        lora,
        state_steps: params.checkpoint.every_steps,
        state_secs: params.checkpoint.every_secs,
        // The reference's log-probabilities, which training computes once.
        held_out_tokens: data.map_or(0.0, |data| data.tokens),
        ..base
    };
    match params.method {
        Method::Dpo | Method::Ipo => {
            let pair = pair_tokens(params.context_length, data);
            Some(Common::stage(
                &params.batch,
                (OptimizeParams::STEP_TOKENS, pair),
                (params.epochs, data),
                base,
            ))
        }
        // How long answers get is not known before a policy writes them.
        Method::Ppo => {
            let item = params.context_length as f64;
            Some(Common::stage(
                &params.batch,
                (OptimizeParams::STEP_TOKENS, item),
                (params.epochs, None),
                base,
            ))
        }
        Method::Kto | Method::Grpo | Method::BestOfN | Method::Direct => None,
    }
}

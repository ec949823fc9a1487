//! What `auto` chooses, what published rules choose, and by which formula.
//!
//! `auto` is this project's rule. Its rates were found on its own short runs at widths 64 to 256 and are scaled as Adam's usually are, with 1/√width for
//! AdamW's parameters; Muon's update has unit spectral norm, so its rate needs no scaling with width (Jordan 2024). Under μP and CompleteP the rates are those
//! at the base width, which is 256 as here. The rules of the batch are in `specs/`, since plans go by them too.
//!
//! `deepseek` is equation 1 of DeepSeek LLM (2024, arXiv:2401.02954) as it stands: η = 0.3118·C^-0.125 for a compute of C without embeddings and head.
//! `power_lines` is Bergsma et al. 2025 (arXiv:2505.13738): the decay λ = B / (η·D·τ) gives AdamW the timescale τ = 1.084·(D/N)^-0.527 of the run, N
//! being all parameters.

use cupola_specs::job::{
    AutoOr, Batch, BatchParams, LrRule, MatrixOptimizer, ModelShape, OptimizerParams, OtherOptimizer,
    Parametrization, Precision, RuleOr, RunSize,
};

use super::optimizer::{Factors, Peaks, Scaling};
use super::{OptimizerSettings, TrainError};

/// AdamW's rate at width 256.
const ADAMW_LR: f64 = 0.004;
/// The width at which it was found.
const RATE_WIDTH: f64 = 256.0;
/// Muon's rate.
const MUON_LR: f64 = 0.02;
/// Factors of the rate by group. A row of an embedding is touched only when its token comes. Value embeddings start some times as large as input
/// embeddings; their rate stands to the head's as in nanochat (Karpathy 2026), 18 to 1.
const FACTORS: Factors = Factors { embedding: 4.0, value_embedding: 36.0, head: 2.0 };
/// What is recorded of an average of the weights.
pub const EMA_RULE: &str =
    "the result, evaluated and exported, is a moving average of the weights with this decay";

/// What was chosen by a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct AutoChoice {
    /// The field.
    pub name: &'static str,
    /// The rule, in words.
    pub rule: String,
    /// The value.
    pub value: f64,
}

impl AutoChoice {
    fn new(name: &'static str, rule: impl Into<String>, value: f64) -> Self {
        Self { name, rule: rule.into(), value }
    }
}

/// Resolved optimiser settings, and what a rule chose of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Rates {
    /// The settings.
    pub settings: OptimizerSettings,
    /// What a rule chose.
    pub chosen: Vec<AutoChoice>,
}

/// Resolves the optimiser of a run from scratch, in steps of some tokens; says what a rule chose.
pub fn choose_rates(
    params: &OptimizerParams,
    shape: &ModelShape,
    precision: Precision,
    (size, step_tokens): (&RunSize, f64),
) -> Rates {
    let mut chosen = Vec::new();
    let scaling = scaling_of(params, shape);
    let lr = match params.lr {
        AutoOr::Value(lr) => lr,
        AutoOr::Auto => pick(&mut chosen, adamw_rate("lr", shape, scaling)),
        AutoOr::Rule(LrRule::Deepseek) => {
            let value = 0.3118 * size.body_flops.max(1.0).powf(-0.125);
            pick(&mut chosen, AutoChoice::new("lr", "deepseek: 0.3118 · C^-0.125", value))
        }
    };
    let matrix_lr = match (params.matrices, params.others, params.matrix_lr) {
        (_, _, AutoOr::Value(lr)) => lr,
        (MatrixOptimizer::Muon, _, AutoOr::Auto) => {
            pick(&mut chosen, AutoChoice::new("matrix_lr", "Muon: the same at every width", MUON_LR))
        }
        (MatrixOptimizer::Adamw, OtherOptimizer::Sgd, AutoOr::Auto) => {
            pick(&mut chosen, adamw_rate("matrix_lr", shape, scaling))
        }
        (MatrixOptimizer::Adamw | MatrixOptimizer::Sgd, _, AutoOr::Auto) => lr,
    };
    let weight_decay = match params.weight_decay {
        RuleOr::Value(decay) => decay,
        RuleOr::Rule(_) => {
            let tokens = size.tokens.max(1) as f64;
            let timescale = 1.084 * (tokens / size.total_params.max(1) as f64).powf(-0.527);
            let rule = format!("power_lines: B / (lr · D · τ), τ = 1.084 · (D/N)^-0.527 = {timescale:.4}");
            let value = step_tokens / (matrix_lr * tokens * timescale);
            pick(&mut chosen, AutoChoice::new("weight_decay", rule, value))
        }
    };
    if params.parametrization != Parametrization::Standard {
        let (name, depth) = match params.parametrization {
            Parametrization::Completep => {
                ("completep", format!(", {:.4} times the base depth", scaling.depth))
            }
            Parametrization::Mup | Parametrization::Standard => ("mup", String::new()),
        };
        let rule =
            format!("{name}: rates are those at the base width of {}; times it{depth}", params.base_width);
        chosen.push(AutoChoice::new("parametrization", rule, scaling.width));
    }
    if let Some(ema) = params.ema {
        chosen.push(AutoChoice::new("ema", EMA_RULE, ema.decay));
    }
    let peaks = Peaks { lr, matrix_lr, factors: FACTORS, weight_decay };
    Rates { settings: OptimizerSettings::new(params, peaks, scaling, precision), chosen }
}

/// How far a network is from the one that its rates hold for.
pub fn scaling_of(params: &OptimizerParams, shape: &ModelShape) -> Scaling {
    Scaling {
        parametrization: params.parametrization,
        width: shape.hidden_size as f64 / params.base_width as f64,
        depth: shape.num_hidden_layers as f64 / params.base_depth as f64,
    }
}

/// The project's rule for AdamW.
fn adamw_rate(name: &'static str, shape: &ModelShape, scaling: Scaling) -> AutoChoice {
    match scaling.parametrization {
        Parametrization::Standard => {
            let value = ADAMW_LR * (RATE_WIDTH / shape.hidden_size as f64).sqrt();
            AutoChoice::new(name, format!("{ADAMW_LR} · √({RATE_WIDTH} / hidden_size)"), value)
        }
        Parametrization::Mup | Parametrization::Completep => {
            AutoChoice::new(name, format!("{ADAMW_LR} at the base width"), ADAMW_LR)
        }
    }
}

/// Notes a choice and takes its value.
fn pick(chosen: &mut Vec<AutoChoice>, choice: AutoChoice) -> f64 {
    let value = choice.value;
    chosen.push(choice);
    value
}

/// Resolves the batch of a run in rows of `context_length`.
pub fn choose_batch(params: &BatchParams, size: &RunSize, context_length: u64) -> (Batch, Vec<AutoChoice>) {
    let choice = params.choose(size, context_length);
    let chosen = choice.chosen.into_iter().map(|(name, rule, value)| AutoChoice::new(name, rule, value));
    (choice.batch, chosen.collect())
}

/// The same batch in micro-batches half as large, as often as earlier attempts ran out of memory.
///
/// # Errors
/// Where they were as small as can be already.
pub fn eased_batch(batch: Batch, halvings: u32) -> Result<Batch, TrainError> {
    let most = eased(batch.micro_rows, halvings)?;
    // Whole micro-batches, as before.
    let fits = (1..=most).rev().find(|rows| batch.rows.is_multiple_of(*rows));
    Ok(Batch { micro_rows: fits.unwrap_or(1), ..batch })
}

/// A micro-batch after `halvings` attempts that ran out of memory.
///
/// # Errors
/// Where it was one already at the last of them: another attempt would need as much.
pub fn eased(micro_batch: u64, halvings: u32) -> Result<u64, TrainError> {
    let halved = |times: u32| micro_batch.checked_shr(times).unwrap_or(0);
    if halvings > 0 && halved(halvings - 1) <= 1 {
        return Err(TrainError::OutOfMemory);
    }
    Ok(halved(halvings).max(1))
}

#[cfg(test)]
mod tests {
    use cupola_specs::job::{BatchRule, DecayRule, Family};

    use super::*;
    use crate::model::{Network, depth_shape};

    fn size(tokens: u64, flops: f64) -> RunSize {
        RunSize { tokens, flops, body_flops: flops, total_params: 4_000_000 }
    }

    #[test]
    fn a_batch_is_whole_micro_batches_and_leaves_enough_steps() {
        let auto = BatchParams { global_tokens: AutoOr::Auto, micro_batch: AutoOr::Auto };
        let (batch, chosen) = choose_batch(&auto, &size(2_500_000, 2.5e6 * 6.0 * 4e6), 256);
        assert_eq!(batch.rows % batch.micro_rows, 0);
        assert!((100..400).contains(&(2_500_000 / (batch.rows * 256))), "{batch:?}");
        assert_eq!(chosen.len(), 2);
        let given = BatchParams { global_tokens: AutoOr::Value(2000), micro_batch: AutoOr::Value(3) };
        assert_eq!(
            choose_batch(&given, &size(80_000, 1e9), 128),
            (Batch { rows: 18, micro_rows: 3 }, vec![])
        );
    }

    #[test]
    fn published_rules_give_what_their_papers_say() {
        // DeepSeek LLM: at C = 1e20, η = 0.3118 · 10^-2.5 and B = 0.292 · 10^6.542.
        let params = OptimizerParams {
            matrices: MatrixOptimizer::Adamw,
            lr: AutoOr::Rule(LrRule::Deepseek),
            weight_decay: RuleOr::Rule(DecayRule::PowerLines),
            ..OptimizerParams::default()
        };
        let shape = depth_shape(Family::Transformer, 4, 512);
        // Power Lines: 20 tokens a parameter of 111M, whose τ is 1.084 · 20^-0.527 = 0.2236.
        let big = RunSize { tokens: 2_220_000_000, flops: 1e21, body_flops: 1e20, total_params: 111_000_000 };
        let Rates { settings, chosen } = choose_rates(&params, &shape, Precision::Fp32, (&big, 262_144.0));
        let [lr, matrix_lr] = [settings.lr, settings.matrix_lr].map(|lr| (lr - 9.860e-4).abs());
        assert!(lr < 1e-7 && matrix_lr < 1e-7, "{settings:?}");
        let decay = 262_144.0 / (9.860e-4 * 2.22e9 * 0.223_6);
        assert!((settings.weight_decay / decay - 1.0).abs() < 1e-3, "{}", settings.weight_decay);
        assert_eq!(chosen.iter().map(|choice| choice.name).collect::<Vec<_>>(), ["lr", "weight_decay"]);
        let batch = |rule| {
            let params = BatchParams { global_tokens: AutoOr::Rule(rule), micro_batch: AutoOr::Value(1) };
            choose_batch(&params, &big, 1).0.rows as f64
        };
        assert!((batch(BatchRule::Deepseek) / 1.0171e6 - 1.0).abs() < 1e-3, "{}", batch(BatchRule::Deepseek));
        // 0.0306 · 2.22e9^0.383 = 116.2 rows.
        assert!(
            (batch(BatchRule::PowerLines) / (116.2 * 2048.0) - 1.0).abs() < 1e-2,
            "{}",
            batch(BatchRule::PowerLines)
        );
    }

    #[test]
    fn one_dial_derives_width_tokens_batch_and_rates() {
        let of = |depth: u64| {
            let shape = depth_shape(Family::Transformer, depth, 256);
            let network = Network::init(&shape, 4096, 1, tch::Device::Cpu).unwrap();
            let size = RunSize::of(&shape, 4096, 20 * network.num_params(), 256);
            let auto = BatchParams { global_tokens: AutoOr::Auto, micro_batch: AutoOr::Auto };
            let (batch, _) = choose_batch(&auto, &size, 256);
            let rates = choose_rates(&OptimizerParams::default(), &shape, Precision::Fp32, (&size, 1.0));
            let settings = rates.settings;
            (
                shape.hidden_size,
                size.tokens,
                batch.rows,
                settings.lr,
                settings.matrix_lr,
                settings.weight_decay,
            )
        };
        let (one, two) = (of(2), of(4));
        assert_eq!((one.0, two.0), (128, 256));
        assert!(two.1 > 4 * one.1 && two.2 > one.2, "{one:?} {two:?}");
        assert!(
            (two.3 - 0.004).abs() < 1e-12 && (one.3 / two.3 - 2f64.sqrt()).abs() < 1e-12,
            "{one:?} {two:?}"
        );
        assert_eq!((one.4, one.5, two.4, two.5), (0.02, 0.1, 0.02, 0.1));
    }

    #[test]
    fn a_micro_batch_is_halved_until_it_is_one_and_the_step_stays_the_same() {
        let batch = Batch { rows: 18, micro_rows: 9 };
        let micro = |halvings| eased_batch(batch, halvings).map(|batch| (batch.rows, batch.micro_rows));
        assert_eq!(
            [0, 1, 2, 3].map(|halvings| micro(halvings).unwrap()),
            [(18, 9), (18, 3), (18, 2), (18, 1)]
        );
        assert!(matches!(micro(4), Err(TrainError::OutOfMemory)));
        assert_eq!([1, 2, 3, 40].map(|ranks| batch.shared(ranks).micro_rows), [9, 9, 6, 1]);
        assert!(matches!(eased(1, 1), Err(TrainError::OutOfMemory)));
        assert!(matches!(eased(1, 80), Err(TrainError::OutOfMemory)));
    }
}

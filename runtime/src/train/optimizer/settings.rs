//! Settings of the optimisers, and what each weight gets of them.
//!
//! μP (Yang et al. 2022, arXiv:2203.03466, table 3) and CompleteP (Dey et al. 2025, arXiv:2505.01618, table 1) are carried out by rates alone: a
//! multiplier m of a product is the same as a start and a rate m times as large with a decay 1/m times as large (table 3 and appendix J of the
//! former), so that an exported model needs no class of its own. The start needs no change: hidden matrices begin with the variance 1/fan-in, residual
//! outputs and the head with zero, whatever the parametrization. With n = width / base width and l = depth / base depth:
//!
//! | weights | AdamW's rate | decay | epsilon | Muon's rate | decay | SGD's rate |
//! |---|---|---|---|---|---|---|
//! | embeddings | 1 | 1 | 1/n | – | – | n |
//! | vectors | 1 | 1 | 1/(n·l), the last norm's 1/n | – | – | n |
//! | hidden matrices | 1/n | n | 1/(n·l) | 1 | 1 | 1 |
//! | residual outputs | 1/(n·l) | n·l | 1/n | 1/l | l | 1 |
//! | head | 1/n | n | 1 | – | – | 1/n |
//!
//! l is 1 under μP; SGD has no CompleteP. Muon's update has a spectral norm of √(rows/columns) at any width, as μP asks for.

use cupola_specs::job::{
    DecayShape, EmaParams, GroupParams, MatrixOptimizer, MomentumWarmup, OptimizerParams, Orthogonalization,
    OtherOptimizer, Parametrization, Precision,
};

use crate::model::{ParamGroup, Parameter};
use crate::train::TrainError;

/// Resolved settings of the optimisers.
#[derive(Debug, Clone, PartialEq)]
pub struct OptimizerSettings {
    /// Optimiser of hidden matrices.
    pub matrices: MatrixOptimizer,
    /// Optimiser of the rest.
    pub others: OtherOptimizer,
    /// Peak learning rate of the rest.
    pub lr: f64,
    /// Peak learning rate of hidden matrices.
    pub matrix_lr: f64,
    /// Factors of `lr` by group.
    pub factors: Factors,
    /// Decoupled weight decay of hidden matrices.
    pub weight_decay: f64,
    /// How it goes over the run.
    pub weight_decay_schedule: DecayShape,
    /// Factor of it at the run's end.
    pub weight_decay_final: f64,
    /// AdamW's betas.
    pub betas: [f64; 2],
    /// AdamW's epsilon.
    pub eps: f64,
    /// Momentum of Muon and of gradient descent.
    pub momentum: f64,
    /// Whether they look one step ahead.
    pub nesterov: bool,
    /// How the momentum begins.
    pub momentum_warmup: MomentumWarmup,
    /// How Muon makes matrices orthogonal.
    pub orthogonalization: Orthogonalization,
    /// Weights by name with a rate or a decay of their own.
    pub groups: Vec<GroupParams>,
    /// How rates follow from width and depth.
    pub scaling: Scaling,
    /// Average of the weights.
    pub ema: Option<EmaParams>,
    /// Number format of Muon's iteration.
    pub precision: Precision,
}

/// A parametrization, with how far this network is from the one that the rates hold for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scaling {
    /// The rule.
    pub parametrization: Parametrization,
    /// Width by base width.
    pub width: f64,
    /// Depth by base depth.
    pub depth: f64,
}

impl Scaling {
    /// One rate for all.
    pub const NONE: Self = Self { parametrization: Parametrization::Standard, width: 1.0, depth: 1.0 };
}

/// Peak rates and decay, chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peaks {
    /// Of embeddings, head and vectors.
    pub lr: f64,
    /// Of hidden matrices.
    pub matrix_lr: f64,
    /// Factors of `lr` by group.
    pub factors: Factors,
    /// Decay of hidden matrices.
    pub weight_decay: f64,
}

/// Factors of the rate of the weights that are no hidden matrices, by group; vectors have it as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Factors {
    /// Of input embeddings.
    pub embedding: f64,
    /// Of embeddings that are added to values.
    pub value_embedding: f64,
    /// Of the head.
    pub head: f64,
}

impl Factors {
    /// One rate for all.
    pub const ONE: Self = Self { embedding: 1.0, value_embedding: 1.0, head: 1.0 };
}

/// What a step takes of the peaks: factors of the learning rates, the weight decays and the momentum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// Of the learning rates.
    pub lr: f64,
    /// Of the weight decays.
    pub weight_decay: f64,
    /// Of the momentum.
    pub momentum: f64,
}

impl Pace {
    /// Everything at its peak.
    pub const PEAK: Self = Self { lr: 1.0, weight_decay: 1.0, momentum: 1.0 };
}

/// Which update a weight gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Update {
    Adamw,
    Muon,
    Sgd,
}

/// What one weight gets at the peak.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slot {
    pub(super) update: Update,
    pub(super) lr: f64,
    pub(super) weight_decay: f64,
    pub(super) eps: f64,
}

impl OptimizerSettings {
    /// The settings of written parameters with chosen peaks.
    pub fn new(params: &OptimizerParams, peaks: Peaks, scaling: Scaling, precision: Precision) -> Self {
        Self {
            matrices: params.matrices,
            others: params.others,
            lr: peaks.lr,
            matrix_lr: peaks.matrix_lr,
            factors: peaks.factors,
            weight_decay: peaks.weight_decay,
            weight_decay_schedule: params.weight_decay_schedule,
            weight_decay_final: params.weight_decay_final,
            betas: params.betas,
            eps: params.eps,
            momentum: params.momentum,
            nesterov: params.nesterov,
            momentum_warmup: params.momentum_warmup,
            orthogonalization: params.orthogonalization,
            groups: params.groups.clone(),
            scaling,
            ema: params.ema,
            precision,
        }
    }

    /// The pace of step `step` of `steps`, given its factor of the learning rates.
    pub fn pace(&self, step: u64, steps: u64, lr: f64) -> Pace {
        let share = step as f64 / steps.max(1) as f64;
        let fall = 1.0 - self.weight_decay_final;
        let weight_decay = match self.weight_decay_schedule {
            DecayShape::Constant => 1.0,
            DecayShape::Linear => 1.0 - fall * share,
            DecayShape::Cosine => 1.0 - fall * 0.5 * (1.0 - (std::f64::consts::PI * share).cos()),
        };
        let MomentumWarmup { from, steps: rise } = self.momentum_warmup;
        let momentum = if step < rise && self.momentum > 0.0 {
            let share = step as f64 / rise as f64;
            (from + (self.momentum - from) * share) / self.momentum
        } else {
            1.0
        };
        Pace { lr, weight_decay, momentum }
    }

    /// Whether each group of weights by name is of use.
    ///
    /// # Errors
    /// Where one is the first to fit no weight: a misspelt name changes nothing and says nothing.
    pub fn check_groups(&self, parameters: &[Parameter]) -> Result<(), TrainError> {
        for (at, group) in self.groups.iter().enumerate() {
            let counts = |parameter: &Parameter| {
                self.groups[..=at].iter().position(|group| fits(&group.pattern, &parameter.name)) == Some(at)
            };
            if !parameters.iter().any(counts) {
                let names: Vec<&str> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
                return Err(TrainError::Refused(format!(
                    "optimizer.groups: `{}` is the first pattern to fit none of the {} weights ({}, …, {})",
                    group.pattern,
                    names.len(),
                    names.first().unwrap_or(&""),
                    names.last().unwrap_or(&""),
                )));
            }
        }
        Ok(())
    }

    /// What a weight gets.
    pub(super) fn slot(&self, parameter: &Parameter) -> Slot {
        let is_matrix = parameter.group == ParamGroup::Matrix;
        let update = match (is_matrix, self.matrices, self.others) {
            (true, MatrixOptimizer::Muon, _) => Update::Muon,
            (true, MatrixOptimizer::Adamw, _) | (false, _, OtherOptimizer::Adamw) => Update::Adamw,
            (true, MatrixOptimizer::Sgd, _) | (false, _, OtherOptimizer::Sgd) => Update::Sgd,
        };
        let (lr, eps) = self.scales(parameter, update);
        let (peak, decay) = match parameter.group {
            ParamGroup::Matrix => (self.matrix_lr, self.weight_decay),
            ParamGroup::Embedding => (self.lr * self.factors.embedding, 0.0),
            ParamGroup::ValueEmbedding => (self.lr * self.factors.value_embedding, 0.0),
            ParamGroup::Head => (self.lr * self.factors.head, 0.0),
            ParamGroup::Vector => (self.lr, 0.0),
        };
        let own = self.groups.iter().find(|group| fits(&group.pattern, &parameter.name));
        Slot {
            update,
            lr: own.and_then(|group| group.lr).unwrap_or(peak * lr),
            weight_decay: own.and_then(|group| group.weight_decay).unwrap_or(decay / lr),
            eps: self.eps * eps,
        }
    }

    /// Factors of a weight's rate and epsilon: the table above.
    fn scales(&self, parameter: &Parameter, update: Update) -> (f64, f64) {
        let Scaling { parametrization, width, depth } = self.scaling;
        let depth = match parametrization {
            Parametrization::Standard => return (1.0, 1.0),
            Parametrization::Mup => 1.0,
            Parametrization::Completep => depth,
        };
        let out = if is_residual_output(&parameter.name) { depth } else { 1.0 };
        match (update, parameter.group) {
            (Update::Muon, _) => (1.0 / out, 1.0),
            (Update::Adamw, ParamGroup::Matrix) => (1.0 / (width * out), out / (width * depth)),
            (Update::Adamw | Update::Sgd, ParamGroup::Head) => (1.0 / width, 1.0),
            (Update::Adamw, ParamGroup::Embedding | ParamGroup::ValueEmbedding) => (1.0, 1.0 / width),
            (Update::Adamw, ParamGroup::Vector) => {
                (1.0, 1.0 / if is_in_block(&parameter.name) { width * depth } else { width })
            }
            (Update::Sgd, ParamGroup::Matrix) => (1.0, 1.0),
            (Update::Sgd, ParamGroup::Embedding | ParamGroup::ValueEmbedding | ParamGroup::Vector) => {
                (width, 1.0)
            }
        }
    }
}

/// AdamW everywhere at PyTorch's rate, without decay; for what sets its own.
impl Default for OptimizerSettings {
    fn default() -> Self {
        let params = OptimizerParams {
            matrices: MatrixOptimizer::Adamw,
            betas: [0.9, 0.95],
            momentum_warmup: MomentumWarmup { from: 0.0, steps: 0 },
            ..OptimizerParams::default()
        };
        let peaks = Peaks { lr: 1e-3, matrix_lr: 1e-3, factors: Factors::ONE, weight_decay: 0.0 };
        Self::new(&params, peaks, Scaling::NONE, Precision::Fp32)
    }
}

/// Whether a matrix writes into the residual stream.
fn is_residual_output(name: &str) -> bool {
    ["o_proj", "down_proj", "c_proj", "out_proj"]
        .iter()
        .any(|part| name.ends_with(&format!(".{part}.weight")))
}

/// Whether a weight is of one of the layers: their names have a number.
fn is_in_block(name: &str) -> bool {
    name.split('.').any(|part| part.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a name is as a pattern says, `*` being any letters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some(at) = left.find(part) else { return false };
        left = &left[at + part.len()..];
    }
    left.ends_with(last)
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    fn parameter(name: &str, group: ParamGroup) -> Parameter {
        Parameter { name: name.into(), tensor: Tensor::zeros([1], (Kind::Float, Device::Cpu)), group }
    }

    #[test]
    fn a_star_is_any_letters() {
        for (pattern, name) in
            [("a.b", "a.b"), ("*", ""), ("*.q", "x.y.q"), ("a*c*e", "abcde"), ("a*", "a"), ("*b*", "abc")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("a.b", "a.bc"), ("*.q", "x.y.q.z"), ("a*c*e", "aec"), ("ab*ba", "aba"), ("", "a")]
        {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn the_first_group_that_fits_counts_and_one_that_fits_none_is_refused() {
        let weights = [parameter("layers.0.a", ParamGroup::Matrix), parameter("head", ParamGroup::Head)];
        let group =
            |pattern: &str, lr, weight_decay| GroupParams { pattern: pattern.into(), lr, weight_decay };
        let mut settings = OptimizerSettings {
            weight_decay: 0.3,
            groups: vec![group("layers.*", Some(0.5), None), group("*", None, Some(0.7))],
            ..OptimizerSettings::default()
        };
        settings.check_groups(&weights).unwrap();
        let slots =
            weights.each_ref().map(|weight| settings.slot(weight)).map(|slot| (slot.lr, slot.weight_decay));
        assert_eq!(slots, [(0.5, 0.3), (1e-3, 0.7)]);
        settings.groups.swap(0, 1);
        let error = settings.check_groups(&weights).unwrap_err().to_string();
        assert!(error.contains("`layers.*`"), "{error}");
    }

    #[test]
    fn decay_and_momentum_go_from_their_first_value_to_their_last() {
        let settings = OptimizerSettings {
            weight_decay_schedule: DecayShape::Linear,
            weight_decay_final: 0.2,
            momentum: 0.95,
            momentum_warmup: MomentumWarmup { from: 0.85, steps: 4 },
            ..OptimizerSettings::default()
        };
        let at = |settings: &OptimizerSettings, step| settings.pace(step, 10, 0.5);
        // 1 - 0.8 · step / 10.
        for (step, expected) in [(0, 1.0), (5, 0.6), (9, 0.28)] {
            assert!((at(&settings, step).weight_decay - expected).abs() < 1e-12, "step {step}");
        }
        // 0.85, 0.875, 0.9, 0.925, 0.95.
        for (step, expected) in [(0, 0.85), (1, 0.875), (3, 0.925), (4, 0.95), (9, 0.95)] {
            assert!((at(&settings, step).momentum * 0.95 - expected).abs() < 1e-12, "step {step}");
        }
        assert!((at(&settings, 3).lr - 0.5).abs() < 1e-12);
        let cosine = OptimizerSettings { weight_decay_schedule: DecayShape::Cosine, ..settings };
        for (step, expected) in [(0, 1.0), (5, 0.6), (10, 0.2)] {
            assert!((at(&cosine, step).weight_decay - expected).abs() < 1e-12, "step {step}");
        }
    }

    #[test]
    fn each_group_has_its_factor_of_the_rate() {
        let settings = OptimizerSettings {
            lr: 0.5,
            factors: Factors { embedding: 2.0, value_embedding: 8.0, head: 4.0 },
            ..OptimizerSettings::default()
        };
        let groups =
            [ParamGroup::Vector, ParamGroup::Embedding, ParamGroup::Head, ParamGroup::ValueEmbedding];
        let rates = groups.map(|group| settings.slot(&parameter("w", group)).lr.to_bits());
        assert_eq!(rates, [0.5, 1.0, 2.0, 4.0].map(f64::to_bits));
    }

    #[test]
    fn rates_follow_the_table() {
        let scaling = Scaling { parametrization: Parametrization::Completep, width: 4.0, depth: 2.0 };
        let adamw = OptimizerSettings {
            lr: 1.0,
            matrix_lr: 1.0,
            weight_decay: 1.0,
            eps: 1.0,
            scaling,
            ..OptimizerSettings::default()
        };
        let muon = OptimizerSettings { matrices: MatrixOptimizer::Muon, ..adamw.clone() };
        let of = |settings: &OptimizerSettings, name: &str, group| {
            let slot = settings.slot(&parameter(name, group));
            (slot.lr, slot.weight_decay, slot.eps)
        };
        let (hidden, out) = ("model.layers.3.self_attn.q_proj.weight", "model.layers.3.mlp.down_proj.weight");
        assert_eq!(of(&adamw, hidden, ParamGroup::Matrix), (0.25, 4.0, 0.125));
        assert_eq!(of(&adamw, out, ParamGroup::Matrix), (0.125, 8.0, 0.25));
        assert_eq!(of(&adamw, "lm_head.weight", ParamGroup::Head), (0.25, 0.0, 1.0));
        assert_eq!(of(&adamw, "model.embed_tokens.weight", ParamGroup::Embedding), (1.0, 0.0, 0.25));
        assert_eq!(
            of(&adamw, "model.layers.3.input_layernorm.weight", ParamGroup::Vector),
            (1.0, 0.0, 0.125)
        );
        assert_eq!(of(&adamw, "model.norm.weight", ParamGroup::Vector), (1.0, 0.0, 0.25));
        assert_eq!(of(&muon, hidden, ParamGroup::Matrix), (1.0, 1.0, 1.0));
        assert_eq!(of(&muon, out, ParamGroup::Matrix), (0.5, 2.0, 1.0));
        let mup = Scaling { parametrization: Parametrization::Mup, ..scaling };
        let mup = OptimizerSettings { scaling: mup, ..adamw };
        assert_eq!(of(&mup, out, ParamGroup::Matrix), (0.25, 4.0, 0.25));
        let sgd = OptimizerSettings { matrices: MatrixOptimizer::Sgd, others: OtherOptimizer::Sgd, ..mup };
        assert_eq!(of(&sgd, hidden, ParamGroup::Matrix), (1.0, 1.0, 1.0));
        assert_eq!(of(&sgd, "lm_head.weight", ParamGroup::Head), (0.25, 0.0, 1.0));
        assert_eq!(of(&sgd, "model.norm.weight", ParamGroup::Vector), (4.0, 0.0, 1.0));
    }
}

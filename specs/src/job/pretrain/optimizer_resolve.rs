//! Optimisers, resolved. What would have no effect is an error.

use super::optimizer_written::OptimizerWritten;
use super::{
    DecayShape, EmaParams, GroupParams, MatrixOptimizer, MomentumWarmup, OptimizerParams, Orthogonalization,
    OtherOptimizer, Parametrization, RuleOr,
};
use crate::job::AutoOr;
use crate::spec::Code;
use crate::spec::decode::At;
use crate::spec::jobs::Resolver;
use crate::spec::tree::Spot;

/// Where Muon's momentum begins.
const RISES_FROM: f64 = 0.85;
/// How many optimiser steps it rises.
const RISE_STEPS: u64 = 300;

/// Which defaults an optimiser has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From scratch: Muon for the hidden matrices, weight decay 0.1.
    Base,
    /// The same, many times over: a run that diverges is a result.
    Sweep,
    /// From a trained model: AdamW throughout, no weight decay.
    Tuning,
}

/// Optimisers.
pub(crate) fn optimizer(
    w: &OptimizerWritten,
    stage: Stage,
    resolver: &mut Resolver<'_, '_>,
) -> Option<OptimizerParams> {
    let (matrices, weight_decay, max_setbacks) = match stage {
        Stage::Base => (MatrixOptimizer::Muon, 0.1, 8),
        Stage::Sweep => (MatrixOptimizer::Muon, 0.1, 0),
        Stage::Tuning => (MatrixOptimizer::Adamw, 0.0, 8),
    };
    let matrices = w.matrices.unwrap_or(matrices);
    let betas = betas(w, stage, resolver)?;
    let before = resolver.session.error_count();
    check_rates(w, matrices, resolver);
    check_parts(w, matrices, resolver);
    check_parametrization(w, matrices, resolver);
    if stage == Stage::Tuning {
        check_tuning(w, resolver);
    }
    let groups = groups(w, resolver);
    if resolver.session.error_count() > before {
        return None;
    }
    let plain = OptimizerParams::default();
    let value = |written: Option<&At<f64>>, default: f64| written.map_or(default, |written| written.value);
    Some(OptimizerParams {
        matrices,
        others: w.others,
        lr: w.lr.value,
        matrix_lr: w.matrix_lr.as_ref().map_or(AutoOr::Auto, |lr| lr.value),
        weight_decay: w.weight_decay.as_ref().map_or(RuleOr::Value(weight_decay), |decay| decay.value),
        weight_decay_schedule: w.weight_decay_schedule,
        weight_decay_final: match w.weight_decay_schedule {
            DecayShape::Constant => 1.0,
            DecayShape::Linear | DecayShape::Cosine => value(w.weight_decay_final.as_ref(), 0.0),
        },
        betas,
        eps: w.eps,
        momentum: value(w.momentum.as_ref(), plain.momentum),
        nesterov: w.nesterov.as_ref().is_none_or(|nesterov| nesterov.value),
        momentum_warmup: momentum_warmup(w, matrices, stage),
        orthogonalization: w
            .orthogonalization
            .as_ref()
            .map_or(Orthogonalization::PolarExpress, |way| way.value),
        groups,
        grad_clip: w.grad_clip,
        warmup: w.warmup.0,
        z_loss: value(w.z_loss.as_ref(), 0.0),
        parametrization: w.parametrization.as_ref().map_or(Parametrization::Standard, |rule| rule.value),
        base_width: w.base_width.as_ref().map_or(plain.base_width, |width| width.value),
        base_depth: w.base_depth.as_ref().map_or(plain.base_depth, |depth| depth.value),
        ema: w.ema.as_ref().map(|ema| EmaParams { decay: ema.decay, every_steps: ema.every.0 }),
        max_setbacks: w.max_setbacks.unwrap_or(max_setbacks),
        spike_sigma: w.spike_sigma,
    })
}

/// AdamW's betas: from scratch the first moment forgets faster, as in nanochat (Karpathy 2025).
fn betas(w: &OptimizerWritten, stage: Stage, resolver: &mut Resolver<'_, '_>) -> Option<[f64; 2]> {
    let Some(At { value, spot }) = &w.betas else {
        return Some(if stage == Stage::Tuning { [0.9, 0.95] } else { [0.8, 0.95] });
    };
    let [first, second] = value[..] else {
        let message = format!("AdamW has two betas, not {}", value.len());
        refuse(*spot, message, "two numbers such as [0.9, 0.95]", resolver);
        return None;
    };
    Some([first, second])
}

/// How the momentum begins: from scratch Muon's rises, as Jordan et al. 2024 have it.
fn momentum_warmup(w: &OptimizerWritten, matrices: MatrixOptimizer, stage: Stage) -> MomentumWarmup {
    if let Some(written) = &w.momentum_warmup {
        return MomentumWarmup { from: written.value.from, steps: written.value.steps.0 };
    }
    let none = MomentumWarmup { from: 0.0, steps: 0 };
    let rises = matrices == MatrixOptimizer::Muon && stage != Stage::Tuning;
    let is_higher = w.momentum.as_ref().is_none_or(|momentum| momentum.value > RISES_FROM);
    if rises && is_higher { MomentumWarmup { from: RISES_FROM, steps: RISE_STEPS } } else { none }
}

/// Whether hidden matrices and the rest have one optimiser.
fn is_one(matrices: MatrixOptimizer, others: OtherOptimizer) -> bool {
    matches!(
        (matrices, others),
        (MatrixOptimizer::Adamw, OtherOptimizer::Adamw) | (MatrixOptimizer::Sgd, OtherOptimizer::Sgd)
    )
}

/// Rates have an effect, and a rule where they are automatic.
fn check_rates(w: &OptimizerWritten, matrices: MatrixOptimizer, resolver: &mut Resolver<'_, '_>) {
    if let Some(lr) = &w.matrix_lr
        && is_one(matrices, w.others)
    {
        let message = "the hidden matrices have the optimiser and the rate of the other weights here";
        refuse(lr.spot, message, "`lr` alone, or `matrices` with another optimiser", resolver);
    }
    let is_number = |lr: AutoOr<f64>| matches!(lr, AutoOr::Value(_));
    if w.others == OtherOptimizer::Sgd && !matches!(w.lr.value, AutoOr::Value(_)) {
        refuse(w.lr.spot, "gradient descent has no rule for its rate", "a number such as lr: 0.1", resolver);
    }
    let own = w.matrix_lr.as_ref().is_some_and(|lr| is_number(lr.value));
    if matrices == MatrixOptimizer::Sgd && w.others == OtherOptimizer::Adamw && !own {
        let spot = w.matrix_lr.as_ref().map_or(w.lr.spot, |lr| lr.spot);
        refuse(spot, "gradient descent has no rule for its rate", "a number as `matrix_lr`", resolver);
    }
    if let Some(decay) = &w.weight_decay
        && matches!(decay.value, RuleOr::Rule(_))
        && matrices != MatrixOptimizer::Adamw
    {
        refuse(decay.spot, "this rule was found for AdamW", "a number, or matrices: adamw", resolver);
    }
}

/// What belongs to one optimiser is written beside it only.
fn check_parts(w: &OptimizerWritten, matrices: MatrixOptimizer, resolver: &mut Resolver<'_, '_>) {
    let has_momentum = matrices != MatrixOptimizer::Adamw || w.others == OtherOptimizer::Sgd;
    let momentum = [
        w.momentum.as_ref().map(|part| part.spot),
        w.nesterov.as_ref().map(|part| part.spot),
        w.momentum_warmup.as_ref().map(|part| part.spot),
    ];
    for spot in momentum.into_iter().flatten().filter(|_| !has_momentum) {
        refuse(spot, "AdamW has no such momentum", "`betas` with adamw, or muon or sgd", resolver);
    }
    if let Some(way) = w.orthogonalization.as_ref().filter(|_| matrices != MatrixOptimizer::Muon) {
        refuse(way.spot, "nothing is made orthogonal here", "matrices: muon beside it", resolver);
    }
    if let Some(last) =
        w.weight_decay_final.as_ref().filter(|_| w.weight_decay_schedule == DecayShape::Constant)
    {
        let expected = "weight_decay_schedule: linear or cosine beside it";
        refuse(last.spot, "the weight decay stays as it is", expected, resolver);
    }
    if let Some(warmup) = &w.momentum_warmup
        && warmup.value.from > w.momentum.as_ref().map_or(0.95, |momentum| momentum.value)
    {
        refuse(
            warmup.spot,
            "the momentum begins above where it goes to",
            "`from` below `momentum`",
            resolver,
        );
    }
}

/// Bases stand beside the rule that they are for.
fn check_parametrization(w: &OptimizerWritten, matrices: MatrixOptimizer, resolver: &mut Resolver<'_, '_>) {
    let rule = w.parametrization.as_ref().map_or(Parametrization::Standard, |rule| rule.value);
    if let Some(width) = w.base_width.as_ref().filter(|_| rule == Parametrization::Standard) {
        let message = "rates do not follow a base width here";
        refuse(width.spot, message, "parametrization: mup or completep beside it", resolver);
    }
    if let Some(depth) = w.base_depth.as_ref().filter(|_| rule != Parametrization::Completep) {
        let message = "rates do not follow a base depth here";
        refuse(depth.spot, message, "parametrization: completep beside it", resolver);
    }
    let Some(written) = w.parametrization.as_ref().filter(|_| rule != Parametrization::Standard) else {
        return;
    };
    let has_sgd = matrices == MatrixOptimizer::Sgd || w.others == OtherOptimizer::Sgd;
    if has_sgd && rule == Parametrization::Completep {
        let expected = "parametrization: mup, or muon and adamw";
        refuse(written.spot, "completep says nothing of gradient descent", expected, resolver);
    }
    if matches!(w.lr.value, AutoOr::Rule(_)) {
        let message = "this rule is for the standard parametrization";
        refuse(w.lr.spot, message, "a number or auto, or parametrization: standard", resolver);
    }
}

/// What holds for training from scratch only.
fn check_tuning(w: &OptimizerWritten, resolver: &mut Resolver<'_, '_>) {
    let rules = [
        matches!(w.lr.value, AutoOr::Rule(_)).then_some(w.lr.spot),
        w.weight_decay
            .as_ref()
            .filter(|decay| matches!(decay.value, RuleOr::Rule(_)))
            .map(|decay| decay.spot),
        w.z_loss.as_ref().map(|part| part.spot),
        w.parametrization.as_ref().map(|part| part.spot),
    ];
    for spot in rules.into_iter().flatten() {
        let message = "this is for training from scratch, and this job goes on from a model";
        refuse(spot, message, "a pretrain or scaling job for it", resolver);
    }
}

/// Weights by name.
fn groups(w: &OptimizerWritten, resolver: &mut Resolver<'_, '_>) -> Vec<GroupParams> {
    let mut found: Vec<GroupParams> = Vec::new();
    for group in &w.groups {
        let At { value, spot } = group;
        if value.lr.is_none() && value.weight_decay.is_none() {
            refuse(*spot, "this group changes nothing", "`lr` or `weight_decay` in it", resolver);
        }
        if found.iter().any(|other| other.pattern == value.pattern) {
            refuse(
                *spot,
                format!("the pattern `{}` stands twice", value.pattern),
                "one group for it",
                resolver,
            );
        }
        found.push(GroupParams {
            pattern: value.pattern.clone(),
            lr: value.lr,
            weight_decay: value.weight_decay,
        });
    }
    found
}

fn refuse(spot: Spot, message: impl Into<String>, expected: &str, resolver: &mut Resolver<'_, '_>) {
    resolver.session.error(Code::Conflict, spot, message).expecting(expected);
}

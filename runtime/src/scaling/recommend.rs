//! The size and token count for a target.
//!
//! Sizes are those of the `depth` dial, with the proportions of the runs; their parameters and FLOPs a token are read off the runs'
//! and go on as a power of the depth beyond them. For much inference (Sardana et al., 2023, arXiv:2401.00448) the loss that the target
//! buys is held, and the size chosen whose training and inference together take the least compute.

use std::collections::BTreeMap;

use cupola_specs::artifact::{LawFile, LawFit, Recommendation, SweepRun};
use cupola_specs::job::{Family, FitMethod, FitParams, FitTarget, ModelShape};

use super::ScalingError;
use super::forecast::{interval_at, log_loss_of, preferred};
use super::points::{best_runs, interpolate};

/// Largest depth that a recommendation looks at.
const MAX_DEPTH: u64 = 96;

/// One size of the dial.
#[derive(Debug, Clone, PartialEq)]
struct Size {
    shape: ModelShape,
    params: f64,
    flops_per_token: f64,
}

/// Recommends a run of a family; what is doubtful about it becomes a caveat of the fit it comes from.
pub(super) fn recommend(
    law: &mut LawFile,
    family: Family,
    params: &FitParams,
) -> Result<Recommendation, ScalingError> {
    let fit = preferred(law, family)?.clone();
    let runs = best_runs(&law.runs, family);
    let sizes = sizes(&runs);
    let (size, tokens) = match params.target {
        FitTarget::Point { params, tokens } => {
            let size = nearest(&sizes, params).ok_or(ScalingError::NoRuns)?;
            (Size { params, ..size }, tokens)
        }
        FitTarget::Flops { flops } => choose(&fit, &sizes, flops, params.inference_tokens)?,
        FitTarget::Budget { device_secs } => {
            let speed = law.flops_per_sec.get(&family).copied().unwrap_or(0.0);
            choose(&fit, &sizes, device_secs * speed, params.inference_tokens)?
        }
    };
    let caveat = doubt(&runs, &size, tokens);
    let recommendation = Recommendation {
        loss: interval_at(law, &fit, size.params, tokens)?,
        flops: size.flops_per_token * tokens,
        shape: size.shape,
        params: size.params,
        tokens,
    };
    if let Some(caveat) = caveat
        && let Some(own) = law.fits.iter_mut().find(|f| f.family == family && f.method == fit.method)
    {
        own.caveats.push(caveat);
    }
    Ok(recommendation)
}

/// The size of the lowest forecast loss at some compute, or, with inference, of the least compute at that loss.
fn choose(fit: &LawFit, sizes: &[Size], flops: f64, inference: f64) -> Result<(Size, f64), ScalingError> {
    if !(flops.is_finite() && flops > 0.0) {
        return Err(ScalingError::Parameter {
            field: "target".into(),
            expected: "a budget of some compute".into(),
            got: format!("{flops} FLOPs"),
        });
    }
    if fit.method != FitMethod::Parametric {
        let value = |name: &str| fit.parameters.get(name).map_or(f64::NAN, |interval| interval.value);
        let size = nearest(sizes, value("N0") * flops.powf(value("a"))).ok_or(ScalingError::NoRuns)?;
        let tokens = flops / size.flops_per_token;
        return Ok((size, tokens));
    }
    let loss = |size: &Size| log_loss_of(fit, size.params, flops / size.flops_per_token, flops);
    let best = sizes.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).ok_or(ScalingError::NoRuns)?;
    let tokens = flops / best.flops_per_token;
    if inference <= 0.0 {
        return Ok((best.clone(), tokens));
    }
    let target = loss(best).exp();
    let both = sizes.iter().filter_map(|size| {
        let tokens = tokens_to(fit, size.params, target)?;
        Some((size, tokens, size.flops_per_token * (tokens + inference / 3.0)))
    });
    let least = both.min_by(|a, b| a.2.total_cmp(&b.2));
    Ok(least.map_or((best.clone(), tokens), |(size, tokens, _)| (size.clone(), tokens)))
}

/// Tokens that bring a size to a loss: (B / (L − E − A/N^α))^(1/β); none where the size can't reach it.
fn tokens_to(fit: &LawFit, params: f64, loss: f64) -> Option<f64> {
    let value = |name: &str| fit.parameters.get(name).map(|interval| interval.value);
    let rest = loss - value("E")? - value("A")? / params.powf(value("alpha")?);
    // A rest of nothing asks for tokens without end; a tenth of a per cent of the loss is what a fit can tell.
    (rest > 1e-3 * loss).then_some(())?;
    Some((value("B")? / rest).powf(1.0 / value("beta")?))
}

/// The dial's sizes in the proportions of the runs.
fn sizes(runs: &[&SweepRun]) -> Vec<Size> {
    let mut by_depth: BTreeMap<u64, &SweepRun> = BTreeMap::new();
    for run in runs {
        by_depth.insert(run.shape.num_hidden_layers, run);
    }
    let Some(template) = by_depth.values().next_back().map(|run| &run.shape) else { return Vec::new() };
    let table = |of: fn(&SweepRun) -> f64| -> Vec<(f64, f64)> {
        let mut table: Vec<(f64, f64)> =
            by_depth.iter().map(|(&depth, run)| ((depth as f64).ln(), of(run).ln())).collect();
        if let [(depth, value)] = table[..] {
            // One size: width and depth grow together, so parameters go with the cube.
            table.push((depth + 1.0, value + 3.0));
        }
        table
    };
    let params = table(|run| run.params as f64);
    let per_token = table(|run| run.flops / run.tokens as f64);
    (1..=MAX_DEPTH)
        .filter_map(|depth| {
            let at = (depth as f64).ln();
            let (params, per_token) = (interpolate(&params, at)?, interpolate(&per_token, at)?);
            let measured = by_depth.get(&depth).map(|run| run.shape.clone());
            Some(Size {
                shape: measured.unwrap_or_else(|| scaled(template, depth)),
                params: params.exp().round(),
                flops_per_token: per_token.exp(),
            })
        })
        .collect()
}

/// The template at another depth: width, feed-forward width and heads in proportion.
fn scaled(template: &ModelShape, depth: u64) -> ModelShape {
    let of = |size: u64| (size * depth / template.num_hidden_layers.max(1)).max(1);
    let hidden_size = of(template.hidden_size);
    let ratio = template.intermediate_size as f64 / template.hidden_size as f64;
    ModelShape {
        num_hidden_layers: depth,
        hidden_size,
        intermediate_size: ((ratio * hidden_size as f64) as u64).next_multiple_of(64),
        num_attention_heads: of(template.num_attention_heads),
        num_key_value_heads: of(template.num_key_value_heads),
        ..template.clone()
    }
}

fn nearest(sizes: &[Size], params: f64) -> Option<Size> {
    let off = |size: &Size| (size.params / params).ln().abs();
    sizes.iter().min_by(|a, b| off(a).total_cmp(&off(b))).cloned()
}

fn doubt(runs: &[&SweepRun], size: &Size, tokens: f64) -> Option<String> {
    let largest = |of: fn(&SweepRun) -> f64| runs.iter().map(|run| of(run)).fold(0.0, f64::max);
    let params = size.params / largest(|run| run.params as f64);
    let tokens = tokens / largest(|run| run.tokens as f64);
    (params > 1.5 || tokens > 1.5).then(|| {
        format!("the recommended run has {params:.1} times the largest run's parameters and {tokens:.1} times its tokens")
    })
}

#[cfg(test)]
mod tests {
    use super::super::invented::{invented_law, true_loss};
    use super::*;

    fn asked(target: FitTarget, inference_tokens: f64) -> Recommendation {
        let params = FitParams { methods: vec![FitMethod::Parametric], target, inference_tokens };
        recommend(&mut invented_law(0.0), Family::Transformer, &params).unwrap()
    }

    #[test]
    fn the_size_is_the_dials_best_at_the_compute() {
        let best = asked(FitTarget::Flops { flops: 1e14 }, 0.0);
        assert!((best.flops / 1e14 - 1.0).abs() < 1e-9);
        for depth in 1..=12_u64 {
            let params = 49_152.0 * (depth as f64).powi(3);
            let tokens = 1e14 / (6.0 * (params + 64.0 * 4096.0 * depth as f64));
            assert!(
                true_loss(best.params, best.tokens) <= true_loss(params, tokens) * 1.003,
                "depth {depth}: {best:?}"
            );
        }
        assert_eq!(best.shape.hidden_size, 64 * best.shape.num_hidden_layers);
        let budget = asked(FitTarget::Budget { device_secs: 1e14 / 3e10 }, 0.0);
        assert_eq!(budget.shape, best.shape);
    }

    #[test]
    fn much_inference_asks_for_a_smaller_model_and_more_tokens() {
        let (train, serve) =
            (asked(FitTarget::Flops { flops: 1e15 }, 0.0), asked(FitTarget::Flops { flops: 1e15 }, 1e9));
        assert!(serve.params < train.params && serve.tokens > train.tokens, "{train:?} {serve:?}");
    }

    #[test]
    fn a_point_is_taken_as_it_is() {
        let point = asked(FitTarget::Point { params: 2e6, tokens: 1e6 }, 0.0);
        assert!((point.params - 2e6).abs() < 1e-6 && (point.tokens - 1e6).abs() < 1e-6);
        assert!((point.loss.value / true_loss(2e6, 1e6) - 1.0).abs() < 0.01, "{point:?}");
    }
}

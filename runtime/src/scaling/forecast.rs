//! A law at a size and a token count.
//!
//! The 95 % prediction interval is made from what could differ: the law's parameters (bootstrap draws), the noise of one run
//! (Student's t with the fit's degrees of freedom), and, beyond the sizes and token counts that were run, the error that the
//! method made when it forecast the largest runs from the smaller ones.

use cupola_specs::artifact::{Forecast, Interval, LawFile, LawFit};
use cupola_specs::job::{Family, FitMethod};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::ScalingError;
use super::fitting::quantile;
use super::parametric::distance;
use super::points::{best_runs, points, training_flops};

/// Least noise of one run on the logarithm of the loss: what another seed changes at these sizes, which a sweep of one seed can't see.
const LEAST_NOISE: f64 = 0.004;
/// Samples of the noise for each draw of the parameters.
const NOISE_SAMPLES: usize = 20;
/// Seed of the noise: a forecast is a function of the law alone.
const NOISE_SEED: u64 = 0x00f0_7eca_5700;

/// Forecasts the validation loss of a run before it starts. `law_fingerprint` names the law in the record.
///
/// # Errors
/// [`ScalingError::NoFit`] where the law has no fit of the family; [`ScalingError::Parameter`] where a size or a count isn't positive.
pub fn forecast(
    law: &LawFile,
    law_fingerprint: &str,
    family: Family,
    params: f64,
    tokens: f64,
) -> Result<Forecast, ScalingError> {
    let fit = preferred(law, family)?;
    Ok(Forecast {
        law: law_fingerprint.to_owned(),
        family,
        method: fit.method,
        params,
        tokens,
        loss: interval_at(law, fit, params, tokens)?,
    })
}

/// The fit that forecasts of a family are made with: parametric before isoflop before envelope, since only the first speaks of
/// runs off the optimum.
pub(super) fn preferred(law: &LawFile, family: Family) -> Result<&LawFit, ScalingError> {
    let find = |method| law.fits.iter().find(move |fit| fit.family == family && fit.method == method);
    find(FitMethod::Parametric)
        .or_else(|| find(FitMethod::Isoflop))
        .or_else(|| find(FitMethod::Envelope))
        .ok_or_else(|| ScalingError::NoFit {
            family,
            got: format!("{:?}", law.fits.iter().map(|fit| (fit.family, fit.method)).collect::<Vec<_>>()),
        })
}

/// The forecast with its 95 % prediction interval.
pub(super) fn interval_at(
    law: &LawFile,
    fit: &LawFit,
    params: f64,
    tokens: f64,
) -> Result<Interval, ScalingError> {
    if !(params > 0.0 && tokens > 0.0 && params.is_finite() && tokens.is_finite()) {
        return Err(ScalingError::Parameter {
            field: "params, tokens".into(),
            expected: "a size and a token count above 0".into(),
            got: format!("{params}, {tokens}"),
        });
    }
    let runs = best_runs(&law.runs, fit.family);
    let flops = training_flops(&runs, params, tokens);
    let free = fit.parameters.keys().filter(|name| !matches!(name.as_str(), "a" | "b" | "D0" | "N0")).count();
    let spare = (fit.num_points as usize).saturating_sub(free).max(1);
    let widened = fit.rms_log_residual * (fit.num_points as f64 / spare as f64).sqrt();
    let noise = widened.max(LEAST_NOISE);
    let beyond = fit.log_error_per_efold * distance(&points(&runs), params, tokens);
    let centre = log_loss_of(fit, params, tokens, flops);
    let names: Vec<&str> = fit.parameters.keys().map(String::as_str).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(NOISE_SEED);
    let mut samples = Vec::new();
    for draw in &fit.draws {
        let value = |name: &str| names.iter().position(|n| *n == name).and_then(|at| draw.get(at)).copied();
        let drawn = log_loss(fit.method, value, params, tokens, flops);
        for _ in 0..NOISE_SAMPLES {
            samples.push(drawn + noise * student(&mut rng, spare) + beyond * normal(&mut rng));
        }
    }
    samples.retain(|sample| sample.is_finite());
    let (low, high) = if samples.is_empty() {
        (f64::NEG_INFINITY, f64::INFINITY)
    } else {
        (quantile(&mut samples, 0.025), quantile(&mut samples, 0.975))
    };
    // The centre is inside: where the draws lie aside, the interval reaches to it.
    Ok(Interval { value: centre.exp(), low: low.min(centre).exp(), high: high.max(centre).exp() })
}

/// The fit's own estimate of the logarithm of the loss.
pub(super) fn log_loss_of(fit: &LawFit, params: f64, tokens: f64, flops: f64) -> f64 {
    let value = |name: &str| fit.parameters.get(name).map(|interval| interval.value);
    log_loss(fit.method, value, params, tokens, flops)
}

fn log_loss(
    method: FitMethod,
    value: impl Fn(&str) -> Option<f64>,
    params: f64,
    tokens: f64,
    flops: f64,
) -> f64 {
    let get = |name: &str| value(name).unwrap_or(f64::NAN);
    let loss = match method {
        FitMethod::Parametric => {
            get("E") + get("A") / params.powf(get("alpha")) + get("B") / tokens.powf(get("beta"))
        }
        FitMethod::Isoflop | FitMethod::Envelope => get("E") + get("K") / flops.powf(get("gamma")),
    };
    loss.ln()
}

/// A standard normal, by Box and Muller.
fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Student's t: a normal over the root of a mean of squared normals. Above 30 degrees of freedom it is a normal.
fn student(rng: &mut ChaCha8Rng, freedom: usize) -> f64 {
    let top = normal(rng);
    if freedom > 30 {
        return top;
    }
    let squares: f64 = (0..freedom).map(|_| normal(rng).powi(2)).sum();
    top / (squares / freedom as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::invented::{invented_law, true_loss};

    #[test]
    fn the_interval_holds_the_truth_and_widens_with_the_distance() {
        let law = invented_law(0.005);
        let near = forecast(&law, "f", Family::Transformer, 3e6, 2.5e6).unwrap();
        let truth = true_loss(3e6, 2.5e6);
        assert!(near.loss.low < truth && truth < near.loss.high, "{truth} outside of {near:?}");
        // Twelve runs with half a per cent of noise, asked for twice their largest token count.
        assert!((near.loss.value / truth - 1.0).abs() < 0.04, "{truth} but {near:?}");
        let far = forecast(&law, "f", Family::Transformer, 3e8, 2.5e8).unwrap();
        let width = |f: &Forecast| (f.loss.high / f.loss.low).ln();
        assert!(width(&far) > 2.0 * width(&near), "{near:?} {far:?}");
        assert_eq!(near.loss, forecast(&law, "f", Family::Transformer, 3e6, 2.5e6).unwrap().loss);
    }

    #[test]
    fn a_family_that_was_not_swept_has_no_forecast() {
        let law = invented_law(0.005);
        assert!(matches!(
            forecast(&law, "f", Family::Lstm, 3e6, 2.5e6),
            Err(ScalingError::NoFit { family: Family::Lstm, .. })
        ));
    }
}

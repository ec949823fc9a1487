//! What the three methods share: from a central estimate and bootstrap draws to a [`LawFit`].

use std::collections::BTreeMap;

use cupola_specs::artifact::{Interval, LawFit};
use cupola_specs::job::{Family, FitMethod};

use super::sum_law::EXPONENT_BOUNDS;

/// Bootstrap draws that a fit keeps.
pub(super) const DRAWS: usize = 200;
/// The least error of a forecast for each e-fold beyond the runs. A backtest on a handful of runs may come out small by luck: it widens
/// this, and never narrows it.
pub(super) const LEAST_EXTRAPOLATION: f64 = 0.02;

/// Named values of one fit or of one draw.
pub(super) type Named = BTreeMap<&'static str, f64>;

/// The parts of a [`LawFit`].
#[derive(Debug)]
pub(super) struct FitParts {
    /// Which network.
    pub family: Family,
    /// How it was fitted.
    pub method: FitMethod,
    /// The estimate.
    pub central: Named,
    /// The same names, drawn.
    pub draws: Vec<Named>,
    /// Residuals of the logarithm of the loss.
    pub residuals: Vec<f64>,
    /// What a backtest measured, [`backtest_error`].
    pub extrapolation: Option<f64>,
    /// Why the fit is weak.
    pub caveats: Vec<String>,
}

/// Assembles the fit, with 95 % intervals of each parameter and the caveats that every method has.
pub(super) fn law_fit(mut parts: FitParts) -> LawFit {
    let mut parameters = BTreeMap::new();
    for (&name, &value) in &parts.central {
        let mut drawn: Vec<f64> = parts.draws.iter().map(|draw| draw[name]).collect();
        let (low, high) = (quantile(&mut drawn, 0.025), quantile(&mut drawn, 0.975));
        parameters.insert(name.to_owned(), Interval { value, low: low.min(value), high: high.max(value) });
    }
    for name in ["alpha", "beta", "gamma"] {
        let Some(&value) = parts.central.get(name) else { continue };
        if value < EXPONENT_BOUNDS.0 + 0.01 || value > EXPONENT_BOUNDS.1 - 0.05 {
            parts
                .caveats
                .push(format!("exponent {name} = {value:.3} is at its bound: the runs don't hold it"));
        }
    }
    let free = parts.central.keys().filter(|name| !matches!(**name, "a" | "b" | "D0" | "N0")).count();
    if parts.residuals.len() < 2 * free {
        parts.caveats.push(format!("{} points for {free} parameters", parts.residuals.len()));
    }
    if parts.extrapolation.is_none() {
        parts.caveats.push("too few runs to test a forecast of the largest from the smaller ones".into());
    }
    let square = parts.residuals.iter().map(|r| r * r).sum::<f64>() / parts.residuals.len().max(1) as f64;
    LawFit {
        family: parts.family,
        method: parts.method,
        parameters,
        rms_log_residual: square.sqrt(),
        draws: parts.draws.iter().map(|draw| draw.values().copied().collect()).collect(),
        num_points: parts.residuals.len() as u64,
        log_error_per_efold: parts.extrapolation.unwrap_or(0.0).max(LEAST_EXTRAPOLATION),
        caveats: parts.caveats,
    }
}

/// The error that a method made for each e-fold that it looked ahead: root mean square of error ÷ distance.
pub(super) fn backtest_error(errors: &[(f64, f64)]) -> Option<f64> {
    let rates: Vec<f64> =
        errors.iter().filter(|(_, distance)| *distance > 0.05).map(|(e, distance)| e / distance).collect();
    (!rates.is_empty()).then(|| (rates.iter().map(|r| r * r).sum::<f64>() / rates.len() as f64).sqrt())
}

/// The q-quantile by linear interpolation; NaN of nothing.
pub(super) fn quantile(values: &mut [f64], q: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let place = q * last as f64;
    let (low, part) = (place.floor() as usize, place.fract());
    values[low] + part * (values[(low + 1).min(last)] - values[low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        assert!((quantile(&mut [3.0, 1.0, 2.0, 4.0], 0.5) - 2.5).abs() < 1e-12);
        assert!((quantile(&mut [3.0, 1.0], 1.0) - 3.0).abs() < 1e-12);
    }

    #[test]
    fn a_look_of_no_distance_says_nothing() {
        assert_eq!(backtest_error(&[(0.1, 0.0)]), None);
        assert!((backtest_error(&[(0.02, 1.0), (-0.04, 2.0)]).unwrap() - 0.02).abs() < 1e-12);
    }
}

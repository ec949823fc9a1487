//! Files of a `sweep` (`runs.json`: a list of [`SweepRun`]) and of a `law` (`runs.csv`, `law.json`: [`LawFile`], `*.svg`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::job::{Family, FitMethod, ModelShape};

/// One training run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepRun {
    /// Which network.
    pub shape: ModelShape,
    /// Parameters, embedding matrices not counted.
    pub params: u64,
    /// Parameters in all.
    pub total_params: u64,
    /// Training tokens.
    pub tokens: u64,
    /// Training compute.
    pub flops: f64,
    /// Peak learning rate.
    pub lr: f64,
    /// Final validation loss, nats a token.
    pub validation_loss: f64,
    /// Final validation bits per byte.
    pub validation_bpb: f64,
    /// Wall-clock seconds.
    pub secs: f64,
    /// Training loss on the way: (tokens, loss).
    pub curve: Vec<(f64, f64)>,
}

/// A value with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// `law.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LawFile {
    /// Every run, the best learning rate of each point marked by being the lowest loss at its (shape, tokens).
    pub runs: Vec<SweepRun>,
    /// Fits by family and method.
    pub fits: Vec<LawFit>,
    /// Recommendation by family for the spec's target.
    pub recommendations: BTreeMap<Family, Recommendation>,
    /// The family with the lower forecast at the target.
    pub best_family: Family,
    /// Training FLOP/s that the sweep measured, by family (largest size).
    pub flops_per_sec: BTreeMap<Family, f64>,
}

/// One fit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LawFit {
    /// Which network.
    pub family: Family,
    /// How it was fitted.
    pub method: FitMethod,
    /// Parameters by name (`E`, `A`, `B`, `alpha`, `beta`; `a`, `b` of N ∝ C^a, D ∝ C^b).
    pub parameters: BTreeMap<String, Interval>,
    /// Root mean square of the residuals of the logarithm.
    pub rms_log_residual: f64,
    /// Bootstrap draws of the parameters in the order of `parameters`: what a forecast's interval is made from.
    pub draws: Vec<Vec<f64>>,
    /// Points that the fit used.
    pub num_points: u64,
    /// How wrong the method was, on the logarithm of the loss, for each e-fold that it looked beyond its runs when it forecast the
    /// largest from the smaller ones; widens a forecast's interval there.
    pub log_error_per_efold: f64,
    /// Why the fit is weak, where it is (too few points, an exponent at its bound).
    pub caveats: Vec<String>,
}

/// A recommended run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// The network nearest to the recommended size.
    pub shape: ModelShape,
    /// Recommended parameters, embedding matrices not counted.
    pub params: f64,
    /// Recommended tokens.
    pub tokens: f64,
    /// The compute that they take.
    pub flops: f64,
    /// Forecast validation loss, nats a token.
    pub loss: Interval,
}

/// A forecast, written down before the run; the log line that says it carries the time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Fingerprint of the law.
    pub law: String,
    /// Family.
    pub family: Family,
    /// Method.
    pub method: FitMethod,
    /// Parameters, embedding matrices not counted.
    pub params: f64,
    /// Tokens.
    pub tokens: f64,
    /// Forecast validation loss, nats a token.
    pub loss: Interval,
}

//! Estimates with their standard errors and 95 % intervals.
//!
//! Shares: Wilson's score interval (1927), which stays honest near 0 and 1 and for small counts. Means and ratios: the normal
//! interval over independent units (documents, chats); a ratio of sums takes the linearised standard error, so that tokens of one
//! document do not count as independent.

use cupola_specs::artifact::Interval;

/// The normal distribution's 97.5 % point.
const Z: f64 = 1.959_963_984_540_054;

/// A number with its standard error and interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its standard error.
    pub stderr: f64,
    /// Lower end of the 95 % interval.
    pub low: f64,
    /// Upper end of the 95 % interval.
    pub high: f64,
    /// Independent units.
    pub n: u64,
}

impl Estimate {
    /// The estimate and its interval alone.
    pub fn interval(self) -> Interval {
        Interval { value: self.value, low: self.low, high: self.high }
    }

    /// The same through an increasing function, for the value and both ends; `slope` is its derivative at the value.
    #[must_use]
    pub fn map(self, f: impl Fn(f64) -> f64, slope: f64) -> Self {
        Self {
            value: f(self.value),
            stderr: self.stderr * slope,
            low: f(self.low),
            high: f(self.high),
            n: self.n,
        }
    }

    fn normal(value: f64, stderr: f64, n: u64) -> Self {
        Self { value, stderr, low: value - Z * stderr, high: value + Z * stderr, n }
    }
}

/// A share with Wilson's interval. With no trial nothing is known: 0.5 in [0, 1].
pub fn wilson(successes: u64, n: u64) -> Estimate {
    if n == 0 {
        return Estimate { value: 0.5, stderr: 0.5, low: 0.0, high: 1.0, n };
    }
    let (count, share) = (n as f64, successes as f64 / n as f64);
    let denominator = 1.0 + Z * Z / count;
    let centre = (share + Z * Z / (2.0 * count)) / denominator;
    let half = Z / denominator * (share * (1.0 - share) / count + Z * Z / (4.0 * count * count)).sqrt();
    let stderr = (share * (1.0 - share) / count).sqrt();
    Estimate { value: share, stderr, low: (centre - half).max(0.0), high: (centre + half).min(1.0), n }
}

/// A mean over independent units.
pub fn mean(values: &[f64]) -> Estimate {
    let n = values.len();
    let value = values.iter().sum::<f64>() / n.max(1) as f64;
    let squares: f64 = values.iter().map(|x| (x - value).powi(2)).sum();
    let stderr = if n > 1 { (squares / (n - 1) as f64 / n as f64).sqrt() } else { 0.0 };
    Estimate::normal(value, stderr, n as u64)
}

/// The ratio of two sums over independent units, such as nats over bytes by document.
pub fn ratio(parts: &[(f64, f64)]) -> Estimate {
    let n = parts.len();
    let (top, bottom) = parts.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let value = top / bottom;
    let squares: f64 = parts.iter().map(|(x, y)| (x - value * y).powi(2)).sum();
    let stderr = if n > 1 { (squares * n as f64 / (n - 1) as f64).sqrt() / bottom } else { 0.0 };
    Estimate::normal(value, stderr, n as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_gives_the_textbook_interval() {
        // statsmodels.stats.proportion.proportion_confint(60, 100, method="wilson")
        let estimate = wilson(60, 100);
        assert!((estimate.low - 0.502_002_574).abs() < 1e-6, "{estimate:?}");
        assert!((estimate.high - 0.690_598_7).abs() < 1e-4, "{estimate:?}");
        assert_eq!((wilson(0, 0).low, wilson(0, 0).high), (0.0, 1.0));
        assert!(wilson(0, 10).low == 0.0 && wilson(10, 10).high > 0.999_999);
    }

    #[test]
    fn a_ratio_of_equal_weights_is_a_mean() {
        let values = [1.0, 2.0, 4.0, 5.0];
        let parts: Vec<(f64, f64)> = values.iter().map(|x| (*x, 1.0)).collect();
        let (a, b) = (mean(&values), ratio(&parts));
        assert!((a.value - 3.0).abs() < 1e-12 && (a.stderr - b.stderr).abs() < 1e-12);
        assert!((a.stderr - (10.0f64 / 3.0 / 4.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn a_map_keeps_the_order_of_the_ends() {
        let estimate = mean(&[1.0, 2.0, 3.0]).map(f64::exp, 2f64.exp());
        assert!(estimate.low < estimate.value && estimate.value < estimate.high);
    }
}

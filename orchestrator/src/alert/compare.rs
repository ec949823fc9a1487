//! Two reports, metric by metric: which got worse by more than chance.
//!
//! Each metric has a value and a 95 % interval in both reports. Where higher is worse, the difference *new − old* is divided by the root of
//! the sum of two squares: what the new value lies above its lower end, and the old one below its upper end, each over 1.96. These are the
//! ends that face each other when the new value is worse, so an interval that is not even on both sides (a share near 0 or 1, a
//! perplexity) counts with the side that matters: the method of variance estimates recovery, Newcombe, "Interval estimation for the
//! difference between independent proportions", Statistics in Medicine 17 (1998) 873–890, and Zou and Donner, "Construction of confidence
//! limits about effect measures", Statistics in Medicine 27 (2008) 1693–1702. The one-sided p-values of all metrics of a firing are
//! corrected by Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6 (1979) 65–70: the
//! chance that a firing raises any false alarm is at most 5 %. Reports hold no result of each single item, so both values count as
//! independent; on the same questions they rather rise and fall together, and the test errs on the side of silence.
//!
//! Metrics whose better direction is known are compared: `bpb`, `perplexity`, `loss`, and those that begin with `accuracy`, `win_rate` or
//! `rouge_l`. Rows about the data or about the byte n-gram model beside the models are not.

use std::collections::BTreeMap;

use cupola_specs::artifact::{EvalReport, ReportRow};

use super::message::{Measured, MetricChange, NotCompared};

/// A metric is worse by more than chance where its corrected p-value is at most this.
pub(super) const ALPHA: f64 = 0.05;
/// The normal distribution's 97.5 % point: the ends of an interval lie this many standard errors from its value.
const Z95: f64 = 1.959_963_984_540_054;
/// The byte n-gram model that perplexity suites put beside the models.
const REFERENCE_MODEL: &str = "ngram3";
/// How it is tested, in one line.
pub(super) const TEST: &str = "difference over its standard error from the facing sides of both 95 % intervals, one-sided, 5 %, Holm's correction over all metrics";

/// What stands in the way of comparing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Why suites can't be compared, by suite.
    pub suites: BTreeMap<String, String>,
    /// Why numbers that are counted by tokens can't be; none where they can.
    pub per_token: Option<String>,
}

/// Two reports side by side.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Comparison {
    /// Every metric that both have, p-values not yet corrected.
    pub metrics: Vec<MetricChange>,
    /// What was not compared, and why.
    pub not_compared: Vec<NotCompared>,
}

/// Which number of a report: suite, model, metric, and how many of the same name are before it.
type Key<'r> = (&'r str, &'r str, &'r str, usize);

/// Holds each metric of one report against that of another.
pub fn compare(older: &EvalReport, newer: &EvalReport, obstacles: &Obstacles) -> Comparison {
    let (old_rows, new_rows) = (rows(older), rows(newer));
    let mut comparison = Comparison::default();
    for (suite, why) in &obstacles.suites {
        comparison.not_compared.push(NotCompared { what: suite.clone(), why: why.clone() });
    }
    let is_open = |key: &Key<'_>| !obstacles.suites.contains_key(key.0);
    for (key, new) in new_rows.iter().filter(|(key, _)| is_open(key)) {
        let found = old_rows.iter().find(|(other, _)| other == key);
        let outcome = match found {
            None => Err("only the newer report has it".to_owned()),
            Some((_, old)) => change(old, new, obstacles),
        };
        match outcome {
            Ok(change) => comparison.metrics.push(change),
            Err(why) => comparison.not_compared.push(NotCompared { what: name_of(new), why }),
        }
    }
    let is_gone = |key: &Key<'_>| is_open(key) && !new_rows.iter().any(|(other, _)| other == key);
    for (_, old) in old_rows.iter().filter(|(key, _)| is_gone(key)) {
        let why = "only the older report has it".to_owned();
        comparison.not_compared.push(NotCompared { what: name_of(old), why });
    }
    comparison
}

/// Corrects p-values for their number, by Holm's step-down procedure; none is over 1, and none is below that of a smaller one.
pub fn holm(metrics: &mut [&mut MetricChange]) {
    metrics.sort_by(|a, b| a.p.total_cmp(&b.p));
    let count = metrics.len();
    let mut least: f64 = 0.0;
    for (at, metric) in metrics.iter_mut().enumerate() {
        least = least.max(metric.p * (count - at) as f64).min(1.0);
        metric.p_adjusted = least;
    }
}

/// The rows of a report that can be compared at all.
fn rows(report: &EvalReport) -> Vec<(Key<'_>, &ReportRow)> {
    let mut seen: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    let models = report.rows.iter().filter(|row| !row.model.is_empty() && row.model != REFERENCE_MODEL);
    let directed = models.filter(|row| has_direction(&row.metric));
    directed
        .map(|row| {
            let name = (row.suite.as_str(), row.model.as_str(), row.metric.as_str());
            let at = seen.entry(name).or_default();
            *at += 1;
            ((name.0, name.1, name.2, *at), row)
        })
        .collect()
}

fn has_direction(metric: &str) -> bool {
    matches!(metric, "bpb" | "perplexity" | "loss")
        || ["accuracy", "win_rate", "rouge_l"].iter().any(|head| metric.starts_with(head))
}

/// Whether the number depends on how long a token is.
fn is_per_token(metric: &str) -> bool {
    matches!(metric, "perplexity" | "loss")
}

fn name_of(row: &ReportRow) -> String {
    format!("{} {} {}", row.suite, row.model, row.metric)
}

fn measured(row: &ReportRow) -> Measured {
    Measured { value: row.value, low: row.low, high: row.high, n: row.n }
}

/// A metric before and now, or why that says nothing.
fn change(old: &ReportRow, new: &ReportRow, obstacles: &Obstacles) -> Result<MetricChange, String> {
    if let Some(why) = obstacles.per_token.as_ref().filter(|_| is_per_token(&new.metric)) {
        return Err(why.clone());
    }
    if old.higher_is_better != new.higher_is_better {
        return Err("the reports disagree about which direction is better".to_owned());
    }
    for (row, which) in [(old, "older"), (new, "newer")] {
        if ![row.value, row.low, row.high].iter().all(|number| number.is_finite()) {
            return Err(format!("it is no finite number in the {which} report"));
        }
        if row.n < 2 {
            return Err(format!("the {which} report measured it on {} units: that has no interval", row.n));
        }
    }
    let (z, p) = statistic(&measured(old), &measured(new), new.higher_is_better);
    Ok(MetricChange {
        suite: new.suite.clone(),
        model: new.model.clone(),
        metric: new.metric.clone(),
        higher_is_better: new.higher_is_better,
        old: measured(old),
        new: measured(new),
        z,
        p,
        p_adjusted: p,
    })
}

/// By how many standard errors the new value is worse, and how likely chance alone does that.
fn statistic(old: &Measured, new: &Measured, higher_is_better: bool) -> (Option<f64>, f64) {
    let (worse_by, of_new, of_old) = if higher_is_better {
        (old.value - new.value, new.high - new.value, old.value - old.low)
    } else {
        (new.value - old.value, new.value - new.low, old.high - old.value)
    };
    let standard_error = of_new.hypot(of_old) / Z95;
    if standard_error > 0.0 {
        let z = worse_by / standard_error;
        return (Some(z), libm::erfc(z * std::f64::consts::FRAC_1_SQRT_2) / 2.0);
    }
    // Numbers without any spread: a difference is no chance.
    match worse_by.total_cmp(&0.0) {
        std::cmp::Ordering::Greater => (None, 0.0),
        std::cmp::Ordering::Equal => (Some(0.0), 0.5),
        std::cmp::Ordering::Less => (None, 1.0),
    }
}

#[cfg(test)]
mod tests;

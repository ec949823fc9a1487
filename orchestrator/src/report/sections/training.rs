//! How each model trained: curves, sizes, and what `auto` chose.

use cupola_specs::artifact::{CurvePoint, TrainingRecord};

use super::{Figure, Section, Table};
use crate::report::chart::{Chart, Mark, Scale, Series};
use crate::report::format::{count, metric, short, words};
use crate::report::{ModelFacts, ReportFacts};

/// Curves that belong on one chart, the chart's name, and its y axis.
const CHARTS: [(&str, &str, &[&str]); 5] = [
    ("loss", "loss", &["loss", "train_loss", "validation_loss", "validation_assistant_loss"]),
    ("bits per byte", "bits per byte", &["validation_bpb"]),
    ("accuracy", "share of pairs", &["accuracy", "train_accuracy", "validation_accuracy"]),
    (
        "reward",
        "reward",
        &[
            "reward",
            "mean_reward",
            "reward_margin",
            "validation_reward_margin",
            "margin",
            "validation_margin",
        ],
    ),
    ("distance from the reference policy", "nats", &["kl"]),
];

/// Curves and facts of every model.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.models.is_empty() {
        return None;
    }
    let charts = facts.models.iter().flat_map(charts);
    Some(Section {
        id: "training",
        title: "Training".to_owned(),
        lead: "Loss by optimiser step; faint lines are single steps, strong ones their running mean. Validation is on units that no model has seen."
            .to_owned(),
        figures: charts.filter_map(|chart| Figure::of(&chart)).collect(),
        tables: vec![models_table(facts), finals_table(facts), chosen_table(facts)]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect(),
        notes: facts.models.iter().flat_map(warnings).collect(),
        ..Section::default()
    })
}

fn charts(model: &ModelFacts) -> Vec<Chart> {
    CHARTS
        .iter()
        .map(|(title, y_label, names)| Chart {
            title: format!("{}: {title}", model.step),
            x_label: "optimiser step".to_owned(),
            y_label: (*y_label).to_owned(),
            x_scale: Scale::Linear,
            series: names.iter().flat_map(|name| curve(&model.record, name)).collect(),
        })
        .collect()
}

/// A curve; a long one as a faint line with its running mean.
fn curve(record: &TrainingRecord, name: &str) -> Vec<Series> {
    let Some(points) = record.curves.get(name).filter(|points| points.len() > 1) else { return Vec::new() };
    let validation = name.starts_with("validation");
    let color = usize::from(validation);
    let raw: Vec<(f64, f64)> = points.iter().map(|point| (point.step as f64, point.value)).collect();
    let label = words(name);
    if validation || raw.len() < 40 {
        return vec![Series { name: label, color, mark: Mark::Line, points: thinned(&raw) }];
    }
    let smooth = running_mean(points);
    vec![
        Series { name: String::new(), color: 5, mark: Mark::Line, points: thinned(&raw) },
        Series { name: format!("{label}, running mean"), color, mark: Mark::Line, points: thinned(&smooth) },
    ]
}

/// The exponential running mean over about a fiftieth of the curve, without a bias at its start.
fn running_mean(points: &[CurvePoint]) -> Vec<(f64, f64)> {
    let keep = 1.0 - 1.0 / (points.len() as f64 / 50.0).max(2.0);
    let (mut mean, mut weight) = (0.0, 0.0);
    let finite = points.iter().filter(|point| point.value.is_finite());
    finite
        .map(|point| {
            mean = keep * mean + (1.0 - keep) * point.value;
            weight = keep * weight + (1.0 - keep);
            (point.step as f64, mean / weight)
        })
        .collect()
}

/// At most about 400 points, the last one kept: a page stays small.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stride = points.len().div_ceil(400).max(1);
    let last = points.len().saturating_sub(1);
    let kept = points.iter().enumerate().filter(|(index, _)| index % stride == 0 || *index == last);
    kept.map(|(_, point)| *point).collect()
}

fn models_table(facts: &ReportFacts) -> Table {
    let rows = facts.models.iter().map(|model| {
        let record = &model.record;
        vec![
            model.step.clone(),
            words(&record.stage),
            short(record.total_params as f64),
            short(record.params as f64),
            count(record.steps),
            short(record.tokens as f64),
            format!("{:.2e}", record.flops),
        ]
    });
    Table {
        title: "Models".to_owned(),
        heads: vec![
            "step",
            "stage",
            "parameters",
            "without embeddings",
            "optimiser steps",
            "tokens",
            "FLOPs",
        ],
        rows: rows.collect(),
    }
}

fn finals_table(facts: &ReportFacts) -> Table {
    let of = |model: &ModelFacts| -> Vec<Vec<String>> {
        let rows = model.record.finals.iter().map(|(name, value)| {
            let interval = if value.low < value.high {
                format!("{} to {}", metric(name, value.low), metric(name, value.high))
            } else {
                "–".to_owned()
            };
            vec![model.step.clone(), words(name), metric(name, value.value), interval]
        });
        rows.collect()
    };
    Table {
        title: "At the end of training".to_owned(),
        heads: vec!["step", "number", "value", "95 % interval"],
        rows: facts.models.iter().flat_map(of).collect(),
    }
}

fn chosen_table(facts: &ReportFacts) -> Table {
    let of = |model: &ModelFacts| -> Vec<Vec<String>> {
        let chosen = model.record.chosen.iter();
        chosen
            .map(|(name, (rule, value))| vec![model.step.clone(), words(name), short(*value), rule.clone()])
            .collect()
    };
    Table {
        title: "What auto chose".to_owned(),
        heads: vec!["step", "setting", "value", "rule"],
        rows: facts.models.iter().flat_map(of).collect(),
    }
}

fn warnings(model: &ModelFacts) -> Vec<String> {
    let of = |(code, times): (&String, &u64)| {
        format!("{} warned {code} {times} times while it trained.", model.step)
    };
    model.record.warnings.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_mean_of_a_constant_is_the_constant() {
        let points: Vec<CurvePoint> = (0..100).map(|step| CurvePoint { step, value: 3.0 }).collect();
        assert!(running_mean(&points).iter().all(|point| (point.1 - 3.0).abs() < 1e-12));
    }

    #[test]
    fn thinning_keeps_both_ends() {
        let points: Vec<(f64, f64)> = (0..5000).map(|x| (f64::from(x), 0.0)).collect();
        let thin = thinned(&points);
        assert!(thin.len() <= 402);
        assert_eq!((thin[0].0, thin[thin.len() - 1].0), (0.0, 4999.0));
    }
}

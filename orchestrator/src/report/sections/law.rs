//! Scaling laws: the sweep, the fits, what they recommend, and how the forecast did.

use cupola_specs::artifact::{Interval, LawFile};

use super::{Figure, Section, Table, law_charts};
use crate::report::format::{count, short};
use crate::report::{Named, ReportFacts};

/// One section for all laws.
pub(super) fn section(facts: &ReportFacts) -> Option<Section> {
    if facts.laws.is_empty() {
        return None;
    }
    let mut section = Section {
        id: "scaling",
        title: "Scaling".to_owned(),
        lead: "Small runs of several sizes and token budgets, the law fitted to them, and its forecast of the base model, written down before that model was trained."
            .to_owned(),
        ..Section::default()
    };
    for law in &facts.laws {
        section.figures.extend(Figure::of(&law_charts::compute_chart(law, &facts.models)));
        section.figures.extend(law_charts::token_charts(law).iter().filter_map(Figure::of));
        section.tables.push(fits_table(law));
        section.tables.push(recommendations_table(law));
        section.notes.extend(notes(&law.facts));
    }
    let forecasts = forecast_table(facts);
    if !forecasts.rows.is_empty() {
        section.tables.push(forecasts);
    }
    Some(section)
}

fn with_interval(interval: &Interval) -> String {
    format!("{} ({} to {})", short(interval.value), short(interval.low), short(interval.high))
}

fn fits_table(law: &Named<LawFile>) -> Table {
    let rows = law.facts.fits.iter().map(|fit| {
        let parameters: Vec<String> =
            fit.parameters.iter().map(|(name, value)| format!("{name} = {}", with_interval(value))).collect();
        vec![
            law_charts::name(fit.family).to_owned(),
            law_charts::method(fit.method).to_owned(),
            parameters.join("; "),
            format!("{:.4}", fit.rms_log_residual),
            count(fit.num_points),
        ]
    });
    Table {
        title: format!("{}: fits", law.step),
        heads: vec!["family", "method", "parameters with 95 % intervals", "error of the logarithm", "points"],
        rows: rows.collect(),
    }
}

fn recommendations_table(law: &Named<LawFile>) -> Table {
    let rows = law.facts.recommendations.iter().map(|(family, best)| {
        vec![
            law_charts::name(*family).to_owned(),
            short(best.params),
            format!("{} layers, {} wide", best.shape.num_hidden_layers, best.shape.hidden_size),
            short(best.tokens),
            format!("{:.2e}", best.flops),
            format!("{:.3} ({:.3} to {:.3})", best.loss.value, best.loss.low, best.loss.high),
        ]
    });
    Table {
        title: format!("{}: recommended for the target", law.step),
        heads: vec!["family", "parameters", "nearest network", "tokens", "FLOPs", "forecast loss"],
        rows: rows.collect(),
    }
}

fn forecast_table(facts: &ReportFacts) -> Table {
    let rows = facts.models.iter().filter_map(|model| {
        let score = model.record.forecast.as_ref()?;
        let loss = score.forecast.loss;
        Some(vec![
            model.job.clone(),
            format!("{:.3} ({:.3} to {:.3})", loss.value, loss.low, loss.high),
            format!("{:.3}", score.actual),
            format!("{:+.1} %", score.relative_error * 100.0),
            if score.within_interval { "inside" } else { "outside" }.to_owned(),
        ])
    });
    Table {
        title: "Forecast and result".to_owned(),
        heads: vec!["model", "forecast loss", "measured loss", "difference", "95 % interval"],
        rows: rows.collect(),
    }
}

fn notes(law: &LawFile) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for fit in &law.fits {
        for caveat in &fit.caveats {
            lines.push(format!(
                "{}, {}: {caveat}",
                law_charts::name(fit.family),
                law_charts::method(fit.method)
            ));
        }
    }
    if law_charts::families(law).len() > 1 {
        lines
            .push(format!("At the target the {} has the lower forecast.", law_charts::name(law.best_family)));
    }
    lines
}

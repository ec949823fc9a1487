//! The runs and their fits as SVG: loss against size, tokens and compute, three figures a family.

use std::collections::BTreeSet;
use std::path::Path;

use cupola_specs::artifact::{LawFile, LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod};
use plotters::prelude::*;

use super::ScalingError;
use super::fit_job::family_word;
use super::forecast::log_loss_of;
use super::points::{best_runs, training_flops};

/// Width and height of a figure, pixels.
const SIZE: (u32, u32) = (820, 520);
/// Points of a curve.
const CURVE_POINTS: usize = 80;
/// Colours that stay apart for colour-blind readers (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// A line or a set of points with its name.
struct Series {
    name: String,
    colour: RGBColor,
    points: Vec<(f64, f64)>,
    joined: bool,
}

/// Draws the figures of every family into a folder.
pub(super) fn draw(law: &LawFile, folder: &Path) -> Result<(), ScalingError> {
    let families: BTreeSet<Family> = law.runs.iter().map(|run| run.shape.family).collect();
    for family in families {
        let runs = best_runs(&law.runs, family);
        let parametric =
            law.fits.iter().find(|fit| fit.family == family && fit.method == FitMethod::Parametric);
        let word = family_word(family);
        let figures = [
            ("params", "parameters without embeddings", against_params(&runs, parametric)),
            ("tokens", "training tokens", against_tokens(&runs, parametric)),
            ("compute", "training FLOPs", against_compute(law, family, &runs)),
        ];
        for (name, axis, series) in figures {
            let path = folder.join(format!("{word}-loss-{name}.svg"));
            let title = format!("{word}: validation loss against {axis}");
            figure(&path, &title, axis, &series)
                .map_err(|message| ScalingError::Plot { path: path.clone(), message })?;
        }
    }
    Ok(())
}

/// One colour a token budget: measured points, and the law at the budget's tokens.
fn against_params(runs: &[&SweepRun], fit: Option<&LawFit>) -> Vec<Series> {
    by_key(runs, fit, |run| run.tokens, |run| run.params as f64, |run, x| (x, run.tokens as f64), "tokens")
}

/// One colour a size: measured points, and the law at the size.
fn against_tokens(runs: &[&SweepRun], fit: Option<&LawFit>) -> Vec<Series> {
    by_key(
        runs,
        fit,
        |run| run.params,
        |run| run.tokens as f64,
        |run, x| (run.params as f64, x),
        "parameters",
    )
}

/// Points of equal key in one colour, and through them the fit. `place` turns a run and an x into (N, D).
fn by_key(
    runs: &[&SweepRun],
    fit: Option<&LawFit>,
    key: fn(&SweepRun) -> u64,
    x: fn(&SweepRun) -> f64,
    place: fn(&SweepRun, f64) -> (f64, f64),
    unit: &str,
) -> Vec<Series> {
    let keys: BTreeSet<u64> = runs.iter().map(|run| key(run)).collect();
    let range = span(runs.iter().map(|run| x(run)));
    let mut series = Vec::new();
    for (at, &wanted) in keys.iter().enumerate() {
        let own: Vec<&&SweepRun> = runs.iter().filter(|run| key(run) == wanted).collect();
        let colour = COLOURS[at % COLOURS.len()];
        let name = format!("{} {unit}", short(wanted as f64));
        let points = own.iter().map(|run| (x(run), run.validation_loss)).collect();
        series.push(Series { name, colour, points, joined: false });
        // A curve for every key is too much where each point has one of its own.
        if let (Some(fit), Some(run)) = (fit, own.first().filter(|_| own.len() > 1 || keys.len() <= 4)) {
            let loss = |x: f64| {
                let (params, tokens) = place(run, x);
                log_loss_of(fit, params, tokens, f64::NAN).exp()
            };
            series.push(Series { name: String::new(), colour, points: sampled(range, loss), joined: true });
        }
    }
    series
}

/// Training curves in grey, final losses, and each method's frontier.
fn against_compute(law: &LawFile, family: Family, runs: &[&SweepRun]) -> Vec<Series> {
    let grey = RGBColor(205, 205, 205);
    let mut series: Vec<Series> = runs
        .iter()
        .map(|run| Series {
            name: String::new(),
            colour: grey,
            points: super::frontier::curve(run).into_iter().map(|(log, loss)| (log.exp(), loss)).collect(),
            joined: true,
        })
        .collect();
    let points = runs.iter().map(|run| (run.flops, run.validation_loss)).collect();
    series.push(Series { name: "runs".into(), colour: COLOURS[0], points, joined: false });
    let range = span(runs.iter().map(|run| run.flops));
    let sizes = span(runs.iter().map(|run| run.params as f64));
    for (at, fit) in law.fits.iter().filter(|fit| fit.family == family).enumerate() {
        let frontier = |flops: f64| match fit.method {
            FitMethod::Parametric => {
                let candidates = sampled(sizes, |params| {
                    let tokens = flops / training_flops(runs, params, 1.0);
                    log_loss_of(fit, params, tokens, flops).exp()
                });
                candidates.into_iter().map(|(_, loss)| loss).fold(f64::INFINITY, f64::min)
            }
            FitMethod::Isoflop | FitMethod::Envelope => log_loss_of(fit, f64::NAN, f64::NAN, flops).exp(),
        };
        let name = format!("{:?} frontier", fit.method).to_lowercase();
        let colour = COLOURS[(at + 1) % COLOURS.len()];
        series.push(Series { name, colour, points: sampled(range, frontier), joined: true });
    }
    series
}

fn figure(path: &Path, title: &str, axis: &str, series: &[Series]) -> Result<(), String> {
    let told = |error: &dyn std::fmt::Display| error.to_string();
    let finite = || series.iter().flat_map(|s| &s.points).filter(|p| p.0.is_finite() && p.1.is_finite());
    let (x0, x1) = span(finite().map(|p| p.0));
    let (y0, y1) = span(finite().map(|p| p.1));
    let margin = 0.06 * (y1 - y0).max(0.05);
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE).map_err(|e| told(&e))?;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(58)
        .build_cartesian_2d((x0 * 0.85..x1 * 1.18).log_scale(), y0 - margin..y1 + margin)
        .map_err(|e| told(&e))?;
    chart
        .configure_mesh()
        .light_line_style(RGBColor(242, 242, 242))
        .bold_line_style(RGBColor(225, 225, 225))
        .x_desc(axis)
        .y_desc("loss, nats a token")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| format!("{y:.2}"))
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(|e| told(&e))?;
    for one in series {
        let points = one.points.iter().copied().filter(|p| p.0.is_finite() && p.1.is_finite());
        let colour = one.colour;
        let drawn = if one.joined {
            chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(|e| told(&e))?
        } else {
            chart.draw_series(points.map(|p| Circle::new(p, 4, colour.filled()))).map_err(|e| told(&e))?
        };
        if !one.name.is_empty() {
            drawn.label(one.name.as_str()).legend(move |(x, y)| Circle::new((x + 8, y), 4, colour.filled()));
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(210, 210, 210))
        .label_font(("sans-serif", 13))
        .draw()
        .map_err(|e| told(&e))?;
    root.present().map_err(|e| told(&e))
}

fn span(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, 0.0), |(low, high), value| (low.min(value), f64::max(high, value)))
}

fn sampled((low, high): (f64, f64), of: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let step = (high / low).ln() / (CURVE_POINTS - 1) as f64;
    (0..CURVE_POINTS).map(|i| low * (step * i as f64).exp()).map(|x| (x, of(x))).collect()
}

/// A number in three digits and a unit: 1.23M.
fn short(value: f64) -> String {
    let (scaled, unit) = match value {
        v if v >= 1e13 => return format!("{v:.1e}"),
        v if v >= 1e9 => (v / 1e9, "B"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e3 => (v / 1e3, "k"),
        v => (v, ""),
    };
    match scaled {
        s if s >= 100.0 => format!("{s:.0}{unit}"),
        s if s >= 10.0 => format!("{s:.1}{unit}"),
        s => format!("{s:.2}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scaling::invented::invented_law;

    #[test]
    fn three_figures_a_family_with_their_labels() {
        let dir = tempfile::tempdir().unwrap();
        draw(&invented_law(0.005), dir.path()).unwrap();
        for name in ["params", "tokens", "compute"] {
            let text =
                std::fs::read_to_string(dir.path().join(format!("transformer-loss-{name}.svg"))).unwrap();
            assert!(text.contains("validation loss against") && text.contains("nats a token"), "{name}");
            assert!(!text.contains("NaN") && text.matches("<circle").count() >= 12, "{name}");
        }
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([short(1_234_000.0), short(49_152.0), short(0.5)], ["1.23M", "49.2k", "0.50"]);
    }
}

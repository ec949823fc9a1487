//! The scaling figure: measured runs, the fitted law of each family along its compute-optimal frontier, and the forecast beside what was
//! measured.

use cupola_specs::artifact::{LawFile, LawFit, SweepRun};
use cupola_specs::job::{Family, FitMethod};

use crate::report::chart::{Chart, Mark, Scale, Series};
use crate::report::{ModelFacts, Named, format};

/// L(N, D) = E + A/N^α + B/D^β, and what a token costs at each size.
struct Law {
    e: f64,
    a: f64,
    b: f64,
    alpha: f64,
    beta: f64,
    /// (ln N, ln FLOPs a token), ascending.
    flops_per_token: Vec<(f64, f64)>,
}

impl Law {
    fn new(fit: &LawFit, runs: &[&SweepRun]) -> Option<Self> {
        let get = |name: &str| fit.parameters.get(name).map(|interval| interval.value);
        let mut sizes: Vec<(f64, f64)> = runs
            .iter()
            .filter(|run| run.params > 0 && run.tokens > 0 && run.flops > 0.0)
            .map(|run| ((run.params as f64).ln(), (run.flops / run.tokens as f64).ln()))
            .collect();
        sizes.sort_by(|x, y| x.0.total_cmp(&y.0));
        sizes.dedup_by(|x, y| (x.0 - y.0).abs() < 1e-12);
        (!sizes.is_empty()).then_some(())?;
        Some(Self {
            e: get("E")?,
            a: get("A")?,
            b: get("B")?,
            alpha: get("alpha")?,
            beta: get("beta")?,
            flops_per_token: sizes,
        })
    }

    fn loss(&self, params: f64, tokens: f64) -> f64 {
        self.e + self.a / params.powf(self.alpha) + self.b / tokens.powf(self.beta)
    }

    /// FLOPs of a token, between measured sizes along a line of the logarithms, beyond them in proportion to the parameters.
    fn flops(&self, params: f64) -> f64 {
        let x = params.ln();
        let sizes = &self.flops_per_token;
        let (first, last) = (sizes[0], sizes[sizes.len() - 1]);
        if x <= first.0 {
            return (first.1 + x - first.0).exp();
        }
        if x >= last.0 {
            return (last.1 + x - last.0).exp();
        }
        let above = sizes.partition_point(|size| size.0 < x).max(1);
        let (low, high) = (sizes[above - 1], sizes[above]);
        (low.1 + (x - low.0) / (high.0 - low.0) * (high.1 - low.1)).exp()
    }

    /// The least loss that this much compute buys, over sizes from a quarter of the smallest to 64 times the largest.
    fn frontier(&self, compute: f64) -> f64 {
        let sizes = &self.flops_per_token;
        let (low, high) = (sizes[0].0 - 4f64.ln(), sizes[sizes.len() - 1].0 + 64f64.ln());
        let size = |index: u32| (low + (high - low) * f64::from(index) / 200.0).exp();
        (0..=200)
            .map(|index| self.loss(size(index), compute / self.flops(size(index))))
            .fold(f64::INFINITY, f64::min)
    }
}

/// Loss against compute: dots, frontiers, forecasts and results.
pub(super) fn compute_chart(law: &Named<LawFile>, models: &[ModelFacts]) -> Chart {
    let mut series = Vec::new();
    let scored: Vec<_> =
        models.iter().filter_map(|model| Some((model, model.record.forecast.as_ref()?))).collect();
    let farthest = scored.iter().map(|(model, _)| model.record.flops).fold(0.0, f64::max);
    for (color, family) in families(&law.facts).into_iter().enumerate() {
        let runs: Vec<&SweepRun> = law.facts.runs.iter().filter(|run| run.shape.family == family).collect();
        let points = runs.iter().map(|run| (run.flops, run.validation_loss)).collect();
        series.push(Series { name: format!("{} runs", name(family)), color, mark: Mark::Dots, points });
        let fits = law.facts.fits.iter();
        let mut fit = fits.filter(|fit| fit.family == family && fit.method == FitMethod::Parametric);
        if let Some(fitted) = fit.next_back().and_then(|fit| Law::new(fit, &runs)) {
            let low = runs.iter().map(|run| run.flops).fold(f64::INFINITY, f64::min);
            let high = runs.iter().map(|run| run.flops).fold(farthest, f64::max) * 1.6;
            let at = |index: u32| low * (high / low).powf(f64::from(index) / 60.0);
            let points = (0..=60).map(|index| (at(index), fitted.frontier(at(index)))).collect();
            let name = format!("{}, best size by the law", name(family));
            series.push(Series { name, color, mark: Mark::Line, points });
        }
    }
    for (model, score) in scored {
        let (x, loss) = (model.record.flops, score.forecast.loss);
        let points = vec![(x, loss.low), (x, loss.value), (x, loss.high)];
        series.push(Series {
            name: format!("forecast of {}", model.job),
            color: 6,
            mark: Mark::Forecast,
            points,
        });
        let points = vec![(x, score.actual)];
        series.push(Series {
            name: format!("{} as measured", model.job),
            color: 7,
            mark: Mark::Star,
            points,
        });
    }
    Chart {
        title: "Validation loss against training compute".to_owned(),
        x_label: "training compute, FLOPs".to_owned(),
        y_label: "validation loss, nats a token".to_owned(),
        x_scale: Scale::Log,
        series,
    }
}

/// Loss against tokens: one line a size by the law, through the measured dots; one chart a family.
pub(super) fn token_charts(law: &Named<LawFile>) -> Vec<Chart> {
    families(&law.facts).into_iter().map(|family| token_chart(&law.facts, family)).collect()
}

fn token_chart(law: &LawFile, family: Family) -> Chart {
    let runs: Vec<&SweepRun> = law.runs.iter().filter(|run| run.shape.family == family).collect();
    let mut sizes: Vec<u64> = runs.iter().map(|run| run.params).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let fit = law.fits.iter().rfind(|fit| fit.family == family && fit.method == FitMethod::Parametric);
    let fitted = fit.and_then(|fit| Law::new(fit, &runs));
    let mut series = Vec::new();
    for (color, size) in sizes.into_iter().enumerate() {
        let of_size = runs.iter().filter(|run| run.params == size);
        let points: Vec<(f64, f64)> = of_size.map(|run| (run.tokens as f64, run.validation_loss)).collect();
        let low = points.iter().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|point| point.0).fold(0.0, f64::max);
        if let Some(fitted) = fitted.as_ref().filter(|_| high > 0.0) {
            let at = |index: u32| low * (high / low).powf(f64::from(index) / 24.0);
            let line = (0..=24).map(|index| (at(index), fitted.loss(size as f64, at(index)))).collect();
            series.push(Series { name: String::new(), color: color % 6, mark: Mark::Line, points: line });
        }
        let name = format!("{} parameters", format::short(size as f64));
        series.push(Series { name, color: color % 6, mark: Mark::Dots, points });
    }
    Chart {
        title: format!("{}: loss by size and tokens, lines by the law", name(family)),
        x_label: "training tokens".to_owned(),
        y_label: "validation loss, nats a token".to_owned(),
        x_scale: Scale::Log,
        series,
    }
}

/// The families of a law in a fixed order.
pub(super) fn families(law: &LawFile) -> Vec<Family> {
    [Family::Transformer, Family::Lstm]
        .into_iter()
        .filter(|family| law.runs.iter().any(|run| run.shape.family == *family))
        .collect()
}

/// The family's name for people.
pub(super) fn name(family: Family) -> &'static str {
    match family {
        Family::Transformer => "transformer",
        Family::Lstm => "LSTM",
    }
}

/// The method's name for people.
pub(super) fn method(method: FitMethod) -> &'static str {
    match method {
        FitMethod::Isoflop => "IsoFLOP",
        FitMethod::Parametric => "parametric",
        FitMethod::Envelope => "envelope",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::invented;

    #[test]
    fn the_frontier_falls_with_compute_and_stays_below_every_run_of_the_law() {
        let facts = invented::facts();
        let law = &facts.laws[0];
        let chart = compute_chart(law, &facts.models);
        let line = chart.series.iter().find(|series| series.name.contains("best size")).unwrap();
        assert!(line.points.windows(2).all(|pair| pair[1].1 < pair[0].1));
        let marks: Vec<Mark> = chart.series.iter().map(|series| series.mark).collect();
        assert!(marks.contains(&Mark::Forecast) && marks.contains(&Mark::Star));
        assert!(chart.svg().is_some());
    }
}

use serde_json::Value;

use super::*;

fn row(suite: &str, model: &str, metric: &str, higher_is_better: bool, measured: Measured) -> ReportRow {
    ReportRow {
        suite: suite.into(),
        model: model.into(),
        metric: metric.into(),
        value: measured.value,
        stderr: 0.0,
        low: measured.low,
        high: measured.high,
        n: measured.n,
        method: String::new(),
        chance: None,
        higher_is_better,
    }
}

fn even(value: f64, standard_error: f64) -> Measured {
    let half = Z95 * standard_error;
    Measured { value, low: value - half, high: value + half, n: 100 }
}

fn bpb(model: &str, value: f64, standard_error: f64) -> ReportRow {
    row("perplexity", model, "bpb", false, even(value, standard_error))
}

fn report(rows: Vec<ReportRow>) -> EvalReport {
    EvalReport { models: Vec::new(), rows, samples: Vec::new() }
}

fn compared(old: Vec<ReportRow>, new: Vec<ReportRow>) -> Comparison {
    compare(&report(old), &report(new), &Obstacles::default())
}

/// What `tests/fixtures/regressions.py` computed with SciPy and statsmodels.
fn fixture() -> Value {
    serde_json::from_str(include_str!("../../../tests/fixtures/regressions.json")).unwrap()
}

#[test]
fn the_statistic_is_the_difference_over_its_standard_error() {
    // (1.9 - 1.8) / sqrt(0.02² + 0.03²) = 0.1 / 0.0360555 = 2.7735; beyond it lie 0.28 % of a normal distribution.
    let comparison = compared(vec![bpb("base", 1.8, 0.02)], vec![bpb("base", 1.9, 0.03)]);
    let metric = &comparison.metrics[0];
    assert!((metric.z.unwrap() - 2.7735).abs() < 1e-4 && (metric.p - 0.002_773).abs() < 1e-5, "{metric:?}");
    assert_eq!(
        metric.line(),
        "perplexity base bpb: 1.8000 [1.7608, 1.8392] → 1.9000 [1.8412, 1.9588], p = 0.0028"
    );
    // A better value is never a regression, however sure it is.
    let better = &compared(vec![bpb("base", 1.9, 0.001)], vec![bpb("base", 1.8, 0.001)]).metrics[0];
    assert!(better.p > 0.999 && better.z.unwrap() < -70.0);
}

#[test]
fn statistics_and_corrected_p_values_are_those_of_scipy_and_statsmodels() {
    let fixture = fixture();
    let pairs = fixture["pairs"].as_array().unwrap();
    let mut metrics: Vec<MetricChange> = pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| {
            let of = |which: &str| -> Measured { serde_json::from_value(pair[which].clone()).unwrap() };
            let higher = pair["higher_is_better"].as_bool().unwrap();
            let one = |which| {
                vec![row("s", &format!("m{at}"), pair["metric"].as_str().unwrap(), higher, of(which))]
            };
            compared(one("old"), one("new")).metrics.remove(0)
        })
        .collect();
    holm(&mut metrics.iter_mut().collect::<Vec<_>>());
    for (metric, pair) in metrics.iter().zip(pairs) {
        let expected = |field: &str| pair[field].as_f64().unwrap();
        assert!((metric.z.unwrap() - expected("z")).abs() < 1e-7, "{metric:?} {pair}");
        assert!((metric.p - expected("p")).abs() < 1e-9, "{metric:?} {pair}");
        assert!((metric.p_adjusted - expected("p_adjusted")).abs() < 1e-8, "{metric:?} {pair}");
    }
    let worse = metrics.iter().filter(|metric| metric.p_adjusted <= ALPHA).count();
    assert_eq!(worse, 4, "two of seven that look worse alone are within what chance does to nine");
}

/// For shares with Wilson's intervals the statistic passes 1.96 just where Newcombe's interval of the difference leaves 0.
#[test]
fn of_shares_the_verdict_is_that_of_newcombes_interval() {
    for case in fixture()["newcombe"].as_array().unwrap() {
        let counts: Vec<f64> = case["counts"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
        let share = |successes: f64, n: f64| {
            let (share, z2) = (successes / n, Z95 * Z95);
            let centre = (share + z2 / (2.0 * n)) / (1.0 + z2 / n);
            let half = Z95 / (1.0 + z2 / n) * (share * (1.0 - share) / n + z2 / (4.0 * n * n)).sqrt();
            Measured { value: share, low: centre - half, high: centre + half, n: n as u64 }
        };
        let (_, p) = statistic(&share(counts[0], counts[1]), &share(counts[2], counts[3]), true);
        assert_eq!(p < 0.025, case["low"].as_f64().unwrap() > 0.0, "{case}");
    }
}

#[test]
fn many_metrics_do_not_cry_wolf() {
    // One of twenty with p = 0.04 is what chance gives; alone it would count.
    let old: Vec<ReportRow> = (0..20).map(|at| bpb(&format!("m{at}"), 1.0, 0.01)).collect();
    let mut new = old.clone();
    new[7] = bpb("m7", 1.0 + 1.751 * 0.01 * std::f64::consts::SQRT_2, 0.01);
    let worst = |mut metrics: Vec<MetricChange>| {
        holm(&mut metrics.iter_mut().collect::<Vec<_>>());
        metrics.into_iter().map(|metric| metric.p_adjusted).fold(1.0, f64::min)
    };
    let alone = compared(vec![old[7].clone()], vec![new[7].clone()]);
    assert!((worst(alone.metrics) - 0.04).abs() < 0.001);
    assert!((worst(compared(old.clone(), new.clone()).metrics) - 0.8).abs() < 0.01);
    // One that is worse beyond doubt counts among any number.
    new[7] = bpb("m7", 1.1, 0.01);
    assert!(worst(compared(old, new).metrics) < 1e-9);
}

#[test]
fn correcting_keeps_the_order_and_ends_at_one() {
    let with = |p: f64| {
        let mut metric = compared(vec![bpb("m", 1.0, 0.1)], vec![bpb("m", 1.0, 0.1)]).metrics.remove(0);
        metric.p = p;
        metric
    };
    let mut metrics: Vec<MetricChange> = [0.03, 0.01, 0.02, 0.9].map(with).into();
    holm(&mut metrics.iter_mut().collect::<Vec<_>>());
    let adjusted: Vec<String> = metrics.iter().map(|metric| format!("{:.2}", metric.p_adjusted)).collect();
    assert_eq!(adjusted, ["0.06", "0.04", "0.06", "0.90"]);
    holm(&mut []);
}

#[test]
fn what_only_one_report_has_is_told_and_is_no_regression() {
    let old = vec![bpb("base", 1.8, 0.01), bpb("old", 1.8, 0.01)];
    let new = vec![bpb("base", 1.8, 0.01), bpb("new", 9.8, 0.01)];
    let comparison = compared(old, new);
    assert_eq!(comparison.metrics.len(), 1);
    let told: Vec<String> =
        comparison.not_compared.iter().map(|one| format!("{}: {}", one.what, one.why)).collect();
    assert_eq!(
        told,
        [
            "perplexity new bpb: only the newer report has it",
            "perplexity old bpb: only the older report has it"
        ]
    );
}

#[test]
fn rows_about_the_data_and_without_a_known_direction_are_left_out() {
    let rows = |value: f64| {
        vec![
            bpb("ngram3", value, 0.001),
            row("contamination", "", "overlap", false, even(value, 0.001)),
            row("judge", "", "tie_rate", false, even(value, 0.001)),
            row("judge", "a", "answer_chars", false, even(value, 0.001)),
        ]
    };
    assert_eq!(compared(rows(1.0), rows(2.0)), Comparison::default());
}

#[test]
fn other_questions_and_other_tokens_are_not_compared() {
    let rows = || {
        vec![
            bpb("base", 1.0, 0.01),
            row("perplexity", "base", "perplexity", false, even(3.0, 0.1)),
            row("judge", "base", "win_rate", true, even(0.5, 0.01)),
        ]
    };
    let obstacles = Obstacles {
        suites: BTreeMap::from([("judge".to_owned(), "the questions changed".to_owned())]),
        per_token: Some("another tokenizer".to_owned()),
    };
    let comparison = compare(&report(rows()), &report(rows()), &obstacles);
    let names: Vec<String> = comparison.metrics.iter().map(MetricChange::name).collect();
    assert_eq!(names, ["perplexity base bpb"]);
    let what: Vec<&str> = comparison.not_compared.iter().map(|one| one.what.as_str()).collect();
    assert_eq!(what, ["judge", "perplexity base perplexity"]);
}

#[test]
fn numbers_without_an_interval_say_nothing_and_those_without_spread_all() {
    let exact =
        |value: f64| row("judge", "a", "win_rate", true, Measured { value, low: value, high: value, n: 50 });
    let p = |old: f64, new: f64| compared(vec![exact(old)], vec![exact(new)]).metrics[0].p;
    assert_eq!((p(1.0, 0.9), p(0.9, 0.9), p(0.9, 1.0)), (0.0, 0.5, 1.0));
    let mut single = bpb("a", 1.0, 0.0);
    single.n = 1;
    let comparison = compared(vec![single.clone()], vec![bpb("a", 2.0, 0.1)]);
    assert!(comparison.metrics.is_empty() && comparison.not_compared[0].why.contains("on 1 units"));
    single.value = f64::INFINITY;
    assert!(
        compared(vec![bpb("a", 2.0, 0.1)], vec![single]).not_compared[0].why.contains("no finite number")
    );
}

#[test]
fn rows_of_one_name_are_compared_in_their_order() {
    let rows = |second: f64| vec![bpb("a", 1.0, 0.01), bpb("a", second, 0.01)];
    let comparison = compared(rows(2.0), rows(3.0));
    let pairs: Vec<(f64, f64)> =
        comparison.metrics.iter().map(|metric| (metric.old.value, metric.new.value)).collect();
    assert_eq!(pairs, [(1.0, 1.0), (2.0, 3.0)]);
}

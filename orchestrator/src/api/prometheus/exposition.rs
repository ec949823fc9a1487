//! Prometheus' text format, version 0.0.4: families of samples, each with its HELP and TYPE.

use std::fmt::Write;

/// What the samples of a family mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It goes up and down.
    Gauge,
    /// It only grows; the name ends in `_total`.
    Counter,
    /// Counts of values up to each bound, their sum and their number.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a sample: names with values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// Values sorted into buckets.
#[derive(Debug, Clone)]
pub(super) struct Buckets {
    bounds: &'static [f64],
    counts: Vec<u64>,
    sum: f64,
    num_values: u64,
}

impl Buckets {
    /// Buckets with these upper bounds, in ascending order.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()], sum: 0.0, num_values: 0 }
    }

    /// Adds a value.
    pub(super) fn push(&mut self, value: f64) {
        for (bound, count) in self.bounds.iter().zip(&mut self.counts) {
            *count += u64::from(value <= *bound);
        }
        self.sum += value;
        self.num_values += 1;
    }
}

/// A text that grows by families.
#[derive(Debug, Default)]
pub(super) struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family; the samples that follow are of it.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        let help = help.replace('\\', r"\\").replace('\n', r"\n");
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {}", kind.as_str()));
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.named("", labels, value);
    }

    /// A family of one sample without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, value: f64) {
        self.family(name, Kind::Gauge, help);
        self.sample(&[], value);
    }

    /// The samples of a histogram with these labels.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, buckets: &Buckets) {
        for (bound, count) in buckets.bounds.iter().zip(&buckets.counts) {
            let bound = number(*bound);
            let with_bound: Vec<(&str, &str)> = labels.iter().copied().chain([("le", &*bound)]).collect();
            self.named("_bucket", &with_bound, *count as f64);
        }
        let all: Vec<(&str, &str)> = labels.iter().copied().chain([("le", "+Inf")]).collect();
        self.named("_bucket", &all, buckets.num_values as f64);
        self.named("_sum", labels, buckets.sum);
        self.named("_count", labels, buckets.num_values as f64);
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.text
    }

    fn named(&mut self, suffix: &str, labels: Labels<'_>, value: f64) {
        let labels: Vec<String> =
            labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        let family = self.family;
        self.line(format_args!("{family}{suffix}{labels} {}", number(value)));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text can't fail.
        let _ = writeln!(self.text, "{line}");
    }
}

fn number(value: f64) -> String {
    if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

fn escape(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// Series with their values, after every rule of the format was checked: each sample below the HELP and TYPE of its family, no family
    /// and no series twice, names and labels well-formed, histograms cumulative, counters not negative.
    pub(crate) fn parse(text: &str) -> BTreeMap<String, f64> {
        assert!(text.ends_with('\n') && text.is_ascii(), "{text}");
        let mut series = BTreeMap::new();
        let (mut seen, mut helped, mut family, mut kind) = (BTreeSet::new(), "", "", "");
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                (helped, _) = rest.split_once(' ').expect(line);
                assert!(seen.insert(helped), "{helped} comes twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                (family, kind) = rest.split_once(' ').expect(line);
                assert_eq!(family, helped);
                assert!(["gauge", "counter", "histogram"].contains(&kind), "{line}");
                assert_eq!(family.ends_with("_total"), kind == "counter", "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').expect(line);
                check_series(name, family, kind);
                let value: f64 = value.parse().expect(line);
                assert!(kind == "gauge" || value >= 0.0, "{line}");
                assert!(series.insert(name.to_owned(), value).is_none(), "{name} comes twice");
            }
        }
        check_histograms(&series);
        series
    }

    fn check_series(series: &str, family: &str, kind: &str) {
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = name.strip_prefix(family).expect("a sample below another family's TYPE");
        let allowed: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        assert!(allowed.contains(&suffix), "{series}");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        let mut rest = labels.strip_suffix('}').expect(series);
        while !rest.is_empty() {
            let (label, value) = rest.split_once("=\"").expect(series);
            assert!(label.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{label}");
            let mut escaped = false;
            let end = value.find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            rest = &value[end.expect(series) + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
    }

    fn check_histograms(series: &BTreeMap<String, f64>) {
        for (name, count) in series.iter().filter(|(name, _)| name.contains("_count")) {
            let (family, labels) = name.split_once("_count").unwrap();
            let labels = labels.trim_matches(['{', '}']);
            let separator = if labels.is_empty() { "" } else { "," };
            let all = format!("{family}_bucket{{{labels}{separator}le=\"+Inf\"}}");
            assert_eq!(series.get(&all), Some(count), "{all}");
        }
    }

    #[test]
    fn labels_are_escaped_and_infinity_is_spelt_as_the_format_has_it() {
        let mut text = Exposition::default();
        text.family("a", Kind::Gauge, "One\nline.");
        text.sample(&[("x", "q\"b\\s\nn")], f64::INFINITY);
        assert_eq!(text.into_text(), "# HELP a One\\nline.\n# TYPE a gauge\na{x=\"q\\\"b\\\\s\\nn\"} +Inf\n");
    }

    #[test]
    fn buckets_are_cumulative() {
        let mut buckets = Buckets::new(&[1.0, 10.0]);
        for value in [0.5, 5.0, 50.0] {
            buckets.push(value);
        }
        let mut text = Exposition::default();
        text.family("a_seconds", Kind::Histogram, "Times.");
        text.histogram(&[("kind", "fit")], &buckets);
        let series = parse(&text.into_text());
        assert_eq!(series.get("a_seconds_bucket{kind=\"fit\",le=\"1\"}"), Some(&1.0));
        assert_eq!(series.get("a_seconds_bucket{kind=\"fit\",le=\"10\"}"), Some(&2.0));
        assert_eq!(series.get("a_seconds_bucket{kind=\"fit\",le=\"+Inf\"}"), Some(&3.0));
        assert_eq!(series.get("a_seconds_sum{kind=\"fit\"}"), Some(&55.5));
    }
}

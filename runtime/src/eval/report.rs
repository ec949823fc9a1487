//! Rows, examples and pages of a report.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::artifact::{EvalReport, EvalSample, ReportRow};
use minijinja::{AutoEscape, Environment, context};

use super::{Estimate, EvalError};
use crate::data::shard::write_jsonl_zst;
use crate::job::write_durably;

/// Examples of a suite that the pages show; the files hold all.
const SHOWN: usize = 6;

/// Collects what the suites measure.
#[derive(Debug, Default)]
pub struct ReportBuilder {
    models: Vec<String>,
    rows: Vec<ReportRow>,
    examples: BTreeMap<String, Vec<EvalSample>>,
}

/// What a row is about, beside its number.
#[derive(Debug, Clone)]
pub struct RowFacts {
    /// The suite.
    pub suite: &'static str,
    /// The metric.
    pub metric: String,
    /// How it was measured, in one line.
    pub method: String,
    /// What a guess would give.
    pub chance: Option<f64>,
    /// Whether a higher value is better.
    pub higher_is_better: bool,
}

impl ReportBuilder {
    /// An empty report about these models.
    pub fn new(models: Vec<String>) -> Self {
        Self { models, ..Self::default() }
    }

    /// Adds a number of a model; an empty name makes a row about the data.
    pub fn row(&mut self, model: &str, facts: &RowFacts, estimate: Estimate) {
        self.rows.push(ReportRow {
            suite: facts.suite.to_owned(),
            model: model.to_owned(),
            metric: facts.metric.clone(),
            value: estimate.value,
            stderr: estimate.stderr,
            low: estimate.low,
            high: estimate.high,
            n: estimate.n,
            method: facts.method.clone(),
            chance: facts.chance,
            higher_is_better: facts.higher_is_better,
        });
    }

    /// Adds an example.
    pub fn example(&mut self, sample: EvalSample) {
        self.examples.entry(sample.suite.clone()).or_default().push(sample);
    }

    /// The rows so far.
    pub fn rows(&self) -> &[ReportRow] {
        &self.rows
    }

    /// Writes `report.json`, the examples and the pages.
    pub fn write(self, folder: &Path) -> Result<EvalReport, EvalError> {
        for (suite, samples) in &self.examples {
            write_jsonl_zst(&folder.join("examples").join(format!("{suite}.jsonl.zst")), samples)?;
        }
        let shown = self.examples.into_values().flat_map(|samples| samples.into_iter().take(SHOWN));
        let report = EvalReport { models: self.models, rows: self.rows, samples: shown.collect() };
        let json = serde_json::to_vec_pretty(&report).unwrap_or_default();
        write_durably(&folder.join("report.json"), &json)?;
        for page in PAGES {
            write_durably(&folder.join(page.0), page_text(page, &report)?.as_bytes())?;
        }
        Ok(report)
    }
}

/// File name and template of each page.
type Page = (&'static str, &'static str);

const PAGES: &[Page] = &[
    ("report.html", include_str!("templates/report.html")),
    ("report.md", include_str!("templates/report.md")),
    ("README.md", include_str!("templates/README.md")),
];

fn page_text((name, template): &Page, report: &EvalReport) -> Result<String, EvalError> {
    let page_error = |source| EvalError::Page { page: name, source };
    let mut environment = Environment::new();
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_auto_escape_callback(|name| match Path::new(name).extension() {
        Some(extension) if extension == "html" => AutoEscape::Html,
        _ => AutoEscape::None,
    });
    environment.add_filter("number", number);
    environment.add_filter("cell", |text: String| text.replace('|', "\\|").replace('\n', " "));
    environment.add_filter("excerpt", |text: String| text.chars().take(400).collect::<String>());
    environment.add_template(name, template).map_err(page_error)?;
    let page = environment.get_template(name).map_err(page_error)?;
    page.render(context! { report, suites => suites(report) }).map_err(page_error)
}

fn suites(report: &EvalReport) -> Vec<&str> {
    let mut suites: Vec<&str> = Vec::new();
    for row in &report.rows {
        if !suites.contains(&row.suite.as_str()) {
            suites.push(&row.suite);
        }
    }
    suites
}

/// A number with as many digits as people want.
#[allow(clippy::needless_pass_by_value, reason = "the template engine calls filters with owned values")]
fn number(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value.abs() >= 1000.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 100.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::wilson;

    #[test]
    fn pages_hold_each_number_and_no_markup_from_a_model() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = ReportBuilder::new(vec!["a".into(), "b".into()]);
        let facts = RowFacts {
            suite: "judge",
            metric: "win_rate".into(),
            method: "reference".into(),
            chance: Some(0.5),
            higher_is_better: true,
        };
        builder.row("b", &facts, wilson(60, 100));
        builder.example(EvalSample {
            suite: "judge".into(),
            prompt: "<script>alert(1)</script>".into(),
            reference: "r".into(),
            answers: vec![("a".into(), "x | y".into())],
        });
        let report = builder.write(dir.path()).unwrap();
        assert_eq!(report.samples.len(), 1);
        let html = std::fs::read_to_string(dir.path().join("report.html")).unwrap();
        assert!(html.contains("0.6000") && !html.contains("<script>alert"), "{html}");
        let markdown = std::fs::read_to_string(dir.path().join("report.md")).unwrap();
        assert!(markdown.contains("| b | win_rate | 0.6000 | 0.5020 – 0.6906 |"), "{markdown}");
        assert!(
            dir.path().join("README.md").exists() && dir.path().join("examples/judge.jsonl.zst").exists()
        );
    }
}

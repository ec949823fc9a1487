//! The report's sections: each turns its part of the facts into words, figures and tables; page and Markdown only lay them out.

mod contamination;
mod data;
mod evals;
mod law;
mod law_charts;
mod lineage;
mod preferences;
mod samples;
mod steps;
mod training;

use serde::Serialize;

use super::ReportFacts;
use super::chart::Chart;

/// One section.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Section {
    /// Anchor on the page.
    pub id: &'static str,
    /// Heading.
    pub title: String,
    /// What the section shows, in a sentence or two.
    pub lead: String,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
    /// Things to know, one line each.
    pub notes: Vec<String>,
    /// Texts side by side.
    pub samples: Vec<Sample>,
    /// Excerpts behind a fold.
    pub excerpts: Vec<Excerpt>,
}

/// A drawing.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Figure {
    /// Caption.
    pub title: String,
    /// An SVG element, escaped.
    pub svg: String,
    /// Names and CSS classes of what is drawn.
    pub legend: Vec<(String, String)>,
    /// Whether it takes the page's whole width.
    pub wide: bool,
}

impl Figure {
    /// A chart as a figure; none where it has nothing to draw.
    fn of(chart: &Chart) -> Option<Self> {
        let svg = chart.svg()?;
        Some(Self { title: chart.title.clone(), svg, legend: chart.legend(), wide: false })
    }
}

/// A table.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Table {
    /// Caption; may be empty.
    pub title: String,
    /// Column heads; the first column is the row's name.
    pub heads: Vec<&'static str>,
    /// Rows, as long as `heads`.
    pub rows: Vec<Vec<String>>,
}

/// Answers to one prompt.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sample {
    /// Where it is from.
    pub title: String,
    /// What was asked.
    pub prompt: String,
    /// Names and texts; the reference first.
    pub answers: Vec<(String, String)>,
}

/// An excerpt of data.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Excerpt {
    /// What removed it, and from where.
    pub title: String,
    /// The text.
    pub text: String,
}

/// Every section that the facts fill, in reading order.
pub(super) fn sections(facts: &ReportFacts) -> Vec<Section> {
    [
        steps::section(facts),
        evals::section(facts),
        samples::section(facts),
        data::section(facts),
        training::section(facts),
        law::section(facts),
        preferences::section(facts),
        contamination::section(facts),
        lineage::section(facts),
    ]
    .into_iter()
    .flatten()
    .collect()
}

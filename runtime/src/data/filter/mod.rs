//! Heuristic filters: Gopher's quality and repetition rules (2021, arXiv:2112.11446), C4's (2019, arXiv:1910.10683), FineWeb's
//! (2024, arXiv:2406.17557), and rules for source code.
//!
//! The prose rules count words, sentences and bullets: they look at Markdown, text and JSONL. The `code` rules look at Rust.
//! A rule that does not apply to a document lets it pass.

mod c4;
mod code;
mod fineweb;
mod quality;
mod repetition;

use cupola_specs::job::FilterParams;

use super::document::{Class, Document};
use super::funnel::Outcome;

/// The names of a filter's rules, in the order that they are tried.
pub(super) fn rules(filter: &FilterParams) -> Vec<String> {
    let (filter, rules): (&str, &[&str]) = match filter {
        FilterParams::GopherQuality { .. } => ("gopher_quality", &quality::RULES),
        FilterParams::GopherRepetition { .. } => ("gopher_repetition", &repetition::RULES),
        FilterParams::C4 { .. } => ("c4", &c4::RULES),
        FilterParams::Fineweb { .. } => ("fineweb", &fineweb::RULES),
        FilterParams::Code { .. } => ("code", &code::RULES),
        // The compiler refuses them until the step runs the curation crate's rules.
        FilterParams::Refinedweb { .. } | FilterParams::Custom { .. } => ("", &[]),
    };
    rules.iter().map(|rule| format!("{filter}.{rule}")).collect()
}

/// Runs one filter over a document.
pub(super) fn judge(filter: &FilterParams, document: &Document) -> Outcome {
    let is_code = document.class == Class::Rust;
    if is_code != matches!(filter, FilterParams::Code { .. }) {
        return Outcome::default();
    }
    match filter {
        FilterParams::GopherQuality { .. } => quality::judge(filter, document),
        FilterParams::GopherRepetition { .. } => repetition::judge(filter, document),
        FilterParams::C4 { .. } => c4::judge(filter, document),
        FilterParams::Fineweb { .. } => fineweb::judge(filter, document),
        FilterParams::Code { .. } => code::judge(filter, document),
        FilterParams::Refinedweb { .. } | FilterParams::Custom { .. } => Outcome::default(),
    }
}

/// A measured value and its bound.
enum Bound {
    /// The value must not be above.
    Most(f64, f64),
    /// The value must not be below.
    Least(f64, f64),
}

impl Bound {
    /// Why the value breaks its bound, where it does.
    fn broken(&self) -> Option<String> {
        match self {
            Self::Most(value, limit) if value > limit => Some(format!("{value:.3} > {limit}")),
            Self::Least(value, limit) if value < limit => Some(format!("{value:.3} < {limit}")),
            _ => None,
        }
    }
}

/// The outcome of rules that are tried in order: the first that is broken drops the document.
fn first_broken(bounds: &[Bound], signals: Vec<(&'static str, f64)>) -> Outcome {
    for (rule, bound) in bounds.iter().enumerate() {
        if let Some(reason) = bound.broken() {
            return Outcome::drop(rule, reason);
        }
    }
    Outcome { signals, ..Outcome::default() }
}

/// A part of a whole; 0 of nothing.
fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Characters.
fn chars(text: &str) -> usize {
    text.chars().count()
}

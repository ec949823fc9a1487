//! What can be wrong with a mixture.

use std::collections::BTreeMap;
use std::fmt::Write;

/// An error of this module; all are the user's to mend.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MixtureError {
    /// A weight that is none.
    #[error("the weight of source {source_name:?} is {weight}, expected 0 to 1")]
    Weight {
        /// Whose.
        source_name: String,
        /// What was given.
        weight: f64,
    },
    /// Weights that are not shares of a whole.
    #[error("the weights sum to {sum}, expected 1")]
    Sum {
        /// Their sum.
        sum: f64,
    },
    /// A weight for what is not there.
    #[error("source {source_name:?} has weight {weight} and no token (sources: {known})")]
    Empty {
        /// Which.
        source_name: String,
        /// Its weight.
        weight: f64,
        /// The names of those that have.
        known: String,
    },
    /// A source that would be read more often than is allowed.
    #[error(
        "source {source_name:?} is exhausted: {wanted_tokens} tokens are {epochs:.2} epochs of its {size_tokens}, at most {max_epochs} are allowed; \
         what would fit: {}", fits(*.total_tokens, .weights.as_ref())
    )]
    Exhausted {
        /// The source that lacks most.
        source_name: String,
        /// What its weight asks for.
        wanted_tokens: u64,
        /// What it has.
        size_tokens: u64,
        /// How often it would be read.
        epochs: f64,
        /// How often it may be.
        max_epochs: f64,
        /// The longest run with these weights.
        total_tokens: u64,
        /// The weights nearest to these with which this run fits; none where no weights do.
        weights: Option<BTreeMap<String, f64>>,
    },
    /// A line of a file of runs that is no run.
    #[error("{file}, line {line}: {message}")]
    Line {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// Settings or runs that can't be fitted.
    #[error("mixture: {0}")]
    Fit(String),
}

fn fits(total_tokens: u64, weights: Option<&BTreeMap<String, f64>>) -> String {
    let mut out = format!("{total_tokens} tokens with these weights, more epochs");
    match weights {
        None => out.push_str("; no weights make this length fit"),
        Some(weights) => {
            out.push_str(", or the weights");
            for (at, (name, weight)) in weights.iter().enumerate() {
                // Writing to a string can't fail.
                let _ = write!(out, "{} {name}: {weight:.4}", if at == 0 { "" } else { "," });
            }
        }
    }
    out
}

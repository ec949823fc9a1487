//! How much of each source a model reads: whether that is there to read, and which shares are best.
//!
//! * [`MixturePlan`]: weights, sizes and a length in → tokens and epochs of each source, or which source runs out and what would fit.
//! * [`fit_mixture`]: small runs with different mixtures and the loss of each in → the weights of the least loss that can be expected, each with an interval. RegMix, Liu et al. 2024
//!   (arXiv:2407.01492): which mixture is better hardly depends on the model's size, so that a regression over hundreds of tiny runs picks the mixture of a large one.
//!
//! Rows are then drawn by the trainer's order, which is a function of seed and row number: nothing is copied for a mixture. Everything here is a pure function: the same result for the same
//! seed, on any machine and for any number of threads.

mod best;
mod error;
mod fit;
mod linear;
mod plan;
mod runs;
mod runs_file;
mod simulate;
mod trees;
mod validate;

pub use error::MixtureError;
pub use fit::{FitOptions, MixtureFit, fit_mixture};
pub use plan::{MixturePlan, SourcePlan};
pub use runs::ProxyRuns;
pub use validate::{CrossValidation, Regressor, spearman};

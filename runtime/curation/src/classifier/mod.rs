//! A linear classifier over hashed n-grams, as fastText's: is this page worth keeping, which domain is it of, is it toxic.
//!
//! Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification" (arXiv:1607.01759). A text is the mean of its features' rows, and its labels
//! are scored linearly from there. Texts and labels in → a [`Model`]; a text in → a probability for each label.
//!
//! What differs from fastText, and why:
//! * **No dictionary.** Words are hashed as n-grams are (FNV-1a, fastText's recurrence), so that memory is bounded by `buckets`. A feature that no
//!   example had is left out at prediction, where fastText adds the row's random start.
//! * **Deterministic.** Rows are read and written in small blocks of fixed size, in a fixed order ([`TrainingSet::train`]): the model is the same to the
//!   bit for any number of threads. fastText's threads race.
//! * **Lone features share a row.** Those that one example has alone learn in step, and half of all word pairs are so: one row an example stands for them
//!   while training goes on, with the same result.
//! * **Folded.** The map from features to scores is linear, so both matrices are multiplied once after training where that is smaller:
//!   a prediction sums a number for each label, not a vector of `dim`.
//!
//! Around it: [`Calibration`] makes a score a frequency, [`Threshold`] turns "keep the best tenth" into a score, [`roc_auc`] and [`average_precision`]
//! say how good it is and how sure that is, [`balance`] evens classes out, [`extract_links`] and [`LinkSet`] find pages that reference works cite,
//! and [`FastText`] predicts with models that fastText trained.

mod balance;
mod calibration;
mod error;
mod evaluation;
mod examples;
mod fasttext;
mod fasttext_dictionary;
mod fasttext_file;
mod features;
mod known;
mod link_set;
mod link_text;
mod links;
mod model;
mod model_file;
pub(crate) mod rows;
mod scores;
mod settings;
mod threshold;
mod trainer;
mod training_set;
mod urls;

pub use balance::{Balance, balance};
pub use calibration::{Calibration, CalibrationMethod};
pub use error::ClassifierError;
pub use evaluation::{Estimate, average_precision, roc_auc};
pub use fasttext::FastText;
pub use link_set::LinkSet;
pub use links::{LinkFormat, Links, extract_links};
pub use model::Model;
pub use scores::Scratch;
pub use settings::{Loss, Settings};
pub use threshold::{Selection, Threshold};
pub use training_set::{Example, TrainingSet, train};
pub use urls::canonical_url;

//! One training loop for every stage: pretraining, sweeps, fine-tuning, reward models, preference optimisation.
//!
//! A stage is an [`Objective`]: which weights, how many micro-batches a step, and the loss of one. [`train`] does the rest:
//! accumulation, clipping, AdamW, Muon and gradient descent, the schedules, guards, curves, checkpoints.
//!
//! A step may be shared between [ranks](crate::job::Place): its micro-batches are split, gradients summed, and all take the same decisions.
//! The first rank alone evaluates, writes states and goes on after the loop.
//!
//! Invariants: nothing is random but through (seed, purpose, step, row), so there is no random state to save (the library's own generator is
//! seeded anew at each micro-batch); a run that was killed at any moment, or stopped between two micro-batches, ends with the same bytes; a micro-batch without a trained token is an error, and a step whose loss is no number is left out
//! and recorded.

mod auto;
mod buckets;
mod checkpoint;
mod course;
mod data_order;
mod error;
mod gradients;
mod language;
mod objective;
mod optimizer;
mod packed_self_test;
mod packing;
mod part;
mod permutation;
mod ranks;
mod rows;
mod saver;
mod schedule;
mod self_test;
mod setback;
mod shares;
mod state_file;
mod stretch;
mod token_data;
mod trainer;
mod validation;
mod z_loss;

pub use auto::{AutoChoice, EMA_RULE, Rates, choose_batch, choose_rates, eased, eased_batch, scaling_of};
pub use data_order::{MixtureOrder, MixturePhase};
pub use error::{TokenProblem, TrainError};
pub use language::{Evaluation, LanguageRun, Recipe};
pub use objective::{Curves, Objective, StepLoss};
pub use optimizer::{Factors, Optimizer, OptimizerSettings, Pace, Peaks, Scaling};
pub use packed_self_test::packed_self_test;
pub use permutation::Permutation;
pub use rows::{RowBatch, RowId, RowSet, RowShape};
pub use schedule::{LrSchedule, PhaseRate};
pub use self_test::{accumulation_self_test, step_gradient};
pub use setback::SetbackLimits;
pub use token_data::TokenData;
pub use trainer::{TrainOutcome, TrainPlan, train, train_in};
pub use validation::{FINAL_TOKENS, Validation, validate};
pub use z_loss::losses_with_normalizer;

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod corpora_tests;
#[cfg(test)]
mod language_tests;
#[cfg(test)]
mod ranks_tests;
#[cfg(test)]
pub(crate) mod tests;

//! `kind: eval`: numbers with intervals, for each model.
//!
//! * [`job`]: models and suites in, report out.
//! * `perplexity`: bits per byte of held-out documents, beside a byte n-gram model ([`ByteNgram`]).
//! * `chat_loss`: loss on the assistant's tokens of held-out chats.
//! * `multiple_choice`: choices scored by likelihood; `questions` makes them of held-out pairs.
//! * `judge`: win rate of one model's answers over another's by ROUGE-L.
//! * `contamination`: words that the tests share with the training text.
//!
//! Every number is an [`Estimate`] with its standard error and 95 % interval, and says in words how it was measured. The same step gives
//! the same report: whatever is drawn comes from a named seed.

mod chat_loss;
mod contamination;
mod contamination_suite;
mod error;
pub mod job;
mod judge;
mod model_set;
mod multiple_choice;
mod ngram;
mod perplexity;
mod questions;
mod report;
mod statistics;
mod suite;

pub use error::EvalError;
pub use model_set::EvalModel;
pub use ngram::ByteNgram;
pub use report::{ReportBuilder, RowFacts};
pub use statistics::{Estimate, mean, ratio, wilson};
pub use suite::Suite;

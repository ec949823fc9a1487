//! Gates: the CEL expression of `serve.promote_if`, what it may name, and what it says of two reports.
//!
//! Pure: the names follow from the eval jobs of a spec, the values from the rows of their reports.
//!
//! * `JOB.SUITE.MODEL.METRIC` is a number with its interval (`.value`, `.low`, `.high`, `.stderr`, `.n`) of the report of an eval job that
//!   measures the served model; `data` stands for the model where a number is about the data.
//! * `previous.JOB.SUITE.MODEL.METRIC` is the same of the model that is served now. While none is, nothing is behind `previous`:
//!   `has(previous.JOB)` asks. Where its report was measured on other data or in another way the numbers are not there, which is an error.
//! * `better(new, old)` and `not_worse(new, old, margin)` compare two numbers with their intervals, see [`statistics`].

mod evaluate;
mod expression;
mod names;
pub mod statistics;
mod walk;

pub use evaluate::{GateFacts, GateOutcome, SeenNumber};
pub use expression::{Gate, GateProblem};
pub use names::{GateNames, word_of};

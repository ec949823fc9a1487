//! Evaluation questions that stand in training text: found, measured, cut.
//!
//! A model that has read a question before its exam is not measured by it. The search is the one of *allenai/decon* in outline
//! (clusters of n-grams, weighted by how rare they are); definitions and scores here are our own.
//!
//! **Words.** A word is a run of letters and digits, lower-cased; every ideograph is a word of its own. All else separates.
//!
//! **Weights.** Each word of a question carries its surprise in nats, given the word before:
//! `w_i = −ln(λ·P(q_i | q_{i−1}) + (1−λ)·P(q_i))`, held in `[0.25, 9]`. Both probabilities are counted over all *other* questions of the
//! index (so that `which of the following` weighs next to nothing) and smoothed by a table of common English words, so that an
//! index of ten questions knows too that `the` is common. `T = Σ w_i` is what there is to know in a question.
//!
//! **Seeds.** Each 4-gram of a question of at least 12 nats, and of at most 48 questions, is a seed. Each 4-gram of a text is asked for in a bitmap
//! (one memory access), then in a table.
//!
//! **Clusters.** A seed grows to both sides as long as words match. Where they don't, it jumps to the nearest two words in a row that do,
//! at most 8 words ahead on each side; a skipped word costs 2.5 nats, and a side ends 20 nats below its best. Clusters of one question
//! close to each other are one. `C` is the sum of the weights of the words that it matched.
//!
//! **Leak.** `C ≥ floor` and `C / T ≥ share`. The floor asks for evidence, the share for a part of the question that tells what is
//! asked: a third of its information. A question with less than `floor` in it leaks only with its answer after it
//! ([`LeakKind::Answer`]): `C ≥ 0.8·T` and `C + Σ w(answer) − ln(48) ≥ floor`. The passage of a question is a
//! text of its own with a higher floor, for passages are quoted elsewhere; the question still can be read there, so a copy counts.
//!
//! **Not a leak.** The same words about other numbers are another question of a template: where a cluster spans two numbers of the question or more,
//! a third of them must match. Where two questions of one benchmark match the same span, the one that matches
//! better is the one that leaked.
//!
//! Invariants: the same items in the same order give the same index and the same leaks; work per text is bounded
//! ([`Settings::max_extensions`]), and a text that reaches the bound says so ([`Scratch::exhausted`]).

mod align;
mod check;
mod index;
mod item;
mod leak;
mod report;
mod seeds;
mod shapes;
mod weights;
mod words;

pub use check::Scratch;
pub use index::{EvalIndex, IndexSummary, Settings};
pub use item::EvalItem;
pub use leak::{Leak, LeakKind, remove_spans, spans};
pub use report::{BenchmarkReport, LeakExample, LeakReport};
pub use shapes::{ShapeError, items_of};

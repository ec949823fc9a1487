//! Evaluation questions that stand in training text: found, measured, cut.
//!
//! A model that has read a question before its exam is not measured by it. The search is the one of *allenai/decon* in outline
//! (clusters of n-grams, weighted by how rare they are); definitions and scores here are our own.
//!
//! **Words.** A word is a run of letters and digits, lower-cased; every ideograph is a word of its own. All else separates.
//!
//! **Weights.** Each word of a question weighs what it tells, in nats: `w_i = min(s_i, r_i)`, held in `[0.1, 9]`. The surprise
//! `s_i = −ln(λ·P(q_i | q_{i−1}) + (1−λ)·P(q_i))` with `λ = n/(n+8)` for `n` other questions that hold the word before; a pair that three
//! other questions or fewer share counts as none, for questions come in twins. The rarity
//! `r_i = −ln max(f_b, f)`, an inverse document frequency, with `f_b` and `f` the parts of the benchmark's and of all questions that hold the word. All is counted over
//! the *other* questions (so that `which of the following` weighs next to nothing) and smoothed by a table of common English words,
//! so that an index of ten questions knows too that `the` is common. `T = Σ w_i` is what there is to know in a question.
//!
//! **Seeds.** Each 4-gram of a question of at least 10 nats, and of at most 48 questions, is a seed. Each 4-gram of a text is asked for in a bitmap
//! (one memory access), then in a table.
//!
//! **Clusters.** A seed grows to both sides as long as words match. Where they don't, it jumps to the nearest two words in a row that do,
//! at most 8 words ahead on each side; a skipped word costs 2.5 nats, and a side ends 20 nats below its best. Clusters of one question
//! close to each other are one. `C` is the sum of the weights of the words that it matched.
//!
//! **Leak.** With `p = C / T`: `p ≥ share` and `C ≥ floor + (partial_floor − floor)·(1−p)/(1−share)`. The share asks for a part of the question that
//! tells what is asked: three tenths of its information. The floors ask for evidence: less of it is needed where all of the question is there. A question with less than `floor` in it leaks only with its answer after it
//! ([`LeakKind::Answer`]): `p ≥ 0.8` and `C + Σ w(answer) − ln 48` reaches the floor. The passage of a question is a
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
mod shape_fields;
mod shape_readers;
mod shapes;
mod weights;
mod words;

pub use check::Scratch;
pub use index::{EvalIndex, IndexSummary, Settings};
pub use item::EvalItem;
pub use leak::{Leak, LeakKind, remove_spans, spans};
pub use report::{BenchmarkReport, LeakExample, LeakReport};
pub use shapes::{ShapeError, items_of};

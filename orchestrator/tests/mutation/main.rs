//! The cache mutation test: every leaf of the language is changed alone to other values. What its value is part of the result of runs
//! again, with all that follows and nothing else, and `why` names the field, its line and both values; every other change runs nothing.
//!
//! `fields.txt` says for each leaf of the schema what a change does; a leaf without a line there, or a line without a leaf, is a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod cosmetic;
mod emit;
mod hashed;
mod language;
mod world;

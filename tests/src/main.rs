//! End-to-end tests: the real binaries, a real corpus, every job kind.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod boundaries;
mod commands;
mod curation_kills;
mod first_hour;
mod handover;
mod kills;
mod peers;
mod ranks;
mod telemetry;
mod whole_way;

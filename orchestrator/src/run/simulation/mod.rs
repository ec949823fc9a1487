//! Random histories of whole runs, by seed, over a journal and a world in memory.
//!
//! The driver, the scheduler and the state are the real ones. The world is not: its attempts finish, fail, are killed, vanish from sight
//! and come back, die without a word or after their last one; its people pause, resume, cancel, retry and interrupt; its slots change;
//! its calendar is set hours forwards and back; its power fails at any flush and around any effect, and what a flush did not finish is
//! torn off at any byte. Then the next orchestrator goes on.
//!
//! Invariants: a step's result is committed at most once, and by its newest attempt; its inputs are there before it runs; one attempt of
//! it lives at a time; no slot is used twice; an acknowledged record is never lost; the journal replayed gives the projection; every run
//! comes to an end, and in the end everything that could be done is done.

mod history;
mod world;

pub use history::{History, simulate};

use std::collections::BTreeMap;

use rayon::prelude::*;

/// What many histories came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Histories {
    /// How often each end was reached.
    pub ends: BTreeMap<&'static str, u64>,
    /// How often an orchestrator died.
    pub crashes: u64,
    /// How many attempts were started.
    pub attempts: u64,
}

/// Lives through the histories of these seeds on all cores; the error names the first seed that broke an invariant, and which.
pub fn simulate_all(seeds: std::ops::Range<u64>) -> Result<Histories, String> {
    let add = |mut sum: Histories, history: History| {
        *sum.ends.entry(history.end.as_str()).or_default() += 1;
        sum.crashes += history.crashes;
        sum.attempts += history.attempts;
        sum
    };
    let merge = |mut sum: Histories, other: Histories| {
        for (end, count) in other.ends {
            *sum.ends.entry(end).or_default() += count;
        }
        sum.crashes += other.crashes;
        sum.attempts += other.attempts;
        Ok(sum)
    };
    seeds
        .into_par_iter()
        .map(|seed| simulate(seed).map_err(|problem| format!("seed {seed}: {problem}")))
        .try_fold(Histories::default, |sum, history| Ok(add(sum, history?)))
        .try_reduce(Histories::default, merge)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_histories_hold_every_invariant() {
        let told = simulate_all(0..20_000).unwrap();
        for end in ["succeeded", "failed", "cancelled", "interrupted"] {
            assert!(told.ends.get(end).is_some_and(|count| *count > 10), "too tame: {told:?}");
        }
        assert!(told.crashes > 20_000 && told.attempts > 50_000, "too tame: {told:?}");
    }

    #[test]
    fn the_same_seed_is_the_same_history() {
        for seed in [0, 7, 99] {
            assert_eq!(simulate(seed), simulate(seed));
        }
    }
}

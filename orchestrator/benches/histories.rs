//! Histories of whole runs in memory, and how many go by in a second; the first seed that breaks an invariant is told.
//!
//! `cargo bench -p cupola --bench histories [-- COUNT [FIRST-SEED]]`: one million where nothing is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::time::Instant;

use cupola::run::simulate_all;

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (count, first) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(0));
    let since = Instant::now();
    let told = simulate_all(first..first + count).expect("every invariant holds");
    let seconds = since.elapsed().as_secs_f64();
    println!(
        "{count} histories from seed {first}: every invariant held; {seconds:.0} s, {:.0} a second",
        count as f64 / seconds
    );
    println!("{} crashes, {} attempts, ends {:?}", told.crashes, told.attempts, told.ends);
}

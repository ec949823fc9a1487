//! What became of all requests, and what of it must not be.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::LOAD;
use crate::client::{Asked, BEHAVES, Outcome, SLOW};

/// What must have come of the load.
const LEAST_LOAD: f64 = 0.95 * LOAD;
/// How late the latest answer may be, by the time that all who are let in take at the measured speed: attacks and hang-ups take some of it.
const MOST_LATE: f64 = 4.0;
/// Within which time a refusal comes.
const REFUSED_WITHIN: Duration = Duration::from_secs(2);

/// What became of all requests.
#[derive(Default)]
pub(crate) struct Tally {
    /// By kind and outcome.
    counts: BTreeMap<(&'static str, String), u64>,
    /// How long whole answers to clients that behave took, and refusals of them.
    answered: Vec<Duration>,
    refused: Vec<Duration>,
    pub(crate) breaches: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, Asked { kind, outcome, took }: Asked) {
        *self.counts.entry((kind, outcome.word())).or_default() += 1;
        self.breaches.extend(outcome.breach().map(|breach| format!("{kind}: {breach}")));
        match outcome {
            Outcome::Answered if kind == BEHAVES => self.answered.push(took),
            Outcome::Refused(_) if kind == BEHAVES => self.refused.push(took),
            _ => {}
        }
    }

    pub(crate) fn count(&self, is_wanted: impl Fn(&str, &str) -> bool) -> u64 {
        self.counts.iter().filter(|((kind, word), _)| is_wanted(kind, word)).map(|(_, count)| count).sum()
    }

    /// Whether as much was asked as was meant, and more than the server takes.
    pub(crate) fn check_load(&mut self, time: Duration, capacity: f64) {
        let stays = |kind: &str| kind == BEHAVES || kind == SLOW;
        let asked = self.count(|kind, _| stays(kind));
        let refused = self.count(|kind, word| stays(kind) && word.ends_with("429"));
        let share = asked as f64 / time.as_secs_f64() / capacity;
        println!("\n{share:.2} of the capacity came to stay; {refused} of {asked} were told to come again");
        if share < LEAST_LOAD || refused == 0 {
            self.breaches.push(format!("the load was {share:.2} of the capacity, {refused} refused"));
        }
    }

    /// Whether whoever was let in was answered in time, and the others were told so at once. `all` is what all who are let in take.
    pub(crate) fn check_times(&mut self, all: Duration) {
        let late = all.mul_f64(MOST_LATE);
        println!(
            "\n{:<26} {:>9} {:>9} {:>9} {:>9}",
            "clients that behave", "median", "99 %", "latest", "limit"
        );
        let rows = [
            ("answered after", &mut self.answered, late),
            ("refused after", &mut self.refused, REFUSED_WITHIN),
        ];
        for (name, times, limit) in rows {
            times.sort_unstable();
            let at = |share: f64| {
                times.get(((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1)))
            };
            let shown = [0.5, 0.99, 1.0].map(|share| at(share).map_or(0.0, Duration::as_secs_f64));
            let [median, most, latest] = shown;
            println!("{name:<26} {median:>8.3}s {most:>8.3}s {latest:>8.3}s {:>8.3}s", limit.as_secs_f64());
            if times.is_empty() || latest > limit.as_secs_f64() {
                self.breaches.push(format!("{name} {latest:.3} s, {} of them", times.len()));
            }
        }
    }

    pub(crate) fn print(&self) {
        println!("{:<26} {:<28} {:>9}", "request", "outcome", "count");
        for ((kind, word), count) in &self.counts {
            println!("{kind:<26} {word:<28} {count:>9}");
        }
    }
}

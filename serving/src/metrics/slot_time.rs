//! How long answers hold a slot, without their time in the line: seconds of slots, by answers that ended. The recent ones weigh most.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct SlotTime {
    /// Time of slots since the last answer ended.
    open_micros: AtomicU64,
    sums: Mutex<Sums>,
}

#[derive(Debug, Default)]
struct Sums {
    weighted_secs: f64,
    weighted_answers: f64,
}

/// The weight of an answer beside that of the next one.
const DECAY: f64 = 0.95;

impl SlotTime {
    /// Adds a step of so many slots.
    pub(super) fn add(&self, slots: usize, took: Duration) {
        self.open_micros.fetch_add(slots as u64 * took.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn count_answer(&self) {
        let open = self.open_micros.swap(0, Ordering::Relaxed);
        let mut sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.weighted_secs = sums.weighted_secs * DECAY + open as f64 / 1e6;
        sums.weighted_answers = sums.weighted_answers * DECAY + 1.0;
    }

    /// None before the first answer ended.
    pub(super) fn mean_secs(&self) -> Option<f64> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        (sums.weighted_answers > 0.0).then(|| sums.weighted_secs / sums.weighted_answers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_is_of_slots_and_recent_answers_weigh_most() {
        let slots = SlotTime::default();
        assert_eq!(slots.mean_secs(), None);
        slots.add(2, Duration::from_millis(500));
        slots.count_answer();
        assert_eq!(slots.mean_secs(), Some(1.0));
        slots.add(1, Duration::from_secs(3));
        slots.count_answer();
        let mean = slots.mean_secs().unwrap();
        assert!((mean - (DECAY + 3.0) / (DECAY + 1.0)).abs() < 1e-9, "{mean}");
    }
}

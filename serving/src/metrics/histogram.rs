//! A histogram of times: atomic numbers, so that whoever observes never waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::page::Page;

/// Upper bounds of the buckets, seconds.
const BOUNDS: [f64; 16] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One for each bound, and one for all that is over the last.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    pub(super) fn observe(&self, took: Duration) {
        let secs = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| secs <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_micros.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// Its lines; `labels` are those of each.
    pub(super) fn render(&self, page: &mut Page, name: &str, labels: &str) {
        let mut count = 0;
        for (bucket, bound) in self.buckets.iter().zip(BOUNDS) {
            count += bucket.load(Ordering::Relaxed);
            page.line(format_args!("{name}_bucket{{{labels},le=\"{bound}\"}} {count}"));
        }
        count += self.buckets[BOUNDS.len()].load(Ordering::Relaxed);
        page.line(format_args!("{name}_bucket{{{labels},le=\"+Inf\"}} {count}"));
        let sum = self.sum_micros.load(Ordering::Relaxed) as f64 / 1e6;
        page.line(format_args!("{name}_sum{{{labels}}} {sum}"));
        page.line(format_args!("{name}_count{{{labels}}} {count}"));
    }
}

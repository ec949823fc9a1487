//! A token bucket that may be charged after the fact. The limiters of the usual crates (governor) want to know a cost before; what an
//! answer costs is known at its end, so this one goes into debt. Pure: the time is an argument.

use std::time::{Duration, Instant};

/// So many units a period, saved up to one period's worth.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    limit: f64,
    per_sec: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(limit: u64, period: Duration, now: Instant) -> Self {
        let limit = limit as f64;
        Self { limit, per_sec: limit / period.as_secs_f64(), level: limit, at: now }
    }

    /// Units of a full bucket.
    pub(super) fn limit(&self) -> u64 {
        self.limit as u64
    }

    /// Units that are there; negative in debt.
    pub(super) fn level(&self, now: Instant) -> f64 {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        (self.level + since * self.per_sec).min(self.limit)
    }

    /// How long until `units` are there. More than a full bucket need a full one.
    pub(super) fn wait_for(&self, units: u64, now: Instant) -> Duration {
        let lack = (units as f64).min(self.limit) - self.level(now);
        Duration::from_secs_f64((lack / self.per_sec).max(0.0))
    }

    /// How long until it is full.
    pub(super) fn wait_for_full(&self, now: Instant) -> Duration {
        self.wait_for(self.limit(), now)
    }

    /// Takes units, into debt where they are not there.
    pub(super) fn take(&mut self, units: u64, now: Instant) {
        self.level = self.level(now) - units as f64;
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_fills_at_its_rate_and_pays_its_debts() {
        let start = Instant::now();
        let after = |secs: u64| start + Duration::from_secs(secs);
        let mut bucket = Bucket::new(60, Duration::from_mins(1), start);
        assert_eq!(bucket.wait_for(60, start), Duration::ZERO);
        bucket.take(60, start);
        assert_eq!(bucket.wait_for(1, start), Duration::from_secs(1));
        bucket.take(30, after(10));
        assert!((bucket.level(after(10)) + 20.0).abs() < 1e-9);
        assert_eq!(bucket.wait_for(1, after(10)), Duration::from_secs(21));
        assert_eq!(bucket.wait_for_full(after(10)), Duration::from_secs(80));
        assert_eq!(
            bucket.wait_for(1000, after(10)),
            Duration::from_secs(80),
            "never longer than to a full one"
        );
        assert!((bucket.level(after(1000)) - 60.0).abs() < 1e-9, "no more than a full bucket is saved");
    }
}

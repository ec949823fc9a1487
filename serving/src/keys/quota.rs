//! What a key may ask for: requests a minute, and tokens a minute and a day. Prompt tokens are charged when a request is admitted, new
//! tokens when its answers end; whoever is in debt waits. Kept in memory: a restart fills the buckets.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::bucket::Bucket;
use super::file::KeyEntry;

const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

/// The buckets of a key.
#[derive(Debug, Default)]
pub(crate) struct Quota(Mutex<Buckets>);

#[derive(Debug, Default)]
struct Buckets {
    requests: Option<Bucket>,
    tokens: Vec<(&'static str, Bucket)>,
}

/// A limit that has nothing left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exceeded {
    /// `requests` or `tokens`.
    pub(crate) unit: &'static str,
    /// `minute` or `day`.
    pub(crate) period: &'static str,
    /// Units of a period.
    pub(crate) limit: u64,
    /// When there is room again.
    pub(crate) wait: Duration,
}

/// Where a limit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Standing {
    /// Units of a period.
    pub(crate) limit: u64,
    /// Units left.
    pub(crate) remaining: u64,
    /// When all are there again.
    pub(crate) reset: Duration,
}

impl Quota {
    pub(super) fn new(entry: &KeyEntry, now: Instant) -> Self {
        let tokens = [("minute", entry.tokens_per_minute, MINUTE), ("day", entry.tokens_per_day, DAY)];
        Self(Mutex::new(Buckets {
            requests: entry.requests_per_minute.map(|limit| Bucket::new(limit, MINUTE, now)),
            tokens: tokens
                .into_iter()
                .filter_map(|(period, limit, length)| Some((period, Bucket::new(limit?, length, now))))
                .collect(),
        }))
    }

    /// Charges a request and its prompt, or nothing at all where a limit has no room; of several the one that takes longest is told.
    pub(crate) fn admit(&self, prompt_tokens: u64, now: Instant) -> Result<(), Exceeded> {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let requests = buckets.requests.iter().map(|bucket| ("requests", "minute", bucket, 1));
        let tokens =
            buckets.tokens.iter().map(|(period, bucket)| ("tokens", *period, bucket, prompt_tokens.max(1)));
        let longest = requests
            .chain(tokens)
            .map(|(unit, period, bucket, need)| Exceeded {
                unit,
                period,
                limit: bucket.limit(),
                wait: bucket.wait_for(need, now),
            })
            .max_by_key(|exceeded| exceeded.wait);
        if let Some(exceeded) = longest.filter(|exceeded| !exceeded.wait.is_zero()) {
            return Err(exceeded);
        }
        if let Some(requests) = &mut buckets.requests {
            requests.take(1, now);
        }
        buckets.charge(prompt_tokens, now);
        Ok(())
    }

    /// Charges new tokens.
    pub(crate) fn charge(&self, tokens: u64, now: Instant) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).charge(tokens, now);
    }

    /// Where the limit of requests stands, where there is one.
    pub(crate) fn requests(&self, now: Instant) -> Option<Standing> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.requests.as_ref().map(|bucket| standing(bucket, now))
    }

    /// Where the limit of tokens stands that has the fewest left, where there is one.
    pub(crate) fn tokens(&self, now: Instant) -> Option<Standing> {
        let buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets
            .tokens
            .iter()
            .map(|(_, bucket)| standing(bucket, now))
            .min_by_key(|standing| (standing.remaining, std::cmp::Reverse(standing.reset)))
    }
}

impl Buckets {
    fn charge(&mut self, tokens: u64, now: Instant) {
        for (_, bucket) in &mut self.tokens {
            bucket.take(tokens, now);
        }
    }
}

fn standing(bucket: &Bucket, now: Instant) -> Standing {
    Standing {
        limit: bucket.limit(),
        remaining: bucket.level(now).max(0.0) as u64,
        reset: bucket.wait_for_full(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quota(requests: Option<u64>, minute: Option<u64>, day: Option<u64>, now: Instant) -> Quota {
        let entry = KeyEntry {
            name: "a".into(),
            sha256: String::new(),
            requests_per_minute: requests,
            tokens_per_minute: minute,
            tokens_per_day: day,
        };
        Quota::new(&entry, now)
    }

    #[test]
    fn the_limit_that_takes_longest_is_told_and_a_refusal_costs_nothing() {
        let now = Instant::now();
        let quota = quota(Some(2), Some(600), Some(1000), now);
        quota.admit(500, now).unwrap();
        quota.charge(400, now);
        let refused = quota.admit(200, now).unwrap_err();
        assert_eq!((refused.unit, refused.period, refused.limit), ("tokens", "day", 1000));
        assert_eq!(refused.wait, Duration::from_secs_f64(100.0 / (1000.0 / 86400.0)));
        assert_eq!(quota.requests(now).unwrap().remaining, 1);
        assert_eq!(
            quota.tokens(now).unwrap(),
            Standing { limit: 600, remaining: 0, reset: Duration::from_secs(90) }
        );
        let later = now + Duration::from_secs(31);
        quota.admit(1, later).unwrap();
        quota.admit(1, later).unwrap();
        assert_eq!(quota.admit(1, later).unwrap_err().unit, "requests");
    }

    #[test]
    fn a_prompt_over_the_limit_waits_for_a_full_bucket_only() {
        let now = Instant::now();
        let quota = quota(None, Some(60), None, now);
        quota.admit(100, now).unwrap();
        assert_eq!(quota.admit(1, now).unwrap_err().wait, Duration::from_secs(41));
        assert!(quota.requests(now).is_none());
    }
}

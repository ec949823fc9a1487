//! What follows from an answer: taken, to be sent again and when, or never again.

use super::{Answer, SendError};

/// Waits before the second try, the third, and so on: about a day in all.
const WAITS_MILLIS: [i64; 8] =
    [5_000, 30_000, 120_000, 600_000, 1_800_000, 7_200_000, 21_600_000, 54_000_000];
/// The most that a receiver can have a try wait.
const LONGEST_MILLIS: i64 = 86_400_000;

/// How often an alert is tried.
pub const MOST_TRIES: u32 = WAITS_MILLIS.len() as u32 + 1;

/// What follows from a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing: the receiver took it.
    Delivered,
    /// Nothing: it will not be taken, or was tried often enough.
    Failed,
    /// Another try.
    Again {
        /// After so long, milliseconds.
        wait_millis: i64,
    },
}

/// What follows from the `tries`-th try of an alert, and what came of it in words. A receiver's `Retry-After` makes a wait longer, never
/// shorter.
pub fn next_step(
    id: &str,
    tries: u32,
    answer: &Result<Answer, SendError>,
    now_millis: i64,
) -> (Next, String) {
    let (outcome, is_final, asked_millis) = match answer {
        Ok(answer) if (200..300).contains(&answer.status) => {
            return (Next::Delivered, format!("answered {}", answer.status));
        }
        Ok(answer) => {
            let is_final = (400..500).contains(&answer.status) && ![408, 425, 429].contains(&answer.status);
            let asked = answer.retry_after.as_deref().and_then(|text| retry_after_millis(text, now_millis));
            (said(answer.status), is_final, asked.unwrap_or(0))
        }
        Err(error) => (error.to_string(), false, 0),
    };
    if is_final {
        return (Next::Failed, outcome);
    }
    let Some(wait) = tries.checked_sub(1).and_then(|at| WAITS_MILLIS.get(at as usize)) else {
        return (Next::Failed, format!("{outcome}; it was tried {tries} times"));
    };
    let wait_millis = jittered(id, tries, *wait).max(asked_millis.min(LONGEST_MILLIS));
    (Next::Again { wait_millis }, outcome)
}

/// What is said of an answer that is no success.
fn said(status: u16) -> String {
    match status {
        300..=399 => {
            format!("answered {status}: redirects are not followed, the secret must hold the last address")
        }
        401 | 403 => format!("answered {status}: it wants another URL or key"),
        404 | 410 => format!("answered {status}: nobody takes alerts there any more"),
        _ => format!("answered {status}"),
    }
}

/// A wait times 0.8 to 1.2, the same for the same try: those who wait for one receiver come back one after the other.
fn jittered(id: &str, tries: u32, wait_millis: i64) -> i64 {
    let hash = blake3::hash(format!("{id} {tries}").as_bytes());
    let bytes = hash.as_bytes();
    let share = f64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX);
    (wait_millis as f64 * (0.8 + 0.4 * share)) as i64
}

/// How long `Retry-After` asks to wait: seconds, or a date.
fn retry_after_millis(text: &str, now_millis: i64) -> Option<i64> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(i64::from(seconds) * 1000);
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?;
    Some((date.timestamp().as_millisecond() - now_millis).max(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(tries: u32, status: u16, retry_after: Option<&str>) -> (Next, String) {
        let retry_after = retry_after.map(str::to_owned);
        let answer = Answer { status, retry_after, text: String::new() };
        next_step("alert_1", tries, &Ok(answer), 1_445_412_480_000)
    }

    fn wait(next: &(Next, String)) -> i64 {
        let Next::Again { wait_millis } = next.0 else { panic!("{next:?}") };
        wait_millis
    }

    #[test]
    fn success_is_delivered_refusals_are_final_and_the_rest_is_tried_again() {
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(next(1, status, None), (Next::Delivered, format!("answered {status}")));
        }
        for status in [400, 401, 403, 404, 405, 410, 413, 422] {
            assert_eq!(next(1, status, None).0, Next::Failed, "{status}");
        }
        for status in [301, 302, 307, 308, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert!(matches!(next(1, status, None).0, Next::Again { .. }), "{status}");
        }
        let error = Err(SendError::TimedOut);
        assert!(matches!(next_step("a", 1, &error, 0).0, Next::Again { .. }));
    }

    #[test]
    fn waits_grow_for_about_a_day_and_then_it_is_over() {
        let waits: Vec<i64> = (1..MOST_TRIES).map(|tries| wait(&next(tries, 500, None))).collect();
        for (wait, nominal) in waits.iter().zip(WAITS_MILLIS) {
            assert!((nominal * 8 / 10..=nominal * 12 / 10).contains(wait), "{wait} {nominal}");
        }
        let day = WAITS_MILLIS.iter().sum::<i64>();
        assert!((82_800_000..90_000_000).contains(&day), "{day}");
        assert_eq!(next(MOST_TRIES, 500, None), (Next::Failed, "answered 500; it was tried 9 times".into()));
        let other = next_step("alert_2", 3, &Err(SendError::TimedOut), 0);
        assert_ne!(wait(&next(3, 500, None)), wait(&other));
    }

    #[test]
    fn retry_after_makes_waits_longer_by_seconds_or_date_and_at_most_a_day() {
        assert_eq!(wait(&next(1, 503, Some("3600"))), 3_600_000);
        assert_eq!(wait(&next(1, 429, Some("Wed, 21 Oct 2015 07:30:00 GMT"))), 120_000);
        assert_eq!(wait(&next(1, 503, Some("4000000000"))), LONGEST_MILLIS);
        for text in ["0", "soon", "-5", "Wed, 21 Oct 2005 07:30:00 GMT"] {
            assert_eq!(wait(&next(2, 503, Some(text))), wait(&next(2, 503, None)), "{text}");
        }
    }
}

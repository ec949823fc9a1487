//! How long to wait before another attempt: exponential, with jitter that rests on the step alone, so that a replay gives the same.

const FIRST_MILLIS: f64 = 1_000.0;
const LONGEST_MILLIS: f64 = 60_000.0;

/// The delay before the attempt that follows `failures` failures: 1 s, 2 s, 4 s … 60 s, each times 0.5 to 1.5.
pub(super) fn delay_millis(key: &str, failures: u32) -> i64 {
    let exponent = failures.saturating_sub(1).min(16);
    let delay = (FIRST_MILLIS * f64::from(1u32 << exponent)).min(LONGEST_MILLIS);
    let hash = blake3::hash(format!("{key} {failures}").as_bytes());
    let bytes = hash.as_bytes();
    let share = f64::from(u16::from_le_bytes([bytes[0], bytes[1]])) / f64::from(u16::MAX);
    (delay * (0.5 + share)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_are_bounded_and_differ_between_steps() {
        assert!((500..=1_500).contains(&delay_millis("a", 1)));
        assert!((8_000..=24_000).contains(&delay_millis("a", 5)));
        assert!(delay_millis("a", 40) <= 90_000);
        assert_eq!(delay_millis("a", 3), delay_millis("a", 3));
        assert_ne!(delay_millis("a", 3), delay_millis("b", 3));
    }
}

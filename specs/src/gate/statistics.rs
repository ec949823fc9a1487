//! How two measured numbers are compared: the 95 % interval of their difference.
//!
//! The interval is made from the two intervals alone (method of variance estimates recovery: Newcombe, "Interval estimation for the
//! difference between independent proportions: comparison of eleven methods", 1998, method 10; Zou and Donner, "Construction of confidence
//! limits about effect measures: a general approach", 2008). With an estimate `a` in `[l, u]` and another `b` in `[m, v]` it is
//!
//! ```text
//! a − b − √((a − l)² + (v − b)²)  to  a − b + √((u − a)² + (b − m)²)
//! ```
//!
//! So it keeps what the intervals know: Wilson's of a share near 0 or 1 is not symmetric. Both numbers count as independent; where they
//! are of the same documents, which makes them move together, the interval is wider than it had to be, and a gate errs to the safe side.

/// A number with its 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Whether a higher value is better.
    pub higher_is_better: bool,
}

/// The 95 % interval of how much better `new` is than `old`; positive is better, whatever the direction of the metric.
pub fn improvement(new: Measured, old: Measured) -> (f64, f64) {
    let difference = new.value - old.value;
    let low = difference - (new.value - new.low).hypot(old.high - old.value);
    let high = difference + (new.high - new.value).hypot(old.value - old.low);
    if new.higher_is_better { (low, high) } else { (-high, -low) }
}

/// Whether `new` is better than `old`: the whole interval of the improvement is above 0.
pub fn is_better(new: Measured, old: Measured) -> bool {
    improvement(new, old).0 > 0.0
}

/// Whether `new` is worse than `old` by less than `margin`, in the metric's unit: the whole interval of the improvement is above `-margin`.
pub fn is_not_worse(new: Measured, old: Measured, margin: f64) -> bool {
    improvement(new, old).0 > -margin
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(value: f64, low: f64, high: f64) -> Measured {
        Measured { value, low, high, higher_is_better: true }
    }

    #[test]
    fn the_interval_of_two_shares_is_newcombes() {
        // Newcombe 1998, table II, case (a), method 10: 56/70 and 48/80 differ by 0.2, 0.0524 to 0.3339.
        let (low, high) = improvement(measured(0.8, 0.691_8, 0.877_0), measured(0.6, 0.490_4, 0.700_4));
        assert!((low - 0.0524).abs() < 2e-4 && (high - 0.3339).abs() < 2e-4, "{low} {high}");
    }

    #[test]
    fn of_two_normal_intervals_it_is_the_normal_one() {
        let (low, high) =
            improvement(measured(5.0, 5.0 - 3.0, 5.0 + 3.0), measured(1.0, 1.0 - 4.0, 1.0 + 4.0));
        assert!((low - (4.0 - 5.0)).abs() < 1e-12 && (high - (4.0 + 5.0)).abs() < 1e-12);
    }

    #[test]
    fn where_lower_is_better_the_sides_change() {
        let loss =
            |value: f64| Measured { higher_is_better: false, ..measured(value, value - 0.1, value + 0.1) };
        assert!(is_better(loss(1.0), loss(1.2)) && !is_better(loss(1.2), loss(1.0)));
        assert!(!is_better(loss(1.0), loss(1.1)), "the intervals overlap too much");
        assert!(is_not_worse(loss(1.0), loss(1.0), 0.15) && !is_not_worse(loss(1.0), loss(1.0), 0.14));
    }

    #[test]
    fn what_is_no_number_is_never_better() {
        let nothing = measured(f64::NAN, f64::NAN, f64::NAN);
        assert!(!is_better(nothing, nothing) && !is_not_worse(nothing, measured(0.0, 0.0, 0.0), 1e9));
    }
}

//! Quantities: their units, what people call them, and a number with one of them.

use super::codes::Code;
use super::decode::{check_range, wrong_type};
use super::session::Session;
use super::tree::{Node, Value};

/// Units of one quantity and what each is worth.
pub(super) struct Quantity {
    pub(super) what: &'static str,
    units: &'static [(&'static str, f64)],
    /// What people write for them.
    names: &'static [(&'static [&'static str], &'static str)],
    pub(super) example: &'static str,
    /// Whether `1e20` stands for itself.
    pub(super) takes_exponent: bool,
}

pub(super) const BYTES: Quantity = Quantity {
    what: "a size",
    units: &[
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("TB", 1e12),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
        ("TiB", 1_099_511_627_776.0),
    ],
    names: &[
        (&["byte", "bytes"], "B"),
        (&["k", "kilobyte", "kilobytes"], "KB"),
        (&["m", "meg", "megs", "megabyte", "megabytes"], "MB"),
        (&["g", "gig", "gigs", "gigabyte", "gigabytes"], "GB"),
        (&["t", "terabyte", "terabytes"], "TB"),
    ],
    example: "200MB",
    takes_exponent: false,
};
pub(super) const COUNT: Quantity = Quantity {
    what: "a count",
    units: &[("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)],
    names: &[
        (&["thousand"], "K"),
        (&["million", "mio", "mn"], "M"),
        (&["billion", "bn", "g"], "B"),
        (&["trillion"], "T"),
    ],
    example: "2.5M",
    takes_exponent: true,
};
pub(super) const FLOPS: Quantity = Quantity {
    what: "an amount of compute",
    units: &[("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18), ("Z", 1e21)],
    names: &[
        (&["gflops", "gflop"], "G"),
        (&["tflops", "tflop"], "T"),
        (&["pflops", "pflop"], "P"),
        (&["eflops", "eflop"], "E"),
    ],
    example: "1e20",
    takes_exponent: true,
};
pub(super) const SECONDS: Quantity = Quantity {
    what: "a duration",
    units: &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)],
    names: &[
        (&["msec", "msecs", "millisecond", "milliseconds"], "ms"),
        (&["sec", "secs", "second", "seconds"], "s"),
        (&["min", "mins", "minute", "minutes"], "m"),
        (&["hr", "hrs", "hour", "hours"], "h"),
        (&["day", "days"], "d"),
    ],
    example: "5m",
    takes_exponent: false,
};
pub(super) const SHARE: Quantity = Quantity {
    what: "a share",
    units: &[("%", 0.01)],
    names: &[(&["percent", "pct"], "%")],
    example: "2%",
    takes_exponent: false,
};
pub(super) const RATE: Quantity = Quantity {
    what: "a rate",
    units: &[("/s", 1.0), ("/m", 1.0 / 60.0), ("/h", 1.0 / 3600.0)],
    names: &[
        (&["/sec", "/second", "per second", "hz"], "/s"),
        (&["/min", "/minute", "per minute"], "/m"),
        (&["/hr", "/hour", "per hour"], "/h"),
    ],
    example: "2/s",
    takes_exponent: false,
};

/// Reads a number with one of the quantity's units.
pub(super) fn read(node: &Node, quantity: &Quantity, session: &mut Session<'_>) -> Option<f64> {
    let range = session.range.take();
    let Value::Scalar { text, .. } = &node.value else {
        wrong_type(node, &format!("{} such as {}", quantity.what, quantity.example), session);
        return None;
    };
    let units = quantity.units.iter().map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
    let expected = format!("{} such as {} (units: {units})", quantity.what, quantity.example);
    let (digits, unit) = split(text);
    let number = digits.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    let Some(number) = number else {
        session
            .error(Code::WrongType, node.spot, format!("`{text}` is not {}", quantity.what))
            .expecting(expected);
        return None;
    };
    let factor = if unit.is_empty() {
        if !(quantity.takes_exponent && digits.contains(['e', 'E'])) {
            session
                .error(Code::MissingUnit, node.spot, format!("`{text}` has no unit"))
                .expecting(expected)
                .suggestion = with_unit(number, quantity);
            return None;
        }
        1.0
    } else if let Some((_, factor)) = quantity.units.iter().find(|(known, _)| *known == unit) {
        *factor
    } else {
        session
            .error(Code::WrongUnit, node.spot, format!("`{unit}` is not a unit of {}", quantity.what))
            .expecting(expected)
            .suggestion = meant(digits, unit, quantity);
        return None;
    };
    if number < 0.0 || number.is_sign_negative() && number != 0.0 {
        session
            .error(Code::OutOfRange, node.spot, format!("`{text}` is below zero"))
            .expecting(format!("{expected}, not below zero"));
        return None;
    }
    check_range(number * factor, range, node, session)
}

/// What a bare number most likely means: a fraction is a share, a count has the largest unit that leaves it at least 1, a duration
/// is in seconds.
fn with_unit(number: f64, quantity: &Quantity) -> Option<String> {
    let (unit, factor) = match quantity.units {
        [("%", factor)] if number <= 1.0 => ("%", *factor),
        [("%", _)] => ("%", 1.0),
        units if units.contains(&("s", 1.0)) => ("s", 1.0),
        units => *units.iter().rfind(|(unit, factor)| *factor <= number && !unit.contains('i'))?,
    };
    let value = (number / factor * 1e6).round() / 1e6;
    Some(format!("{value}{unit}"))
}

/// The value with the unit that was meant: by another name or case, or several units as one.
fn meant(digits: &str, unit: &str, quantity: &Quantity) -> Option<String> {
    if let Some((known, _)) = quantity.units.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit)) {
        return Some(format!("{digits}{known}"));
    }
    let lower = unit.to_lowercase();
    if let Some((_, known)) = quantity.names.iter().find(|(names, _)| names.contains(&lower.as_str())) {
        return Some(format!("{digits}{known}"));
    }
    summed(&format!("{digits}{unit}"), quantity)
}

/// `1h30m` as `90m`, in the largest unit that gives a whole number.
fn summed(text: &str, quantity: &Quantity) -> Option<String> {
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let (digits, behind) = split(rest);
        let end = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (_, factor) = quantity.units.iter().find(|(unit, _)| *unit == behind[..end].trim())?;
        sum += digits.parse::<f64>().ok()? * factor;
        rest = behind[end..].trim_start();
    }
    let whole = |factor: &f64| (sum / factor).fract() == 0.0;
    let (unit, factor) = quantity.units.iter().rfind(|(_, factor)| whole(factor))?;
    Some(format!("{}{unit}", sum / factor))
}

/// Number and unit of a text: `2.5M`, `1e20`, `500 steps`.
pub(super) fn split(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let mut end = 0;
    while end < bytes.len() {
        let is_sign = end == 0 || matches!(bytes[end - 1], b'e' | b'E');
        let starts_exponent = matches!(bytes[end], b'e' | b'E')
            && end > 0
            && bytes.get(end + 1).is_some_and(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-'));
        match bytes[end] {
            b'0'..=b'9' | b'.' | b'_' => {}
            b'+' | b'-' if is_sign => {}
            _ if starts_exponent => {}
            _ => break,
        }
        end += 1;
    }
    (text[..end].trim_end(), text[end..].trim())
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::spec::Environment;
    use crate::spec::tree::Spot;

    struct Nowhere;

    impl Environment for Nowhere {
        fn variable(&self, _name: &str) -> Option<String> {
            None
        }

        fn home(&self) -> Option<PathBuf> {
            None
        }

        fn read(&self, _path: &Path) -> std::io::Result<Vec<u8>> {
            Err(std::io::ErrorKind::NotFound.into())
        }
    }

    #[test]
    fn a_unit_is_told_by_other_names() {
        for (quantity, text, suggestion) in [
            (&SECONDS, "90 minutes", "90m"),
            (&SECONDS, "1h30m", "90m"),
            (&SECONDS, "1h 60m", "2h"),
            (&SECONDS, "5M", "5m"),
            (&COUNT, "2 billion", "2B"),
            (&COUNT, "2G", "2B"),
            (&BYTES, "200M", "200MB"),
            (&SHARE, "2 percent", "2%"),
            (&RATE, "2 per second", "2/s"),
            (&FLOPS, "5TFLOPs", "5T"),
        ] {
            let (digits, unit) = split(text);
            assert_eq!(meant(digits, unit, quantity).as_deref(), Some(suggestion), "{text}");
        }
        assert_eq!(meant("5", "apples", &SECONDS), None);
    }

    proptest! {
        #[test]
        fn a_number_with_each_unit_reads_back(number in 0_u32..1_000_000, at in 0_usize..64) {
            for quantity in [&BYTES, &COUNT, &FLOPS, &SECONDS, &SHARE, &RATE] {
                let (unit, factor) = quantity.units[at % quantity.units.len()];
                let mut session = Session::new(&Nowhere);
                let spot = Spot { text: 0, line: 1, column: 1, length: 1 };
                let value = read(&Node::plain(&format!("{number}{unit}"), spot), quantity, &mut session);
                prop_assert_eq!(value, Some(f64::from(number) * factor));
            }
        }

        #[test]
        fn a_suggested_unit_is_accepted(number in 1_u32..u32::MAX) {
            for quantity in [&BYTES, &COUNT, &SECONDS] {
                let Some(text) = with_unit(f64::from(number), quantity) else { continue };
                let mut session = Session::new(&Nowhere);
                let spot = Spot { text: 0, line: 1, column: 1, length: 1 };
                let value = read(&Node::plain(&text, spot), quantity, &mut session);
                prop_assert!(value.is_some_and(|value| (value / f64::from(number) - 1.0).abs() < 1e-3));
            }
        }
    }
}

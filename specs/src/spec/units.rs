//! Values with units: `200MB`, `2.5M` tokens, `5m`, `2%`, `2/s`, `1e20`. A bare number where a unit is needed is an error that says which.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::json;

use super::codes::Code;
use super::decode::{Decode, check_range, wrong_type};
use super::session::Session;
use super::tree::{Node, Spot, Value};
use super::written::{name, scalar_schema};
use crate::job::AutoOr;

/// Units of one quantity and what each is worth.
struct Quantity {
    what: &'static str,
    units: &'static [(&'static str, f64)],
    example: &'static str,
    /// Whether `1e20` stands for itself.
    takes_exponent: bool,
}

const BYTES: Quantity = Quantity {
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
    example: "200MB",
    takes_exponent: false,
};
const COUNT: Quantity = Quantity {
    what: "a count",
    units: &[("K", 1e3), ("M", 1e6), ("B", 1e9), ("T", 1e12)],
    example: "2.5M",
    takes_exponent: true,
};
const FLOPS: Quantity = Quantity {
    what: "an amount of compute",
    units: &[("G", 1e9), ("T", 1e12), ("P", 1e15), ("E", 1e18), ("Z", 1e21)],
    example: "1e20",
    takes_exponent: true,
};
const SECONDS: Quantity = Quantity {
    what: "a duration",
    units: &[("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)],
    example: "5m",
    takes_exponent: false,
};
const SHARE: Quantity =
    Quantity { what: "a share", units: &[("%", 0.01)], example: "2%", takes_exponent: false };
const RATE: Quantity = Quantity {
    what: "a rate",
    units: &[("/s", 1.0), ("/m", 1.0 / 60.0), ("/h", 1.0 / 3600.0)],
    example: "2/s",
    takes_exponent: false,
};

/// Reads a number with one of the quantity's units.
fn read(node: &Node, quantity: &Quantity, session: &mut Session<'_>) -> Option<f64> {
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
        let near = quantity.units.iter().find(|(known, _)| known.eq_ignore_ascii_case(unit));
        session
            .error(Code::WrongUnit, node.spot, format!("`{unit}` is not a unit of {}", quantity.what))
            .expecting(expected)
            .suggestion = near.map(|(known, _)| format!("{digits}{known}"));
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

/// Number and unit of a text: `2.5M`, `1e20`, `500 steps`.
fn split(text: &str) -> (&str, &str) {
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

macro_rules! quantities {
    ($($(#[doc = $doc:literal])+ $name:ident($number:ty) = $quantity:ident, $unit:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone, Copy, PartialEq)]
        pub(crate) struct $name(pub(crate) $number);

        impl Decode for $name {
            fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
                read(node, &$quantity, session).map(|value| Self(value as $number))
            }

            fn stand_in(_spot: Spot) -> Option<Self> {
                Some(Self(1 as $number))
            }
        }

        impl JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                name(stringify!($name))
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
                let number = json!({ "type": if $quantity.takes_exponent { json!(["string", "number"]) } else { json!("string") } });
                scalar_schema(&number, $unit, $quantity.example)
            }
        }
    )+};
}

quantities! {
    /// A size in bytes.
    Bytes(u64) = BYTES, "B, KB, MB, GB, TB (powers of 1000), KiB, MiB, GiB, TiB (powers of 1024)";
    /// A count of tokens or parameters.
    Count(f64) = COUNT, "K, M, B, T, or an exponent (1e9)";
    /// Floating-point operations.
    Flops(f64) = FLOPS, "an exponent (1e20), or G, T, P, E, Z";
    /// A duration in seconds.
    Duration(f64) = SECONDS, "ms, s, m, h, d";
    /// A share, from 0 to 1.
    Share(f64) = SHARE, "%";
    /// Events a second.
    Rate(f64) = RATE, "/s, /m, /h";
}

/// Every so many seconds, or every so many optimiser steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Every {
    /// `5m`.
    Secs(f64),
    /// `500 steps`.
    Steps(u64),
}

impl Decode for Every {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match node.text().map(split) {
            Some((digits, "steps" | "step")) => {
                session.range = None;
                match digits.replace('_', "").parse::<u64>() {
                    Ok(steps) if steps > 0 => Some(Self::Steps(steps)),
                    _ => {
                        session
                            .error(
                                Code::OutOfRange,
                                node.spot,
                                format!("`{digits}` is not a number of steps"),
                            )
                            .expecting("a whole number of steps, at least 1");
                        None
                    }
                }
            }
            Some((digits, "")) if digits.parse::<f64>().is_ok() => {
                session.range = None;
                session
                    .error(Code::MissingUnit, node.spot, format!("`{digits}` has no unit"))
                    .expecting("a duration such as 5m (units: ms, s, m, h, d), or steps such as 500 steps");
                None
            }
            Some((digits, unit))
                if unit.eq_ignore_ascii_case("steps") || unit.eq_ignore_ascii_case("step") =>
            {
                session.range = None;
                session
                    .error(Code::WrongUnit, node.spot, format!("`{unit}` is not a unit here"))
                    .expecting("a duration such as 5m (units: ms, s, m, h, d), or steps such as 500 steps")
                    .suggestion = Some(format!("{digits} steps"));
                None
            }
            _ => read(node, &SECONDS, session).map(Self::Secs),
        }
    }
}

impl JsonSchema for Every {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("Every")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        scalar_schema(&json!({ "type": "string" }), "ms, s, m, h, d, or steps", "500 steps")
    }
}

/// Optimiser steps: `500 steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Steps(pub(crate) u64);

impl Decode for Steps {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match Every::decode(node, session)? {
            Every::Steps(steps) => Some(Self(steps)),
            Every::Secs(_) => {
                session
                    .error(Code::WrongUnit, node.spot, "this field counts optimiser steps")
                    .expecting("a number of steps such as 500 steps");
                None
            }
        }
    }
}

impl JsonSchema for Steps {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("Steps")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        scalar_schema(&json!({ "type": "string" }), "steps", "500 steps")
    }
}

impl<T: Decode> Decode for AutoOr<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if node.text() == Some("auto") {
            session.range = None;
            return Some(Self::Auto);
        }
        T::decode(node, session).map(Self::Value)
    }
}

impl<T: JsonSchema> JsonSchema for AutoOr<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("AutoOr{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, generator.subschema_for::<T>()] })
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::spec::Environment;

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

    fn decode<T: Decode>(text: &str) -> Option<T> {
        let mut session = Session::new(&Nowhere);
        T::decode(&Node::plain(text, Spot { text: 0, line: 1, column: 1, length: 1 }), &mut session)
    }

    #[test]
    fn each_unit_means_what_people_mean() {
        assert_eq!(decode::<Bytes>("200MB"), Some(Bytes(200_000_000)));
        assert_eq!(decode::<Bytes>("1.5 GiB"), Some(Bytes(1_610_612_736)));
        assert_eq!(decode::<Count>("2.5M"), Some(Count(2_500_000.0)));
        assert_eq!(decode::<Count>("1e9"), Some(Count(1e9)));
        assert_eq!(decode::<Flops>("1e20"), Some(Flops(1e20)));
        assert_eq!(decode::<Duration>("5m"), Some(Duration(300.0)));
        assert_eq!(decode::<Share>("2%"), Some(Share(0.02)));
        assert_eq!(decode::<Rate>("2/s"), Some(Rate(2.0)));
        assert_eq!(decode::<Every>("500 steps"), Some(Every::Steps(500)));
        assert_eq!(decode::<Every>("30s"), Some(Every::Secs(30.0)));
    }

    #[test]
    fn bare_numbers_and_foreign_units_are_refused() {
        for text in ["200", "2e8", "200 M", "200mb", "MB", "-1MB", "1_MBx", "", "nanMB", "infMB"] {
            assert_eq!(decode::<Bytes>(text), None, "{text}");
        }
        for text in ["2500000", "2.5m", "2.5 tokens", "1e999"] {
            assert_eq!(decode::<Count>(text), None, "{text}");
        }
        assert_eq!(decode::<Steps>("5m"), None);
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

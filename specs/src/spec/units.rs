//! Values with units: `200MB`, `2.5M` tokens, `5m`, `2%`, `2/s`, `1e20`. A bare number where a unit is needed is an error that says which.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::closed::{decode_word, words_of};
use super::codes::Code;
use super::decode::Decode;
use super::quantity::{BYTES, COUNT, FLOPS, RATE, SECONDS, SHARE, read, split};
use super::session::Session;
use super::tree::{Node, Spot};
use super::words::listed;
use super::written::{name, scalar_schema};
use crate::job::{AutoOr, RuleOr, Span};

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

/// A share of all optimiser steps, or a number of them: `2%`, `200 steps`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ShareOrSteps(pub(crate) Span);

impl Decode for ShareOrSteps {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match node.text().map(split) {
            Some((_, unit)) if unit.to_lowercase().starts_with("step") => {
                Steps::decode(node, session).map(|steps| Self(Span::Steps(steps.0)))
            }
            Some((digits, "")) if digits.parse::<f64>().is_ok() => {
                session.range = None;
                session
                    .error(Code::MissingUnit, node.spot, format!("`{digits}` has no unit"))
                    .expecting("a share such as 2%, or steps such as 200 steps");
                None
            }
            _ => Share::decode(node, session).map(|share| Self(Span::Share(share.0))),
        }
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Self(Span::Steps(1)))
    }
}

impl JsonSchema for ShareOrSteps {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("ShareOrSteps")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        scalar_schema(&json!({ "type": "string" }), "%, or steps", "2%")
    }
}

/// The word of a rule, or a value; a word that is none of them is told with all that it may be.
fn rule_or_value<T: Decode, R: DeserializeOwned>(
    own: Option<&'static str>,
    node: &Node,
    session: &mut Session<'_>,
) -> Option<RuleOr<T, R>> {
    let words: Vec<&str> = own.into_iter().chain(words_of::<R>().iter().copied()).collect();
    match node.text() {
        Some(text) if words_of::<R>().contains(&text) => decode_word(node, session).map(RuleOr::Rule),
        Some(text) if !words_of::<R>().is_empty() && text.starts_with(char::is_alphabetic) => {
            session.range = None;
            session
                .error(Code::UnknownWord, node.spot, format!("`{text}` is not known here"))
                .expecting(format!("{}, or a number", listed(&words)))
                .suggesting(text, words);
            None
        }
        _ => T::decode(node, session).map(RuleOr::Value),
    }
}

/// The schema of a value that a rule may choose.
fn rule_schema<T: JsonSchema, R: DeserializeOwned>(
    own: Option<&str>,
    generator: &mut SchemaGenerator,
) -> Schema {
    let words: Vec<&str> = own.into_iter().chain(words_of::<R>().iter().copied()).collect();
    json_schema!({ "anyOf": [{ "enum": words }, generator.subschema_for::<T>()] })
}

impl<T: Decode, R: DeserializeOwned> Decode for AutoOr<T, R> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if node.text() == Some("auto") {
            session.range = None;
            return Some(Self::Auto);
        }
        Some(match rule_or_value(Some("auto"), node, session)? {
            RuleOr::Rule(rule) => Self::Rule(rule),
            RuleOr::Value(value) => Self::Value(value),
        })
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Self::Auto)
    }
}

impl<T: JsonSchema, R: DeserializeOwned> JsonSchema for AutoOr<T, R> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("AutoOr{}{}", words_of::<R>().concat(), T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        rule_schema::<T, R>(Some("auto"), generator)
    }
}

impl<T: Decode, R: DeserializeOwned> Decode for RuleOr<T, R> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        rule_or_value(None, node, session)
    }

    fn stand_in(spot: Spot) -> Option<Self> {
        T::stand_in(spot).map(Self::Value)
    }
}

impl<T: JsonSchema, R: DeserializeOwned> JsonSchema for RuleOr<T, R> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("RuleOr{}{}", words_of::<R>().concat(), T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        rule_schema::<T, R>(None, generator)
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

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
}

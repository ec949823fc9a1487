//! Nodes to typed values. Unlike serde's way this one goes on after an error, so that a user sees all of them at once; words
//! of closed enums still go through serde's data model, in `closed`.

use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

pub(crate) use super::closed::{decode_word, words};
use super::codes::Code;
use super::diagnostic::Diagnostic;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};

/// A type that a user writes.
pub(crate) trait Decode: Sized {
    /// Reads a node; none after an error, which the session holds.
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self>;

    /// The value of a field that is not written, where it may be left out.
    fn absent() -> Option<Self> {
        None
    }

    /// What stands for a value with an error, or one that is missing, while the references beside it are checked.
    fn stand_in(_spot: Spot) -> Option<Self> {
        None
    }
}

/// A value with its place, for checks that come later.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    /// The value.
    pub(crate) value: T,
    /// Its place.
    pub(crate) spot: Spot,
}

impl<T: Decode> Decode for At<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        Some(Self { value: T::decode(node, session)?, spot: node.spot })
    }

    fn stand_in(spot: Spot) -> Option<Self> {
        Some(Self { value: T::stand_in(spot)?, spot })
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if node.value == Value::Null { Some(None) } else { T::decode(node, session).map(Some) }
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

/// A mapping whose keys the user chooses, in the order of the text.
#[derive(Debug, Clone)]
pub(crate) struct Named<T>(pub(crate) Vec<(Key, T)>);

impl<T: Decode> Decode for Named<T> {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let range = session.range.take();
        let Value::Map(entries) = &node.value else {
            wrong_type(node, "a mapping from names to values", session);
            return None;
        };
        let decoded: Vec<Option<(Key, T)>> = entries
            .iter()
            .map(|(key, node)| {
                session.range = range;
                Some((key.clone(), T::decode(node, session)?))
            })
            .collect();
        if session.is_rough {
            return Some(Self(decoded.into_iter().flatten().collect()));
        }
        decoded.into_iter().collect::<Option<_>>().map(Self)
    }

    fn absent() -> Option<Self> {
        Some(Self(Vec::new()))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

impl<T: Clone> Named<T> {
    /// As a map.
    pub(crate) fn to_map(&self) -> BTreeMap<String, T> {
        self.0.iter().map(|(key, value)| (key.name.clone(), value.clone())).collect()
    }
}

impl Decode for String {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if let Some(text) = node.text() {
            if text.contains("${secret.") {
                session
                    .error(Code::MisplacedSecret, node.spot, "a secret would be written down here")
                    .expecting(
                        "secrets only as a judge's api_key, a webhook, or the token of a telemetry server",
                    );
                return None;
            }
            Some(text.to_owned())
        } else {
            wrong_type(node, "text", session);
            None
        }
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(Self::new())
    }
}

impl Decode for bool {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match &node.value {
            Value::Scalar { text, plain: true } if text == "true" => Some(true),
            Value::Scalar { text, plain: true } if text == "false" => Some(false),
            _ => {
                let meant = node.text().map(str::to_lowercase).and_then(|text| match text.as_str() {
                    "true" | "yes" | "on" | "1" => Some("true"),
                    "false" | "no" | "off" | "0" => Some("false"),
                    _ => None,
                });
                if let (Some(error), Some(meant)) = (wrong_type(node, "true or false", session), meant) {
                    error.suggestion = Some(meant.to_owned());
                }
                None
            }
        }
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(false)
    }
}

impl Decode for f64 {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let range = session.range.take();
        match &node.value {
            Value::Scalar { text, plain: true }
                if text.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) =>
            {
                let number = text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
                if let Some(number) = number {
                    return check_range(number, range, node, session);
                }
                reject_number(text, node, session);
            }
            _ => wrong_number(node, "a number", session),
        }
        None
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(1.0)
    }
}

impl Decode for u64 {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let range = session.range.take();
        match &node.value {
            Value::Scalar { text, plain: true }
                if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') =>
            {
                if let Ok(number) = text.replace('_', "").parse::<u64>() {
                    return check_range(number as f64, range, node, session).map(|_| number);
                }
                if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    session
                        .error(Code::OutOfRange, node.spot, format!("`{text}` is out of range"))
                        .expecting(range.map_or(format!("at most {}", u64::MAX), describe_range));
                } else if let Ok(number) = text.parse::<f64>() {
                    let is_whole = number >= 0.0 && number.fract() == 0.0 && number < 1e15;
                    session
                        .error(Code::OutOfRange, node.spot, format!("`{text}` is not a whole number from 0"))
                        .expecting(range.map_or("a whole number from 0".to_owned(), describe_range))
                        .suggestion = is_whole.then(|| (number as u64).to_string());
                } else {
                    reject_number(text, node, session);
                }
            }
            _ => wrong_number(node, "a whole number", session),
        }
        None
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(1)
    }
}

impl Decode for i64 {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let number = f64::decode(node, session)?;
        if number.fract() == 0.0 && number.abs() < 1e15 {
            return Some(number as i64);
        }
        session.error(Code::OutOfRange, node.spot, "this is not a whole number").expecting("a whole number");
        None
    }

    fn stand_in(_spot: Spot) -> Option<Self> {
        Some(1)
    }
}

/// Something else than a number, or one in quotes.
fn wrong_number(node: &Node, expected: &str, session: &mut Session<'_>) {
    let number = |text: &str| text.parse::<f64>().is_ok().then(|| text.to_owned());
    let (expected, meant) = match &node.value {
        Value::Scalar { text, plain: false } if number(text).is_some() => {
            (format!("{expected} without quotes"), number(text))
        }
        Value::Scalar { text, .. } => (expected.to_owned(), text.strip_prefix(['$', '+']).and_then(number)),
        _ => (expected.to_owned(), None),
    };
    if let (Some(error), Some(_)) = (wrong_type(node, &expected, session), &meant) {
        error.suggestion = meant;
    }
}

/// A number with something behind it, where the field is a plain number.
fn reject_number(text: &str, node: &Node, session: &mut Session<'_>) {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || "%/".contains(c));
    if digits.len() < text.len() && digits.parse::<f64>().is_ok() {
        let unit = &text[digits.len()..];
        session
            .error(
                Code::WrongUnit,
                node.spot,
                format!("this field is a plain number and has no unit `{unit}`"),
            )
            .expecting("a number without a unit")
            .suggestion = without_unit(digits, unit);
    } else {
        session.error(Code::WrongType, node.spot, format!("`{text}` is not a number")).expecting("a number");
    }
}

/// `4K` and `2h` as plain numbers.
fn without_unit(digits: &str, unit: &str) -> Option<String> {
    let factor = match unit {
        "k" | "K" => 1e3,
        "M" => 1e6,
        "B" | "G" => 1e9,
        "%" => 1e-2,
        "s" | "m" | "h" | "d" | "x" => 1.0,
        _ => return None,
    };
    let number = digits.parse::<f64>().ok()? * factor;
    Some(((number * 1e9).round() / 1e9).to_string())
}

/// The number, if it is in the range.
pub(crate) fn check_range(
    number: f64,
    range: Option<(f64, f64)>,
    node: &Node,
    session: &mut Session<'_>,
) -> Option<f64> {
    match range {
        Some((low, high)) if !(low..=high).contains(&number) => {
            let text = node.text().unwrap_or_default().to_owned();
            session
                .error(Code::OutOfRange, node.spot, format!("`{text}` is out of range"))
                .expecting(describe_range((low, high)));
            None
        }
        _ => Some(number),
    }
}

/// A range in words; bounds beyond all use are left out.
pub(crate) fn describe_range((low, high): (f64, f64)) -> String {
    if high >= 1e15 { format!("at least {low}") } else { format!("{low} to {high}") }
}

/// Says that a node has another type than its field. None where the node's error is reported already.
pub(crate) fn wrong_type<'s>(
    node: &Node,
    expected: &str,
    session: &'s mut Session<'_>,
) -> Option<&'s mut Diagnostic> {
    session.range = None;
    if node.value == Value::Broken {
        return None;
    }
    let message = match (node.text(), node.shape()) {
        _ if node.value == Value::Null => "there is no value here".to_owned(),
        (Some(""), _) => "this text is empty".to_owned(),
        (Some(text), shape) if text.chars().count() <= 40 && !text.contains('\n') => {
            format!("`{text}` is {shape}")
        }
        (_, shape) => format!("this is {shape}"),
    };
    let error = session.error(Code::WrongType, node.spot, message);
    error.expecting(expected).suggestion = node.text().and_then(placeholder);
    Some(error)
}

/// `$vars.x` and `{{ vars.x }}` as the placeholder that was meant.
fn placeholder(text: &str) -> Option<String> {
    let braced = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let inner = braced.or_else(|| text.strip_prefix('$'))?.trim();
    let is_known = ["vars.", "env."].iter().any(|scope| inner.starts_with(scope));
    is_known.then(|| format!("${{{inner}}}"))
}

//! The macro behind every mapping of the language: one table of fields gives the Rust type, its decoding with all errors at once,
//! its JSON Schema and what `cupola explain` says. A default is written in the language itself.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::{Schema, json_schema};
use serde_json::json;

use super::codes::Code;
use super::decode::{Decode, wrong_type};
use super::session::Session;
use super::tree::{Node, Spot, Value};
use super::yaml;

/// Declares a mapping as the user writes it: `field: Type [= "default in YAML"] [; low ..= high]`.
macro_rules! written {
    ($(
        $(#[doc = $doc:literal])+
        pub(crate) struct $name:ident {
            $(
                $(#[doc = $field_doc:literal])+
                $field:ident : $ty:ty $(= $default:literal)? $(; $low:literal ..= $high:literal)?,
            )*
        }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Debug, Clone)]
        #[allow(dead_code, reason = "a field that this version refuses is checked but not read")]
        #[allow(clippy::struct_field_names, reason = "the language's names, not ours")]
        pub(crate) struct $name {
            $($(#[doc = $field_doc])+ pub(crate) $field: $ty,)*
        }

        impl $name {
            /// The keys of the mapping.
            pub(crate) const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            /// Decodes the mapping where it shares its keys with others.
            pub(crate) fn decode_beside(
                node: &$crate::spec::tree::Node,
                others: &[&[&str]],
                session: &mut $crate::spec::session::Session<'_>,
            ) -> Option<Self> {
                $crate::spec::written::check_keys(node, &[&[Self::FIELDS], others].concat(), session)?;
                Self::decode_fields(node, session)
            }

            /// Decodes the fields of a mapping whose keys are checked elsewhere.
            #[allow(unused_mut, unused_variables, reason = "a mapping may have no field")]
            pub(crate) fn decode_fields(
                node: &$crate::spec::tree::Node,
                session: &mut $crate::spec::session::Session<'_>,
            ) -> Option<Self> {
                $(
                    #[allow(unused_mut, unused_assignments, reason = "most fields have neither")]
                    let $field = {
                        let mut default: Option<&'static str> = None;
                        $(default = Some($default);)?
                        let mut range: Option<(f64, f64)> = None;
                        $(range = Some(($low as f64, $high as f64));)?
                        $crate::spec::written::field::<$ty>(node, stringify!($field), default, range, session)
                    };
                )*
                Some(Self { $($field: $field?),* })
            }
        }

        impl $crate::spec::decode::Decode for $name {
            fn decode(
                node: &$crate::spec::tree::Node,
                session: &mut $crate::spec::session::Session<'_>,
            ) -> Option<Self> {
                Self::decode_beside(node, &[], session)
            }

            #[allow(unused_variables, reason = "a mapping may have no field")]
            fn stand_in(spot: $crate::spec::tree::Spot) -> Option<Self> {
                Some(Self {
                    $($field: <$ty as $crate::spec::decode::Decode>::absent()
                        .or_else(|| <$ty as $crate::spec::decode::Decode>::stand_in(spot))?,)*
                })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).trim_end_matches("Written").into()
            }

            #[allow(unused_variables, reason = "a mapping may have no field")]
            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::spec::written::mapping_schema(concat!($($doc),+), vec![$({
                    #[allow(unused_mut, unused_assignments, reason = "most fields have neither")]
                    {
                        let mut default: Option<&str> = None;
                        $(default = Some($default);)?
                        let mut range: Option<(f64, f64)> = None;
                        $(range = Some(($low as f64, $high as f64));)?
                        $crate::spec::written::Property {
                            name: stringify!($field),
                            doc: concat!($($field_doc),+),
                            schema: generator.subschema_for::<$ty>(),
                            is_required: default.is_none()
                                && <$ty as $crate::spec::decode::Decode>::absent().is_none(),
                            default,
                            range,
                        }
                    }
                }),*])
            }
        }
    )+};
}
pub(crate) use written;

/// Refuses anything but a mapping, and keys that it does not have.
pub(crate) fn check_keys(node: &Node, known: &[&[&str]], session: &mut Session<'_>) -> Option<()> {
    session.range = None;
    if let Value::Map(entries) = &node.value {
        for (key, value) in entries.iter() {
            // What was cut out because it is not YAML is reported.
            if value.value == Value::Broken && session.is_cut {
                continue;
            }
            let fields = known.iter().flat_map(|fields| fields.iter());
            if !fields.clone().any(|field| *field == key.name) {
                if key.name.starts_with(|c: char| c.is_ascii_digit()) && value.value == Value::Null {
                    let message = format!("the comma ends the value before `{}`", key.name);
                    session
                        .error(Code::UnknownKey, key.spot, message)
                        .expecting("numbers without commas: 1000, or 1_000");
                    continue;
                }
                if let (Some((name, rest)), Value::Null) = (key.name.split_once(':'), &value.value)
                    && fields.clone().any(|field| *field == name)
                {
                    session
                        .error(Code::UnknownKey, key.spot, format!("`{}` is one word", key.name))
                        .expecting(format!("a space behind the colon: `{name}: {rest}`"));
                    session.misspelt.insert((node.spot, name.to_owned()));
                    continue;
                }
                let message = format!("there is no key `{}` here", key.name);
                let error = session.error(Code::UnknownKey, key.spot, message);
                error.expecting(keys(known)).suggesting(&key.name, known.concat());
                if let Some(meant) = error.suggestion.clone() {
                    session.misspelt.insert((node.spot, meant));
                    session.misspelt_in.insert(node.spot);
                }
            }
        }
        Some(())
    } else {
        wrong_type(node, &format!("a mapping with {}", known.concat().join(", ")), session);
        None
    }
}

/// All keys of a mapping in words.
fn keys(known: &[&[&str]]) -> String {
    let known = known.concat();
    if let [only] = known[..] { format!("`{only}`") } else { format!("one of {}", known.join(", ")) }
}

/// Decodes one field of a mapping, or takes its default.
pub(crate) fn field<T: Decode>(
    node: &Node,
    name: &str,
    default: Option<&'static str>,
    range: Option<(f64, f64)>,
    session: &mut Session<'_>,
) -> Option<T> {
    if let Some(value) = node.get(name) {
        session.range = range;
        let decoded = if value.value == Value::Null && T::absent().is_none() {
            let expected = default
                .map_or("a value".to_owned(), |text| format!("a value; without the field it is {text}"));
            wrong_type(value, &expected, session);
            None
        } else {
            T::decode(value, session)
        };
        session.range = None;
        if decoded.is_some() || !session.is_rough {
            return decoded;
        }
    }
    let value = match default {
        Some(text) => T::decode(&default_node(text, node.spot, session)?, session),
        None => T::absent().or_else(|| {
            missing(node, name, &format!("`{name}`, which has no default"), session);
            None
        }),
    };
    if value.is_none() && session.is_rough { T::stand_in(node.spot) } else { value }
}

/// Stands for every field of a mapping among those that a misspelt key may mean.
pub(crate) const ANY_FIELD: &str = "*";

/// Says that a field is missing, unless a misspelt key that means it is reported, or what may hold it is no YAML.
pub(crate) fn missing(node: &Node, name: &str, expected: &str, session: &mut Session<'_>) {
    let is_meant = |name: &str| session.misspelt.contains(&(node.spot, name.to_owned()));
    if !is_meant(name) && !is_meant(ANY_FIELD) && !session.is_cut_out(node.spot, name) {
        session
            .error(Code::MissingField, node.spot, format!("the field `{name}` is missing"))
            .expecting(expected);
    }
}

/// A default text as a node; its errors would point at the mapping that lacks the field. Texts that are more than a word are
/// parsed once.
fn default_node(text: &'static str, spot: Spot, session: &mut Session<'_>) -> Option<Node> {
    match text {
        "[]" => return Some(Node { value: Value::list(Vec::new()), spot }),
        "{}" => return Some(Node::empty_map(spot)),
        "\"\"" => return Some(Node { value: Value::Scalar { text: String::new(), plain: false }, spot }),
        _ if !text.starts_with(['[', '{', '"']) => return Some(Node::plain(text, spot)),
        _ => {}
    }
    let known = session.defaults.get(text).cloned();
    let mut node = match known {
        Some(node) => node,
        None => yaml::parse_text(text, spot.text, session)?,
    };
    session.defaults.entry(text).or_insert_with(|| node.clone());
    place_at(&mut node, spot);
    Some(node)
}

/// Gives a whole tree one place.
pub(crate) fn place_at(node: &mut Node, spot: Spot) {
    node.spot = spot;
    match &mut node.value {
        Value::List(items) => Arc::make_mut(items).iter_mut().for_each(|item| place_at(item, spot)),
        Value::Map(entries) => Arc::make_mut(entries).iter_mut().for_each(|(key, value)| {
            key.spot = spot;
            place_at(value, spot);
        }),
        Value::Null | Value::Broken | Value::Scalar { .. } => {}
    }
}

/// One field of a mapping's schema.
pub(crate) struct Property {
    /// Its key.
    pub(crate) name: &'static str,
    /// Its doc lines.
    pub(crate) doc: &'static str,
    /// The schema of its type.
    pub(crate) schema: Schema,
    /// Whether it must be written.
    pub(crate) is_required: bool,
    /// Its default as YAML.
    pub(crate) default: Option<&'static str>,
    /// The range of its numbers.
    pub(crate) range: Option<(f64, f64)>,
}

/// The schema of a mapping with these fields and no others.
pub(crate) fn mapping_schema(doc: &str, properties: Vec<Property>) -> Schema {
    let required: Vec<&str> = properties.iter().filter(|p| p.is_required).map(|p| p.name).collect();
    let mut fields = serde_json::Map::new();
    for property in properties {
        let mut schema = property.schema;
        schema.insert("description".to_owned(), json!(property.doc.trim()));
        if let Some(default) = property.default {
            let value: serde_json::Value = serde_yaml::from_str(default).unwrap_or_else(|_| json!(default));
            schema.insert("default".to_owned(), value);
        }
        if let Some((low, high)) = property.range {
            schema.insert("x-range".to_owned(), json!(super::decode::describe_range((low, high))));
        }
        fields.insert(property.name.to_owned(), schema.to_value());
    }
    let mut schema = json_schema!({
        "type": "object",
        "description": doc.trim(),
        "properties": fields,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

/// A schema for a type whose values are scalars: what YAML gives it, or a placeholder.
pub(crate) fn scalar_schema(types: &serde_json::Value, unit: &str, example: &str) -> Schema {
    let mut schema = json_schema!({
        "anyOf": [types, { "type": "string", "pattern": "\\$\\{(vars|env)\\." }],
        "examples": [example],
    });
    if !unit.is_empty() {
        schema.insert("x-unit".to_owned(), json!(unit));
    }
    schema
}

/// A schema name.
pub(crate) fn name(text: &'static str) -> Cow<'static, str> {
    Cow::Borrowed(text)
}

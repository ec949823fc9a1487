//! How many ways a schema has to be looked at when its parts are put together, before anything is: alternatives within an `allOf` multiply, and a
//! schema of a hundred lines can ask for more than any machine has.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What the value of a keyword holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// Values as they are.
    Data,
    /// Schemas by names, which are no keywords.
    Named,
    /// A schema, several, or none.
    Schemas,
}

/// What a keyword's value holds.
pub(super) fn holds(keyword: &str) -> Holds {
    match keyword {
        "const" | "enum" | "default" | "examples" => Holds::Data,
        "properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions" => Holds::Named,
        _ => Holds::Schemas,
    }
}

/// Counts the alternatives of a schema and of everything in it.
pub(super) struct Alternatives<'a> {
    root: &'a Value,
    /// Counts by the target of a `$ref`; none while it is counted.
    known: BTreeMap<&'a str, Option<f64>>,
}

impl<'a> Alternatives<'a> {
    /// The largest number of alternatives that any part of `schema` has.
    pub(super) fn most(schema: &'a Value) -> f64 {
        let mut counter = Self { root: schema, known: BTreeMap::new() };
        counter.most_in(schema)
    }

    fn most_in(&mut self, value: &'a Value) -> f64 {
        match value {
            Value::Object(fields) => {
                let own = self.of_schema(fields);
                fields.values().map(|value| self.most_in(value)).fold(own, f64::max)
            }
            Value::Array(values) => values.iter().map(|value| self.most_in(value)).fold(1.0, f64::max),
            _ => 1.0,
        }
    }

    fn of(&mut self, schema: &'a Value) -> f64 {
        schema.as_object().map_or(1.0, |fields| self.of_schema(fields))
    }

    fn of_schema(&mut self, fields: &'a Map<String, Value>) -> f64 {
        let mut count = 1.0;
        for (key, value) in fields {
            let parts = || value.as_array().map(Vec::as_slice).unwrap_or_default();
            count *= match key.as_str() {
                "anyOf" | "oneOf" => parts().iter().map(|part| self.of(part)).sum::<f64>().max(1.0),
                "allOf" => parts().iter().map(|part| self.of(part)).product(),
                "type" => parts().len().max(1) as f64,
                "$ref" => value.as_str().map_or(1.0, |target| self.of_target(target)),
                _ => 1.0,
            };
        }
        count
    }

    fn of_target(&mut self, target: &'a str) -> f64 {
        if let Some(known) = self.known.get(target) {
            // A schema that refers to itself adds no alternative by that.
            return known.unwrap_or(1.0);
        }
        self.known.insert(target, None);
        let root = self.root;
        let found = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        let count = found.map_or(1.0, |schema| self.of(schema));
        self.known.insert(target, Some(count));
        count
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn alternatives_add_and_those_of_all_multiply() {
        assert!((Alternatives::most(&json!({"type": ["string", "null"]})) - 2.0).abs() < 1e-9);
        let three = json!({"anyOf": [{"type": "string"}, {"type": "null"}, {"type": ["array", "object"]}]});
        assert!((Alternatives::most(&three) - 4.0).abs() < 1e-9);
        let all = json!({"properties": {"a": {"allOf": [three, three, {"$ref": "#/$defs/t"}]}}, "$defs": {"t": three}});
        assert!((Alternatives::most(&all) - 64.0).abs() < 1e-9);
        let tree = json!({"$ref": "#/$defs/t", "$defs": {"t": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}}});
        assert!(Alternatives::most(&tree) <= 4.0);
    }
}

//! Reads a request's JSON object field by field, so that every error names its parameter and no field is ignored by accident.

use std::fmt::Display;
use std::ops::RangeInclusive;

use axum::body::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::ApiError;

/// The fields of a request that are not read yet.
#[derive(Debug)]
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Parses a body.
    pub(crate) fn parse(body: &Bytes) -> Result<Self, ApiError> {
        match serde_json::from_slice(body) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(_) => Err(ApiError::invalid("the request's body must be a JSON object")),
            Err(error) => Err(ApiError::invalid(format!("the request's body is not valid JSON: {error}"))),
        }
    }

    /// The fields of an object inside the request.
    pub(crate) fn of(map: Map<String, Value>) -> Self {
        Self(map)
    }

    /// Takes a field; `null` counts as absent.
    pub(crate) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>, ApiError> {
        match self.0.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value)
                .map(Some)
                .map_err(|error| ApiError::parameter(name, format!("Invalid value for '{name}': {error}"))),
        }
    }

    /// Whether a field is there, and not `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    /// A field as it was written; `null` where it is absent.
    pub(crate) fn peek(&self, name: &str) -> Value {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// Takes a field that must be there.
    pub(crate) fn require<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, ApiError> {
        self.take(name)?
            .ok_or_else(|| ApiError::parameter(name, format!("Missing required parameter: '{name}'")))
    }

    /// Takes a number within a range.
    pub(crate) fn number<T: DeserializeOwned + PartialOrd + Display>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> Result<Option<T>, ApiError> {
        let value: Option<T> = self.take(name)?;
        if let Some(number) = value.as_ref().filter(|number| !range.contains(number)) {
            let (least, most) = (range.start(), range.end());
            let message = format!("Invalid value for '{name}': {number} is not between {least} and {most}");
            return Err(ApiError::parameter(name, message));
        }
        Ok(value)
    }

    /// Drops fields that carry no instruction for the model (`user`, `metadata`), as OpenAI does.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        for name in names {
            self.0.remove(*name);
        }
    }

    /// Refuses fields that this server does not carry out, unless their value asks for nothing: null, false or empty.
    pub(crate) fn refuse(&mut self, unsupported: &[(&str, &str)]) -> Result<(), ApiError> {
        for (name, why) in unsupported {
            if self.0.remove(*name).is_some_and(|value| asks_for_something(&value)) {
                return Err(ApiError::unsupported(name, why));
            }
        }
        Ok(())
    }

    /// Ends reading: a field that is left is unknown.
    pub(crate) fn finish(self) -> Result<(), ApiError> {
        match self.0.keys().next() {
            Some(name) => Err(ApiError::unknown_parameter(name)),
            None => Ok(()),
        }
    }
}

fn asks_for_something(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> Fields {
        Fields::parse(&Bytes::from(value.to_string())).unwrap()
    }

    #[test]
    fn errors_name_their_parameter() {
        let error = fields(&json!({"n": "two"})).take::<usize>("n").unwrap_err();
        assert_eq!(error.body()["error"]["param"], "n");
        let error = fields(&json!({"top_p": 1.5})).number("top_p", 0.0..=1.0).unwrap_err();
        assert_eq!(error.body()["error"]["param"], "top_p");
        let error = fields(&json!({"color": "red"})).finish().unwrap_err();
        assert_eq!(error.body()["error"]["param"], "color");
        assert!(Fields::parse(&Bytes::from_static(b"[1]")).is_err());
        assert!(Fields::parse(&Bytes::from_static(b"{\"a\":")).is_err());
    }

    #[test]
    fn unsupported_fields_pass_only_when_they_ask_for_nothing() {
        let refused = [("tools", "none here")];
        assert!(fields(&json!({"tools": []})).refuse(&refused).is_ok());
        assert!(fields(&json!({"tools": null})).refuse(&refused).is_ok());
        let error = fields(&json!({"tools": [{}]})).refuse(&refused).unwrap_err();
        assert_eq!(error.body()["error"]["code"], "unsupported_parameter");
    }
}

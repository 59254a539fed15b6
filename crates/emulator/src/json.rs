//! The parts of protobuf's JSON form that every service here needs: numbers as text, base64, timestamps, enum names.

use base64::{Engine, engine::general_purpose};
use prost_types::{Duration, Timestamp};
use serde_json::{Map, Value};
use std::collections::HashMap;
use tonic::Status;

/// A builder for a JSON object that, like protobuf's JSON, omits empty values.
#[derive(Debug, Default)]
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// An object without members.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub(crate) fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// Adds text unless it is empty.
    pub(crate) fn text(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.set(name, value) }
    }

    /// Adds a member if there is one.
    pub(crate) fn optional(self, name: &str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.set(name, value),
            None => self,
        }
    }

    /// Adds a map of text unless it is empty.
    pub(crate) fn labels(self, name: &str, labels: &HashMap<String, String>) -> Self {
        if labels.is_empty() { self } else { self.set(name, Value::from_iter(labels.clone())) }
    }

    /// Adds a list unless it is empty.
    pub(crate) fn list(self, name: &str, values: Vec<Value>) -> Self {
        if values.is_empty() { self } else { self.set(name, values) }
    }

    /// The finished object.
    pub(crate) fn build(self) -> Value {
        Value::Object(self.0)
    }
}

/// The complaint about a member of the wrong form.
pub(crate) fn invalid(name: &str, expected: &str) -> Status {
    Status::invalid_argument(format!("invalid value at '{name}': expected {expected}"))
}

/// Parses a request body; an absent body is an empty object.
pub(crate) fn parse(body: &[u8]) -> Result<Value, Status> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    serde_json::from_slice(body).map_err(|error| Status::invalid_argument(format!("invalid JSON payload: {error}")))
}

/// A member, unless absent or null.
pub(crate) fn member<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    value.get(name).filter(|value| !value.is_null())
}

/// Text, empty when absent.
pub(crate) fn text(value: &Value, name: &str) -> Result<String, Status> {
    match member(value, name) {
        None => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(invalid(name, "a string")),
    }
}

/// A flag, false when absent.
pub(crate) fn flag(value: &Value, name: &str) -> Result<bool, Status> {
    match member(value, name) {
        None => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(invalid(name, "true or false")),
    }
}

/// A whole number, written as a number or as text.
pub(crate) fn integer(value: &Value, name: &str) -> Result<Option<i64>, Status> {
    member(value, name).map(|value| as_integer(value).ok_or_else(|| invalid(name, "an integer"))).transpose()
}

/// A whole number of 32 bits, 0 when absent.
pub(crate) fn int32(value: &Value, name: &str) -> Result<i32, Status> {
    i32::try_from(integer(value, name)?.unwrap_or(0)).map_err(|_| invalid(name, "a 32-bit integer"))
}

/// A whole number written as a number or as text.
pub(crate) fn as_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A map of text, empty when absent.
pub(crate) fn labels(value: &Value, name: &str) -> Result<HashMap<String, String>, Status> {
    let Some(value) = member(value, name) else { return Ok(HashMap::new()) };
    let entries = value.as_object().ok_or_else(|| invalid(name, "an object"))?;
    let label = |(key, value): (&String, &Value)| {
        let value = value.as_str().ok_or_else(|| invalid(name, "an object of strings"))?;
        Ok((key.clone(), value.to_owned()))
    };
    entries.iter().map(label).collect()
}

/// A list, empty when absent.
pub(crate) fn list<'a>(value: &'a Value, name: &str) -> Result<&'a [Value], Status> {
    match member(value, name) {
        None => Ok(&[]),
        Some(Value::Array(values)) => Ok(values),
        Some(_) => Err(invalid(name, "an array")),
    }
}

/// A list of text, empty when absent.
pub(crate) fn texts(value: &Value, name: &str) -> Result<Vec<String>, Status> {
    let one = |value: &Value| value.as_str().map(str::to_owned).ok_or_else(|| invalid(name, "an array of strings"));
    list(value, name)?.iter().map(one).collect()
}

/// An enum by name (through `named`) or number; 0 when absent.
pub(crate) fn enumeration(value: &Value, name: &str, named: impl Fn(&str) -> Option<i32>) -> Result<i32, Status> {
    match member(value, name) {
        None => Ok(0),
        Some(Value::String(text)) => named(text).ok_or_else(|| invalid(name, "a known name")),
        Some(Value::Number(_)) => int32(value, name),
        Some(_) => Err(invalid(name, "a known name")),
    }
}

/// A time such as `2026-01-02T03:04:05.678Z`.
pub(crate) fn time(value: &Value, name: &str) -> Result<Option<Timestamp>, Status> {
    let Some(value) = member(value, name) else { return Ok(None) };
    value.as_str().and_then(|text| text.parse().ok()).map(Some).ok_or_else(|| invalid(name, "a timestamp"))
}

/// A duration such as `1.5s`.
pub(crate) fn duration(value: &Value, name: &str) -> Result<Option<Duration>, Status> {
    let Some(value) = member(value, name) else { return Ok(None) };
    value
        .as_str()
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or_else(|| invalid(name, "a duration such as \"10s\""))
}

/// Bytes in base64, of either alphabet, padded or not; empty when absent.
pub(crate) fn bytes(value: &Value, name: &str) -> Result<Vec<u8>, Status> {
    let text = text(value, name)?;
    decode_base64(&text).ok_or_else(|| invalid(name, "base64"))
}

/// Decodes base64 of either alphabet, padded or not.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    general_purpose::STANDARD_NO_PAD.decode(text).or_else(|_| general_purpose::URL_SAFE_NO_PAD.decode(text)).ok()
}

/// Encodes in padded base64.
pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn numbers_come_as_numbers_or_text() {
        let value = json!({"a": 5, "b": "6", "c": null, "d": "x"});
        assert_eq!(integer(&value, "a").unwrap(), Some(5));
        assert_eq!(integer(&value, "b").unwrap(), Some(6));
        assert_eq!(integer(&value, "c").unwrap(), None);
        assert!(integer(&value, "d").is_err());
    }

    #[test]
    fn base64_is_read_in_either_alphabet() {
        assert_eq!(decode_base64("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(decode_base64("+/8="), Some(vec![0xfb, 0xff]));
        assert_eq!(decode_base64("!"), None);
    }

    #[test]
    fn times_and_durations_are_read() {
        let value = json!({"t": "2026-01-02T03:04:05.25Z", "d": "1.5s"});
        assert_eq!(time(&value, "t").unwrap().unwrap().nanos, 250_000_000);
        assert_eq!(duration(&value, "d").unwrap().unwrap(), Duration { seconds: 1, nanos: 500_000_000 });
    }
}

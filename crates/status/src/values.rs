//! Values of document fields, and back. What a document does not have reads as nothing: zero, no text, no time.

use clipfleet_cloud::{Fields, Value};
use clipfleet_domain::{
    failure::{Failure, FieldViolation},
    limits::RETENTION_DAYS,
};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn failure_value(failure: &Failure) -> Value {
    let mut fields = Fields::from([
        ("code".into(), text(&failure.code)),
        ("message".into(), text(&failure.message)),
        ("retryable".into(), Value::Bool(failure.retryable)),
    ]);
    if !failure.details.is_empty() {
        let detail = |bad: &FieldViolation| {
            Value::Map(Fields::from([("field".into(), text(&bad.field)), ("reason".into(), text(&bad.reason))]))
        };
        fields.insert("details".into(), Value::Array(failure.details.iter().map(detail).collect()));
    }
    Value::Map(fields)
}

pub(crate) fn as_failure(value: &Value) -> Failure {
    let details = match member(value, "details") {
        Value::Array(list) => list
            .iter()
            .map(|bad| FieldViolation::new(as_text(member(bad, "field")), as_text(member(bad, "reason"))))
            .collect(),
        _ => Vec::new(),
    };
    Failure {
        code: as_text(member(value, "code")).to_owned(),
        message: as_text(member(value, "message")).to_owned(),
        retryable: member(value, "retryable") == &Value::Bool(true),
        details,
    }
    // A document of an older version may hold more than this one writes.
    .bounded()
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub(crate) fn integer(number: i64) -> Value {
    Value::Integer(number)
}

pub(crate) fn maybe_integer(number: Option<i64>) -> Value {
    number.map_or(Value::Null, Value::Integer)
}

pub(crate) fn instant(unix_ms: Option<i64>) -> Value {
    unix_ms.map_or(Value::Null, |ms| Value::Timestamp(at(ms)))
}

pub(crate) fn expiry(created_at_ms: Option<i64>) -> Value {
    created_at_ms.map_or(Value::Null, |ms| Value::Timestamp(at(ms) + Duration::from_secs(RETENTION_DAYS * 24 * 3_600)))
}

fn at(unix_ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(unix_ms.max(0).unsigned_abs())
}

pub(crate) fn maybe(value: &Value) -> Option<&Value> {
    (value != &Value::Null).then_some(value)
}

pub(crate) fn member<'a>(value: &'a Value, name: &str) -> &'a Value {
    match value {
        Value::Map(fields) => fields.get(name).unwrap_or(&Value::Null),
        _ => &Value::Null,
    }
}

pub(crate) fn as_text(value: &Value) -> &str {
    match value {
        Value::String(text) => text,
        _ => "",
    }
}

pub(crate) fn as_integer(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        _ => 0,
    }
}

pub(crate) fn as_instant(value: &Value) -> Option<i64> {
    match value {
        Value::Timestamp(at) => i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok(),
        _ => None,
    }
}

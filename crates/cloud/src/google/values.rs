//! Converts values to Firestore's and back.

use crate::{CloudError, Document, ErrorKind, Fields, Value, Version};
use googleapis_tonic_google_firestore_v1::google::firestore::v1::{
    ArrayValue, Document as WireDocument, MapValue, Value as WireValue, value::ValueType,
};
use prost_types::Timestamp;
use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

pub(super) fn to_wire(value: Value) -> WireValue {
    let value_type = match value {
        Value::Null => ValueType::NullValue(0),
        Value::Bool(value) => ValueType::BooleanValue(value),
        Value::Integer(value) => ValueType::IntegerValue(value),
        Value::Double(value) => ValueType::DoubleValue(value),
        Value::String(value) => ValueType::StringValue(value),
        Value::Timestamp(value) => ValueType::TimestampValue(Timestamp::from(value)),
        Value::Array(values) => ValueType::ArrayValue(ArrayValue { values: values.into_iter().map(to_wire).collect() }),
        Value::Map(fields) => ValueType::MapValue(MapValue { fields: fields_to_wire(fields) }),
    };
    WireValue { value_type: Some(value_type) }
}

pub(super) fn fields_to_wire(fields: Fields) -> HashMap<String, WireValue> {
    fields.into_iter().map(|(name, value)| (name, to_wire(value))).collect()
}

/// A document as read. Its full name is `prefix`, a slash and its path.
pub(super) fn document(wire: WireDocument, prefix: &str) -> Result<Document, CloudError> {
    let path = wire.name.strip_prefix(prefix).and_then(|path| path.strip_prefix('/')).unwrap_or(&wire.name).to_owned();
    let version = version(wire.update_time).ok_or_else(|| {
        CloudError::new(ErrorKind::Unavailable, format!("read document {path}: the answer has no update time"))
    })?;
    Ok(Document { path, fields: fields(wire.fields), version })
}

pub(super) fn version(time: Option<Timestamp>) -> Option<Version> {
    time.map(|time| Version { seconds: time.seconds, nanos: time.nanos })
}

pub(super) fn timestamp(version: Version) -> Timestamp {
    Timestamp { seconds: version.seconds, nanos: version.nanos }
}

/// Skips fields of types that Clipfleet never writes (bytes, references, locations): another program's addition to a
/// document must not make it unreadable.
fn fields(wire: HashMap<String, WireValue>) -> Fields {
    wire.into_iter().filter_map(|(name, value)| Some((name, from_wire(value)?))).collect()
}

fn from_wire(wire: WireValue) -> Option<Value> {
    Some(match wire.value_type? {
        ValueType::NullValue(_) => Value::Null,
        ValueType::BooleanValue(value) => Value::Bool(value),
        ValueType::IntegerValue(value) => Value::Integer(value),
        ValueType::DoubleValue(value) => Value::Double(value),
        ValueType::StringValue(value) => Value::String(value),
        ValueType::TimestampValue(value) => Value::Timestamp(instant(value)),
        ValueType::ArrayValue(array) => Value::Array(array.values.into_iter().filter_map(from_wire).collect()),
        ValueType::MapValue(map) => Value::Map(fields(map.fields)),
        _ => return None,
    })
}

fn instant(time: Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::try_from(time.nanos).unwrap_or_default());
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole.and_then(|whole| whole.checked_add(nanos)).unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_survives_a_round_trip() {
        let early = SystemTime::UNIX_EPOCH - Duration::from_micros(1_500_001);
        let value = Value::Map(Fields::from([
            ("null".into(), Value::Null),
            ("list".into(), Value::Array(vec![Value::Bool(true), Value::Integer(-7), Value::Double(0.5)])),
            ("early".into(), Value::Timestamp(early)),
            ("text".into(), Value::String("é".into())),
        ]));
        assert_eq!(from_wire(to_wire(value.clone())), Some(value));
    }

    #[test]
    fn a_field_of_an_unsupported_type_is_skipped() {
        let foreign = WireValue { value_type: Some(ValueType::BytesValue(vec![1])) };
        assert_eq!(fields(HashMap::from([("blob".into(), foreign)])), Fields::new());
    }
}

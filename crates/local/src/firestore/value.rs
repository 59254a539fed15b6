//! Values: their order across types, equality, and the checks on what may be stored.

use super::fs;
use crate::limits;
use fs::value::ValueType;
use std::{cmp::Ordering, collections::HashMap};
use tonic::Status;

/// Firestore's order of types; values of different ranks are never equal.
pub(super) fn rank(value: &fs::Value) -> u8 {
    match &value.value_type {
        None | Some(ValueType::NullValue(_)) => 0,
        Some(ValueType::BooleanValue(_)) => 1,
        Some(ValueType::IntegerValue(_) | ValueType::DoubleValue(_)) => 2,
        Some(ValueType::TimestampValue(_)) => 3,
        Some(ValueType::StringValue(_)) => 4,
        Some(ValueType::BytesValue(_)) => 5,
        Some(ValueType::ReferenceValue(_)) => 6,
        Some(ValueType::GeoPointValue(_)) => 7,
        Some(ValueType::ArrayValue(_)) => 8,
        Some(ValueType::MapValue(_)) => 9,
        // Only expressions of pipelines, which are refused before they get here.
        Some(_) => 10,
    }
}

/// The total order in which queries sort values.
pub(super) fn compare(a: &fs::Value, b: &fs::Value) -> Ordering {
    use ValueType as T;
    match (&a.value_type, &b.value_type) {
        (Some(T::BooleanValue(a)), Some(T::BooleanValue(b))) => a.cmp(b),
        (Some(T::IntegerValue(a)), Some(T::IntegerValue(b))) => a.cmp(b),
        (Some(T::DoubleValue(a)), Some(T::DoubleValue(b))) => compare_doubles(*a, *b),
        (Some(T::IntegerValue(a)), Some(T::DoubleValue(b))) => compare_mixed(*a, *b),
        (Some(T::DoubleValue(a)), Some(T::IntegerValue(b))) => compare_mixed(*b, *a).reverse(),
        (Some(T::TimestampValue(a)), Some(T::TimestampValue(b))) => (a.seconds, a.nanos).cmp(&(b.seconds, b.nanos)),
        (Some(T::StringValue(a)), Some(T::StringValue(b))) => a.cmp(b),
        (Some(T::BytesValue(a)), Some(T::BytesValue(b))) => a.cmp(b),
        (Some(T::ReferenceValue(a)), Some(T::ReferenceValue(b))) => compare_names(a, b),
        (Some(T::GeoPointValue(a)), Some(T::GeoPointValue(b))) => {
            compare_doubles(a.latitude, b.latitude).then_with(|| compare_doubles(a.longitude, b.longitude))
        }
        (Some(T::ArrayValue(a)), Some(T::ArrayValue(b))) => compare_arrays(&a.values, &b.values),
        (Some(T::MapValue(a)), Some(T::MapValue(b))) => compare_maps(&a.fields, &b.fields),
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Equality as filters and array transforms see it: 1 equals 1.0.
pub(super) fn equal(a: &fs::Value, b: &fs::Value) -> bool {
    compare(a, b) == Ordering::Equal
}

/// The order of document names: part by part.
pub(super) fn compare_names(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}

/// Whether the value is a number that is none.
pub(super) fn is_nan(value: &fs::Value) -> bool {
    matches!(value.value_type, Some(ValueType::DoubleValue(number)) if number.is_nan())
}

/// Whether the value is null.
pub(super) fn is_null(value: &fs::Value) -> bool {
    rank(value) == 0
}

/// NaN sorts before every number; -0.0 equals 0.0.
fn compare_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Exact, although not every integer of 64 bits has a double.
fn compare_mixed(integer: i64, double: f64) -> Ordering {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if double.is_nan() || double < -TWO_63 {
        Ordering::Greater
    } else if double >= TWO_63 {
        Ordering::Less
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked; the fraction is compared next")]
        let whole = double.trunc() as i64;
        integer.cmp(&whole).then_with(|| compare_doubles(0.0, double.fract()))
    }
}

fn compare_arrays(a: &[fs::Value], b: &[fs::Value]) -> Ordering {
    let differing = a.iter().zip(b).map(|(a, b)| compare(a, b)).find(|order| order.is_ne());
    differing.unwrap_or_else(|| a.len().cmp(&b.len()))
}

fn compare_maps(a: &HashMap<String, fs::Value>, b: &HashMap<String, fs::Value>) -> Ordering {
    let sorted = |map: &HashMap<String, fs::Value>| {
        let mut keys: Vec<_> = map.keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let (keys_a, keys_b) = (sorted(a), sorted(b));
    for (key_a, key_b) in keys_a.iter().zip(&keys_b) {
        let order = key_a.cmp(key_b).then_with(|| match (a.get(key_a), b.get(key_b)) {
            (Some(a), Some(b)) => compare(a, b),
            _ => Ordering::Equal,
        });
        if order.is_ne() {
            return order;
        }
    }
    keys_a.len().cmp(&keys_b.len())
}

/// Checks a value that is to be stored.
pub(super) fn check(value: &fs::Value, depth: usize) -> Result<(), Status> {
    if depth > limits::VALUE_DEPTH {
        return Err(Status::invalid_argument(format!("values are nested deeper than {}", limits::VALUE_DEPTH)));
    }
    match &value.value_type {
        None => Err(Status::invalid_argument("a value has no type")),
        Some(ValueType::ArrayValue(array)) => array.values.iter().try_for_each(|value| match &value.value_type {
            Some(ValueType::ArrayValue(_)) => Err(Status::invalid_argument("an array may not contain an array")),
            _ => check(value, depth + 1),
        }),
        Some(ValueType::MapValue(map)) => map.fields.values().try_for_each(|value| check(value, depth + 1)),
        Some(_) if rank(value) == 10 => Err(Status::invalid_argument("expressions cannot be stored")),
        Some(_) => Ok(()),
    }
}

/// Times are kept to the microsecond, as in the real service.
pub(super) fn truncate_times(value: &mut fs::Value) {
    match &mut value.value_type {
        Some(ValueType::TimestampValue(at)) => at.nanos -= at.nanos % 1_000,
        Some(ValueType::ArrayValue(array)) => array.values.iter_mut().for_each(truncate_times),
        Some(ValueType::MapValue(map)) => map.fields.values_mut().for_each(truncate_times),
        _ => {}
    }
}

/// Shorthand for building values.
pub(super) fn of(value: ValueType) -> fs::Value {
    fs::Value { value_type: Some(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_ordered_and_numbers_compare_exactly() {
        let ordered = [
            of(ValueType::NullValue(0)),
            of(ValueType::BooleanValue(false)),
            of(ValueType::BooleanValue(true)),
            of(ValueType::DoubleValue(f64::NAN)),
            of(ValueType::DoubleValue(f64::NEG_INFINITY)),
            of(ValueType::IntegerValue(-1)),
            of(ValueType::DoubleValue(-0.5)),
            of(ValueType::IntegerValue(0)),
            of(ValueType::DoubleValue(0.5)),
            of(ValueType::DoubleValue(9_007_199_254_740_992.0)),
            of(ValueType::IntegerValue(9_007_199_254_740_993)),
            of(ValueType::IntegerValue(i64::MAX)),
            of(ValueType::DoubleValue(9.3e18)),
            of(ValueType::TimestampValue(prost_types::Timestamp { seconds: 1, nanos: 0 })),
            of(ValueType::StringValue("a".into())),
            of(ValueType::BytesValue(vec![0])),
        ];
        for pair in ordered.windows(2) {
            assert_eq!(compare(&pair[0], &pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(&pair[1], &pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert!(equal(&of(ValueType::IntegerValue(1)), &of(ValueType::DoubleValue(1.0))));
        assert!(equal(&of(ValueType::DoubleValue(f64::NAN)), &of(ValueType::DoubleValue(f64::NAN))));
    }

    #[test]
    fn arrays_in_arrays_and_deep_values_are_refused() {
        let array = |values| of(ValueType::ArrayValue(fs::ArrayValue { values }));
        assert!(check(&array(vec![array(vec![])]), 1).is_err());
        let mut deep = of(ValueType::NullValue(0));
        for _ in 0..=limits::VALUE_DEPTH {
            deep = of(ValueType::MapValue(fs::MapValue { fields: [("k".into(), deep)].into() }));
        }
        assert!(check(&deep, 1).is_err());
    }
}

//! Values: their order across types, their equality, and the checks before they are stored.

use super::{
    fs,
    path::{self, DocumentName},
};
use crate::limits;
use fs::value::ValueType;
use std::{cmp::Ordering, collections::HashMap, ops::RangeInclusive};
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
        Some(ValueType::MapValue(map)) if is_vector(map) => 9,
        Some(ValueType::MapValue(_)) => 10,
        // Expressions of pipelines. They are rejected earlier.
        Some(_) => 11,
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
        (Some(T::MapValue(a)), Some(T::MapValue(b))) => match (is_vector(a), is_vector(b)) {
            (true, true) => {
                let (a, b) = (vector_elements(a), vector_elements(b));
                a.len().cmp(&b.len()).then_with(|| compare_arrays(a, b))
            }
            (false, false) => compare_maps(&a.fields, &b.fields),
            // Every vector sorts before every map.
            (vector, _) => {
                if vector {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        },
        _ => rank(a).cmp(&rank(b)),
    }
}

/// Equality as filters and array transforms see it: 1 equals 1.0.
pub(super) fn equal(a: &fs::Value, b: &fs::Value) -> bool {
    compare(a, b) == Ordering::Equal
}

/// The order of document names, segment by segment. IDs such as `__id7__` are numbers, and numbers sort before text.
pub(super) fn compare_names(a: &str, b: &str) -> Ordering {
    fn key(part: &str) -> (i128, &str) {
        (path::numeric_id(part).map_or(i128::MAX, i128::from), part)
    }
    a.split('/').map(key).cmp(b.split('/').map(key))
}

/// The key that gives a map a special type, and its value for vectors.
const TYPE_KEY: &str = "__type__";
const VECTOR_TYPE: &str = "__vector__";
/// The key of a vector's elements.
const VECTOR_VALUE_KEY: &str = "value";

/// Whether a map is a vector.
fn is_vector(map: &fs::MapValue) -> bool {
    let kind = map.fields.get(TYPE_KEY).and_then(|kind| kind.value_type.as_ref());
    matches!(kind, Some(ValueType::StringValue(kind)) if kind == VECTOR_TYPE)
}

fn vector_elements(map: &fs::MapValue) -> &[fs::Value] {
    match map.fields.get(VECTOR_VALUE_KEY).and_then(|value| value.value_type.as_ref()) {
        Some(ValueType::ArrayValue(array)) => &array.values,
        _ => &[],
    }
}

/// Whether the value is NaN.
pub(super) fn is_nan(value: &fs::Value) -> bool {
    matches!(value.value_type, Some(ValueType::DoubleValue(number)) if number.is_nan())
}

/// Whether the value is a number, NaN included.
pub(super) fn is_number(value: &fs::Value) -> bool {
    rank(value) == 2
}

/// Whether the value is null.
pub(super) fn is_null(value: &fs::Value) -> bool {
    rank(value) == 0
}

/// NaN sorts before every number; -0.0 equals 0.0.
fn compare_doubles(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Exact, although some 64-bit integers have no equal double.
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

/// Checks the fields of a document before it is stored.
pub(super) fn check_fields(fields: &HashMap<String, fs::Value>) -> Result<(), Status> {
    check_map(fields, 0, 0)
}

/// Checks values before they become elements of an array.
pub(super) fn check_elements(values: &[fs::Value]) -> Result<(), Status> {
    values.iter().try_for_each(|value| check_element(value, 1, 0))
}

/// Checks a map that is nested in `depth` maps and arrays, and whose path has `path_bytes` bytes.
fn check_map(fields: &HashMap<String, fs::Value>, depth: usize, path_bytes: usize) -> Result<(), Status> {
    for (name, value) in fields {
        path::check_field(name)?;
        if path::is_reserved(name) {
            return Err(Status::invalid_argument(format!("the field name \"{name}\" is reserved")));
        }
        let path_bytes = path_bytes + name.len();
        if path_bytes > limits::MAX_FIELD_PATH_BYTES {
            let max = limits::MAX_FIELD_PATH_BYTES;
            return Err(Status::invalid_argument(format!("the path of a field is longer than {max} bytes")));
        }
        // One more byte for the dot between this name and the nested one.
        check_value(value, depth, path_bytes + 1)?;
    }
    Ok(())
}

fn check_value(value: &fs::Value, depth: usize, path_bytes: usize) -> Result<(), Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    let nested = matches!(value.value_type, Some(ValueType::ArrayValue(_) | ValueType::MapValue(_)));
    if nested && depth >= limits::MAX_VALUE_DEPTH {
        return invalid(format!("values are nested deeper than {}", limits::MAX_VALUE_DEPTH));
    }
    match &value.value_type {
        None => invalid("a value has no type".into()),
        Some(ValueType::ArrayValue(array)) => {
            array.values.iter().try_for_each(|element| check_element(element, depth + 1, path_bytes))
        }
        Some(ValueType::MapValue(map)) if map.fields.contains_key(TYPE_KEY) => check_vector(map),
        Some(ValueType::MapValue(map)) => check_map(&map.fields, depth + 1, path_bytes),
        Some(ValueType::GeoPointValue(point))
            if !(-90.0..=90.0).contains(&point.latitude) || !(-180.0..=180.0).contains(&point.longitude) =>
        {
            invalid(format!("the point ({}, {}) is outside of the earth", point.latitude, point.longitude))
        }
        Some(ValueType::ReferenceValue(name)) => DocumentName::parse(name).map(|_| ()),
        Some(ValueType::TimestampValue(at))
            if !TIMESTAMP_SECONDS.contains(&at.seconds) || !(0..1_000_000_000).contains(&at.nanos) =>
        {
            invalid(format!("the timestamp of {} s and {} ns is outside of the years 1 to 9999", at.seconds, at.nanos))
        }
        Some(ValueType::StringValue(text)) if text.len() > limits::MAX_FIELD_VALUE_BYTES => too_long(text.len()),
        Some(ValueType::BytesValue(bytes)) if bytes.len() > limits::MAX_FIELD_VALUE_BYTES => too_long(bytes.len()),
        Some(_) if rank(value) == 11 => invalid("expressions cannot be stored".into()),
        Some(_) => Ok(()),
    }
}

fn check_element(element: &fs::Value, depth: usize, path_bytes: usize) -> Result<(), Status> {
    match &element.value_type {
        Some(ValueType::ArrayValue(_)) => Err(Status::invalid_argument("an array may not contain an array")),
        Some(ValueType::MapValue(map)) if is_vector(map) => {
            Err(Status::invalid_argument("an array may not contain a vector"))
        }
        _ => check_value(element, depth, path_bytes),
    }
}

/// Checks a map with a type. Only vectors are known, and they contain only doubles.
fn check_vector(map: &fs::MapValue) -> Result<(), Status> {
    let invalid = |text: &str| Err(Status::invalid_argument(text));
    let elements = vector_elements(map);
    if !is_vector(map) {
        return invalid("the only type of a map is \"__vector__\"");
    }
    if map.fields.len() != 2 || !(1..=limits::MAX_VECTOR_DIMENSIONS).contains(&elements.len()) {
        return invalid("a vector needs a \"value\" of 1 to 2048 numbers and nothing else");
    }
    if elements.iter().any(|element| !matches!(element.value_type, Some(ValueType::DoubleValue(_)))) {
        return invalid("a vector holds doubles only");
    }
    Ok(())
}

fn too_long(bytes: usize) -> Result<(), Status> {
    let max = limits::MAX_FIELD_VALUE_BYTES;
    Err(Status::invalid_argument(format!("a value of {bytes} bytes is longer than {max} bytes")))
}

/// The years 1 to 9999.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

/// The size of a document by the documented rules, which differs from the size of its encoding.
pub(super) fn document_size(name: &DocumentName, fields: &HashMap<String, fs::Value>) -> usize {
    name_size(&name.to_string()) + fields_size(fields) + 32
}

fn fields_size(fields: &HashMap<String, fs::Value>) -> usize {
    fields.iter().map(|(name, value)| name.len() + 1 + value_size(value)).sum()
}

/// The segments below `documents` (text with one extra byte, numbers with 8 bytes), plus 16 bytes.
fn name_size(name: &str) -> usize {
    let below = name.split_once("/documents/").map_or(name, |(_, below)| below);
    let part = |part: &str| if path::numeric_id(part).is_some() { 8 } else { part.len() + 1 };
    below.split('/').map(part).sum::<usize>() + 16
}

fn value_size(value: &fs::Value) -> usize {
    match &value.value_type {
        None | Some(ValueType::NullValue(_) | ValueType::BooleanValue(_)) => 1,
        Some(ValueType::StringValue(text)) => text.len() + 1,
        Some(ValueType::BytesValue(bytes)) => bytes.len(),
        Some(ValueType::ReferenceValue(name)) => name_size(name),
        Some(ValueType::GeoPointValue(_)) => 16,
        // An empty map or array takes one byte, too.
        Some(ValueType::ArrayValue(array)) => array.values.iter().map(value_size).sum::<usize>().max(1),
        Some(ValueType::MapValue(map)) if is_vector(map) => 8 * vector_elements(map).len(),
        Some(ValueType::MapValue(map)) => fields_size(&map.fields).max(1),
        Some(_) => 8,
    }
}

/// Truncates times to microseconds, as the real service does.
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
    fn arrays_in_arrays_and_deep_values_are_rejected() {
        assert!(stored(list(vec![list(vec![])])).is_err());
        assert!(stored(list(vec![vector(&[1.0])])).is_err());
        let mut deep = of(ValueType::NullValue(0));
        for _ in 0..20 {
            deep = map(&[("k", deep)]);
        }
        assert!(stored(deep.clone()).is_ok(), "20 maps below a field are allowed");
        assert!(stored(map(&[("k", deep)])).is_err());
    }

    fn stored(value: fs::Value) -> Result<(), Status> {
        check_fields(&[("field".to_owned(), value)].into())
    }

    fn list(values: Vec<fs::Value>) -> fs::Value {
        of(ValueType::ArrayValue(fs::ArrayValue { values }))
    }

    fn map(pairs: &[(&str, fs::Value)]) -> fs::Value {
        let fields = pairs.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        of(ValueType::MapValue(fs::MapValue { fields }))
    }

    fn string(text: &str) -> fs::Value {
        of(ValueType::StringValue(text.into()))
    }

    fn vector(numbers: &[f64]) -> fs::Value {
        let elements = numbers.iter().map(|number| of(ValueType::DoubleValue(*number))).collect();
        map(&[("__type__", string("__vector__")), ("value", list(elements))])
    }

    #[test]
    fn numeric_ids_sort_by_number_and_before_text() {
        let names = ["__id-9223372036854775808__", "__id-2__", "__id7__", "__id12__", "0", "Upper", "__id", "a"];
        let names = names.map(|id| format!("projects/p/databases/d/documents/c/{id}"));
        assert!(names.is_sorted_by(|a, b| compare_names(a, b).is_lt()));
    }

    #[test]
    fn vectors_sort_by_length_and_between_arrays_and_maps() {
        let ordered = [list(vec![string("z")]), vector(&[9.0]), vector(&[1.0, 2.0]), vector(&[1.0, 3.0]), map(&[])];
        assert!(ordered.is_sorted_by(|a, b| compare(a, b).is_lt() && compare(b, a).is_gt()));
    }

    #[test]
    fn values_that_the_real_service_rejects_are_rejected() {
        let point =
            |latitude, longitude| of(ValueType::GeoPointValue(super::super::r#type::LatLng { latitude, longitude }));
        let reference = |name: &str| of(ValueType::ReferenceValue(name.into()));
        let long = "x".repeat(1_499);
        for rejected in [
            point(91.0, 0.0),
            point(0.0, -181.0),
            point(f64::NAN, 0.0),
            reference(""),
            reference("projects/p/databases/d/documents/c"),
            reference("projects/p/databases/d/documents/c/__x__"),
            of(ValueType::TimestampValue(prost_types::Timestamp { seconds: 253_402_300_800, nanos: 0 })),
            of(ValueType::StringValue("x".repeat(1_048_488))),
            map(&[("__x__", string(""))]),
            map(&[("", string(""))]),
            map(&[(&long, string(""))]),
            map(&[("__type__", string("other"))]),
            vector(&[]),
            vector(&[0.0; 2_049]),
            of(ValueType::FieldReferenceValue("a".into())),
        ] {
            assert!(stored(rejected.clone()).is_err(), "{rejected:?}");
        }
        for accepted in [
            point(-90.0, 180.0),
            reference("projects/other/databases/d/documents/c/__id5__"),
            of(ValueType::StringValue("x".repeat(1_048_487))),
            map(&[("____", string(""))]),
            vector(&[0.0; 2_048]),
        ] {
            assert!(stored(accepted.clone()).is_ok(), "{accepted:?}");
        }
    }

    #[test]
    fn sizes_match_those_of_the_real_service() {
        let sized = |path: &str, value: Option<fs::Value>| {
            let name = DocumentName::from_stored(&format!("projects/p/databases/(default)/documents/{path}"));
            document_size(&name, &value.map(|value| ("c".to_owned(), value)).into_iter().collect())
        };
        assert_eq!(sized("f/v", None), 52);
        assert_eq!(sized("f/v/f/v", None), 56);
        assert_eq!(sized("f/__id5__", None), 58);
        let reference = of(ValueType::ReferenceValue("projects/p/databases/(default)/documents/f/v".into()));
        let two = list(vec![of(ValueType::IntegerValue(1)), of(ValueType::IntegerValue(1))]);
        let nested = map(&[("k", map(&[("k", of(ValueType::IntegerValue(1)))]))]);
        for (value, size) in [
            (of(ValueType::NullValue(0)), 3),
            (of(ValueType::IntegerValue(1)), 10),
            (string("12345"), 8),
            (of(ValueType::BytesValue(vec![0; 5])), 7),
            (reference, 22),
            (list(vec![]), 3),
            (two, 18),
            (map(&[]), 3),
            (nested, 14),
            (vector(&[1.0, 2.0]), 18),
        ] {
            assert_eq!(sized("f/v", Some(value.clone())) - 52, size, "{value:?}");
        }
    }
}

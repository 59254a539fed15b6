//! Documents as values, without a store. This crate has no I/O and no dependencies, so that the crate that defines
//! documents (`clipfleet-contract`) does not depend on the crate that stores them (`clipfleet-cloud`).

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// The value of a field. These are the Firestore types that Clipfleet uses.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// An integer.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    String(String),
    /// An instant, stored with microsecond precision.
    Timestamp(SystemTime),
    /// Values in order.
    Array(Vec<Value>),
    /// Named values.
    Map(Fields),
}

/// The fields of a document or map.
pub type Fields = BTreeMap<String, Value>;

/// The fields of a document or map, from their names and values.
pub fn fields_of<'a>(named: impl IntoIterator<Item = (&'a str, Value)>) -> Fields {
    named.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The value of a field that does not exist.
const ABSENT: &Value = &Value::Null;

impl Value {
    /// A text.
    pub fn text(text: &str) -> Self {
        Self::String(text.to_owned())
    }

    /// An integer.
    pub fn integer(number: impl Into<i64>) -> Self {
        Self::Integer(number.into())
    }

    /// An integer. A number that does not fit becomes the largest integer.
    pub fn unsigned(number: u64) -> Self {
        Self::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }

    /// An instant, from Unix time in milliseconds. An instant before 1970 becomes the beginning of 1970.
    pub fn instant(unix_ms: i64) -> Self {
        Self::Timestamp(UNIX_EPOCH + Duration::from_millis(unix_ms.max(0).unsigned_abs()))
    }

    /// The value, or [`Value::Null`].
    pub fn optional(value: Option<Self>) -> Self {
        value.unwrap_or(Self::Null)
    }

    /// An instant, from Unix time in milliseconds, or [`Value::Null`].
    pub fn optional_instant(unix_ms: Option<i64>) -> Self {
        Self::optional(unix_ms.map(Self::instant))
    }

    /// A map, from its fields.
    pub fn map<'a>(named: impl IntoIterator<Item = (&'a str, Self)>) -> Self {
        Self::Map(fields_of(named))
    }

    /// The text; `None` for other types.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer; `None` for other types.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The floating-point number; `None` for other types.
    pub fn as_double(&self) -> Option<f64> {
        match self {
            Self::Double(number) => Some(*number),
            _ => None,
        }
    }

    /// The instant as Unix time in milliseconds; `None` for other types.
    pub fn as_instant(&self) -> Option<i64> {
        match self {
            Self::Timestamp(at) => i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok(),
            _ => None,
        }
    }

    /// The values of an array; none for other types.
    pub fn elements(&self) -> &[Self] {
        match self {
            Self::Array(values) => values,
            _ => &[],
        }
    }

    /// The fields of a map; none for other types.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Self)> {
        let map = match self {
            Self::Map(map) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().map(|(name, value)| (name.as_str(), value))
    }

    /// A field of a map; [`Value::Null`] if it does not exist.
    pub fn field(&self, name: &str) -> &Self {
        match self {
            Self::Map(fields) => fields.get(name).unwrap_or(ABSENT),
            _ => ABSENT,
        }
    }

    /// The value; `None` for [`Value::Null`].
    pub fn present(&self) -> Option<&Self> {
        (self != ABSENT).then_some(self)
    }

    /// Whether it is `true`.
    pub fn is_true(&self) -> bool {
        self == &Self::Bool(true)
    }
}

/// Identifies one state of a document. Every write changes it. It is opaque: compare it only for equality.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Seconds of the update time.
    pub seconds: i64,
    /// Nanoseconds of the update time.
    pub nanos: i32,
}

/// A stored document.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Path relative to the database, for example `exportBatches/b1/clips/c1`.
    pub path: String,
    /// Its fields.
    pub fields: Fields,
    /// Its version when it was read.
    pub version: Version,
}

impl Document {
    /// The last part of its path.
    pub fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// A field; [`Value::Null`] if it does not exist.
    pub fn field(&self, name: &str) -> &Value {
        self.fields.get(name).unwrap_or(ABSENT)
    }
}

/// A query for one page of the documents of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct Search<'a> {
    /// Top-level fields, and the value that each must have.
    pub filters: Vec<(&'a str, Value)>,
    /// The order of the documents, and where the page begins.
    pub order: Order<'a>,
    /// The maximum number of documents on the page.
    pub limit: u32,
}

/// An order of documents, and the document after which a page begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Order<'a> {
    /// By their ids.
    ById {
        /// The last id of the previous page; empty for the first page.
        after: &'a str,
    },
    /// By a top-level field that holds an instant, latest first, then by their ids, descending. Documents without the
    /// field are not found.
    LatestFirst {
        /// The name of the field.
        field: &'a str,
        /// The field (Unix time, milliseconds) and the id of the last document of the previous page.
        after: Option<(i64, &'a str)>,
    },
}

impl<'a> Search<'a> {
    /// The documents whose top-level field has a value, in the order of their ids; `after` as in [`Order::ById`].
    pub fn by_id(field: &'a str, value: Value, after: &'a str, limit: u32) -> Self {
        Self { filters: vec![(field, value)], order: Order::ById { after }, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_value_or_one_of_another_type_reads_as_none() {
        let map = Value::map([("a", Value::integer(1)), ("b", Value::Null)]);
        assert_eq!(map.field("a").as_integer(), Some(1));
        assert_eq!(map.field("a").as_text(), None);
        assert_eq!(map.field("a").field("b"), &Value::Null);
        assert_eq!((map.field("b").present(), map.field("c").present()), (None, None));
        assert!(Value::text("x").fields().next().is_none() && Value::Null.elements().is_empty());
    }

    #[test]
    fn an_instant_keeps_its_milliseconds_and_is_never_before_1970() {
        assert_eq!(Value::instant(1_234).as_instant(), Some(1_234));
        assert_eq!(Value::instant(-5).as_instant(), Some(0));
        assert_eq!(Value::unsigned(u64::MAX), Value::Integer(i64::MAX));
    }

    #[test]
    fn an_id_is_the_last_part_of_a_path() {
        let version = Version { seconds: 0, nanos: 0 };
        let document = Document { path: "exportBatches/b1/clips/c1".into(), fields: Fields::new(), version };
        assert_eq!(document.id(), "c1");
    }
}

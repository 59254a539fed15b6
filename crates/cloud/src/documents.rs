//! Documents of named fields in collections, written atomically under preconditions.

use crate::{CloudError, ErrorKind};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

/// A field's value; Firestore's types, those we use.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Double(f64),
    /// Text.
    String(String),
    /// An instant; kept to the microsecond.
    Timestamp(SystemTime),
    /// Values in order.
    Array(Vec<Value>),
    /// Named values.
    Map(Fields),
}

/// The fields of a document or map.
pub type Fields = BTreeMap<String, Value>;

/// Identifies one state of a document; changes with every write. Opaque: compare for equality only.
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
    /// Its state when read.
    pub version: Version,
}

impl Document {
    /// The last part of its path.
    pub fn id(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// A text field, if the document has it.
    pub fn text(&self, field: &str) -> Option<&str> {
        match self.fields.get(field) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A whole-number field, if the document has it.
    pub fn integer(&self, field: &str) -> Option<i64> {
        match self.fields.get(field) {
            Some(Value::Integer(number)) => Some(*number),
            _ => None,
        }
    }

    /// The whole numbers of a map, by name; none if the document has no such map.
    pub fn integers(&self, field: &str) -> impl Iterator<Item = (&str, i64)> {
        let map = match self.fields.get(field) {
            Some(Value::Map(map)) => Some(map),
            _ => None,
        };
        map.into_iter().flatten().filter_map(|(name, value)| match value {
            Value::Integer(number) => Some((name.as_str(), *number)),
            _ => None,
        })
    }

    /// An instant of the document as Unix time in milliseconds, if the document has it.
    pub fn instant_ms(&self, field: &str) -> Option<i64> {
        match self.fields.get(field) {
            Some(Value::Timestamp(at)) => i64::try_from(at.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok(),
            _ => None,
        }
    }

    /// Whether a field says yes.
    pub fn is(&self, field: &str) -> bool {
        self.fields.get(field) == Some(&Value::Bool(true))
    }
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// Anything.
    None,
    /// The document does not exist.
    Absent,
    /// The document exists in exactly this state.
    Unchanged(Version),
}

/// Replaces a whole document (creating it if need be), under a precondition.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Path relative to the database.
    pub path: String,
    /// The new fields.
    pub fields: Fields,
    /// What must hold.
    pub precondition: Precondition,
}

/// Sets single fields of a document that exists; the others stay as they are, whatever their types.
#[derive(Debug, Clone, PartialEq)]
pub struct Amendment {
    /// Path relative to the database.
    pub path: String,
    /// Each field by the names that lead to it through maps, which are made if need be, and its value. A name may be any text.
    pub fields: Vec<(Vec<String>, Value)>,
}

/// What [`Documents::find`] looks for.
#[derive(Debug, Clone, PartialEq)]
pub struct Search<'a> {
    /// Name of a top-level field.
    pub field: &'a str,
    /// Its value.
    pub value: Value,
    /// Only documents whose ids come after this one; empty for the first page.
    pub after: &'a str,
    /// At most so many.
    pub limit: u32,
}

impl<'a> Search<'a> {
    /// The first page.
    pub fn new(field: &'a str, value: Value, limit: u32) -> Self {
        Self { field, value, after: "", limit }
    }
}

/// A document store.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Reads documents by path, in the order asked; `None` for those that do not exist. Any number of paths.
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError>;

    /// One document, if there is one.
    async fn get_one(&self, path: String) -> Result<Option<Document>, CloudError> {
        Ok(self.get(&[path]).await?.pop().flatten())
    }

    /// All documents of a collection (for example `exportBatches/b1/clips`) in the order of their ids.
    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError>;

    /// The documents of a collection whose top-level field has a value, in the order of their ids, at most so many: a page.
    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError>;

    /// Does all the writes or none (at most 500), and returns the new version of each. A precondition that does not hold
    /// is `AlreadyExists` (for `Absent`) or `Conflict`.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError>;

    /// As [`commit`](Self::commit), with an amendment of another document, which is `NotFound` if there is none.
    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError>;
}

/// The most writes in one commit; what every store of this kind accepts.
const WRITES: usize = 500;

/// Refuses a commit that no store would take.
pub(crate) fn check(writes: &[Write]) -> Result<(), CloudError> {
    if writes.len() > WRITES {
        let reason = format!("commit {} writes: at most {WRITES} go together", writes.len());
        return Err(CloudError::new(ErrorKind::Invalid, reason));
    }
    writes.iter().try_for_each(|write| split(&write.path).map(drop))
}

/// Sets a field by the names that lead to it.
pub(crate) fn set(fields: &mut Fields, names: &[String], value: Value) {
    match names {
        [] => {}
        [name] => drop(fields.insert(name.clone(), value)),
        [name, below @ ..] => {
            let inner = fields.entry(name.clone()).or_insert_with(|| Value::Map(Fields::new()));
            if !matches!(inner, Value::Map(_)) {
                *inner = Value::Map(Fields::new());
            }
            if let Value::Map(inner) = inner {
                set(inner, below, value);
            }
        }
    }
}

/// Splits a document's path into its collection and its id.
pub(crate) fn split(path: &str) -> Result<(&str, &str), CloudError> {
    let segments = path.split('/');
    match path.rsplit_once('/') {
        Some(parts)
            if segments.clone().count().is_multiple_of(2) && segments.clone().all(|segment| !segment.is_empty()) =>
        {
            Ok(parts)
        }
        _ => Err(CloudError::new(
            ErrorKind::Invalid,
            format!("address document `{path}`: its path is not collection/id, repeated"),
        )),
    }
}

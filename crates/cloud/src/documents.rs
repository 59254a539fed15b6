//! Documents of named fields in collections, written atomically under preconditions.

use crate::{CloudError, ErrorKind};
use async_trait::async_trait;
pub use clipfleet_document::{Document, Fields, Search, Value, Version};

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

    /// A page of a collection.
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

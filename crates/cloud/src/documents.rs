//! Documents of named fields in collections, written atomically under preconditions.

use crate::{CloudError, ErrorKind};
use async_trait::async_trait;
pub use clipfleet_document::{Document, Fields, Order, Search, Value, Version, fields_of};

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition {
    /// No condition.
    None,
    /// The document does not exist.
    Absent,
    /// The document exists in exactly this version.
    Unchanged(Version),
}

/// Creates a document or replaces it as a whole, under a precondition.
#[derive(Debug, Clone, PartialEq)]
pub struct Write {
    /// Path relative to the database.
    pub path: String,
    /// The new fields.
    pub fields: Fields,
    /// The condition of the write.
    pub precondition: Precondition,
}

/// Sets single fields of an existing document. Its other fields stay as they are, whatever their types.
#[derive(Debug, Clone, PartialEq)]
pub struct Amendment {
    /// Path relative to the database.
    pub path: String,
    /// Each field's path through nested maps, and its value. Missing maps are created. A name may be any string.
    pub fields: Vec<(Vec<String>, Value)>,
}

/// A document store.
#[async_trait]
pub trait Documents: Send + Sync {
    /// Reads any number of documents, in the order of the paths; `None` for those that do not exist.
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError>;

    /// Reads one document, if it exists.
    async fn get_one(&self, path: String) -> Result<Option<Document>, CloudError> {
        Ok(self.get(&[path]).await?.pop().flatten())
    }

    /// As [`get`](Self::get), with these top-level fields only.
    async fn get_fields(&self, paths: &[String], fields: &[&str]) -> Result<Vec<Option<Document>>, CloudError> {
        let mut found = self.get(paths).await?;
        let documents = found.iter_mut().flatten();
        documents.for_each(|document| document.fields.retain(|name, _| fields.contains(&name.as_str())));
        Ok(found)
    }

    /// All documents of a collection (for example `exportBatches/b1/clips`) in the order of their ids.
    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError>;

    /// A page of a collection.
    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError>;

    /// Does all the writes (at most 500) or none, and returns the new version of each. If a precondition does not hold,
    /// it fails with `AlreadyExists` (for `Absent`) or `Conflict`.
    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError>;

    /// As [`commit`](Self::commit), with an amendment of another document. Fails with `NotFound` if that does not
    /// exist.
    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError>;
}

/// Writes in one commit: the limit of every store of this kind.
const MAX_WRITES_PER_COMMIT: usize = 500;

/// Refuses a commit that no store would accept.
pub(crate) fn check(writes: &[Write]) -> Result<(), CloudError> {
    if writes.len() > MAX_WRITES_PER_COMMIT {
        let reason = format!("commit {} writes: at most {MAX_WRITES_PER_COMMIT} go together", writes.len());
        return Err(CloudError::new(ErrorKind::Invalid, reason));
    }
    writes.iter().try_for_each(|write| split(&write.path).map(drop))
}

/// Sets a field by its path through nested maps.
pub(crate) fn set(fields: &mut Fields, names: &[String], value: Value) {
    match names {
        [] => {}
        [name] => drop(fields.insert(name.clone(), value)),
        [name, rest @ ..] => {
            let inner = fields.entry(name.clone()).or_insert_with(|| Value::Map(Fields::new()));
            if !matches!(inner, Value::Map(_)) {
                *inner = Value::Map(Fields::new());
            }
            if let Value::Map(inner) = inner {
                set(inner, rest, value);
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

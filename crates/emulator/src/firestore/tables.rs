//! Firestore's tables: documents by collection and ID, so that a collection is one range in the order of its IDs; and
//! the time of the last commit, so that a reader knows which state the documents have.

use super::{fs, path::DocumentName};
use crate::store::decode;
use prost::Message;
use redb::{Error, ReadTransaction, ReadableTable, Table, TableDefinition, WriteTransaction};

const DOCUMENTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("firestore_documents");
const VERSION: TableDefinition<(), u64> = TableDefinition::new("firestore_version");

/// Any open view of the table.
pub(super) trait Documents: ReadableTable<(&'static str, &'static str), &'static [u8]> {}
impl<T: ReadableTable<(&'static str, &'static str), &'static [u8]>> Documents for T {}

/// Opens the table for writing; creates it if missing.
pub(super) fn writable(
    transaction: &WriteTransaction,
) -> Result<Table<'_, (&'static str, &'static str), &'static [u8]>, Error> {
    Ok(transaction.open_table(DOCUMENTS)?)
}

/// Opens the table for reading. `open` created it at startup.
pub(super) fn readable(transaction: &ReadTransaction) -> Result<impl Documents + use<>, Error> {
    Ok(transaction.open_table(DOCUMENTS)?)
}

/// Creates missing tables, as of `now`; returns the time of the last commit.
pub(super) fn open(transaction: &WriteTransaction, now: u64) -> Result<u64, Error> {
    drop(writable(transaction)?);
    let mut table = transaction.open_table(VERSION)?;
    let stored = table.get(())?.map(|version| version.value());
    match stored {
        Some(version) => Ok(version),
        None => {
            table.insert((), now)?;
            Ok(now)
        }
    }
}

/// The time of the last commit in this state, in microseconds.
pub(super) fn version(transaction: &ReadTransaction) -> Result<u64, Error> {
    Ok(transaction.open_table(VERSION)?.get(())?.map_or(0, |version| version.value()))
}

/// Records the time of a commit.
pub(super) fn set_version(transaction: &WriteTransaction, at: u64) -> Result<(), Error> {
    transaction.open_table(VERSION)?.insert((), at)?;
    Ok(())
}

/// Reads one document.
pub(super) fn get(table: &impl Documents, name: &DocumentName) -> Result<Option<fs::Document>, Error> {
    let row = table.get((name.collection.as_str(), name.id.as_str()))?;
    row.map(|row| decode(row.value())).transpose()
}

/// Stores or removes one document; returns its size in bytes.
pub(super) fn put(
    table: &mut Table<'_, (&'static str, &'static str), &'static [u8]>,
    name: &DocumentName,
    document: Option<&fs::Document>,
) -> Result<usize, Error> {
    let key = (name.collection.as_str(), name.id.as_str());
    match document {
        Some(document) => {
            let encoded = document.encode_to_vec();
            table.insert(key, encoded.as_slice())?;
            Ok(encoded.len())
        }
        None => {
            table.remove(key)?;
            Ok(0)
        }
    }
}

/// The collections of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The collection with this full name.
    Collection(String),
    /// Every collection directly below the parent with this full name.
    Children(String),
    /// Every collection with this ID (or any ID, if empty) at or below a parent.
    Group {
        /// The parent's full name.
        parent: String,
        /// The collections' ID.
        id: String,
    },
}

impl Scope {
    /// Whether a collection is in the scope.
    pub(super) fn covers(&self, collection: &str) -> bool {
        match self {
            Self::Collection(name) => collection == name,
            Self::Children(parent) => is_child(collection, parent),
            Self::Group { parent, id } => {
                let below = collection.strip_prefix(parent.as_str()).is_some_and(|below| below.starts_with('/'));
                below && (id.is_empty() || collection.rsplit('/').next() == Some(id))
            }
        }
    }
}

/// Whether a collection is directly below a parent.
fn is_child(collection: &str, parent: &str) -> bool {
    collection.strip_prefix(parent).and_then(|below| below.strip_prefix('/')).is_some_and(|id| !id.contains('/'))
}

/// Passes every document of a scope to `visit`, in the order of collection and ID, until `visit` returns `false`.
pub(super) fn scan(
    table: &impl Documents,
    scope: &Scope,
    mut visit: impl FnMut(fs::Document) -> bool,
) -> Result<(), Error> {
    let (start, prefix) = match scope {
        Scope::Collection(name) => (name.clone(), name.clone()),
        Scope::Children(parent) | Scope::Group { parent, .. } => (format!("{parent}/"), format!("{parent}/")),
    };
    for row in table.range::<(&str, &str)>((start.as_str(), "")..)? {
        let (key, value) = row?;
        let (collection, _) = key.value();
        let (inside, matches) = match scope {
            Scope::Collection(name) => (collection == name, true),
            Scope::Children(parent) => (collection.starts_with(&prefix), is_child(collection, parent)),
            Scope::Group { id, .. } => {
                (collection.starts_with(&prefix), id.is_empty() || collection.rsplit('/').next() == Some(id))
            }
        };
        if !inside || (matches && !visit(decode(value.value())?)) {
            return Ok(());
        }
    }
    Ok(())
}

/// The IDs of the collections directly below a parent. Below a collection, the IDs of the documents that have
/// subcollections.
pub(super) fn collection_ids(table: &impl Documents, parent: &str) -> Result<Vec<String>, Error> {
    let prefix = format!("{parent}/");
    let mut ids: Vec<String> = Vec::new();
    let mut from = prefix.clone();
    loop {
        let Some(row) = table.range::<(&str, &str)>((from.as_str(), "")..)?.next() else { return Ok(ids) };
        let (key, _) = row?;
        let Some(below) = key.value().0.strip_prefix(&prefix) else { return Ok(ids) };
        let id = below.split('/').next().unwrap_or_default().to_owned();
        // Continues at the next key that is neither this collection nor below it: '0' is the character after '/'. A
        // sibling such as "id-1" sorts before "id/", so the scan meets it again after "id" itself; it is not pushed
        // twice.
        from = if below == id { format!("{prefix}{id}\u{1}") } else { format!("{prefix}{id}0") };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}

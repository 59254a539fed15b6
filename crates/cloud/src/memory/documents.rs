//! [`Documents`] in memory.

use super::{Call, Client};
use crate::{
    Amendment, CloudError, Document, Documents, ErrorKind, Fields, Order, Precondition, Search, Value, Version, Write,
    documents::{check, set, split},
};
use async_trait::async_trait;
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

#[derive(Default)]
pub(super) struct Store {
    documents: BTreeMap<String, Document>,
    /// Increases by one with each commit.
    time: i64,
}

impl Store {
    fn collection<'a>(&'a self, collection: &'a str) -> impl Iterator<Item = &'a Document> {
        let start = format!("{collection}/");
        self.documents
            .range(start.clone()..)
            .take_while(move |(path, _)| path.starts_with(&start))
            .filter(move |(path, _)| path.rsplit_once('/').is_some_and(|(parent, _)| parent == collection))
            .map(|(_, document)| document)
    }

    /// Checks all preconditions before it writes anything.
    fn commit(&mut self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        for write in &writes {
            let state = self.documents.get(&write.path).map(|document| document.version);
            let (kind, cause) = match (write.precondition, state) {
                (Precondition::Absent, Some(_)) => (ErrorKind::AlreadyExists, "there is one"),
                (Precondition::Unchanged(expected), found) if found != Some(expected) => {
                    (ErrorKind::Conflict, "it has changed")
                }
                _ => continue,
            };
            return Err(CloudError::new(kind, format!("write {}: {cause}", write.path)));
        }
        self.time += 1;
        let version = Version { seconds: self.time, nanos: 0 };
        let write = |Write { path, fields, .. }| {
            let fields = truncate_timestamps(fields);
            // A write that changes nothing leaves the document's version unchanged.
            match self.documents.get(&path) {
                Some(found) if found.fields == fields => found.version,
                _ => {
                    self.documents.insert(path.clone(), Document { path, fields, version });
                    version
                }
            }
        };
        Ok(writes.into_iter().map(write).collect())
    }
}

/// Truncates timestamps to microseconds, as the real store does.
fn truncate_timestamps(fields: Fields) -> Fields {
    fn value(it: Value) -> Value {
        match it {
            Value::Timestamp(time) => Value::Timestamp(truncated(time)),
            Value::Array(values) => Value::Array(values.into_iter().map(value).collect()),
            Value::Map(fields) => Value::Map(truncate_timestamps(fields)),
            other => other,
        }
    }
    fields.into_iter().map(|(name, it)| (name, value(it))).collect()
}

fn truncated(time: SystemTime) -> SystemTime {
    let excess = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.subsec_nanos() % 1_000,
        // Before the epoch the fraction counts backwards, but truncation still goes towards the past.
        Err(before) => (1_000 - before.duration().subsec_nanos() % 1_000) % 1_000,
    };
    time - Duration::from_nanos(excess.into())
}

#[async_trait]
impl Documents for Arc<Client> {
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
        paths.iter().try_for_each(|path| split(path).map(drop))?;
        self.call(Call::Get, "read documents", |state| {
            Ok(paths.iter().map(|path| state.documents.documents.get(path).cloned()).collect())
        })
    }

    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
        self.call(Call::Get, &format!("list {collection}"), |state| {
            Ok(state.documents.collection(collection).cloned().collect())
        })
    }

    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
        let Search { filters, order, limit } = search;
        self.call(Call::Get, &format!("search {collection}"), |state| {
            let matches = |it: &&Document| filters.iter().all(|(name, value)| it.fields.get(*name) == Some(value));
            let found = state.documents.collection(collection).filter(matches);
            let mut found: Vec<_> = match order {
                Order::ById { after } => found.filter(|it| it.id() > after).collect(),
                Order::LatestFirst { field, after } => {
                    let key = |it: &Document| Some((it.field(field).as_instant()?, it.id().to_owned()));
                    let after = after.map(|(at_ms, id)| (at_ms, id.to_owned()));
                    let mut found: Vec<_> = found.filter_map(|it| Some((key(it)?, it))).collect();
                    found.retain(|(key, _)| after.as_ref().is_none_or(|after| key < after));
                    found.sort_by(|(a, _), (b, _)| b.cmp(a));
                    found.into_iter().map(|(_, it)| it).collect()
                }
            };
            found.truncate(limit as usize);
            Ok(found.into_iter().cloned().collect())
        })
    }

    async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        check(&writes)?;
        self.call(Call::Commit, "write documents", |state| state.documents.commit(writes))
    }

    async fn amend(&self, mut writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
        check(&writes)?;
        split(&amendment.path)?;
        self.call(Call::Commit, "amend a document", |state| {
            let Amendment { path, fields } = amendment;
            let Some(found) = state.documents.documents.get(&path) else {
                return Err(CloudError::new(ErrorKind::NotFound, format!("amend {path}: there is none")));
            };
            let mut amended = found.fields.clone();
            fields.into_iter().for_each(|(names, value)| set(&mut amended, &names, value));
            writes.push(Write { path, fields: amended, precondition: Precondition::None });
            state.documents.commit(writes).map(drop)
        })
    }
}

//! One target: what the client knows of it, and how a commit or a refresh changes that. Only `fetch` reads the store.

use super::{
    hub::{Change, Commit, Interest},
    snapshot::{Delta, Outbox},
};
use crate::{
    clock,
    firestore::{fs, path::DocumentName, query::Query, tables, tables::Documents},
    limits,
};
use fs::target::{ResumeType, TargetType, query_target::QueryType};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};
use tonic::Status;

/// A target of a listener.
pub(super) struct Target {
    /// Its ID on the stream.
    pub(super) id: i32,
    /// Whether it ends once it is current.
    pub(super) once: bool,
    /// The time up to which the client claims to know the target.
    resume_time: Option<u64>,
    /// The time of `known`; `None` before the first refresh.
    as_of: Option<u64>,
    known: Known,
}

/// What the client has received: update times in microseconds, by name.
enum Known {
    /// Every requested name; `None` for missing documents.
    Documents(BTreeMap<DocumentName, Option<u64>>),
    /// The documents of the result.
    Query(Box<Members>),
}

struct Members {
    query: Query,
    times: HashMap<DocumentName, u64>,
    /// The last document of a full window: documents that sort after it are outside.
    edge: Option<fs::Document>,
}

/// What the store contains for a target.
pub(super) enum Fetched {
    /// Each requested document.
    Documents(Vec<(DocumentName, Option<fs::Document>)>),
    /// The query's result, in order.
    Query(Vec<fs::Document>),
}

impl Target {
    /// Checks a target of `database`.
    pub(super) fn parse(id: i32, database: &str, target: fs::Target) -> Result<Self, Status> {
        let inside = |name: &str| match name.strip_prefix(database) {
            Some(below) if below.starts_with("/documents") => Ok(()),
            _ => Err(Status::invalid_argument(format!("\"{name}\" is not in the database \"{database}\""))),
        };
        let known = match target.target_type {
            Some(TargetType::Documents(documents)) => {
                if documents.documents.is_empty() {
                    return Err(Status::invalid_argument("a target of documents names none"));
                }
                documents.documents.iter().try_for_each(|name| inside(name))?;
                let names = documents.documents.iter().map(|name| Ok((DocumentName::parse(name)?, None)));
                Known::Documents(names.collect::<Result<_, Status>>()?)
            }
            Some(TargetType::Query(query)) => {
                inside(&query.parent)?;
                let Some(QueryType::StructuredQuery(structured)) = query.query_type else {
                    return Err(Status::invalid_argument("the query is missing"));
                };
                let query = Query::parse(&query.parent, structured)?;
                Known::Query(Box::new(Members { query, times: HashMap::new(), edge: None }))
            }
            None => return Err(Status::invalid_argument("a target has neither a query nor documents")),
        };
        let resume_time = target.resume_type.map(|resume| match resume {
            // A token of another form comes from another server, so nothing that the client has is trusted.
            ResumeType::ResumeToken(token) => token.try_into().map_or(0, u64::from_be_bytes),
            ResumeType::ReadTime(at) => clock::micros(&at),
        });
        let target = Self { id, once: target.once, resume_time, as_of: None, known };
        target.check_size()?;
        Ok(target)
    }

    /// The documents that may be in the target.
    pub(super) fn interest(&self) -> Interest {
        match &self.known {
            Known::Documents(seen) => Interest::Documents(seen.keys().cloned().collect()),
            Known::Query(members) => Interest::Scope(members.query.scope().clone()),
        }
    }

    /// Whether it was never refreshed.
    pub(super) fn is_new(&self) -> bool {
        self.as_of.is_none()
    }

    /// Whether its result depends on more than each document alone.
    pub(super) fn is_windowed(&self) -> bool {
        matches!(&self.known, Known::Query(members) if members.query.is_windowed())
    }

    /// Whether a commit is later than the state of the target.
    pub(super) fn is_behind(&self, commit: &Commit) -> bool {
        self.as_of.is_some_and(|as_of| as_of < commit.at)
    }

    /// Whether the result after a commit requires a refresh.
    pub(super) fn needs_refresh(&self, commit: &Commit) -> bool {
        match &self.known {
            Known::Query(members) if members.query.is_windowed() => {
                commit.changes.iter().any(|change| members.is_affected_by(change))
            }
            Known::Documents(_) | Known::Query(_) => false,
        }
    }

    /// Applies a commit that requires no refresh.
    pub(super) fn apply(&mut self, commit: &Commit, outbox: &mut Outbox) {
        self.as_of = Some(commit.at);
        for change in &commit.changes {
            let delta = match &mut self.known {
                Known::Documents(seen) => seen.get_mut(&change.name).and_then(|seen| apply_change(seen, change)),
                Known::Query(members) => members.apply_change(change),
            };
            if let Some(delta) = delta {
                outbox.push(self.id, change.name.clone(), delta);
            }
        }
    }

    /// Reads the target from the store.
    pub(super) fn fetch(&self, table: &impl Documents) -> Result<Fetched, redb::Error> {
        match &self.known {
            Known::Documents(seen) => {
                let found = seen.keys().map(|name| Ok((name.clone(), tables::get(table, name)?)));
                Ok(Fetched::Documents(found.collect::<Result<_, redb::Error>>()?))
            }
            Known::Query(members) => Ok(Fetched::Query(members.query.run(table)?.documents)),
        }
    }

    /// Takes over `fetched`, the state at `as_of`; `get` reads single documents of the same state. Returns whether the
    /// client must first discard its state.
    pub(super) fn refresh<E>(
        &mut self,
        fetched: Fetched,
        as_of: u64,
        get: impl FnMut(&DocumentName) -> Result<Option<fs::Document>, E>,
        outbox: &mut Outbox,
    ) -> Result<bool, E> {
        let first = self.as_of.replace(as_of).is_none();
        // Nothing was committed since: the client's state is still valid.
        let unchanged = first && self.resume_time == Some(as_of);
        let mut discarded = Outbox::default();
        let outbox = if unchanged { &mut discarded } else { outbox };
        match (&mut self.known, fetched) {
            (Known::Documents(seen), Fetched::Documents(found)) => {
                for (name, document) in found {
                    let now = document.as_ref().map(update_micros);
                    // The first refresh reports every requested document, including missing ones.
                    if seen.insert(name.clone(), now) != Some(now) || first {
                        let delta = document.map_or(Delta::Deleted, |document| Delta::Shown(Arc::new(document)));
                        outbox.push(self.id, name, delta);
                    }
                }
                Ok(false)
            }
            (Known::Query(members), Fetched::Query(found)) => {
                members.refresh(self.id, found, get, outbox)?;
                // Deletions during the client's absence are not recorded. Only a reset makes the client drop deleted
                // documents.
                Ok(first && !unchanged && self.resume_time.is_some())
            }
            (Known::Documents(_) | Known::Query(_), _) => unreachable!("a fetch is of its target's kind"),
        }
    }

    /// Rejects a result that is too large to track.
    pub(super) fn check_size(&self) -> Result<(), Status> {
        let size = match &self.known {
            Known::Documents(seen) => seen.len(),
            Known::Query(members) => members.times.len(),
        };
        if size > limits::MAX_TARGET_DOCUMENTS {
            let max = limits::MAX_TARGET_DOCUMENTS;
            return Err(Status::resource_exhausted(format!("a target has more than {max} documents")));
        }
        Ok(())
    }
}

/// Applies a change to one document that was requested by name.
fn apply_change(seen: &mut Option<u64>, change: &Change) -> Option<Delta> {
    let now = change.document.as_deref().map(update_micros);
    if *seen == now {
        return None;
    }
    *seen = now;
    Some(change.document.clone().map_or(Delta::Deleted, Delta::Shown))
}

impl Members {
    /// Whether a change may affect which documents the window contains.
    fn is_affected_by(&self, change: &Change) -> bool {
        if !self.query.scope().covers(&change.name.collection) {
            return false;
        }
        if self.query.has_offset() {
            // Documents before the window are not tracked, and each of them shifts it.
            return true;
        }
        let member = self.times.contains_key(&change.name);
        let full = self.times.len() >= self.query.limit();
        match (change.document.as_ref().filter(|document| self.query.accepts(document)), &self.edge) {
            // A place becomes free; another document may move in.
            (None, _) => member && full,
            (Some(_), _) if !full => !member,
            (Some(document), Some(edge)) if document.name == edge.name => true,
            // A document before the edge is in the window, one after it is not.
            (Some(document), Some(edge)) => self.query.compare(document, edge).is_lt() != member,
            // A window without documents.
            (Some(_), None) => false,
        }
    }

    fn apply_change(&mut self, change: &Change) -> Option<Delta> {
        if !self.query.scope().covers(&change.name.collection) {
            return None;
        }
        match change.document.as_ref().filter(|document| self.query.accepts(document)) {
            Some(document) => {
                if self.query.is_windowed() && !self.times.contains_key(&change.name) {
                    // The document is outside the window; otherwise the commit would have required a refresh.
                    return None;
                }
                let before = self.times.insert(change.name.clone(), update_micros(document));
                (before != Some(update_micros(document))).then(|| Delta::Shown(self.view(document)))
            }
            None => {
                self.times.remove(&change.name)?;
                Some(change.document.as_ref().map_or(Delta::Deleted, |document| Delta::Left(self.view(document))))
            }
        }
    }

    fn refresh<E>(
        &mut self,
        target: i32,
        found: Vec<fs::Document>,
        mut get: impl FnMut(&DocumentName) -> Result<Option<fs::Document>, E>,
        outbox: &mut Outbox,
    ) -> Result<(), E> {
        let full = self.query.is_windowed() && found.len() >= self.query.limit();
        self.edge = found.last().filter(|_| full).cloned();
        let mut removed = std::mem::take(&mut self.times);
        for document in found {
            let (name, now) = (DocumentName::from_stored(&document.name), update_micros(&document));
            if removed.remove(&name) != Some(now) {
                outbox.push(target, name.clone(), Delta::Shown(Arc::new(self.query.project(document))));
            }
            self.times.insert(name, now);
        }
        for (name, before) in removed {
            let delta = match get(&name)? {
                None => Delta::Deleted,
                Some(document) if update_micros(&document) == before => Delta::PushedOut,
                Some(document) => Delta::Left(Arc::new(self.query.project(document))),
            };
            outbox.push(target, name, delta);
        }
        Ok(())
    }

    /// The client's view of a document.
    fn view(&self, document: &Arc<fs::Document>) -> Arc<fs::Document> {
        if self.query.is_projection() {
            Arc::new(self.query.project(document.as_ref().clone()))
        } else {
            Arc::clone(document)
        }
    }
}

fn update_micros(document: &fs::Document) -> u64 {
    document.update_time.as_ref().map_or(0, clock::micros)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;

//! One target: what the client has of it, and what a commit or a fresh look changes of that. Pure, but for the look itself.

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
    /// Its id on the stream.
    pub(super) id: i32,
    /// Whether it ends once it is current.
    pub(super) once: bool,
    /// The time up to which the client says that it knows the target.
    resumed: Option<u64>,
    /// The time for which `known` holds; `None` before the first look.
    as_of: Option<u64>,
    known: Known,
}

/// What was sent to the client: update times in microseconds, by name.
enum Known {
    /// Every name asked for; `None` for documents that are missing.
    Documents(BTreeMap<DocumentName, Option<u64>>),
    /// The documents of the result.
    Query(Box<Members>),
}

struct Members {
    query: Query,
    times: HashMap<DocumentName, u64>,
    /// The last document of a window that is full: what sorts after it is out.
    edge: Option<fs::Document>,
}

/// What a look at the store finds for a target.
pub(super) enum Look {
    /// Each document that was asked for.
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
        let resumed = target.resume_type.map(|resume| match resume {
            // A token that is none of ours comes from another server: nothing the client has can be trusted.
            ResumeType::ResumeToken(token) => token.try_into().map_or(0, u64::from_be_bytes),
            ResumeType::ReadTime(at) => clock::micros(&at),
        });
        let target = Self { id, once: target.once, resumed, as_of: None, known };
        target.check_size()?;
        Ok(target)
    }

    /// Which documents it may have to show.
    pub(super) fn interest(&self) -> Interest {
        match &self.known {
            Known::Documents(seen) => Interest::Documents(seen.keys().cloned().collect()),
            Known::Query(members) => Interest::Scope(members.query.scope().clone()),
        }
    }

    /// Whether it still waits for its first look.
    pub(super) fn is_new(&self) -> bool {
        self.as_of.is_none()
    }

    /// Whether its result depends on more than each document alone.
    pub(super) fn is_windowed(&self) -> bool {
        matches!(&self.known, Known::Query(members) if members.query.is_windowed())
    }

    /// Whether a commit came after what the result holds for.
    pub(super) fn is_behind(&self, commit: &Commit) -> bool {
        self.as_of.is_some_and(|as_of| as_of < commit.at)
    }

    /// Whether the result after a commit takes another look at the store.
    pub(super) fn needs_look(&self, commit: &Commit) -> bool {
        match &self.known {
            Known::Query(members) if members.query.is_windowed() => {
                commit.changes.iter().any(|change| members.is_disturbed_by(change))
            }
            Known::Documents(_) | Known::Query(_) => false,
        }
    }

    /// Follows a commit that needs no look.
    pub(super) fn apply(&mut self, commit: &Commit, outbox: &mut Outbox) {
        self.as_of = Some(commit.at);
        for change in &commit.changes {
            let delta = match &mut self.known {
                Known::Documents(seen) => seen.get_mut(&change.name).and_then(|seen| follow(seen, change)),
                Known::Query(members) => members.follow(change),
            };
            if let Some(delta) = delta {
                outbox.push(self.id, change.name.clone(), delta);
            }
        }
    }

    /// Looks at the store.
    pub(super) fn look(&self, table: &impl Documents) -> Result<Look, redb::Error> {
        match &self.known {
            Known::Documents(seen) => {
                let found = seen.keys().map(|name| Ok((name.clone(), tables::get(table, name)?)));
                Ok(Look::Documents(found.collect::<Result<_, redb::Error>>()?))
            }
            Known::Query(members) => Ok(Look::Query(members.query.run(table)?.documents)),
        }
    }

    /// Takes over what a look found in the state of `as_of`; `get` reads single documents of that same state. Answers whether
    /// the client must first forget what it has.
    pub(super) fn renew<E>(
        &mut self,
        look: Look,
        as_of: u64,
        get: impl FnMut(&DocumentName) -> Result<Option<fs::Document>, E>,
        outbox: &mut Outbox,
    ) -> Result<bool, E> {
        let first = self.as_of.replace(as_of).is_none();
        // Nothing at all was committed since: what the client has still holds.
        let unchanged = first && self.resumed == Some(as_of);
        let mut unsaid = Outbox::default();
        let outbox = if unchanged { &mut unsaid } else { outbox };
        match (&mut self.known, look) {
            (Known::Documents(seen), Look::Documents(found)) => {
                for (name, document) in found {
                    let now = document.as_ref().map(updated);
                    // Each document asked for is answered for at the first look, the missing ones too.
                    if seen.insert(name.clone(), now) != Some(now) || first {
                        let delta = document.map_or(Delta::Deleted, |document| Delta::Shown(Arc::new(document)));
                        outbox.push(self.id, name, delta);
                    }
                }
                Ok(false)
            }
            (Known::Query(members), Look::Query(found)) => {
                members.renew(self.id, found, get, outbox)?;
                // What was deleted while the client was away is not known any more; only a fresh start leaves no ghosts.
                Ok(first && !unchanged && self.resumed.is_some())
            }
            (Known::Documents(_) | Known::Query(_), _) => unreachable!("a look is of its target's kind"),
        }
    }

    /// Refuses a result too large to be remembered.
    pub(super) fn check_size(&self) -> Result<(), Status> {
        let size = match &self.known {
            Known::Documents(seen) => seen.len(),
            Known::Query(members) => members.times.len(),
        };
        if size > limits::LISTEN_DOCUMENTS {
            let most = limits::LISTEN_DOCUMENTS;
            return Err(Status::resource_exhausted(format!("a target has more than {most} documents")));
        }
        Ok(())
    }
}

/// One document that was asked for by name.
fn follow(seen: &mut Option<u64>, change: &Change) -> Option<Delta> {
    let now = change.document.as_deref().map(updated);
    if *seen == now {
        return None;
    }
    *seen = now;
    Some(change.document.clone().map_or(Delta::Deleted, Delta::Shown))
}

impl Members {
    /// Whether a window may hold other documents after a change, or in doubt.
    fn is_disturbed_by(&self, change: &Change) -> bool {
        if !self.query.scope().covers(&change.name.collection) {
            return false;
        }
        if self.query.skips() {
            // Documents before the window are not remembered, and each of them shifts it.
            return true;
        }
        let member = self.times.contains_key(&change.name);
        let full = self.times.len() >= self.query.limit();
        match (change.document.as_ref().filter(|document| self.query.accepts(document)), &self.edge) {
            // A place becomes free; somebody may wait for it.
            (None, _) => member && full,
            (Some(_), _) if !full => !member,
            (Some(document), Some(edge)) if document.name == edge.name => true,
            // Before the edge is in, after it is out.
            (Some(document), Some(edge)) => self.query.compare(document, edge).is_lt() != member,
            // A window of no documents.
            (Some(_), None) => false,
        }
    }

    fn follow(&mut self, change: &Change) -> Option<Delta> {
        if !self.query.scope().covers(&change.name.collection) {
            return None;
        }
        match change.document.as_ref().filter(|document| self.query.accepts(document)) {
            Some(document) => {
                if self.query.is_windowed() && !self.times.contains_key(&change.name) {
                    // Out of the window, or a look would have been needed.
                    return None;
                }
                let before = self.times.insert(change.name.clone(), updated(document));
                (before != Some(updated(document))).then(|| Delta::Shown(self.view(document)))
            }
            None => {
                self.times.remove(&change.name)?;
                Some(change.document.as_ref().map_or(Delta::Deleted, |document| Delta::Left(self.view(document))))
            }
        }
    }

    fn renew<E>(
        &mut self,
        target: i32,
        found: Vec<fs::Document>,
        mut get: impl FnMut(&DocumentName) -> Result<Option<fs::Document>, E>,
        outbox: &mut Outbox,
    ) -> Result<(), E> {
        let full = self.query.is_windowed() && found.len() >= self.query.limit();
        self.edge = found.last().filter(|_| full).cloned();
        let mut gone = std::mem::take(&mut self.times);
        for document in found {
            let (name, now) = (DocumentName::stored(&document.name), updated(&document));
            if gone.remove(&name) != Some(now) {
                outbox.push(target, name.clone(), Delta::Shown(Arc::new(self.query.project(document))));
            }
            self.times.insert(name, now);
        }
        for (name, before) in gone {
            let delta = match get(&name)? {
                None => Delta::Deleted,
                Some(document) if updated(&document) == before => Delta::PushedOut,
                Some(document) => Delta::Left(Arc::new(self.query.project(document))),
            };
            outbox.push(target, name, delta);
        }
        Ok(())
    }

    /// What the client gets to see of a document.
    fn view(&self, document: &Arc<fs::Document>) -> Arc<fs::Document> {
        if self.query.is_projection() {
            Arc::new(self.query.project(document.as_ref().clone()))
        } else {
            Arc::clone(document)
        }
    }
}

fn updated(document: &fs::Document) -> u64 {
    document.update_time.as_ref().map_or(0, clock::micros)
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;

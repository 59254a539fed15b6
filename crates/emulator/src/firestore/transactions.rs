//! Optimistic transactions: each remembers what it read, and commits only if all of that is still so. Those that only
//! read hold a snapshot instead, so all their reads are of one moment.

use super::{fs, path::DocumentName, query::Query, tables};
use crate::limits;
use parking_lot::Mutex;
use prost_types::Timestamp;
use redb::ReadTransaction;
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tonic::Status;

/// The open transactions.
#[derive(Default)]
pub(super) struct Transactions {
    open: Mutex<HashMap<Vec<u8>, Transaction>>,
}

struct Transaction {
    begun: Instant,
    /// What a transaction that only reads sees; one that may write sees the last commit.
    snapshot: Option<Arc<ReadTransaction>>,
    reads: Reads,
}

type Fingerprint = Vec<(String, Option<Timestamp>)>;

/// What a transaction read.
#[derive(Default)]
pub(super) struct Reads {
    /// The update time seen; `None` for a document that was missing. The first look counts.
    documents: HashMap<DocumentName, Option<Timestamp>>,
    /// The names and update times of the documents each query found.
    queries: Vec<(Query, Fingerprint)>,
}

impl Transactions {
    /// Begins one, which only reads if it has a snapshot; `id` must be new.
    pub(super) fn begin(&self, id: u64, snapshot: Option<ReadTransaction>) -> Result<Vec<u8>, Status> {
        self.forget_expired();
        let mut open = self.open.lock();
        let now = Instant::now();
        if open.len() >= limits::TRANSACTIONS {
            return Err(Status::resource_exhausted("too many open transactions"));
        }
        let id = id.to_be_bytes().to_vec();
        open.insert(id.clone(), Transaction { begun: now, snapshot: snapshot.map(Arc::new), reads: Reads::default() });
        Ok(id)
    }

    /// Ends one and yields what it read, unless it may not write.
    pub(super) fn finish(&self, id: &[u8], writes: bool) -> Result<Reads, Status> {
        let transaction = self.open.lock().remove(id).filter(Transaction::lives).ok_or_else(unknown)?;
        match (transaction.snapshot.is_some(), writes) {
            (true, true) => Err(Status::invalid_argument("Cannot modify entities in a read-only transaction")),
            // It saw one moment; there is nothing to protect.
            (true, false) => Ok(Reads::default()),
            (false, _) => Ok(transaction.reads),
        }
    }

    /// Forgets one.
    pub(super) fn roll_back(&self, id: &[u8]) -> Result<(), Status> {
        self.open.lock().remove(id).map(|_| ()).ok_or_else(unknown)
    }

    /// Forgets those that are too old, whose snapshots would keep the disk space of what was deleted since.
    pub(super) fn forget_expired(&self) {
        self.open.lock().retain(|_, transaction| transaction.lives());
    }

    /// Forgets all; the data folder can only be closed when nobody looks at it any more.
    pub(super) fn forget_all(&self) {
        self.open.lock().clear();
    }

    /// The snapshot of an open one, if it only reads.
    pub(super) fn snapshot(&self, id: &[u8]) -> Result<Option<Arc<ReadTransaction>>, Status> {
        let open = self.open.lock();
        let transaction = open.get(id).filter(|transaction| transaction.lives()).ok_or_else(unknown)?;
        Ok(transaction.snapshot.clone())
    }

    /// Remembers a look at a document.
    pub(super) fn saw(&self, id: &[u8], name: DocumentName, document: Option<&fs::Document>) {
        if let Some(transaction) = self.open.lock().get_mut(id).filter(|transaction| transaction.snapshot.is_none()) {
            let seen = document.and_then(|document| document.update_time);
            transaction.reads.documents.entry(name).or_insert(seen);
        }
    }

    /// Remembers the answer to a query.
    pub(super) fn saw_query(&self, id: &[u8], query: &Query, found: &[fs::Document]) {
        if let Some(transaction) = self.open.lock().get_mut(id).filter(|transaction| transaction.snapshot.is_none()) {
            transaction.reads.queries.push((query.clone(), fingerprint(found)));
        }
    }
}

impl Transaction {
    fn lives(&self) -> bool {
        self.begun.elapsed() < limits::TRANSACTION_LIFE
    }
}

impl Reads {
    /// Whether all that was read is still so.
    pub(super) fn still_hold(&self, table: &impl tables::Documents) -> Result<bool, redb::Error> {
        for (name, seen) in &self.documents {
            if tables::get(table, name)?.and_then(|document| document.update_time) != *seen {
                return Ok(false);
            }
        }
        for (query, seen) in &self.queries {
            if fingerprint(&query.run(table)?.documents) != *seen {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn fingerprint(found: &[fs::Document]) -> Fingerprint {
    found.iter().map(|document| (document.name.clone(), document.update_time)).collect()
}

fn unknown() -> Status {
    let life = Duration::as_secs(&limits::TRANSACTION_LIFE);
    Status::invalid_argument(format!("The transaction is unknown, was finished, or is older than {life} s"))
}

//! Optimistic transactions: each records its reads, and commits only if they are still current. A read-only transaction
//! has a snapshot instead, so all its reads see the same state.

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
    started: Instant,
    /// The state that a read-only transaction sees. A read-write transaction sees the last commit.
    snapshot: Option<Arc<ReadTransaction>>,
    reads: Reads,
}

type Fingerprint = Vec<(String, Option<Timestamp>)>;

/// The reads of a transaction.
#[derive(Default)]
pub(super) struct Reads {
    /// The update time of each document at its first read; `None` for a missing document.
    documents: HashMap<DocumentName, Option<Timestamp>>,
    /// The names and update times of the documents in each query's result.
    queries: Vec<(Query, Fingerprint)>,
}

impl Transactions {
    /// Begins a transaction, which is read-only if it has a snapshot. `id` must be new.
    pub(super) fn begin(&self, id: u64, snapshot: Option<ReadTransaction>) -> Result<Vec<u8>, Status> {
        self.remove_expired();
        let mut open = self.open.lock();
        let now = Instant::now();
        if open.len() >= limits::MAX_TRANSACTIONS {
            return Err(Status::resource_exhausted("too many open transactions"));
        }
        let id = id.to_be_bytes().to_vec();
        open.insert(
            id.clone(),
            Transaction { started: now, snapshot: snapshot.map(Arc::new), reads: Reads::default() },
        );
        Ok(id)
    }

    /// Ends a transaction and returns its reads. Fails if a read-only transaction has writes.
    pub(super) fn finish(&self, id: &[u8], writes: bool) -> Result<Reads, Status> {
        let transaction = self.open.lock().remove(id).filter(Transaction::is_open).ok_or_else(unknown)?;
        match (transaction.snapshot.is_some(), writes) {
            (true, true) => Err(Status::invalid_argument("Cannot modify entities in a read-only transaction")),
            // A read-only transaction saw one state, so there are no reads to verify.
            (true, false) => Ok(Reads::default()),
            (false, _) => Ok(transaction.reads),
        }
    }

    /// Ends a transaction without a commit.
    pub(super) fn roll_back(&self, id: &[u8]) -> Result<(), Status> {
        self.open.lock().remove(id).map(|_| ()).ok_or_else(unknown)
    }

    /// Removes expired transactions. Their snapshots would keep the disk space of documents deleted since.
    pub(super) fn remove_expired(&self) {
        self.open.lock().retain(|_, transaction| transaction.is_open());
    }

    /// Removes all transactions. The data folder can be closed only after all snapshots are dropped.
    pub(super) fn clear(&self) {
        self.open.lock().clear();
    }

    /// The snapshot of an open transaction, if it is read-only.
    pub(super) fn snapshot(&self, id: &[u8]) -> Result<Option<Arc<ReadTransaction>>, Status> {
        let open = self.open.lock();
        let transaction = open.get(id).filter(|transaction| transaction.is_open()).ok_or_else(unknown)?;
        Ok(transaction.snapshot.clone())
    }

    /// Records the read of a document.
    pub(super) fn record_read(&self, id: &[u8], name: DocumentName, document: Option<&fs::Document>) {
        if let Some(transaction) = self.open.lock().get_mut(id).filter(|transaction| transaction.snapshot.is_none()) {
            let seen = document.and_then(|document| document.update_time);
            transaction.reads.documents.entry(name).or_insert(seen);
        }
    }

    /// Records the result of a query.
    pub(super) fn record_query(&self, id: &[u8], query: &Query, found: &[fs::Document]) {
        if let Some(transaction) = self.open.lock().get_mut(id).filter(|transaction| transaction.snapshot.is_none()) {
            transaction.reads.queries.push((query.clone(), fingerprint(found)));
        }
    }
}

impl Transaction {
    fn is_open(&self) -> bool {
        self.started.elapsed() < limits::TRANSACTION_TTL
    }
}

impl Reads {
    /// Whether all reads are still current.
    pub(super) fn are_current(&self, table: &impl tables::Documents) -> Result<bool, redb::Error> {
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
    let ttl = Duration::as_secs(&limits::TRANSACTION_TTL);
    Status::invalid_argument(format!("The transaction is unknown, was finished, or is older than {ttl} s"))
}

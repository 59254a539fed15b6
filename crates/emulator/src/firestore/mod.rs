//! Firestore: documents in collections, atomic writes under preconditions, queries, optimistic transactions.
//!
//! All writes run in the store's one writer, so a commit reads, checks and writes without locks. Every precondition is
//! checked before anything is stored, in order and against the result of earlier writes of the same commit. Update
//! times are microseconds. Each write of a document gets a later time than the previous write, even if the clock goes
//! back.
//!
//! A commit that became visible is published to the listeners ([`watch`]), in commit order.
//!
//! Not supported, and rejected by name: reads at a past time, pipelines, vector search, partitions, query plans. A
//! listener that resumes after changes gets its whole result again, because deletions are not recorded.

mod aggregation;
mod channel;
mod filter;
mod grpc;
mod json;
mod listing;
mod methods;
mod path;
mod query;
mod requests;
mod rest;
mod streams;
mod tables;
mod transactions;
mod value;
mod watch;
mod write;

pub(crate) use channel::channel;
pub(crate) use grpc::firestore;
pub(crate) use rest::handle as rest;

use crate::{
    clock::{self, Ticker},
    limits,
    store::{Store, StoreError},
};
use googleapis_tonic_google_firestore_v1::google::{firestore::v1 as fs, rpc, r#type};
use path::{DocumentName, FieldPath};
use prost_types::Timestamp;
use query::{Query, QueryResult};
use redb::{ReadTransaction, WriteTransaction};
use requests::Write;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use transactions::{Reads, Transactions};
use watch::{Change, Commit, Hub};
use write::{CheckedWrite, Outcome};

/// The running service.
pub(crate) struct Firestore {
    store: Store,
    ticker: Arc<Ticker>,
    transactions: Arc<Transactions>,
    hub: Arc<Hub>,
    /// The sessions of browsers.
    channels: channel::Sessions,
    /// Cancelled when the server stops.
    stop: CancellationToken,
}

/// The state that a read sees.
enum Consistency {
    /// The last commit.
    Latest,
    /// The reads of an open transaction.
    Transaction(Vec<u8>),
    /// A transaction that begins with this read.
    New(fs::TransactionOptions),
}

/// A resolved [`Consistency`]: the transaction in which to record reads, the snapshot to read (`None` for the last
/// commit), and the ID of a transaction that began with this read, which the response returns.
#[derive(Default)]
struct Reading {
    transaction: Option<Vec<u8>>,
    snapshot: Option<Arc<ReadTransaction>>,
    new_transaction: Vec<u8>,
}

impl Firestore {
    /// Creates missing tables and starts the service.
    pub(crate) async fn start(
        store: Store,
        ticker: Arc<Ticker>,
        stop: CancellationToken,
    ) -> Result<Arc<Self>, StoreError> {
        let now = ticker.tick();
        let version = store.write(move |transaction| tables::open(transaction, now)).await?;
        // Times continue after the last commit, even if the clock was set back.
        ticker.raise(version);
        let hub = Arc::new(Hub::new(version));
        let channels = channel::Sessions::default();
        let transactions = Arc::<Transactions>::default();
        tokio::spawn(expire_transactions(Arc::clone(&transactions), stop.clone()));
        Ok(Arc::new(Self { store, ticker, transactions, hub, channels, stop }))
    }

    fn now(&self) -> Timestamp {
        clock::timestamp(self.ticker.tick())
    }

    fn reading(&self, consistency: Consistency) -> Result<Reading, Status> {
        match consistency {
            Consistency::Latest => Ok(Reading::default()),
            Consistency::Transaction(id) => {
                let snapshot = self.transactions.snapshot(&id)?;
                Ok(Reading { transaction: Some(id), snapshot, new_transaction: Vec::new() })
            }
            Consistency::New(options) => {
                let id = self.begin(Some(options))?;
                let snapshot = self.transactions.snapshot(&id)?;
                Ok(Reading { transaction: Some(id.clone()), snapshot, new_transaction: id })
            }
        }
    }

    /// Begins a transaction, read-write by default.
    fn begin(&self, options: Option<fs::TransactionOptions>) -> Result<Vec<u8>, Status> {
        use fs::transaction_options::Mode;
        let snapshot = match options.and_then(|options| options.mode) {
            Some(Mode::ReadOnly(options)) if options.consistency_selector.is_some() => {
                return Err(read_time_unsupported());
            }
            Some(Mode::ReadOnly(_)) => Some(self.store.snapshot()?),
            Some(Mode::ReadWrite(options)) => {
                self.check_retried(&options.retry_transaction)?;
                None
            }
            None => None,
        };
        self.transactions.begin(self.ticker.tick(), snapshot)
    }

    /// Checks the ID of the transaction that a new one retries. Ended transactions are not recorded. But IDs are times,
    /// so an ID that this server never issued is recognized if it is in the future or not a time at all.
    fn check_retried(&self, id: &[u8]) -> Result<(), Status> {
        if id.is_empty() {
            return Ok(());
        }
        let issued_at = <[u8; 8]>::try_from(id).map(u64::from_be_bytes);
        if issued_at.is_ok_and(|at| (1..=self.ticker.tick()).contains(&at)) {
            return Ok(());
        }
        Err(Status::invalid_argument("the transaction to be retried is unknown"))
    }

    /// Runs `query` on the state that `reading` sees.
    async fn read<T: Send + 'static>(
        &self,
        reading: &Reading,
        query: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, Status> {
        let found = match &reading.snapshot {
            Some(snapshot) => self.store.read_in(Arc::clone(snapshot), query).await,
            None => self.store.read(query).await,
        };
        Ok(found?)
    }

    /// Reads documents in the requested order.
    async fn get(
        &self,
        names: Vec<DocumentName>,
        mask: Option<fs::DocumentMask>,
        reading: &Reading,
    ) -> Result<Vec<(DocumentName, Option<fs::Document>)>, Status> {
        let mask = mask.as_ref().map(FieldPath::parse_mask).transpose()?;
        let found = self.read(reading, move |snapshot| {
            let table = tables::readable(snapshot)?;
            names
                .into_iter()
                .map(|name| Ok((tables::get(&table, &name)?, name)))
                .collect::<Result<Vec<_>, redb::Error>>()
        });
        let mut documents = Vec::new();
        for (mut document, name) in found.await? {
            if let Some(transaction) = &reading.transaction {
                self.transactions.record_read(transaction, name.clone(), document.as_ref());
            }
            if let (Some(mask), Some(document)) = (&mask, &mut document) {
                document.fields = path::project(&document.fields, mask);
            }
            documents.push((name, document));
        }
        Ok(documents)
    }

    /// Reads one document.
    async fn get_one(
        &self,
        name: &str,
        mask: Option<fs::DocumentMask>,
        consistency: Consistency,
    ) -> Result<fs::Document, Status> {
        let reading = self.reading(consistency)?;
        let mut found = self.get(vec![DocumentName::parse(name)?], mask, &reading).await?;
        found
            .pop()
            .and_then(|(_, document)| document)
            .ok_or_else(|| Status::not_found(format!("Document \"{name}\" not found.")))
    }

    /// Runs a query; it returns whole documents.
    async fn run(&self, query: &Query, reading: &Reading) -> Result<QueryResult, Status> {
        let running = query.clone();
        let found = self.read(reading, move |snapshot| running.run(&tables::readable(snapshot)?)).await?;
        if let Some(transaction) = &reading.transaction {
            self.transactions.record_query(transaction, query, &found.documents);
        }
        Ok(found)
    }

    /// Applies all writes or none.
    async fn commit(&self, writes: Vec<Write>, transaction: &[u8]) -> Result<fs::CommitResponse, Status> {
        let writes = parse(writes)?;
        write::check_sequence(&writes)?;
        let reads = if transaction.is_empty() {
            Reads::default()
        } else {
            self.transactions.finish(transaction, !writes.is_empty())?
        };
        let (ticker, hub) = (Arc::clone(&self.ticker), Arc::clone(&self.hub));
        let change = move |transaction: &WriteTransaction| commit(transaction, &ticker, writes, &reads);
        let announce = move |committed: &Result<Committed, Status>| {
            if let Ok(committed) = committed {
                hub.publish(&committed.commit);
            }
        };
        Ok(self.store.write_then(change, announce).await??.response)
    }

    /// Applies each write on its own and returns one status for each.
    async fn batch_write(&self, writes: Vec<Write>) -> Result<fs::BatchWriteResponse, Status> {
        let writes = parse(writes)?;
        let mut names: Vec<_> = writes.iter().map(|write| &write.name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Status::invalid_argument("a batch may write each document only once"));
        }
        let (ticker, hub) = (Arc::clone(&self.ticker), Arc::clone(&self.hub));
        let change = move |transaction: &WriteTransaction| {
            let one = |write| commit(transaction, &ticker, vec![write], &Reads::default());
            writes.into_iter().map(one).collect::<Result<Vec<_>, _>>()
        };
        let announce = move |each: &Vec<Result<Committed, Status>>| {
            each.iter().flatten().for_each(|committed| hub.publish(&committed.commit));
        };
        let mut response = fs::BatchWriteResponse::default();
        for result in self.store.write_then(change, announce).await? {
            let (mut results, status) = match result {
                Ok(committed) => (committed.response.write_results, rpc::Status::default()),
                Err(status) => (Vec::new(), rpc_status(&status)),
            };
            response.write_results.push(results.pop().unwrap_or_default());
            response.status.push(status);
        }
        Ok(response)
    }

    /// Applies one write and reads the document back.
    async fn write_one(
        &self,
        write: Write,
        name: &str,
        mask: Option<fs::DocumentMask>,
    ) -> Result<fs::Document, Status> {
        self.commit(vec![write], &[]).await?;
        self.get_one(name, mask, Consistency::Latest).await
    }
}

/// Removes expired transactions, and all of them when the server stops.
async fn expire_transactions(transactions: Arc<Transactions>, stop: CancellationToken) {
    while tokio::time::timeout(limits::TRANSACTION_SWEEP_INTERVAL, stop.cancelled()).await.is_err() {
        transactions.remove_expired();
    }
    transactions.clear();
}

fn parse(writes: Vec<Write>) -> Result<Vec<CheckedWrite>, Status> {
    writes.into_iter().map(CheckedWrite::parse).collect()
}

/// A commit, for its caller and for the listeners.
struct Committed {
    response: fs::CommitResponse,
    commit: Arc<Commit>,
}

/// The change itself. The outer result is the disk's, the inner one the caller's.
fn commit(
    transaction: &WriteTransaction,
    ticker: &Ticker,
    writes: Vec<CheckedWrite>,
    reads: &Reads,
) -> Result<Result<Committed, Status>, redb::Error> {
    let mut table = tables::writable(transaction)?;
    if !reads.are_current(&table)? {
        return Ok(Err(Status::aborted("Too much contention on these documents. Please try again.")));
    }
    let mut documents = HashMap::new();
    for write in &writes {
        if !documents.contains_key(&write.name) {
            let document = tables::get(&table, &write.name)?;
            let updated = document.as_ref().and_then(|document| document.update_time);
            ticker.raise(updated.map_or(0, |at| clock::micros(&at)));
            documents.insert(write.name.clone(), document);
        }
    }
    let now = ticker.tick();
    let (write_results, changed) = match apply(writes, &mut documents, now) {
        Ok(applied) => applied,
        Err(status) => return Ok(Err(status)),
    };
    let mut commit = Commit { at: now, ..Commit::default() };
    for name in changed {
        let document = documents.remove(&name).flatten();
        commit.bytes += tables::put(&mut table, &name, document.as_ref())?;
        commit.changes.push(Change { name, document: document.map(Arc::new) });
    }
    if !commit.changes.is_empty() {
        tables::set_version(transaction, now)?;
    }
    let response = fs::CommitResponse { write_results, commit_time: Some(clock::timestamp(now)) };
    Ok(Ok(Committed { response, commit: Arc::new(commit) }))
}

/// Applies writes in order to the documents that they name. Returns their results and the names of the changed
/// documents.
fn apply(
    writes: Vec<CheckedWrite>,
    documents: &mut HashMap<DocumentName, Option<fs::Document>>,
    now: u64,
) -> Result<(Vec<fs::WriteResult>, BTreeSet<DocumentName>), Status> {
    let mut results = Vec::with_capacity(writes.len());
    let mut before: BTreeMap<DocumentName, Option<fs::Document>> = BTreeMap::new();
    for write in writes {
        let name = write.name.clone();
        let current = documents.entry(name.clone()).or_default();
        // Only the first write of a document is checked here. `write::check_sequence` already checked that later
        // preconditions follow from it.
        if !before.contains_key(&name) {
            write.check(current.as_ref())?;
            before.insert(name.clone(), current.clone());
        }
        let Outcome { document, transform_results } = write.apply(current.as_ref(), now)?;
        *current = document;
        results.push((name, transform_results));
    }
    let mut changed = BTreeSet::new();
    for (name, before) in before {
        match (before, documents.get_mut(&name)) {
            // A commit that changes no field keeps the document, including its update time.
            (Some(before), Some(Some(after)))
                // A document that was deleted and created again is a new one.
                if before.fields == after.fields && before.create_time == after.create_time =>
            {
                *after = before;
            }
            (None, Some(None)) => {}
            _ => drop(changed.insert(name)),
        }
    }
    // Several writes of one document are one change, so all their results have the update time of the final document,
    // if it exists.
    let result = |(name, transform_results)| {
        let document = documents.get(&name).and_then(Option::as_ref);
        fs::WriteResult { update_time: document.and_then(|document| document.update_time), transform_results }
    };
    Ok((results.into_iter().map(result).collect(), changed))
}

fn rpc_status(status: &Status) -> rpc::Status {
    rpc::Status { code: status.code().into(), message: status.message().into(), details: Vec::new() }
}

fn read_time_unsupported() -> Status {
    Status::unimplemented("reads at a past time are not part of this local server")
}

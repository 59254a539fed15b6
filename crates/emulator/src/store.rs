//! The database: one redb file, one writer thread, group commit.
//!
//! A change is a closure over a write transaction. Changes queue up. The writer takes all queued changes, runs them in
//! order in one transaction and commits it with one sync to disk, so a thousand concurrent publishes need only a few
//! syncs. Effects that must become visible after the commit and not before (such as messages in a queue) go into a
//! second closure, which the writer runs in commit order. A caller that goes away therefore cannot make memory and disk
//! diverge.
//!
//! A change validates before it writes. It returns a rejection as a value; an error aborts the whole batch.
//!
//! The queue has no cap of its own: every entry belongs to a request in progress, and the connections limit those.

use crate::{error::stopping, limits};
use parking_lot::Mutex;
use redb::{Database, DatabaseError, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::{
    future::Future,
    path::Path,
    sync::{Arc, mpsc},
    thread::JoinHandle,
};
use tokio::sync::oneshot;

/// Why a store operation failed; a fragment that follows "failed to".
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store is closed or closing.
    #[error("reach the data folder: the server is shutting down")]
    Closed,
    /// The disk or the file failed.
    #[error("read or write the data folder: {0}")]
    Disk(Arc<str>),
    /// The disk is full. The database must be reopened afterwards.
    #[error("write the data folder: its disk is full ({0}); free space on it, then start this server again")]
    Full(Arc<str>),
}

/// Whether the disk, or the user's quota, has no space left.
pub(crate) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

impl<E: Into<redb::Error>> From<E> for StoreError {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) if is_full(&error) => Self::Full(error.to_string().into()),
            redb::Error::PreviousIo => {
                Self::Disk("an earlier write failed, see the log; start this server again".into())
            }
            other => Self::Disk(other.to_string().into()),
        }
    }
}

impl From<StoreError> for tonic::Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Closed => stopping(),
            StoreError::Disk(_) => tonic::Status::internal(format!("failed to {error}")),
            // gRPC itself uses this code for a file system without space.
            StoreError::Full(_) => tonic::Status::resource_exhausted(format!("failed to {error}")),
        }
    }
}

type Announce = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Change = Box<dyn FnOnce(&WriteTransaction) -> Result<Announce, StoreError> + Send>;

struct Open {
    database: Arc<Database>,
    changes: mpsc::Sender<Change>,
    writer: JoinHandle<()>,
}

/// The open database; clones share it.
#[derive(Clone)]
pub(crate) struct Store(Arc<Mutex<Option<Open>>>);

impl Store {
    /// Opens or creates the file and locks it against other processes.
    pub(crate) fn open(path: &Path) -> Result<Self, DatabaseError> {
        let database = Database::builder().set_cache_size(limits::STORE_CACHE_BYTES).create(path)?;
        let database = Arc::new(database);
        let (changes, queue) = mpsc::channel::<Change>();
        let shared = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("emulator-store".into())
            .spawn(move || write_batches(&shared, &queue))
            .map_err(|error| DatabaseError::Storage(redb::StorageError::Io(error)))?;
        Ok(Self(Arc::new(Mutex::new(Some(Open { database, changes, writer })))))
    }

    /// Queues a change immediately. The future returns its value when it is synced to disk. Dropping the future does
    /// not undo the change.
    pub(crate) fn write<T, C>(&self, change: C) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, C>
    where
        T: Send + 'static,
        C: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    {
        self.write_then(change, |_| ())
    }

    /// Like [`write`](Self::write). `visible` runs right after the commit, in queue order.
    pub(crate) fn write_then<T, C, V>(
        &self,
        change: C,
        visible: V,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, C, V>
    where
        T: Send + 'static,
        C: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
        V: FnOnce(&T) + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let change: Change = Box::new(move |transaction| match change(transaction) {
            Ok(value) => Ok(Box::new(move |committed: Result<(), StoreError>| {
                if committed.is_ok() {
                    visible(&value);
                }
                // The receiver is gone if the caller went away; the change remains.
                let _ = sender.send(committed.map(|()| value));
            })),
            Err(error) => {
                let error = StoreError::from(error);
                let _ = sender.send(Err(error.clone()));
                Err(error)
            }
        });
        let queued = self.0.lock().as_ref().is_some_and(|open| open.changes.send(change).is_ok());
        async move { if queued { receiver.await.unwrap_or(Err(StoreError::Closed)) } else { Err(StoreError::Closed) } }
    }

    /// Runs `query` on a snapshot of the committed state, on a blocking thread.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_in(Arc::new(self.snapshot()?), query).await
    }

    /// Like [`read`](Self::read), on an existing snapshot.
    pub(crate) async fn read_in<T: Send + 'static>(
        &self,
        snapshot: Arc<ReadTransaction>,
        query: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let found = tokio::task::spawn_blocking(move || query(&snapshot)).await;
        Ok(found.map_err(|_| StoreError::Closed)??)
    }

    /// A snapshot of the committed state, for code that already runs on a blocking thread.
    pub(crate) fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        match self.0.lock().as_ref() {
            Some(open) => Ok(open.database.begin_read()?),
            None => Err(StoreError::Closed),
        }
    }

    /// Commits the queued changes, closes the file and releases its lock. Blocks.
    pub(crate) fn close(&self) {
        let Some(Open { database, changes, writer }) = self.0.lock().take() else { return };
        drop(changes);
        if writer.join().is_err() {
            tracing::error!("the store writer panicked");
        }
        drop(database);
    }
}

/// The writer's loop: waits for a change, takes all others in the queue, commits once, notifies the callers.
fn write_batches(database: &Database, queue: &mpsc::Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let batch = std::iter::once(first).chain(queue.try_iter()).take(limits::MAX_BATCH_CHANGES).collect();
        write_batch(database, batch);
    }
}

fn write_batch(database: &Database, batch: Vec<Change>) {
    let mut announcements = Vec::with_capacity(batch.len());
    let committed = commit(database, batch, &mut announcements);
    if let Err(error) = &committed {
        tracing::error!(%error, "commit failed");
    }
    for announce in announcements {
        announce(committed.clone());
    }
}

fn commit(database: &Database, batch: Vec<Change>, announcements: &mut Vec<Announce>) -> Result<(), StoreError> {
    let transaction = database.begin_write()?;
    for change in batch {
        // Returning early drops the transaction, which aborts it, and the response channels of the remaining changes.
        announcements.push(change(&transaction)?);
    }
    transaction.commit()?;
    Ok(())
}

/// Decodes a protobuf message from a table.
pub(crate) fn decode<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, redb::Error> {
    M::decode(bytes).map_err(|error| redb::Error::Corrupted(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableTable, TableDefinition};

    #[test]
    fn a_full_disk_and_a_failed_disk_have_different_codes() {
        let error = |kind: std::io::ErrorKind| StoreError::from(redb::StorageError::Io(kind.into()));
        let full = tonic::Status::from(error(std::io::ErrorKind::StorageFull));
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
        assert!(full.message().contains("its disk is full") && full.message().contains("free space"), "{full}");
        assert_eq!(tonic::Status::from(error(std::io::ErrorKind::InvalidData)).code(), tonic::Code::Internal);
    }

    const NUMBERS: TableDefinition<u64, u64> = TableDefinition::new("numbers");

    #[tokio::test]
    async fn a_written_value_is_read_back_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db");
        let store = Store::open(&path).unwrap();
        let writes = (0..100u64).map(|n| {
            store.write(move |txn| {
                txn.open_table(NUMBERS)?.insert(n, n * n)?;
                Ok(())
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.unwrap();
        }
        assert!(Store::open(&path).is_err(), "the file is locked");
        store.close();
        let store = Store::open(&path).unwrap();
        let sum = store
            .read(|txn| {
                let table = txn.open_table(NUMBERS)?;
                let mut sum = 0;
                for row in table.iter()? {
                    sum += row?.1.value();
                }
                Ok(sum)
            })
            .await
            .unwrap();
        assert_eq!(sum, (0..100u64).map(|n| n * n).sum::<u64>());
    }

    #[tokio::test]
    async fn a_closed_store_returns_closed() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        store.close();
        assert!(matches!(store.write(|_| Ok(())).await, Err(StoreError::Closed)));
        assert!(matches!(store.read(|_| Ok(())).await, Err(StoreError::Closed)));
    }
}

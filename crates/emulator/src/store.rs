//! The database file: one redb file, one thread that writes it, group commit.
//!
//! A change is a closure over a write transaction. Changes queue up; the writer takes all that wait, runs them in order in
//! one transaction and commits it with one sync to disk, so a thousand concurrent publishes cost a handful of syncs. What
//! must become visible after the commit and not before (messages in a queue, say) is handed in as a second closure, which
//! the writer runs in commit order: a caller that goes away halfway cannot leave memory and disk apart.
//!
//! A change checks before it writes: its refusals are values, while an error aborts the batch it is in.
//!
//! The queue has no cap of its own: every entry belongs to a request in progress, and those are capped by the connections.

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

/// Why the store did not do what was asked; a fragment that follows "failed to".
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum StoreError {
    /// The store was closed, or closes.
    #[error("reach the data folder: the server is shutting down")]
    Closed,
    /// The disk, or the file on it.
    #[error("read or write the data folder: {0}")]
    Disk(Arc<str>),
    /// The disk has no room. The database must be opened again after that.
    #[error("write the data folder: its disk is full ({0}); free space on it, then start this server again")]
    Full(Arc<str>),
}

/// Whether a disk has no room left, or none for this user.
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
            // The code that gRPC itself gives for a file system without space.
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
        let written = Arc::clone(&database);
        let writer = std::thread::Builder::new()
            .name("local-store".into())
            .spawn(move || write_batches(&written, &queue))
            .map_err(|error| DatabaseError::Storage(redb::StorageError::Io(error)))?;
        Ok(Self(Arc::new(Mutex::new(Some(Open { database, changes, writer })))))
    }

    /// Queues a change at once; the future yields its value when it is safely on disk. Dropping the future does not undo it.
    pub(crate) fn write<T, C>(&self, change: C) -> impl Future<Output = Result<T, StoreError>> + Send + use<T, C>
    where
        T: Send + 'static,
        C: FnOnce(&WriteTransaction) -> Result<T, redb::Error> + Send + 'static,
    {
        self.write_then(change, |_| ())
    }

    /// As [`write`](Self::write); `visible` runs right after the commit, in the order of the queue.
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
        let (answer, answered) = oneshot::channel();
        let change: Change = Box::new(move |transaction| match change(transaction) {
            Ok(value) => Ok(Box::new(move |committed: Result<(), StoreError>| {
                if committed.is_ok() {
                    visible(&value);
                }
                // Nobody listens when the caller went away; the change stands.
                let _ = answer.send(committed.map(|()| value));
            })),
            Err(error) => {
                let error = StoreError::from(error);
                let _ = answer.send(Err(error.clone()));
                Err(error)
            }
        });
        let queued = self.0.lock().as_ref().is_some_and(|open| open.changes.send(change).is_ok());
        async move { if queued { answered.await.unwrap_or(Err(StoreError::Closed)) } else { Err(StoreError::Closed) } }
    }

    /// Runs `look` on a snapshot of what is committed, on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.read_in(Arc::new(self.snapshot()?), look).await
    }

    /// As [`read`](Self::read), on a snapshot that was taken before.
    pub(crate) async fn read_in<T: Send + 'static>(
        &self,
        snapshot: Arc<ReadTransaction>,
        look: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let found = tokio::task::spawn_blocking(move || look(&snapshot)).await;
        Ok(found.map_err(|_| StoreError::Closed)??)
    }

    /// A snapshot of what is committed, for code that is on a blocking thread already.
    pub(crate) fn snapshot(&self) -> Result<ReadTransaction, StoreError> {
        match self.0.lock().as_ref() {
            Some(open) => Ok(open.database.begin_read()?),
            None => Err(StoreError::Closed),
        }
    }

    /// Commits what is queued, then closes the file and gives up its lock. Blocks.
    pub(crate) fn close(&self) {
        let Some(Open { database, changes, writer }) = self.0.lock().take() else { return };
        drop(changes);
        if writer.join().is_err() {
            tracing::error!("the store's writer had panicked");
        }
        drop(database);
    }
}

/// The writer's life: wait for a change, take all that wait with it, commit once, tell everyone.
fn write_batches(database: &Database, queue: &mpsc::Receiver<Change>) {
    while let Ok(first) = queue.recv() {
        let batch = std::iter::once(first).chain(queue.try_iter()).take(limits::STORE_BATCH).collect();
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
        // Dropping the transaction on the way out aborts it, and drops the answers of the changes not yet run.
        announcements.push(change(&transaction)?);
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{ReadableTable, TableDefinition};

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
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
    async fn a_closed_store_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).unwrap();
        store.close();
        assert!(matches!(store.write(|_| Ok(())).await, Err(StoreError::Closed)));
        assert!(matches!(store.read(|_| Ok(())).await, Err(StoreError::Closed)));
    }
}

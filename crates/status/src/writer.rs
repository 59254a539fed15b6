//! The main loop: receives events, folds them, writes the documents that are due, and acks the events they cover.
//!
//! A document that the store refuses permanently (too large, invalid) does not delay other documents:
//!
//! ```text
//!  commit refused ─▶ split until the document is alone ─▶ its reduced form ── written ──▶ its events are acked
//!                                                             │ refused as well
//!                                                             ▼
//!                    the batch's document records the clip's end ── written ──▶ given up, its events are acked
//!                                                             │ refused, and no other commit was accepted recently
//!                                                             ▼
//!                    postponed with its events: the store, or its settings, may be at fault
//! ```

use crate::{
    cache::{BatchCache, Key},
    intake::Leased,
    mirror::Mirror,
    pending_acks::{PendingAck, PendingAcks},
};
use clipfleet_cloud::{Cloud, CloudError, ErrorKind, RefusalRetry, Write, until_answered};
use clipfleet_contract::{documents::fleet_control, names};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    job::BatchContext,
};
use clipfleet_service::health::Condition;
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// The maximum number of events folded before the next commit. A larger number causes fewer writes under load, a
/// smaller one fresher documents. Folding this many takes less time than a commit.
const MAX_BURST: usize = 4_000;

/// The maximum number of documents in one commit. The limit of Firestore is 500.
const WRITES_PER_COMMIT: usize = 400;

/// The wait after a failed call.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// The wait before a refused document is tried again while the store accepts nothing.
const REFUSAL_RETRY_DELAY: Duration = Duration::from_secs(30);

/// How long an accepted commit shows that the store and its settings work, so that a refusal is the fault of the
/// document.
const ACCEPTANCE_TTL: Duration = Duration::from_secs(60);

/// The result of a commit.
enum Committed {
    Written,
    /// Another instance changed one of the documents.
    Changed,
    /// The store permanently refuses it.
    Refused(Arc<CloudError>),
}

struct Writer {
    cloud: Cloud,
    cache: BatchCache,
    pending_acks: PendingAcks,
    mirror: Option<Mirror>,
    /// When the store last accepted a commit.
    accepted_at: Option<Instant>,
    /// Whether the store answers.
    documents: Condition,
    retry: RefusalRetry,
}

pub(crate) async fn run(
    cloud: Cloud,
    mirror: Option<Mirror>,
    mut events: mpsc::Receiver<Result<Leased, CloudError>>,
    documents: Condition,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    tokio::select! {
        biased;
        () = stop.cancelled() => return Ok(()),
        answered = until_answered(|| probe(&cloud), |state| documents.set(state)) => answered?,
    }
    let mut writer = Writer {
        cloud,
        cache: BatchCache::default(),
        pending_acks: PendingAcks::default(),
        mirror,
        accepted_at: None,
        documents,
        retry: RefusalRetry::default(),
    };
    loop {
        let next_due = writer.cache.next_due();
        let mut burst = Vec::new();
        // Biased, so that a simulation is reproducible. Receiving and committing alternate, so neither starves the
        // other. Progress that arrives during a commit replaces older progress.
        tokio::select! {
            biased;
            () = stop.cancelled() => return writer.finish().await,
            received = events.recv_many(&mut burst, MAX_BURST) => if received == 0 { return writer.finish().await },
            () = tokio::time::sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
        }
        // An error of a subscription is one that no retry has fixed.
        let burst = burst.into_iter().collect::<Result<Vec<Leased>, CloudError>>()?;
        if let Err(error) = writer.step(burst).await {
            let delay = writer.failed(error)?;
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }
}

/// Asks the store for a document, which need not exist.
async fn probe(cloud: &Cloud) -> Result<(), CloudError> {
    cloud.documents.get_one(fleet_control::PATH.to_owned()).await.map(drop)
}

impl Writer {
    /// Folds events, and writes documents that are due. After an error, the rest is nacked or tried again later.
    async fn step(&mut self, events: Vec<Leased>) -> Result<(), CloudError> {
        for leased in events {
            self.handle(leased).await?;
        }
        self.write_due().await.inspect_err(|error| {
            tracing::warn!(%error, "documents not written, trying again");
            metrics::counter!("clipfleet_status_write_failures_total").increment(1);
        })?;
        Ok(())
    }

    /// Returns how long to wait after a failed call; the error if it is permanent or the store has refused for too
    /// long.
    fn failed(&mut self, error: CloudError) -> Result<Duration, CloudError> {
        if !error.is_refusal() {
            return if error.is_transient() { Ok(RETRY_DELAY) } else { Err(error) };
        }
        self.documents.set(Err(&error));
        self.retry.failed(&error).ok_or(error)
    }

    /// Records that the store answered a call.
    fn answered(&mut self) {
        self.retry.answered();
        self.documents.set(Ok::<_, &CloudError>(()));
    }

    /// Folds an event into its batch, which is loaded if it is not in memory.
    async fn handle(&mut self, leased: Leased) -> Result<(), CloudError> {
        let Leased { event, delivery, received_at, span } = leased;
        if !self.cache.contains(&event.batch.id)
            && let Err(error) = self.load(&event.batch).await
        {
            tracing::warn!(batch = %event.batch.id, %error, "event nacked: its batch could not be loaded");
            delivery.nack();
            // Other batches can be loaded, unless the store refuses this process.
            return if error.is_refusal() { Err(error) } else { Ok(()) };
        }
        let documents = self.cache.fold(&event, Instant::now());
        metrics::counter!("clipfleet_events_folded_total").increment(1);
        self.pending_acks.add(event, PendingAck { delivery, span, received_at }, documents);
        Ok(())
    }

    async fn load(&mut self, context: &BatchContext) -> Result<(), CloudError> {
        // The batch is read first, so that the clips contain at least what the batch counts. In the other order, a
        // batch that is newer than its clips would look like one that lacks their changes.
        let batch = self.cloud.documents.get_one(names::batch_document(&context.id)).await?;
        let clips = self.cloud.documents.list(&names::clip_documents(&context.id)).await?;
        self.cache.load(context, batch.as_ref(), &clips, Instant::now());
        // An instance that has ended may not have mirrored all of it.
        let stored = clips.iter().filter_map(|clip| ClipId::parse(clip.id()).ok());
        self.mirror(stored.map(|clip| Key::Clip(context.id.clone(), clip)).collect());
        Ok(())
    }

    /// Has the mirror update clips whose documents are stored.
    fn mirror(&self, keys: Vec<Key>) {
        let Some(mirror) = &self.mirror else { return };
        for key in keys {
            if let Key::Clip(batch, clip) = key
                && let Some(project) = self.cache.project(&batch)
            {
                mirror.add(project, [(batch, clip)]);
            }
        }
    }

    /// Writes the documents that are due, at most as many as fit into one commit. Returns whether there were any.
    async fn write_due(&mut self) -> Result<bool, CloudError> {
        let due = self.cache.due(Instant::now(), WRITES_PER_COMMIT);
        if due.is_empty() {
            return Ok(false);
        }
        for (key, error) in self.write_all(due).await? {
            self.handle_refusal(&key, &error).await?;
        }
        Ok(true)
    }

    /// Writes documents, and returns those that the store permanently refuses. A commit is atomic, so a refused commit
    /// is split in halves. Isolating one refused document takes a number of further commits of at most twice the
    /// logarithm of the number of documents.
    async fn write_all(&mut self, due: Vec<(Key, Write)>) -> Result<Vec<(Key, Arc<CloudError>)>, CloudError> {
        let (mut parts, mut refused) = (vec![due], Vec::<(Key, Arc<CloudError>)>::new());
        while let Some(mut part) = parts.pop() {
            // A batch is written after the clips that it counts, so it waits for its refused clips.
            part.retain(|(key, _)| !refused.iter().any(|(clip, _)| key.is_batch_of(clip)));
            if part.is_empty() {
                continue;
            }
            let (keys, writes): (Vec<Key>, Vec<Write>) = part.iter().cloned().unzip();
            match self.commit(&keys, writes).await? {
                Committed::Written | Committed::Changed => {}
                Committed::Refused(error) if part.len() == 1 => {
                    refused.extend(keys.into_iter().map(|key| (key, Arc::clone(&error))));
                }
                Committed::Refused(_) => {
                    let second = part.split_off(part.len() / 2);
                    parts.extend([second, part]);
                }
            }
        }
        Ok(refused)
    }

    /// Commits documents and acks the events that they cover. Batches that another instance changed are loaded again.
    async fn commit(&mut self, keys: &[Key], writes: Vec<Write>) -> Result<Committed, CloudError> {
        match self.cloud.documents.commit(writes).await {
            Ok(versions) => {
                metrics::counter!("clipfleet_documents_written_total").increment(versions.len() as u64);
                let now = Instant::now();
                self.accepted_at = Some(now);
                self.answered();
                for (key, version) in keys.iter().zip(versions) {
                    self.cache.written(key, version, now);
                    self.pending_acks.written(key);
                }
                self.mirror(keys.to_vec());
                Ok(Committed::Written)
            }
            // Another instance changed one of the documents. Which one is unknown, so all their batches are removed
            // from memory and their events nacked. Redelivery loads the batches again.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                tracing::warn!(%error, "documents changed by another writer, reading them again");
                keys.iter().for_each(|key| self.drop_batch(key.batch()));
                Ok(Committed::Changed)
            }
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(Committed::Refused(Arc::new(error))),
            Err(error) => Err(error),
        }
    }

    /// Handles a document that the store permanently refuses, so that its events can be acked.
    async fn handle_refusal(&mut self, key: &Key, error: &CloudError) -> Result<(), CloudError> {
        let refused = Failure::new(
            Code::DocumentRefused,
            format!("the database refuses the clip's status document, retry the clip; failed to {error}"),
        );
        let outcome = self.write_replacement(key, &refused).await?;
        metrics::counter!("clipfleet_status_documents_refused_total", "outcome" => outcome).increment(1);
        tracing::error!(document = key.path(), outcome, %error, "document refused");
        Ok(())
    }

    /// Takes the steps of the diagram above. Returns the outcome for the document.
    async fn write_replacement(&mut self, key: &Key, refused: &Failure) -> Result<&'static str, CloudError> {
        if let Some(write) = self.cache.reduced(key, refused) {
            match self.commit(std::slice::from_ref(key), vec![write]).await? {
                Committed::Written => {
                    self.cache.reduce(key, refused, Instant::now());
                    return Ok("reduced");
                }
                Committed::Changed => return Ok("read_again"),
                Committed::Refused(_) => {}
            }
        }
        if let Some(write) = self.cache.batch_with_end_of(key, refused) {
            match self.commit(&[Key::Batch(key.batch().clone())], vec![write]).await? {
                Committed::Written => {
                    self.give_up(key, refused);
                    return Ok("given_up");
                }
                Committed::Changed => return Ok("read_again"),
                Committed::Refused(_) => {}
            }
        }
        if self.accepted_at.is_some_and(|at| at.elapsed() < ACCEPTANCE_TTL) {
            self.give_up(key, refused);
            return Ok("given_up");
        }
        self.cache.postpone(key, Instant::now() + REFUSAL_RETRY_DELAY);
        Ok("postponed")
    }

    fn give_up(&mut self, key: &Key, refused: &Failure) {
        self.cache.give_up(key, refused);
        self.pending_acks.written(key);
    }

    fn drop_batch(&mut self, batch: &BatchId) {
        self.cache.remove(batch);
        self.pending_acks.nack(batch);
    }

    /// Writes all remaining documents, so that few events are redelivered after an orderly shutdown.
    async fn finish(mut self) -> Result<(), CloudError> {
        const FINAL_WRITE_TIMEOUT: Duration = Duration::from_secs(3);
        let writing = async {
            while self.write_due().await? {}
            Ok::<_, CloudError>(())
        };
        match tokio::time::timeout(FINAL_WRITE_TIMEOUT, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "documents not written before the end"),
            Err(_) => tracing::warn!("documents not written before the end: no answer"),
        }
        if let Some(mirror) = self.mirror {
            mirror.close().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

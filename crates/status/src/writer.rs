//! The loop: take events in, fold them, write what is due, settle what is covered.
//!
//! A document that the store refuses for good (too large, invalid) holds up no other:
//!
//! ```text
//!  commit refused ─▶ split in halves until it is alone ─▶ its reduced form ── written ──▶ its events are settled
//!                                                             │ refused as well
//!                                                             ▼
//!                    the batch's document says how the clip ended ── written ──▶ given up, its events are settled
//!                                                             │ refused, and nothing else was accepted lately
//!                                                             ▼
//!                    postponed with its events: the store, or its settings, may be at fault
//! ```

use crate::{
    cache::{BatchCache, Key},
    intake::Leased,
    mirror::Mirror,
    pending_acks::{Lease, PendingAcks},
};
use clipfleet_cloud::{Cloud, CloudError, ErrorKind, Write};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    job::BatchContext,
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Events folded before the next commit: the larger, the fewer writes in a storm; the smaller, the fresher. Folding so many takes less
/// time than a commit.
const BURST: usize = 4_000;

/// Documents in one commit; the service's own limit is 500.
const WRITES_PER_COMMIT: usize = 400;

/// Wait after a failed call, so that a service that is down is not hammered.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// Wait before a refused document is tried again while the store accepts nothing at all.
const REFUSAL_RETRY_DELAY: Duration = Duration::from_secs(30);

/// How long a commit that was accepted proves that a refusal is about the refused document and not about the store or
/// its settings.
const PROOF_TTL: Duration = Duration::from_secs(60);

/// What became of a commit that was answered.
enum Committed {
    Written,
    /// Another instance wrote one of the documents.
    Changed,
    /// The store will never take it as it is.
    Refused(Arc<CloudError>),
}

struct Writer {
    cloud: Cloud,
    cache: BatchCache,
    pending_acks: PendingAcks,
    mirror: Option<Mirror>,
    accepted_at: Option<Instant>,
}

pub(crate) async fn run(
    cloud: Cloud,
    mirror: Option<Mirror>,
    mut events: mpsc::Receiver<Result<Leased, CloudError>>,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut writer =
        Writer { cloud, cache: BatchCache::default(), pending_acks: PendingAcks::default(), mirror, accepted_at: None };
    loop {
        let next_due = writer.cache.next_due();
        let mut burst = Vec::new();
        // In this order, so that a simulation repeats. A commit follows every burst and a burst every commit: events keep no document
        // waiting, nor do documents keep events, of which the later then take the place of the earlier.
        tokio::select! {
            biased;
            () = stop.cancelled() => return writer.finish().await,
            received = events.recv_many(&mut burst, BURST) => if received == 0 { return writer.finish().await },
            () = tokio::time::sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
        }
        for leased in burst {
            writer.take(leased?).await;
        }
        if let Err(error) = writer.write_due().await {
            tracing::warn!(%error, "documents not written, trying again");
            metrics::counter!("clipfleet_status_write_failures_total").increment(1);
            tokio::time::sleep(RETRY_DELAY).await;
        }
    }
}

impl Writer {
    async fn take(&mut self, leased: Leased) {
        let Leased { event, delivery, span } = leased;
        if !self.cache.knows(&event.batch.id)
            && let Err(error) = self.load(&event.batch).await
        {
            tracing::warn!(batch = %event.batch.id, %error, "event handed back");
            return delivery.nack();
        }
        let covering = self.cache.fold(&event, Instant::now());
        metrics::counter!("clipfleet_events_folded_total").increment(1);
        self.pending_acks.keep(event, Lease { delivery, span }, covering);
    }

    async fn load(&mut self, context: &BatchContext) -> Result<(), CloudError> {
        // In this order: the clips then tell at least as much as the batch, and are not taken for news that it lacks.
        let batch = self.cloud.documents.get_one(names::batch_document(&context.id)).await?;
        let clips = self.cloud.documents.list(&names::clip_documents(&context.id)).await?;
        self.cache.load(context, batch.as_ref(), &clips, Instant::now());
        // What an instance that ended could not mirror any more.
        let stored = clips.iter().filter_map(|clip| ClipId::parse(clip.id()).ok());
        self.mirror(stored.map(|clip| Key::Clip(context.id.clone(), clip)).collect());
        Ok(())
    }

    /// Has the mirror show clips that are stored.
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

    /// Writes what is due, as much as one commit takes. Says whether there was anything.
    async fn write_due(&mut self) -> Result<bool, CloudError> {
        let due = self.cache.due(Instant::now(), WRITES_PER_COMMIT);
        if due.is_empty() {
            return Ok(false);
        }
        for (key, error) in self.write_all(due).await? {
            self.set_aside(&key, &error).await?;
        }
        Ok(true)
    }

    /// Writes these documents and returns those that the store refuses for good. A commit does all or nothing, so one
    /// that is refused is split: the other documents are written in at most twice the logarithm of their number of
    /// further commits.
    async fn write_all(&mut self, due: Vec<(Key, Write)>) -> Result<Vec<(Key, Arc<CloudError>)>, CloudError> {
        let (mut parts, mut refused) = (vec![due], Vec::<(Key, Arc<CloudError>)>::new());
        while let Some(mut part) = parts.pop() {
            // What a batch counts is never written before it, so a batch waits for its refused clips.
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

    /// Commits these documents and settles what they cover. Those that were changed by another instance are read again.
    async fn commit(&mut self, keys: &[Key], writes: Vec<Write>) -> Result<Committed, CloudError> {
        match self.cloud.documents.commit(writes).await {
            Ok(versions) => {
                metrics::counter!("clipfleet_documents_written_total").increment(versions.len() as u64);
                let now = Instant::now();
                self.accepted_at = Some(now);
                for (key, version) in keys.iter().zip(versions) {
                    self.cache.written(key, version, now);
                    self.pending_acks.written(key);
                }
                self.mirror(keys.to_vec());
                Ok(Committed::Written)
            }
            // Someone else wrote one of them: forget what we thought of all, hand their events back, read anew.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                tracing::warn!(%error, "documents changed by another writer, reading them again");
                keys.iter().for_each(|key| self.drop_batch(key.batch()));
                Ok(Committed::Changed)
            }
            Err(error) if error.kind() == ErrorKind::Invalid => Ok(Committed::Refused(Arc::new(error))),
            Err(error) => Err(error),
        }
    }

    /// Goes around a document that the store refuses for good, so that its events end and the other documents go on.
    async fn set_aside(&mut self, key: &Key, error: &CloudError) -> Result<(), CloudError> {
        let refused = Failure::new(
            Code::DocumentRefused,
            format!("the database refuses the clip's status document, retry the clip; failed to {error}"),
        );
        let outcome = self.replace(key, &refused).await?;
        metrics::counter!("clipfleet_status_documents_refused_total", "outcome" => outcome).increment(1);
        tracing::error!(document = key.path(), outcome, %error, "document refused");
        Ok(())
    }

    /// Takes the steps of the module's drawing. Returns what became of the document.
    async fn replace(&mut self, key: &Key, refused: &Failure) -> Result<&'static str, CloudError> {
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
        if let Some(write) = self.cache.batch_without(key, refused) {
            match self.commit(&[Key::Batch(key.batch().clone())], vec![write]).await? {
                Committed::Written => {
                    self.give_up(key, refused);
                    return Ok("given_up");
                }
                Committed::Changed => return Ok("read_again"),
                Committed::Refused(_) => {}
            }
        }
        if self.accepted_at.is_some_and(|at| at.elapsed() < PROOF_TTL) {
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
        self.cache.forget(batch);
        self.pending_acks.hand_back(batch);
    }

    /// One last write, so that an orderly end leaves nothing to repeat; what it cannot write comes again.
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

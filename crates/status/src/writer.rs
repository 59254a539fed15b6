//! The loop: take facts in, fold them, write what is due, settle what is covered.

use crate::{
    board::{Board, Key},
    intake::Fact,
    mirror::Mirror,
    waiting::{Lease, Waiting},
};
use clipfleet_cloud::{Cloud, CloudError, ErrorKind};
use clipfleet_contract::names;
use clipfleet_domain::{
    ids::{BatchId, ClipId},
    job::BatchContext,
};
use std::time::Duration;
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

/// Facts folded before the next commit: the larger, the fewer writes in a storm; the smaller, the fresher. Folding so many takes less
/// time than a commit.
const BURST: usize = 4_000;

/// Documents in one commit; the service's own limit is 500.
const WRITES_PER_COMMIT: usize = 400;

/// Wait after a failed call, so that a service that is down is not hammered.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

struct Writer {
    cloud: Cloud,
    board: Board,
    waiting: Waiting,
    mirror: Option<Mirror>,
}

pub(crate) async fn run(
    cloud: Cloud,
    mirror: Option<Mirror>,
    mut facts: mpsc::Receiver<Result<Fact, CloudError>>,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut writer = Writer { cloud, board: Board::default(), waiting: Waiting::default(), mirror };
    loop {
        let next_due = writer.board.next_due();
        let mut burst = Vec::new();
        // In this order, so that a simulation repeats. A commit follows every burst and a burst every commit: facts keep no document
        // waiting, nor do documents keep facts, of which the later then take the place of the earlier.
        tokio::select! {
            biased;
            () = stop.cancelled() => return writer.finish().await,
            received = facts.recv_many(&mut burst, BURST) => if received == 0 { return writer.finish().await },
            () = tokio::time::sleep_until(next_due.unwrap_or_else(Instant::now)), if next_due.is_some() => {}
        }
        for fact in burst {
            writer.take(fact?).await;
        }
        if let Err(error) = writer.write_due().await {
            tracing::warn!(%error, "documents not written, trying again");
            metrics::counter!("clipfleet_status_write_failures_total").increment(1);
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }
}

impl Writer {
    async fn take(&mut self, fact: Fact) {
        let Fact { event, delivery, span } = fact;
        if !self.board.knows(&event.batch.id)
            && let Err(error) = self.take_up(&event.batch).await
        {
            tracing::warn!(batch = %event.batch.id, %error, "fact handed back");
            return delivery.nack();
        }
        let covering = self.board.fold(&event, Instant::now());
        metrics::counter!("clipfleet_facts_folded_total").increment(1);
        self.waiting.keep(event, Lease { delivery, span }, covering);
    }

    async fn take_up(&mut self, context: &BatchContext) -> Result<(), CloudError> {
        // In this order: the clips then tell at least as much as the batch, and are not taken for news that it lacks.
        let batch = self.cloud.documents.get_one(names::batch_document(&context.id)).await?;
        let clips = self.cloud.documents.list(&names::clip_documents(&context.id)).await?;
        self.board.take_up(context, batch.as_ref(), &clips, Instant::now());
        // What an instance that ended could not mirror any more.
        let stored = clips.iter().filter_map(|clip| ClipId::parse(clip.path.rsplit('/').next()?).ok());
        self.mirror(stored.map(|clip| Key::Clip(context.id.clone(), clip)).collect());
        Ok(())
    }

    /// Has the mirror show clips that are stored.
    fn mirror(&self, keys: Vec<Key>) {
        let Some(mirror) = &self.mirror else { return };
        for key in keys {
            if let Key::Clip(batch, clip) = key
                && let Some(project) = self.board.project(&batch)
            {
                mirror.tell(project, [(batch, clip)]);
            }
        }
    }

    /// Writes what is due, as much as one commit takes. Says whether there was anything.
    async fn write_due(&mut self) -> Result<bool, CloudError> {
        let due = self.board.due(Instant::now(), WRITES_PER_COMMIT);
        if due.is_empty() {
            return Ok(false);
        }
        let (keys, writes): (Vec<Key>, Vec<_>) = due.into_iter().unzip();
        match self.cloud.documents.commit(writes).await {
            Ok(versions) => {
                metrics::counter!("clipfleet_documents_written_total").increment(versions.len() as u64);
                let now = Instant::now();
                for (key, version) in keys.iter().zip(versions) {
                    self.board.written(key, version, now);
                    self.waiting.written(key);
                }
                self.mirror(keys);
            }
            // Someone else wrote one of them: forget what we thought of all, hand their facts back, read anew.
            Err(error) if matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists) => {
                tracing::warn!(%error, "documents changed by another writer, reading them again");
                keys.iter().for_each(|key| self.drop_batch(key.batch()));
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn drop_batch(&mut self, batch: &BatchId) {
        self.board.forget(batch);
        self.waiting.hand_back(batch);
    }

    /// One last write, so that an orderly end leaves nothing to repeat; what it cannot write comes again.
    async fn finish(mut self) -> Result<(), CloudError> {
        const LONGEST: Duration = Duration::from_secs(3);
        let writing = async {
            while self.write_due().await? {}
            Ok::<_, CloudError>(())
        };
        match tokio::time::timeout(LONGEST, writing).await {
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

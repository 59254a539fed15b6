//! The loop: lease as many jobs as there are slots, run each, settle each once.

use crate::{
    Worker,
    attempt::{self, Outcome},
};
use clipfleet_cloud::{CloudError, Delivery};
use clipfleet_contract::{job, names};
use clipfleet_domain::attempt::Attempt;
use std::{sync::Arc, time::Duration};
use tokio::{task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;

/// Longest wait for attempts to hand back their clips once told to stop: Cloud Run kills after 10 s.
const HAND_BACK: Duration = Duration::from_secs(5);

pub(crate) async fn run(worker: Arc<Worker>, stop: CancellationToken) -> Result<(), CloudError> {
    // The queue never gives more than there are slots, so a job leased is a job started, and no worker hoards.
    let mut jobs = worker.cloud.queue.subscribe(names::CLIP_JOBS_WORKER, worker.slots);
    let mut running = JoinSet::new();
    let ended = loop {
        // In this order, so that a simulation repeats: slots are few, so neither of the first two can keep a job waiting.
        tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            Some(_) = running.join_next() => {}
            job = jobs.next() => match job {
                Some(Ok(delivery)) => { running.spawn(run_one(Arc::clone(&worker), delivery, stop.clone())); }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
        }
        metrics::gauge!("clipfleet_busy_slots").set(running.len() as f64);
    };
    stop.cancel();
    if timeout(HAND_BACK, async { while running.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(attempts = running.len(), "attempts did not hand back in time");
        running.shutdown().await;
    }
    jobs.close().await;
    ended
}

async fn run_one(worker: Arc<Worker>, delivery: Delivery, stop: CancellationToken) {
    let job = match job::decode(&delivery.message.data) {
        Ok(job) => job,
        Err(malformed) => {
            // It would be no clearer the next time: settled, counted, and visible in the log.
            tracing::error!(message = delivery.message_id, "dropped: {malformed}");
            metrics::counter!("clipfleet_malformed_messages_total").increment(1);
            return delivery.ack();
        }
    };
    let Ok(id) = worker.new_attempt() else { return delivery.nack() };
    let attempt = Attempt {
        id,
        number: delivery.delivery_attempt,
        started_at_ms: worker.clock.now_ms(),
        worker: worker.id.clone(),
        sequence: 0,
    };
    let (batch, clip) = (job.batch.id.clone(), job.clip.id.clone());
    tracing::info!(%batch, %clip, attempt = %attempt.id, number = attempt.number, "attempt started");
    let outcome = attempt::run(&worker, &job, attempt, stop).await;
    metrics::counter!("clipfleet_attempts_total", "outcome" => outcome.name()).increment(1);
    match outcome {
        Outcome::Over | Outcome::Unwanted => delivery.ack(),
        Outcome::HandedBack => delivery.nack(),
    }
}

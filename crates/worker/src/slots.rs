//! The loop: lease as many jobs as there are slots, run each, settle each once; lease nothing while the fleet is paused or this
//! worker is in cooldown.

use crate::{
    Worker,
    attempt::{self, Leased, Outcome},
    control::Control,
};
use clipfleet_cloud::{CloudError, Deliveries, Delivery};
use clipfleet_contract::{job, names};
use clipfleet_service::trace;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Longest wait for attempts to hand back their clips once told to stop: Cloud Run kills after 10 s.
const HAND_BACK: Duration = Duration::from_secs(5);

/// `tell` hears whether the worker is paused, at first and at each change.
pub(crate) async fn run(
    worker: Arc<Worker>,
    tell: impl Fn(bool) + Send,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut control = Control::follow(&worker.cloud).await;
    let (mut jobs, mut told) = (None, None);
    let (mut running, mut closing) = (JoinSet::new(), JoinSet::new());
    let ended = loop {
        let (paused, cooldown) = (control.is_paused(), worker.cooldown.until());
        turn(&worker, paused || cooldown.is_some(), &mut jobs, &mut closing);
        if told.replace(paused) != Some(paused) {
            tell(paused);
        }
        metrics::gauge!("clipfleet_worker_paused").set(f64::from(u8::from(paused)));
        metrics::gauge!("clipfleet_worker_cooldown").set(f64::from(u8::from(cooldown.is_some())));
        // In this order, so that a simulation repeats: slots are few, so none of the first can keep a job waiting.
        tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            Some(_) = running.join_next() => {}
            Some(_) = closing.join_next() => {}
            () = control.changed() => {}
            () = end_of(cooldown) => {}
            // The queue never gives more than there are slots, so a job leased is a job started. After a pause the clips that outlived
            // it have slots, too: until they end, as many jobs wait here.
            job = next(jobs.as_mut()), if running.len() < worker.slots => match job {
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
    if let Some(jobs) = jobs {
        jobs.close().await;
    }
    while closing.join_next().await.is_some() {}
    ended
}

/// Opens the stream of jobs, or closes it for a while: an open one would be given jobs that then wait for its end. Clips that run keep
/// their leases either way.
fn turn(worker: &Worker, idle: bool, jobs: &mut Option<Deliveries>, closing: &mut JoinSet<()>) {
    match (idle, jobs.take()) {
        (true, Some(open)) => {
            tracing::info!("nothing new is taken for now");
            closing.spawn(open.close());
        }
        (true, None) => {}
        (false, None) => *jobs = Some(worker.cloud.queue.subscribe(names::CLIP_JOBS_WORKER, worker.slots)),
        (false, open) => *jobs = open,
    }
}

/// Waits for the end of a cooldown, if there is one.
async fn end_of(cooldown: Option<Instant>) {
    match cooldown {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

async fn next(jobs: Option<&mut Deliveries>) -> Option<Result<Delivery, CloudError>> {
    match jobs {
        Some(jobs) => jobs.next().await,
        None => pending().await,
    }
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
    let leased = Leased { job, delivery_attempt: delivery.delivery_attempt, id, hold: worker.pulse.lease() };
    let (batch, clip) = (leased.job.batch.id.as_str(), leased.job.clip.id.as_str());
    let span =
        tracing::info_span!("attempt", batch, clip, attempt = leased.id.as_str(), outcome = tracing::field::Empty);
    trace::follow(&span, trace::texts(&delivery.message.attributes));
    let outcome = attempt::run(&worker, leased, stop).instrument(span.clone()).await;
    span.record("outcome", outcome.name());
    metrics::counter!("clipfleet_attempts_total", "outcome" => outcome.name()).increment(1);
    match outcome {
        Outcome::Over | Outcome::Unwanted => delivery.ack(),
        // Handing back a lease that is another's by now has no effect.
        Outcome::HandedBack | Outcome::Lost => delivery.nack(),
    }
}

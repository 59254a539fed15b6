//! The worker's loop: leases as many jobs as there are slots, runs an attempt at each and settles each once. It leases
//! nothing while the fleet is paused or this worker is in cooldown.

use crate::{
    attempt::{self, Leased},
    context::Worker,
    outcome::Outcome,
    pause_watch::PauseWatch,
};
use clipfleet_cloud::{CloudError, Delivery, Subscription};
use clipfleet_contract::{job, names};
use clipfleet_service::{health::Condition, trace};
use std::{fmt::Display, future::pending, sync::Arc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The longest wait for attempts to hand back their clips once told to stop: Cloud Run kills after 10 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(5);

/// The state of the subscription while nothing is leased: it does not matter then whether it could be used.
const NOT_NEEDED: Result<(), &str> = Ok(());

/// Calls `on_pause` with whether the worker is paused, at the start and after each change, and sets `leasing` to
/// whether jobs can be leased.
pub(crate) async fn run(
    worker: Arc<Worker>,
    on_pause: impl Fn(bool) + Send,
    leasing: &Condition,
    stop: CancellationToken,
) -> Result<(), CloudError> {
    let mut pause = PauseWatch::start(&worker.cloud).await;
    let (mut jobs, mut last_paused) = (None, None);
    let (mut running, mut closing) = (JoinSet::new(), JoinSet::new());
    let ended = loop {
        let (paused, cooldown) = (pause.is_paused(), worker.cooldown.until());
        open_or_close(&worker, paused || cooldown.is_some(), &mut jobs, &mut closing, leasing);
        if last_paused.replace(paused) != Some(paused) {
            on_pause(paused);
        }
        metrics::gauge!("clipfleet_worker_paused").set(f64::from(u8::from(paused)));
        metrics::gauge!("clipfleet_worker_cooldown").set(f64::from(u8::from(cooldown.is_some())));
        // Biased, so that a simulation is reproducible. There are few slots, so none of the first branches can starve
        // the last.
        tokio::select! {
            biased;
            () = stop.cancelled() => break Ok(()),
            Some(_) = running.join_next() => {}
            Some(_) = closing.join_next() => {}
            () = pause.changed() => {}
            () = end_of(cooldown) => {}
            // The queue delivers at most as many jobs as there are slots, so a leased job starts at once. Clips still
            // running when a pause ends keep their slots, so that many newly leased jobs may wait here.
            job = next(jobs.as_mut()), if running.len() < worker.slots => match job {
                Some(Ok(delivery)) => { running.spawn(handle(Arc::clone(&worker), delivery, stop.clone())); }
                Some(Err(error)) => break Err(error),
                None => break Ok(()),
            },
        }
        metrics::gauge!("clipfleet_busy_slots").set(running.len() as f64);
    };
    stop.cancel();
    if timeout(SHUTDOWN_TIMEOUT, async { while running.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(attempts = running.len(), "attempts did not hand back in time");
        running.shutdown().await;
    }
    if let Some(jobs) = jobs {
        jobs.close().await;
    }
    while closing.join_next().await.is_some() {}
    ended
}

/// Opens the stream of jobs, or closes it: an open one would receive jobs that then wait. Running clips keep their
/// leases either way.
fn open_or_close(
    worker: &Worker,
    idle: bool,
    jobs: &mut Option<Subscription>,
    closing: &mut JoinSet<()>,
    leasing: &Condition,
) {
    match (idle, jobs.take()) {
        (true, Some(open)) => {
            tracing::info!("leasing stopped");
            closing.spawn(open.close());
            leasing.set(NOT_NEEDED);
        }
        (true, None) => leasing.set(NOT_NEEDED),
        (false, None) => {
            let (queue, leasing) = (Arc::clone(&worker.cloud.queue), leasing.clone());
            let report = move |state: Result<(), &CloudError>| leasing.set(state);
            *jobs = Some(Subscription::open(queue, names::CLIP_JOBS_WORKER, worker.slots, report));
        }
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

async fn next(jobs: Option<&mut Subscription>) -> Option<Result<Delivery, CloudError>> {
    match jobs {
        Some(jobs) => jobs.next().await,
        None => pending().await,
    }
}

fn hand_back(delivery: Delivery, reason: impl Display) {
    tracing::warn!(message_id = delivery.message_id, "job handed back: {reason}");
    metrics::counter!("clipfleet_jobs_not_understood_total").increment(1);
    delivery.nack();
}

async fn handle(worker: Arc<Worker>, delivery: Delivery, stop: CancellationToken) {
    let job = match job::decode(&delivery.message.data) {
        Ok(job) if job.is_understood() => job,
        // Another version may understand it. If none does, it becomes a dead letter, which keeps its bytes.
        Ok(job) => return hand_back(delivery, format!("clip {} has settings of another version", job.clip.id)),
        Err(malformed) => return hand_back(delivery, malformed),
    };
    let Ok(id) = worker.new_attempt() else { return delivery.nack() };
    let leased = Leased { job, delivery_attempt: delivery.delivery_attempt, id, guard: worker.stall_detector.guard() };
    let (batch, clip) = (leased.job.batch.id.as_str(), leased.job.clip.id.as_str());
    let span =
        tracing::info_span!("attempt", batch, clip, attempt = leased.id.as_str(), outcome = tracing::field::Empty);
    trace::set_parent(&span, trace::pairs(&delivery.message.attributes));
    let outcome = attempt::execute(&worker, leased, stop).instrument(span.clone()).await;
    span.record("outcome", outcome.name());
    metrics::counter!("clipfleet_attempts_total", "outcome" => outcome.name()).increment(1);
    match outcome {
        Outcome::Done | Outcome::Obsolete => delivery.ack(),
        // If the lease is another attempt's by now, a nack has no effect.
        Outcome::Requeue | Outcome::LeaseLost => delivery.nack(),
    }
}

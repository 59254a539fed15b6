//! The leader's loop: fold events, decide on a size, set it, renew the term.

use crate::{
    Scaler,
    decide::{Decision, Load, Policy, Pool, decide},
    documents::{self, OpenBatchScan},
    fleet_state::FleetState,
    leadership::{LeaderState, Leadership, RENEW_INTERVAL},
    overflow::Overflow,
    pool_control::{CallOutcome, PoolControl},
    work::Speed,
};
use clipfleet_cloud::{CloudError, Delivery, ErrorKind, Subscription};
use clipfleet_contract::{event, names};
use clipfleet_domain::job::EventKind;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// Unsettled events at once. Each is acknowledged as soon as it is folded: the documents are the durable state.
const MAX_OUTSTANDING_EVENTS: usize = 1_000;

/// Time between two decisions while no event adds work.
const DECISION_INTERVAL: Duration = Duration::from_secs(1);

/// Time between two decisions while many batches arrive.
const MIN_DECISION_INTERVAL: Duration = Duration::from_millis(100);

/// How often stale batches and the fleet's pause are read.
const DOCUMENT_POLL_INTERVAL: Duration = Duration::from_secs(10);

/// Stale batches read per poll. Each costs a list of its clips.
const MAX_RELOADS_PER_POLL: usize = 10;

/// How long clips wait without any busy worker until a size that an earlier leader set is set again: several times what
/// an instance takes to start.
const STALL_TIMEOUT: Duration = Duration::from_secs(120);

/// How often the pool's size is read, to notice changes by others.
const SIZE_POLL_INTERVAL: Duration = Duration::from_secs(30);

/// The part of the term that must be left for a size to be set.
const MIN_SET_TIME: Duration = Duration::from_secs(5);

/// The end of the term that is not used: it covers the drift of two clocks, and the time between a check and its
/// effect.
const TERM_MARGIN: Duration = Duration::from_secs(2);

/// How a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TermEnd {
    Stopped,
    Lost,
}

struct Control<'a> {
    scaler: &'a Scaler,
    leadership: &'a mut Leadership,
    fleet: FleetState,
    scan: OpenBatchScan,
    pool: PoolControl,
    /// The pool that helps out while the platform refuses the size that this one needs.
    overflow: Option<Overflow>,
    /// The last target and its reason.
    state: LeaderState,
    /// Since when clips have waited although no worker has one.
    stalled_since: Option<Instant>,
    /// The target that a dry run logged last, so that it logs each once.
    logged_target: Option<u32>,
}

/// Scales until told to stop or until leadership is lost. An error is one that a retry cannot fix.
pub(crate) async fn lead(
    scaler: &Scaler,
    leadership: &mut Leadership,
    stop: &CancellationToken,
) -> Result<TermEnd, CloudError> {
    let speed = Speed::with_initial_rate(scaler.initial_rate).with_learned(leadership.previous.speed.clone());
    let state = LeaderState { reason: "", ..leadership.previous.clone() };
    let pool = PoolControl::new(Arc::clone(&scaler.backend), scaler.readable.clone(), leadership.previous.limit);
    let mut control = Control {
        scaler,
        leadership,
        fleet: FleetState::new(speed),
        scan: OpenBatchScan::new(),
        pool,
        overflow: scaler.overflow.as_ref().map(Overflow::new),
        state,
        stalled_since: None,
        logged_target: None,
    };
    // Subscribed before any document is read: otherwise, changes during the reading would be missed.
    let (queue, condition) = (Arc::clone(&scaler.cloud.queue), scaler.receiving.clone());
    let report = move |state: Result<(), &CloudError>| condition.set(state);
    let mut events = Subscription::open(queue, names::PROGRESS_EVENTS_SCALER, MAX_OUTSTANDING_EVENTS, report);
    let ended = control.run(&mut events, stop).await;
    control.pool.abort_call();
    control.overflow.iter_mut().for_each(|overflow| overflow.pool.abort_call());
    let state = control.leader_state();
    leadership.resign(&state).await;
    events.close().await;
    ended
}

impl Control<'_> {
    async fn run(&mut self, events: &mut Subscription, stop: &CancellationToken) -> Result<TermEnd, CloudError> {
        let mut renew_at = Instant::now() + RENEW_INTERVAL;
        let (mut poll_at, mut read_size_at) = (Instant::now(), Instant::now());
        let (mut decide_at, mut decided_at) = (Instant::now(), Instant::now());
        loop {
            let wake = decide_at.min(renew_at).min(poll_at);
            let mut received = None;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(TermEnd::Stopped),
                outcome = self.pool.completed_call() => self.pool.apply(outcome)?,
                outcome = overflow_call(self.overflow.as_mut()) => self.apply_overflow(outcome)?,
                () = sleep_until(wake) => {}
                delivery = events.next() => received = Some(delivery),
            }
            let more_work = match received {
                Some(Some(Ok(delivery))) => self.fold(delivery).await,
                Some(Some(Err(error))) => return Err(error),
                Some(None) => return Ok(TermEnd::Stopped),
                None => false,
            };
            if more_work {
                decide_at = decide_at.min(decided_at + MIN_DECISION_INTERVAL);
            }
            let now = Instant::now();
            if now >= renew_at {
                renew_at = now + RENEW_INTERVAL;
                let state = self.leader_state();
                if !self.leadership.renew(&state).await {
                    return Ok(TermEnd::Lost);
                }
            }
            if now >= poll_at {
                // The term is renewed between two polls; a scan continues where it stopped.
                poll_at = if self.poll_documents().await { now } else { now + DOCUMENT_POLL_INTERVAL };
            }
            if now >= read_size_at {
                read_size_at = now + SIZE_POLL_INTERVAL;
                for pool in std::iter::once(&mut self.pool).chain(self.overflow.as_mut().map(|it| &mut it.pool)) {
                    if !pool.is_calling() {
                        pool.read_size();
                    }
                }
            }
            if now >= decide_at {
                (decide_at, decided_at) = (now + DECISION_INTERVAL, now);
                if self.scan.completed_once() && !self.scale().await {
                    return Ok(TermEnd::Lost);
                }
            }
        }
    }

    /// Folds an event in. Returns whether there may be more work than before.
    async fn fold(&mut self, delivery: Delivery) -> bool {
        metrics::counter!("clipfleet_scaler_events_received_total").increment(1);
        let event = match event::decode(&delivery.message.data) {
            Ok(event) => event,
            Err(malformed) => {
                // Redelivery could not succeed either.
                tracing::error!(message_id = delivery.message_id, "message dropped: {malformed}");
                metrics::counter!("clipfleet_malformed_messages_total").increment(1);
                delivery.ack();
                return false;
            }
        };
        let now_ms = self.scaler.clock.now_ms();
        let is_new = !self.fleet.knows(&event.batch.id, now_ms);
        if is_new && self.fleet.is_full() {
            self.scan.record_skipped();
            delivery.ack();
            return false;
        }
        // A refused batch has no record and no work.
        if is_new && !matches!(event.kind, EventKind::BatchRefused { .. }) {
            let loading = documents::load_batch(&self.scaler.cloud, &mut self.fleet, &event.batch.id, now_ms);
            let late = |_| Err(CloudError::new(ErrorKind::Unavailable, "read its documents: no answer in time"));
            let loaded = timeout(self.leadership.remaining().saturating_sub(TERM_MARGIN), loading).await;
            if let Err(error) = loaded.unwrap_or_else(late) {
                tracing::warn!(batch = %event.batch.id, %error, "event handed back");
                delivery.nack();
                return false;
            }
        }
        let more_work = self.fleet.fold(&event, now_ms);
        delivery.ack();
        is_new || more_work
    }

    /// Reads what events may have missed, within the term. Returns whether to continue at once.
    async fn poll_documents(&mut self) -> bool {
        let limit = self.leadership.remaining().saturating_sub(TERM_MARGIN);
        match timeout(limit, self.read_documents()).await {
            Ok(Ok(())) => return self.scan.is_running(),
            Ok(Err(error)) => tracing::warn!(%error, "failed to read documents, trying again"),
            Err(_) => tracing::warn!("timed out reading documents, trying again"),
        }
        false
    }

    async fn read_documents(&mut self) -> Result<(), CloudError> {
        let (cloud, now_ms) = (&self.scaler.cloud, self.scaler.clock.now_ms());
        self.fleet.set_paused(documents::paused(cloud).await?);
        self.scan.advance(cloud, &mut self.fleet, now_ms).await?;
        if self.scan.is_running() {
            return Ok(());
        }
        self.fleet.prune(now_ms);
        for batch in self.fleet.stale(now_ms, MAX_RELOADS_PER_POLL) {
            documents::load_batch(cloud, &mut self.fleet, &batch, now_ms).await?;
        }
        Ok(())
    }

    /// Decides on a size and sets it if it differs. Returns whether this scaler still leads.
    async fn scale(&mut self) -> bool {
        let now_ms = self.scaler.clock.now_ms();
        let policy = &self.scaler.policy;
        let served = self.fleet.take_served();
        let mut load = self.fleet.current_load(now_ms);
        let helpers = self.overflow.as_mut().map_or(0, Overflow::size);
        // Events do not say which pool a worker belongs to. As many as help out are not taken for this pool's.
        load.busy_workers = load.busy_workers.saturating_sub(helpers);
        let ceiling = self.pool.limit().map(|limit| limit.ceiling());
        let must_correct = self.pool.must_be_corrected() || self.is_stalled(&load);
        let Some(pool) = self.pool.state() else { return true };
        pool.add_served(served, policy);
        let allowed = Policy { max: policy.max.min(ceiling.unwrap_or(policy.max)), ..policy.clone() };
        let decision = decide(&load, pool, &allowed, now_ms);
        pool.track_excess(&decision, now_ms);
        export_gauges(&load, pool, &decision, &allowed);
        let missing = ceiling.map_or(0, |_| decide(&load, pool, policy, now_ms).desired - decision.desired);
        let current = pool.target;
        if self.scaler.dry_run {
            let repeated = decision.target == current || self.logged_target == Some(decision.target);
            self.logged_target = (decision.target != current).then_some(decision.target);
            if !repeated {
                log_decision(self.scaler.backend.name(), &load, current, &decision, true);
            }
            return true;
        }
        if (decision.target != current || must_correct) && self.pool.accepts_change() {
            return self.set_size(&load, &decision, now_ms).await;
        }
        self.help_out(&load, missing).await
    }

    /// Whether the size on record may never have come into effect: the platform may have refused it to an earlier
    /// leader and kept it.
    fn is_stalled(&mut self, load: &Load) -> bool {
        let stalled = load.waiting > 0 && load.busy_workers == 0 && !load.paused;
        self.stalled_since = stalled.then(|| self.stalled_since.unwrap_or_else(Instant::now));
        let has_size = self.pool.state().is_some_and(|pool| pool.target > 0);
        let long = self.stalled_since.is_some_and(|since| since.elapsed() >= STALL_TIMEOUT);
        has_size && long && !self.pool.is_confirmed()
    }

    async fn set_size(&mut self, load: &Load, decision: &Decision, now_ms: i64) -> bool {
        self.state.target = Some(decision.target);
        self.state.reason = decision.reason.name();
        let Some(within) = self.time_to_set().await else { return !self.leadership.remaining().is_zero() };
        let Some(pool) = self.pool.state() else { return true };
        let from = pool.target;
        log_decision(self.scaler.backend.name(), load, from, decision, false);
        pool.apply(decision, now_ms);
        self.pool.set_size(from, decision.target, self.fleet.busy_workers(now_ms), within);
        true
    }

    /// Sets the size of the overflow pool. Returns whether this scaler still leads.
    async fn help_out(&mut self, load: &Load, missing: u32) -> bool {
        let Some((from, target)) = self.overflow.as_mut().and_then(|overflow| overflow.change(load, missing)) else {
            return true;
        };
        let Some(within) = self.time_to_set().await else { return !self.leadership.remaining().is_zero() };
        let Some(overflow) = &mut self.overflow else { return true };
        tracing::info!(pool = overflow.name(), from, to = target, missing, "scaling the overflow pool");
        overflow.set(from, target, within);
        true
    }

    fn apply_overflow(&mut self, outcome: CallOutcome) -> Result<(), CloudError> {
        self.overflow.as_mut().map_or(Ok(()), |overflow| overflow.pool.apply(outcome))
    }

    /// Confirms leadership, and returns the time within which a size may be set; `None` if none may be.
    async fn time_to_set(&mut self) -> Option<Duration> {
        let state = self.leader_state();
        // Only the leader's write can succeed, so a scaler that was replaced stops here.
        if let Err(error) = self.leadership.confirm(&state).await {
            tracing::warn!(%error, "size not set: leadership not confirmed");
            return None;
        }
        let within = self.leadership.remaining().saturating_sub(TERM_MARGIN);
        (within >= MIN_SET_TIME).then_some(within)
    }

    /// The state to write, with what was learned by now.
    fn leader_state(&mut self) -> LeaderState {
        let limit = self.pool.limit().map(|limit| limit.ceiling());
        let speed = self.fleet.speed().learned();
        LeaderState {
            limit,
            speed: speed.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect(),
            ..self.state.clone()
        }
    }
}

/// Waits for the overflow pool's call; forever if there is none.
async fn overflow_call(overflow: Option<&mut Overflow>) -> CallOutcome {
    match overflow {
        Some(overflow) => overflow.pool.completed_call().await,
        None => std::future::pending().await,
    }
}

fn log_decision(pool: &str, load: &Load, target: u32, decision: &Decision, dry_run: bool) {
    let direction = if decision.target > target { "out" } else { "in" };
    metrics::counter!("clipfleet_scaler_decisions_total", "direction" => direction, "reason" => decision.reason.name())
        .increment(1);
    tracing::info!(
        pool,
        from = target,
        to = decision.target,
        reason = decision.reason.name(),
        desired = decision.desired,
        waiting_clips = load.waiting,
        clips_at_work = load.at_work,
        outstanding_seconds = load.outstanding_seconds.round(),
        busy_workers = load.busy_workers,
        expected_loss_seconds = decision.loss_seconds,
        dry_run,
        "scaling"
    );
}

fn export_gauges(load: &Load, pool: &Pool, decision: &Decision, allowed: &Policy) {
    metrics::gauge!("clipfleet_scaler_waiting_clips").set(f64::from(load.waiting));
    metrics::gauge!("clipfleet_scaler_clips_at_work").set(f64::from(load.at_work));
    metrics::gauge!("clipfleet_scaler_outstanding_seconds").set(load.outstanding_seconds);
    metrics::gauge!("clipfleet_scaler_busy_workers").set(f64::from(load.busy_workers));
    metrics::gauge!("clipfleet_scaler_workers_desired").set(f64::from(decision.desired));
    metrics::gauge!("clipfleet_scaler_workers_target").set(f64::from(pool.target));
    metrics::gauge!("clipfleet_scaler_workers_allowed").set(f64::from(allowed.max));
    metrics::gauge!("clipfleet_scaler_loss_allowance_seconds").set(pool.allowance_seconds);
}

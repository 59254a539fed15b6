//! The leader's loop: take events in, decide, set the size, renew the term.

use crate::{
    Scaler,
    board::Board,
    decide::{Decision, Load, Pool, decide},
    documents,
    leadership::{LeaderState, Leadership, RENEW_INTERVAL},
    work::Speed,
};
use clipfleet_cloud::{CloudError, Deliveries, Delivery, ErrorKind};
use clipfleet_contract::{event, names};
use clipfleet_domain::job::EventKind;
use std::{future::pending, sync::Arc, time::Duration};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// Events held unsettled at once. Each is folded and settled at once; the documents are the memory.
const EVENTS_OUTSTANDING: usize = 1_000;

/// Between two decisions when nothing new is to be done.
const TICK: Duration = Duration::from_secs(1);

/// Between two decisions in a storm of new batches.
const SOONEST: Duration = Duration::from_millis(100);

/// How often silent batches and the fleet's pause are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// Silent batches read per look: a list of clips each.
const READ_AT_ONCE: usize = 10;

/// How often the pool's size is read, to see what others set.
const COUNT: Duration = Duration::from_secs(30);

/// The least that must be left of the term to set a size in.
const TO_SET: Duration = Duration::from_secs(5);

/// What is kept of the term for the clocks of two machines, and for the moment between a check and its effect.
const MARGIN: Duration = Duration::from_secs(2);

/// Waits after a size could not be set, doubled up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How a term ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Stopped,
    Lost,
}

/// What a call to the pool came to.
enum Answer {
    Count(Result<u32, CloudError>),
    Set(u32, Result<(), CloudError>),
}

struct Control<'a> {
    scaler: &'a Scaler,
    leadership: &'a mut Leadership,
    board: Board,
    /// `None` until the pool's size was read.
    pool: Option<Pool>,
    /// The one call to the pool that is under way.
    call: Option<JoinHandle<Answer>>,
    note: LeaderState,
    /// Not set before, after a failure.
    wait_until: Instant,
    pause: Duration,
    /// All open batches have been read once: before, the fleet would look idle.
    known: bool,
    /// After which record reading goes on; `None` while none is to be read.
    reading: Option<String>,
    /// Batches were left out for want of room.
    left_out: bool,
    /// A dry run says the same thing once.
    said: Option<u32>,
}

/// Scales until told to stop or until leadership is lost. An error is one that waiting cannot mend.
pub(crate) async fn lead(
    scaler: &Scaler,
    leadership: &mut Leadership,
    stop: &CancellationToken,
) -> Result<Ended, CloudError> {
    let speed = Speed::starting_with(scaler.initial_rate).remembering(leadership.previous.speed.clone());
    let note = LeaderState { reason: "", ..leadership.previous.clone() };
    let now = Instant::now();
    let mut control = Control {
        scaler,
        leadership,
        board: Board::new(speed),
        pool: None,
        call: None,
        note,
        wait_until: now,
        pause: FIRST_PAUSE,
        known: false,
        reading: Some(String::new()),
        left_out: false,
        said: None,
    };
    // Events are kept from here on, so that what happens while documents are read is not missed.
    let mut events = scaler.cloud.queue.subscribe(names::PROGRESS_EVENTS_SCALER, EVENTS_OUTSTANDING);
    let ended = control.run(&mut events, stop).await;
    if let Some(call) = control.call.take() {
        call.abort();
    }
    let note = control.note();
    leadership.resign(&note).await;
    events.close().await;
    ended
}

impl Control<'_> {
    async fn run(&mut self, events: &mut Deliveries, stop: &CancellationToken) -> Result<Ended, CloudError> {
        let mut renew_at = Instant::now() + RENEW_INTERVAL;
        let (mut look_at, mut count_at) = (Instant::now(), Instant::now());
        let (mut decide_at, mut decided_at) = (Instant::now(), Instant::now());
        loop {
            let wake = decide_at.min(renew_at).min(look_at);
            let mut received = None;
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(Ended::Stopped),
                answer = answered(&mut self.call) => {
                    self.call = None;
                    self.take(answer);
                }
                () = sleep_until(wake) => {}
                delivery = events.next() => received = Some(delivery),
            }
            let more = match received {
                Some(Some(Ok(delivery))) => self.fold(delivery).await,
                Some(Some(Err(error))) => return Err(error),
                Some(None) => return Ok(Ended::Stopped),
                None => false,
            };
            if more {
                decide_at = decide_at.min(decided_at + SOONEST);
            }
            let now = Instant::now();
            if now >= renew_at {
                renew_at = now + RENEW_INTERVAL;
                let note = self.note();
                if !self.leadership.renew(&note).await {
                    return Ok(Ended::Lost);
                }
            }
            if now >= look_at {
                look_at = now + LOOK;
                // The term is renewed between two looks, and reading goes on where it stopped.
                match timeout(self.leadership.remaining().saturating_sub(MARGIN), self.look()).await {
                    Ok(Ok(())) if self.reading.is_some() => look_at = now,
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "documents not read, trying again"),
                    Err(_) => tracing::warn!("documents not read in time, trying again"),
                }
            }
            if now >= count_at && self.call.is_none() {
                count_at = now + COUNT;
                let backend = Arc::clone(&self.scaler.backend);
                self.call = Some(tokio::spawn(async move { Answer::Count(backend.count().await) }));
            }
            if now >= decide_at {
                (decide_at, decided_at) = (now + TICK, now);
                if self.known && !self.act().await {
                    return Ok(Ended::Lost);
                }
            }
        }
    }

    /// Folds an event in. Says whether there may be more to do than before.
    async fn fold(&mut self, delivery: Delivery) -> bool {
        metrics::counter!("clipfleet_scaler_events_received_total").increment(1);
        let event = match event::decode(&delivery.message.data) {
            Ok(event) => event,
            Err(malformed) => {
                // It would be no clearer the next time: settled, counted, and visible in the log.
                tracing::error!(message = delivery.message_id, "dropped: {malformed}");
                metrics::counter!("clipfleet_malformed_messages_total").increment(1);
                delivery.ack();
                return false;
            }
        };
        let now_ms = self.scaler.clock.now_ms();
        let new = !self.board.knows(&event.batch.id, now_ms);
        // Of a refused batch there is no record, and nothing to do.
        if new && self.board.is_full() {
            self.left_out = true;
            delivery.ack();
            return false;
        }
        if new && !matches!(event.kind, EventKind::BatchRefused { .. }) {
            let reading = documents::take_up(&self.scaler.cloud, &mut self.board, &event.batch.id, now_ms);
            let late = |_| Err(CloudError::new(ErrorKind::Unavailable, "read its documents: no answer in time"));
            let read = timeout(self.leadership.remaining().saturating_sub(MARGIN), reading).await.unwrap_or_else(late);
            if let Err(error) = read {
                tracing::warn!(batch = %event.batch.id, %error, "event handed back");
                delivery.nack();
                return false;
            }
        }
        let more = self.board.fold(&event, now_ms);
        delivery.ack();
        new || more
    }

    /// Reads what events may have left out.
    async fn look(&mut self) -> Result<(), CloudError> {
        let (cloud, now_ms) = (&self.scaler.cloud, self.scaler.clock.now_ms());
        self.board.set_paused(documents::paused(cloud).await?);
        if self.left_out && !self.board.is_full() {
            self.left_out = false;
            self.reading.get_or_insert_default();
        }
        if let Some(after) = &mut self.reading {
            if !documents::take_up_open(cloud, &mut self.board, after, now_ms).await? {
                return Ok(());
            }
            (self.reading, self.known) = (None, true);
            self.left_out = self.board.is_full();
            tracing::info!(batches = self.board.len(), left_out = self.left_out, "open batches were read");
        }
        for batch in self.board.look(now_ms, READ_AT_ONCE) {
            documents::take_up(cloud, &mut self.board, &batch, now_ms).await?;
        }
        Ok(())
    }

    /// Decides, and carries it out. Returns whether this scaler still leads.
    async fn act(&mut self) -> bool {
        let now_ms = self.scaler.clock.now_ms();
        let policy = &self.scaler.policy;
        let served = self.board.take_served();
        let load = self.board.load(now_ms);
        let Some(pool) = &mut self.pool else { return true };
        pool.served(served, policy);
        let decision = decide(&load, pool, policy, now_ms);
        pool.note(&decision, now_ms);
        show(&load, pool, &decision);
        if decision.target == pool.target {
            self.said = None;
            return true;
        }
        if self.scaler.dry_run {
            if self.said.replace(decision.target) != Some(decision.target) {
                say(&load, pool.target, &decision, true);
            }
            return true;
        }
        if self.call.is_some() || Instant::now() < self.wait_until {
            return true;
        }
        self.carry_out(&load, &decision, now_ms).await
    }

    async fn carry_out(&mut self, load: &Load, decision: &Decision, now_ms: i64) -> bool {
        self.note.target = Some(decision.target);
        self.note.reason = decision.reason.name();
        let note = self.note();
        // Only the leader's write can succeed, so nothing is set without it.
        if let Err(error) = self.leadership.confirm(&note).await {
            tracing::warn!(%error, "size not set: leadership not confirmed");
            return !self.leadership.remaining().is_zero();
        }
        let within = self.leadership.remaining().saturating_sub(MARGIN);
        let Some(pool) = self.pool.as_mut().filter(|_| within >= TO_SET) else { return true };
        say(load, pool.target, decision, false);
        pool.carried_out(decision, now_ms);
        let (backend, busy, target) = (Arc::clone(&self.scaler.backend), self.board.busy(now_ms), decision.target);
        self.call = Some(tokio::spawn(async move { Answer::Set(target, backend.set(target, &busy, within).await) }));
        true
    }

    fn take(&mut self, answer: Answer) {
        match answer {
            Answer::Count(Ok(count)) => {
                let ends_idle = self.scaler.backend.ends_idle();
                let pool = self.pool.get_or_insert_with(|| {
                    tracing::info!(workers = count, "size of the pool read");
                    Pool { target: count, ends_idle, ..Pool::default() }
                });
                if pool.target != count {
                    tracing::warn!(
                        workers = count,
                        target = pool.target,
                        "the size of the pool is not the one that was set"
                    );
                    pool.target = count;
                }
            }
            Answer::Count(Err(error)) => tracing::warn!(%error, "the size of the pool is not known"),
            Answer::Set(_, Ok(())) => {
                metrics::counter!("clipfleet_scaler_writes_total", "outcome" => "done").increment(1);
                self.pause = FIRST_PAUSE;
            }
            Answer::Set(target, Err(error)) => {
                let outcome = if error.kind() == ErrorKind::Conflict { "conflict" } else { "failed" };
                metrics::counter!("clipfleet_scaler_writes_total", "outcome" => outcome).increment(1);
                tracing::warn!(%error, target, wait_seconds = self.pause.as_secs(), "the size of the pool was not set");
                self.wait_until = Instant::now() + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                // Whether it was heard is not known: it is read before anything else is decided.
                self.pool = None;
                let backend = Arc::clone(&self.scaler.backend);
                self.call = Some(tokio::spawn(async move { Answer::Count(backend.count().await) }));
            }
        }
    }

    fn note(&self) -> LeaderState {
        let speed = self.board.speed().learned();
        LeaderState {
            speed: speed.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect(),
            ..self.note.clone()
        }
    }
}

async fn answered(call: &mut Option<JoinHandle<Answer>>) -> Answer {
    match call {
        None => pending().await,
        Some(running) => match running.await {
            Ok(answer) => answer,
            Err(error) => {
                Answer::Count(Err(CloudError::new(ErrorKind::Unavailable, format!("call the pool: {error}"))))
            }
        },
    }
}

fn say(load: &Load, target: u32, decision: &Decision, dry_run: bool) {
    let direction = if decision.target > target { "out" } else { "in" };
    metrics::counter!("clipfleet_scaler_decisions_total", "direction" => direction, "reason" => decision.reason.name())
        .increment(1);
    tracing::info!(
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

fn show(load: &Load, pool: &Pool, decision: &Decision) {
    metrics::gauge!("clipfleet_scaler_waiting_clips").set(f64::from(load.waiting));
    metrics::gauge!("clipfleet_scaler_clips_at_work").set(f64::from(load.at_work));
    metrics::gauge!("clipfleet_scaler_outstanding_seconds").set(load.outstanding_seconds);
    metrics::gauge!("clipfleet_scaler_busy_workers").set(f64::from(load.busy_workers));
    metrics::gauge!("clipfleet_scaler_workers_desired").set(f64::from(decision.desired));
    metrics::gauge!("clipfleet_scaler_workers_target").set(f64::from(pool.target));
    metrics::gauge!("clipfleet_scaler_loss_allowance_seconds").set(pool.allowance_seconds);
}

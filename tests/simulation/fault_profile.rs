//! The setup that a seed selects: the size of the run, and which faults it injects, at which rates. Each kind of fault
//! is left out of half of the seeds, so that every combination occurs and none hides another.

use crate::process::Role;
use clipfleet_domain::limits::MAX_DELIVERY_ATTEMPTS;
use fastrand::Rng;
use std::time::Duration;

/// The faults of one seed. Rates are per call, per delivery or per attempt.
#[derive(Debug, Clone)]
pub(crate) struct FaultProfile {
    /// Calls that fail without effect.
    pub(crate) refused: f64,
    /// Calls that take effect but report a failure.
    pub(crate) answer_lost: f64,
    /// Calls at which the caller's process dies, just before or just after the effect.
    pub(crate) dies_at_call: f64,
    /// Calls with a high latency.
    pub(crate) slow: f64,
    /// Messages that are delivered twice.
    pub(crate) duplicated: f64,
    /// Deliveries that are delayed, so that later ones overtake them.
    pub(crate) delayed: f64,
    /// Leases that expire although their process is running.
    pub(crate) lease_lost: f64,
    /// Acks and nacks that never reach the queue.
    pub(crate) settlement_lost: f64,
    /// Jobs that a worker of an earlier version receives, of those with settings that it does not know.
    pub(crate) earlier_version: f64,
    /// Attempts that end in a transient failure.
    pub(crate) transient: f64,
    /// Attempts in which the media process dies.
    pub(crate) crash: f64,
    /// Jobs that the queue loses after it confirmed their publication.
    pub(crate) job_lost: f64,
    /// Mean time between two faults of a process; `None` where processes have none.
    pub(crate) mean_fault_interval: Option<Duration>,
    /// Maximum clock skew of a process, milliseconds.
    pub(crate) skew_ms: i64,
    /// How long faults are injected.
    pub(crate) fault_period: Duration,
    /// A permission that one role lacks for a while.
    pub(crate) denial: Option<Denial>,
    /// The largest size of the pool that the platform allows.
    pub(crate) quota: Option<u32>,
    /// Whether a refused size stays on the platform's record.
    pub(crate) keeps_refused_size: bool,
}

/// A time in which the cloud refuses the queue and the documents to every process of one role.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Denial {
    pub(crate) role: Role,
    /// Counted from the start of the run.
    pub(crate) from: Duration,
    pub(crate) until: Duration,
}

/// The size of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) batches: usize,
    pub(crate) dispatchers: u32,
    /// The maximum, where scalers own the pool.
    pub(crate) workers: u32,
    pub(crate) statuses: u32,
    pub(crate) slots: u32,
    /// Without scalers, all workers run all the time.
    pub(crate) scalers: u32,
    /// How often operators pause the fleet.
    pub(crate) pauses: usize,
    /// How often they redrive dead letters.
    pub(crate) redrives: usize,
    /// Deliveries of a job before it is dead-lettered. Some seeds use a low number, because no job would reach the
    /// regular one.
    pub(crate) deliveries: u32,
}

impl Scale {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        Self {
            batches: rng.usize(1..=3),
            dispatchers: rng.u32(1..=2),
            workers: rng.u32(1..=3),
            statuses: rng.u32(1..=2),
            slots: rng.u32(1..=2),
            scalers: if rng.bool() { rng.u32(1..=2) } else { 0 },
            redrives: rng.usize(0..=2),
            pauses: if rng.u8(..4) == 0 { rng.usize(1..=2) } else { 0 },
            deliveries: if rng.u8(..3) == 0 { rng.u32(3..=6) } else { MAX_DELIVERY_ATTEMPTS },
        }
    }
}

impl FaultProfile {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        // One seed in twelve has no faults: there, no work may be repeated.
        let fault_free = rng.u8(..12) == 0;
        let fault_period = Duration::from_millis(rng.u64(30_000..90_000));
        let mut rate = |max: f64| if fault_free || rng.bool() { 0.0 } else { rng.f64() * max };
        let rates = [0.06, 0.04, 0.01, 0.05, 0.15, 0.2, 0.2, 0.15, 0.8, 0.3, 0.9].map(&mut rate);
        let [
            refused,
            answer_lost,
            dies_at_call,
            slow,
            duplicated,
            delayed,
            lease_lost,
            settlement_lost,
            transient,
            crash,
            earlier_version,
        ] = rates;
        // Rare, because the reconciler notices a lost job only after an hour of virtual time.
        let job_lost = if !fault_free && rng.u8(..20) == 0 { 0.3 } else { 0.0 };
        let process_faults = !fault_free && rng.bool();
        let mean_fault_interval = process_faults.then(|| Duration::from_millis(rng.u64(5_000..60_000)));
        let skew_ms = if fault_free || rng.bool() { 0 } else { rng.i64(1..=20_000) };
        // Rare, because it may last longer than all other faults. Some are longer than a process waits.
        let denial = (!fault_free && rng.u8(..10) == 0).then(|| {
            let role = [Role::Dispatcher, Role::Worker, Role::Status, Role::Scaler][rng.usize(..4)];
            let from = if rng.bool() { 0 } else { rng.u64(..20_000) };
            let lasts = if rng.bool() { rng.u64(10_000..120_000) } else { rng.u64(120_000..900_000) };
            Denial { role, from: Duration::from_millis(from), until: Duration::from_millis(from + lasts) }
        });
        let quota = (!fault_free && rng.u8(..3) == 0).then(|| rng.u32(0..=2));
        let keeps_refused_size = rng.bool();
        Self {
            refused,
            answer_lost,
            dies_at_call,
            slow,
            duplicated,
            delayed,
            lease_lost,
            settlement_lost,
            earlier_version,
            transient,
            crash,
            job_lost,
            mean_fault_interval,
            skew_ms,
            fault_period,
            denial,
            quota,
            keeps_refused_size,
        }
    }

    /// Whether the seed injects no fault at all.
    pub(crate) fn is_fault_free(&self) -> bool {
        let rates = [
            self.refused,
            self.answer_lost,
            self.dies_at_call,
            self.slow,
            self.duplicated,
            self.delayed,
            self.lease_lost,
            self.settlement_lost,
            self.earlier_version,
            self.transient,
            self.crash,
            self.job_lost,
        ];
        let others = self.mean_fault_interval.is_some() || self.denial.is_some() || self.quota.is_some();
        rates.iter().all(|rate| *rate == 0.0) && !others && self.skew_ms == 0
    }

    /// The profile after the fault period: only a denial and a quota last. The effects of earlier faults remain, and
    /// the fleet must recover from them.
    pub(crate) fn without_faults(&self) -> Self {
        Self {
            refused: 0.0,
            answer_lost: 0.0,
            dies_at_call: 0.0,
            slow: 0.0,
            duplicated: 0.0,
            delayed: 0.0,
            lease_lost: 0.0,
            settlement_lost: 0.0,
            earlier_version: 0.0,
            transient: 0.0,
            crash: 0.0,
            job_lost: 0.0,
            mean_fault_interval: None,
            // A fleet must get by with what it is allowed, as long as that is not nothing.
            quota: self.quota.filter(|quota| *quota > 0),
            ..self.clone()
        }
    }
}

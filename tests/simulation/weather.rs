//! What a seed asks for: how large the run is and which misfortunes it meets, how often. Each kind of misfortune is left out of
//! half of the seeds, so that every combination occurs and none hides another.

use clipfleet_domain::limits::MAX_DELIVERY_ATTEMPTS;
use fastrand::Rng;
use std::time::Duration;

/// One seed's misfortunes. Rates are per call, per delivery or per attempt.
#[derive(Debug, Clone)]
pub(crate) struct Weather {
    /// Calls that fail without effect.
    pub(crate) refused: f64,
    /// Calls that have their effect and seem to have failed.
    pub(crate) answer_lost: f64,
    /// Calls at which the caller's process dies, just before or just after the effect.
    pub(crate) dies_at_call: f64,
    /// Calls that take long.
    pub(crate) slow: f64,
    /// Deliveries that come twice.
    pub(crate) doubled: f64,
    /// Deliveries that are held up, so that later ones overtake them.
    pub(crate) held_up: f64,
    /// Leases that run out although their holder lives.
    pub(crate) lease_lost: f64,
    /// Settlements that never reach the queue.
    pub(crate) settlement_lost: f64,
    /// Attempts that end in a failure worth another attempt.
    pub(crate) transient: f64,
    /// Attempts in which the media process dies.
    pub(crate) crash: f64,
    /// Jobs that vanish from the queue after their publication was confirmed.
    pub(crate) job_lost: f64,
    /// Mean time from one mishap of a process to the next; none when processes live.
    pub(crate) between_mishaps: Option<Duration>,
    /// How far the clocks of two processes may be from the true time, milliseconds.
    pub(crate) skew_ms: i64,
    /// How long misfortunes go on.
    pub(crate) storm: Duration,
}

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) batches: usize,
    pub(crate) dispatchers: u32,
    /// At most, where there are scalers.
    pub(crate) workers: u32,
    pub(crate) statuses: u32,
    pub(crate) slots: u32,
    /// Without any, all workers are there all the time.
    pub(crate) scalers: u32,
    /// How often operators pause the fleet.
    pub(crate) pauses: usize,
    /// How often they redrive what was set aside.
    pub(crate) redrives: usize,
    /// Deliveries of a job before it is set aside: few in some seeds, or none would ever be.
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

impl Weather {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        // One seed in twelve is fair: there, nothing may happen twice.
        let fair = rng.u8(..12) == 0;
        let storm = Duration::from_millis(rng.u64(30_000..90_000));
        let mut rate = |most: f64| if fair || rng.bool() { 0.0 } else { rng.f64() * most };
        let rates = [0.06, 0.04, 0.01, 0.05, 0.15, 0.2, 0.2, 0.15, 0.8, 0.3].map(&mut rate);
        let [refused, answer_lost, dies_at_call, slow, doubled, held_up, lease_lost, settlement_lost, transient, crash] =
            rates;
        // Only in a few, for it takes an hour to be noticed.
        let job_lost = if !fair && rng.u8(..20) == 0 { 0.3 } else { 0.0 };
        let unquiet = !fair && rng.bool();
        let between_mishaps = unquiet.then(|| Duration::from_millis(rng.u64(5_000..60_000)));
        let skew_ms = if fair || rng.bool() { 0 } else { rng.i64(1..=20_000) };
        Self {
            refused,
            answer_lost,
            dies_at_call,
            slow,
            doubled,
            held_up,
            lease_lost,
            settlement_lost,
            transient,
            crash,
            job_lost,
            between_mishaps,
            skew_ms,
            storm,
        }
    }

    /// Whether nothing at all goes wrong.
    pub(crate) fn is_fair(&self) -> bool {
        let rates = [
            self.refused,
            self.answer_lost,
            self.dies_at_call,
            self.slow,
            self.doubled,
            self.held_up,
            self.lease_lost,
            self.settlement_lost,
            self.transient,
            self.crash,
            self.job_lost,
        ];
        rates.iter().all(|rate| *rate == 0.0) && self.between_mishaps.is_none() && self.skew_ms == 0
    }

    /// The weather once the storm is over. What was lost before then must come right by itself.
    pub(crate) fn calmed(&self) -> Self {
        Self {
            refused: 0.0,
            answer_lost: 0.0,
            dies_at_call: 0.0,
            slow: 0.0,
            doubled: 0.0,
            held_up: 0.0,
            lease_lost: 0.0,
            settlement_lost: 0.0,
            transient: 0.0,
            crash: 0.0,
            job_lost: 0.0,
            between_mishaps: None,
            ..self.clone()
        }
    }
}

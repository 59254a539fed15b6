//! The state that a run shares: the one random generator, the trace, the checker, and the cloud itself.

use crate::{checker::Checker, fault_profile::FaultProfile, mutation::Mutation, pool::Pool};
use clipfleet_cloud::{Cloud, memory::Memory};
use clipfleet_dispatcher::Dispatch;
use fastrand::Rng;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, VecDeque},
    hash::{DefaultHasher, Hasher as _},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Lines of the trace that the report of a failed run shows.
const TRACE_LINES: usize = 120;

/// One run's world.
pub(crate) struct World {
    pub(crate) started: Instant,
    pub(crate) mutation: Option<Mutation>,
    /// The service behind the cloud of every process. It injects no faults itself.
    pub(crate) memory: Memory,
    pub(crate) cloud: Cloud,
    pub(crate) pool: Pool,
    /// Where workers create their directories.
    pub(crate) scratch: PathBuf,
    /// Notified on the first violation, which ends the run.
    pub(crate) violation_found: Notify,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) rng: Rng,
    pub(crate) faults: FaultProfile,
    pub(crate) checker: Checker,
    pub(crate) trace: Trace,
    /// How often each kind of situation occurred.
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) violation: Option<String>,
    /// Dispatchers that clients can reach now.
    pub(crate) dispatchers: BTreeMap<u32, Arc<Dispatch>>,
    /// The run has ended: values that are dropped from now on have no effect.
    pub(crate) ended: bool,
}

/// The trace of a run: a digest of all lines, and the last lines.
#[derive(Default)]
pub(crate) struct Trace {
    digest: DefaultHasher,
    pub(crate) last: VecDeque<String>,
    /// Keeps every line, for a replay.
    pub(crate) keep_all: bool,
}

impl Trace {
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn push(&mut self, line: String) {
        self.digest.write(line.as_bytes());
        if self.last.len() == TRACE_LINES && !self.keep_all {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl World {
    pub(crate) fn new(
        rng: Rng,
        faults: FaultProfile,
        pool: Pool,
        mutation: Option<Mutation>,
        scratch: PathBuf,
        keep_all: bool,
    ) -> Self {
        let memory = Memory::new();
        // The link could cut the connection. It stays unused: each simulated process has a wrapper that cuts its
        // connection.
        let (cloud, _) = memory.connect();
        let trace = Trace { keep_all, ..Trace::default() };
        let state = State {
            rng,
            faults,
            checker: Checker::default(),
            trace,
            counts: BTreeMap::new(),
            violation: None,
            dispatchers: BTreeMap::new(),
            ended: false,
        };
        let (started, violation_found) = (Instant::now(), Notify::new());
        Self { started, mutation, memory, cloud, pool, scratch, violation_found, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Time since the run began, free of any process's clock skew, milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn has(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.lock().rng)
    }

    /// Draws whether a fault with this rate occurs now, and counts it if it does. A rate of zero draws no random
    /// number.
    pub(crate) fn occurs(&self, what: &str, rate: impl FnOnce(&FaultProfile) -> f64) -> bool {
        let mut state = self.lock();
        let rate = rate(&state.faults);
        let occurs = rate > 0.0 && state.rng.f64() < rate;
        if occurs {
            count(&mut state.counts, what);
        }
        occurs
    }

    pub(crate) fn count(&self, what: &str) {
        count(&mut self.lock().counts, what);
    }

    /// Adds a line to the trace.
    pub(crate) fn trace(&self, who: &str, what: std::fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        self.lock().trace.push(format!("{:>8.3} {who} {what}", now_ms as f64 / 1_000.0));
    }

    /// Passes an effect to the checker, which reports a violated guarantee.
    pub(crate) fn observe(&self, check: impl FnOnce(&mut Checker, &mut BTreeMap<String, u64>) -> Result<(), String>) {
        let mut state = self.lock();
        let State { checker, counts, .. } = &mut *state;
        let result = check(checker, counts);
        drop(state);
        if let Err(violation) = result {
            self.violated(violation);
        }
    }

    /// Ends the run as failed. Only the first violation is reported.
    pub(crate) fn violated(&self, violation: String) {
        self.trace("!", format_args!("{violation}"));
        self.lock().violation.get_or_insert(violation);
        self.violation_found.notify_one();
    }

    /// Ends the fault period.
    pub(crate) fn stop_faults(&self) {
        let mut state = self.lock();
        state.faults = state.faults.without_faults();
    }

    /// Draws a duration between two bounds, milliseconds.
    pub(crate) fn draw_ms(&self, min: u64, max: u64) -> Duration {
        Duration::from_millis(self.draw(|rng| rng.u64(min..=max)))
    }
}

pub(crate) fn count(counts: &mut BTreeMap<String, u64>, what: &str) {
    if let Some(count) = counts.get_mut(what) {
        *count += 1;
    } else {
        counts.insert(what.to_owned(), 1);
    }
}

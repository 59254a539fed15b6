//! What everything in a run shares: the one source of chance, the trace, the ledger of what happened, and the cloud itself.

use crate::{ledger::Ledger, mutation::Mutation, pool::Pool, weather::Weather};
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

/// Lines of the trace that a red run shows.
const LINES: usize = 120;

/// One run's world.
pub(crate) struct World {
    pub(crate) started: Instant,
    pub(crate) mutation: Option<Mutation>,
    /// The service behind every process's cloud; it never fails by itself.
    pub(crate) memory: Memory,
    pub(crate) cloud: Cloud,
    pub(crate) pool: Pool,
    /// Where workers make their directories.
    pub(crate) scratch: PathBuf,
    /// Rung when the run need not go on: something broke.
    pub(crate) broken: Notify,
    state: Mutex<State>,
}

pub(crate) struct State {
    pub(crate) rng: Rng,
    pub(crate) weather: Weather,
    pub(crate) ledger: Ledger,
    pub(crate) trace: Trace,
    /// How often each kind of thing happened.
    pub(crate) counts: BTreeMap<String, u64>,
    pub(crate) violation: Option<String>,
    /// Dispatchers that people can reach now.
    pub(crate) dispatchers: BTreeMap<u32, Arc<Dispatch>>,
    /// The run has ended; what is dropped from now on means nothing.
    pub(crate) over: bool,
}

/// Everything that happened, as a digest and its last lines.
#[derive(Default)]
pub(crate) struct Trace {
    digest: DefaultHasher,
    pub(crate) last: VecDeque<String>,
    /// Keep every line, for a replay.
    pub(crate) whole: bool,
}

impl Trace {
    pub(crate) fn digest(&self) -> u64 {
        self.digest.finish()
    }

    fn push(&mut self, line: String) {
        self.digest.write(line.as_bytes());
        if self.last.len() == LINES && !self.whole {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }
}

impl World {
    pub(crate) fn new(
        rng: Rng,
        weather: Weather,
        pool: Pool,
        mutation: Option<Mutation>,
        scratch: PathBuf,
        whole: bool,
    ) -> Self {
        let memory = Memory::new();
        // The link would cut the connection; each simulated process is cut off by its own wrapper instead.
        let (cloud, _) = memory.connect();
        let trace = Trace { whole, ..Trace::default() };
        let state = State {
            rng,
            weather,
            ledger: Ledger::default(),
            trace,
            counts: BTreeMap::new(),
            violation: None,
            dispatchers: BTreeMap::new(),
            over: false,
        };
        let (started, broken) = (Instant::now(), Notify::new());
        Self { started, mutation, memory, cloud, pool, scratch, broken, state: Mutex::new(state) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// True time since the run began, milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn is(&self, mutation: Mutation) -> bool {
        self.mutation == Some(mutation)
    }

    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.lock().rng)
    }

    /// Whether something with this rate happens now, counted if it does. A rate of zero costs no chance.
    pub(crate) fn happens(&self, what: &str, rate: impl FnOnce(&Weather) -> f64) -> bool {
        let mut state = self.lock();
        let rate = rate(&state.weather);
        let happens = rate > 0.0 && state.rng.f64() < rate;
        if happens {
            count(&mut state.counts, what);
        }
        happens
    }

    pub(crate) fn count(&self, what: &str) {
        count(&mut self.lock().counts, what);
    }

    /// Writes a line of the trace.
    pub(crate) fn trace(&self, who: &str, what: std::fmt::Arguments<'_>) {
        let now_ms = self.now_ms();
        self.lock().trace.push(format!("{:>8.3} {who} {what}", now_ms as f64 / 1_000.0));
    }

    /// Looks at something that happened, with the ledger, which says what must not have been.
    pub(crate) fn observe(&self, look: impl FnOnce(&mut Ledger, &mut BTreeMap<String, u64>) -> Result<(), String>) {
        let mut state = self.lock();
        let State { ledger, counts, .. } = &mut *state;
        let result = look(ledger, counts);
        drop(state);
        if let Err(violation) = result {
            self.violated(violation);
        }
    }

    /// Ends the run as red; the first reason counts.
    pub(crate) fn violated(&self, violation: String) {
        self.trace("!", format_args!("{violation}"));
        self.lock().violation.get_or_insert(violation);
        self.broken.notify_one();
    }

    /// Ends the storm.
    pub(crate) fn calm(&self) {
        let mut state = self.lock();
        state.weather = state.weather.calmed();
    }

    /// A wait between two bounds, milliseconds.
    pub(crate) fn draw_ms(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.draw(|rng| rng.u64(least..=most)))
    }
}

pub(crate) fn count(counts: &mut BTreeMap<String, u64>, what: &str) {
    if let Some(count) = counts.get_mut(what) {
        *count += 1;
    } else {
        counts.insert(what.to_owned(), 1);
    }
}

//! What is told to the worker while a clip is made: at least once a second, and never less than before within a phase.

use crate::lock::lock;
use clipfleet_contract::v1::TranscodeProgressed;
use clipfleet_domain::{lifecycle::Encoding, progress::Phase, rendition::name_of};
use std::{
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Time between two reports: half of what the worker relies on.
const INTERVAL: Duration = Duration::from_millis(500);

/// The latest state of affairs.
pub struct Progress {
    state: Mutex<State>,
    steps: AtomicU64,
    over: Condvar,
}

struct State {
    phase: Phase,
    fraction: f64,
    encoding: Encoding,
    over: bool,
}

impl Default for Progress {
    fn default() -> Self {
        let phase = Phase::Fetching;
        let state = State { phase, fraction: 0.0, encoding: Encoding::default(), over: false };
        Self { state: Mutex::new(state), steps: AtomicU64::new(0), over: Condvar::new() }
    }
}

impl Progress {
    /// Notes how far a phase is. Steps back are ignored.
    pub fn reach(&self, phase: Phase, fraction: f64) {
        let mut state = lock(&self.state);
        let before = (state.phase, state.fraction);
        if phase > state.phase {
            (state.phase, state.fraction) = (phase, 0.0);
        }
        if phase == state.phase {
            state.fraction = state.fraction.max(fraction.clamp(0.0, 1.0));
        }
        if (state.phase, state.fraction) != before {
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Number of steps forward so far: a sign of work.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Notes what is at work, and why it is not the best.
    pub fn encode_with(&self, encoding: Encoding) {
        lock(&self.state).encoding = encoding;
    }

    /// Reports until told to stop. Meant for a thread of its own, so that no stall elsewhere silences it.
    pub fn report_while_busy(&self, mut send: impl FnMut(TranscodeProgressed)) {
        let mut state = lock(&self.state);
        while !state.over {
            send(state.message());
            state = self.over.wait_timeout(state, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends [`Progress::report_while_busy`].
    pub fn stop(&self) {
        lock(&self.state).over = true;
        self.over.notify_all();
    }
}

impl State {
    fn message(&self) -> TranscodeProgressed {
        let Encoding { encoder, fallback_reason, decoder, gpu_driver } = self.encoding.clone();
        TranscodeProgressed {
            phase: name_of(&Phase::ALL, self.phase).to_owned(),
            fraction: self.fraction,
            encoder,
            fallback_reason,
            decoder,
            gpu_driver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_goes_back() {
        let progress = Progress::default();
        progress.reach(Phase::Fetching, 0.5);
        progress.reach(Phase::Fetching, 0.2);
        assert_eq!(lock(&progress.state).fraction, 0.5);
        progress.reach(Phase::Encoding, 0.1);
        progress.reach(Phase::Fetching, 1.0);
        let message = lock(&progress.state).message();
        assert_eq!((message.phase.as_str(), message.fraction), ("encoding", 0.1));
    }
}

//! Progress reports to the worker while a clip is made. They are sent at least once a second, and the fraction never
//! decreases within a phase.

use crate::failure;
use clipfleet_contract::v1::TranscodeProgressed;
use clipfleet_domain::{failure::Failure, lifecycle::Encoding, progress::Phase, wire_name::WireName as _};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Time between two reports: half of the interval that the worker relies on.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// The current progress.
pub struct Progress {
    state: Mutex<State>,
    steps: AtomicU64,
    /// When stopping a pipeline began, and its reason.
    stopping: Mutex<Option<(Instant, Failure)>>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    fraction: f64,
    /// The latest step, even if it is a step back.
    latest: (Phase, f64),
    encoding: Encoding,
    gpu_route: String,
    over: bool,
}

impl Default for Progress {
    fn default() -> Self {
        let state = State {
            phase: Phase::Fetching,
            fraction: 0.0,
            latest: (Phase::Fetching, 0.0),
            encoding: Encoding::default(),
            gpu_route: String::new(),
            over: false,
        };
        Self { state: Mutex::new(state), steps: AtomicU64::new(0), stopping: Mutex::default(), changed: Condvar::new() }
    }
}

impl Progress {
    /// Records the progress of a phase. Steps back are not reported: if a clip is made again, the reported progress
    /// stays until it is exceeded.
    pub fn reach(&self, phase: Phase, fraction: f64) {
        let mut state = self.state.lock();
        if state.latest != (phase, fraction) {
            state.latest = (phase, fraction);
            self.steps.fetch_add(1, Ordering::Relaxed);
        }
        if phase > state.phase {
            (state.phase, state.fraction) = (phase, 0.0);
        }
        if phase == state.phase {
            state.fraction = state.fraction.max(fraction.clamp(0.0, 1.0));
        }
    }

    /// Number of steps so far, including repeated ones, as a measure of work.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Records what encodes and why it is not the best choice, and the name of the route if it uses a GPU.
    pub fn encode_with(&self, encoding: Encoding, gpu_route: Option<String>) {
        let mut state = self.state.lock();
        state.encoding = encoding;
        state.gpu_route = gpu_route.unwrap_or_default();
        drop(state);
        // Reported immediately, because a driver that kills this process does so on its first call.
        self.changed.notify_all();
    }

    /// Records that the GPU is no longer used.
    pub fn leave_gpu(&self) {
        self.state.lock().gpu_route.clear();
    }

    /// Stops a pipeline by dropping it. `why` is the failure that led to this, if any; see [`Progress::stuck`].
    pub fn stop_pipeline<T>(&self, pipeline: T, why: Option<&Failure>) {
        let why = why.cloned().unwrap_or_else(|| failure::stuck("the pipeline does not stop"));
        *self.stopping.lock() = Some((Instant::now(), why));
        drop(pipeline);
        *self.stopping.lock() = None;
    }

    /// The reason for stopping a pipeline, if stopping has taken at least `timeout`. It never ends if an element hangs
    /// in a driver.
    pub fn stuck(&self, timeout: Duration) -> Option<Failure> {
        let stopping = self.stopping.lock().clone();
        stopping.filter(|(since, _)| since.elapsed() >= timeout).map(|(_, why)| why)
    }

    /// Sends reports until [`Progress::stop`]. It should run in its own thread, so that a stall elsewhere does not
    /// block it.
    pub fn report_while_busy(&self, mut send: impl FnMut(TranscodeProgressed)) {
        let mut state = self.state.lock();
        while !state.over {
            send(state.message());
            self.changed.wait_for(&mut state, REPORT_INTERVAL);
        }
    }

    /// Ends [`Progress::report_while_busy`].
    pub fn stop(&self) {
        self.state.lock().over = true;
        self.changed.notify_all();
    }
}

impl State {
    fn message(&self) -> TranscodeProgressed {
        let Encoding { encoder, fallback_reason, decoder, gpu_driver } = self.encoding.clone();
        TranscodeProgressed {
            phase: self.phase.name().to_owned(),
            fraction: self.fraction,
            encoder,
            fallback_reason,
            gpu_route: self.gpu_route.clone(),
            decoder,
            gpu_driver,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_decreases() {
        let progress = Progress::default();
        progress.reach(Phase::Fetching, 0.5);
        progress.reach(Phase::Fetching, 0.2);
        assert_eq!(progress.state.lock().fraction, 0.5);
        progress.reach(Phase::Encoding, 0.1);
        progress.reach(Phase::Fetching, 1.0);
        let message = progress.state.lock().message();
        assert_eq!((message.phase.as_str(), message.fraction), ("encoding", 0.1));
    }

    #[test]
    fn repeated_work_counts_as_work() {
        let progress = Progress::default();
        progress.reach(Phase::Verifying, 1.0);
        let before = progress.steps();
        progress.reach(Phase::Encoding, 0.1);
        progress.reach(Phase::Encoding, 0.1);
        progress.reach(Phase::Encoding, 0.2);
        assert_eq!(progress.steps() - before, 2);
        assert_eq!(progress.state.lock().message().phase, "verifying");
    }

    #[test]
    fn a_pipeline_that_does_not_stop_is_stuck_with_its_reason() {
        struct Asks<'a>(&'a Progress, &'a Mutex<Vec<Option<Failure>>>);
        impl Drop for Asks<'_> {
            fn drop(&mut self) {
                self.1.lock().extend([self.0.stuck(Duration::ZERO), self.0.stuck(Duration::from_secs(60))]);
            }
        }
        let (progress, answers) = (Progress::default(), Mutex::default());
        let why = failure::stalled(20, "waiting");
        progress.stop_pipeline(Asks(&progress, &answers), Some(&why));
        assert_eq!(*answers.lock(), [Some(why), None]);
        assert_eq!(progress.stuck(Duration::ZERO), None);
    }
}

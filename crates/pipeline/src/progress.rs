//! What is told to the worker while a clip is made: at least once a second, and never less than before within a phase.

use crate::failure;
use clipfleet_contract::v1::TranscodeProgressed;
use clipfleet_domain::{failure::Failure, lifecycle::Encoding, progress::Phase, rendition::name_of};
use parking_lot::{Condvar, Mutex};
use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Time between two reports: half of what the worker relies on.
const INTERVAL: Duration = Duration::from_millis(500);

/// The latest state of affairs.
pub struct Progress {
    state: Mutex<State>,
    steps: AtomicU64,
    /// Since when a pipeline is being stopped, and why.
    stopping: Mutex<Option<(Instant, Failure)>>,
    news: Condvar,
}

struct State {
    phase: Phase,
    fraction: f64,
    /// What was said last, be it a step back.
    latest: (Phase, f64),
    encoding: Encoding,
    gpu_way: String,
    over: bool,
}

impl Default for Progress {
    fn default() -> Self {
        let state = State {
            phase: Phase::Fetching,
            fraction: 0.0,
            latest: (Phase::Fetching, 0.0),
            encoding: Encoding::default(),
            gpu_way: String::new(),
            over: false,
        };
        Self { state: Mutex::new(state), steps: AtomicU64::new(0), stopping: Mutex::default(), news: Condvar::new() }
    }
}

impl Progress {
    /// Notes how far a phase is. Steps back are not told: a clip that is made anew is as far as it was before until it is farther.
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

    /// Number of steps so far, also of those that were taken before: a sign of work.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Notes what is at work, and why it is not the best; and the way, if a GPU has a part in it.
    pub fn encode_with(&self, encoding: Encoding, gpu_way: Option<String>) {
        let mut state = self.state.lock();
        state.encoding = encoding;
        state.gpu_way = gpu_way.unwrap_or_default();
        drop(state);
        // Told at once: a driver that kills this process does so as soon as it is called.
        self.news.notify_all();
    }

    /// Notes that no GPU is at work any more.
    pub fn leave_gpu(&self) {
        self.state.lock().gpu_way.clear();
    }

    /// Stops a pipeline by dropping it. `why` is what led to that, if anything did; see [`Progress::stuck`].
    pub fn stop_pipeline<T>(&self, pipeline: T, why: Option<&Failure>) {
        let why = why.cloned().unwrap_or_else(|| failure::stuck("the pipeline does not stop"));
        *self.stopping.lock() = Some((Instant::now(), why));
        drop(pipeline);
        *self.stopping.lock() = None;
    }

    /// Why a pipeline was to be stopped, if it has not done so for that long. An element that hangs in a driver never does.
    pub fn stuck(&self, patience: Duration) -> Option<Failure> {
        let stopping = self.stopping.lock().clone();
        stopping.filter(|(since, _)| since.elapsed() >= patience).map(|(_, why)| why)
    }

    /// Reports until told to stop. Meant for a thread of its own, so that no stall elsewhere silences it.
    pub fn report_while_busy(&self, mut send: impl FnMut(TranscodeProgressed)) {
        let mut state = self.state.lock();
        while !state.over {
            send(state.message());
            self.news.wait_for(&mut state, INTERVAL);
        }
    }

    /// Ends [`Progress::report_while_busy`].
    pub fn stop(&self) {
        self.state.lock().over = true;
        self.news.notify_all();
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
            gpu_way: self.gpu_way.clone(),
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
        assert_eq!(progress.state.lock().fraction, 0.5);
        progress.reach(Phase::Encoding, 0.1);
        progress.reach(Phase::Fetching, 1.0);
        let message = progress.state.lock().message();
        assert_eq!((message.phase.as_str(), message.fraction), ("encoding", 0.1));
    }

    #[test]
    fn work_that_is_done_again_is_a_sign_of_work() {
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
    fn a_pipeline_that_does_not_stop_is_stuck_with_what_led_to_it() {
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

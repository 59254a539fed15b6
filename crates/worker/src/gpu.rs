//! The GPU, as a worker sees it: tested at start, watched while clips are made on it, and let rest once it fails its test.
//!
//! ```text
//! none   there is none, or GPU_ENABLED=false
//! used ──fails several clips in a row──▶ tested again ──passes──▶ used
//!  start ──fails its test──▶ off ◀─────────────fails─┘
//! ```
//!
//! Off is for the worker's life: a GPU that fails and recovers and fails costs every other clip its time. The clips are made on the
//! CPU from then on, and each says why; where a GPU is a must, the worker ends instead, and whoever runs it starts another.

use crate::program::{GpuMode, Program};
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{
    fallback::Fallback,
    limits::MAX_GPU_FAILURES,
    rendition::{by_name, name_of},
};
use serde_json::{Value, json};
use std::{
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio_util::sync::CancellationToken;

/// One worker's GPU.
pub(crate) struct GpuMonitor {
    must: bool,
    state: Mutex<State>,
    went_off: CancellationToken,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    None,
    Used {
        /// Clips in a row that it failed.
        failures: u32,
        /// Its test is running.
        tested: bool,
    },
    Off(String),
}

/// What a clip tells of the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It had no part in it.
    None,
    /// It did its part.
    Done,
    /// It failed, and the clip was made without it.
    Failed,
}

impl Part {
    pub(crate) fn of(finished: &TranscodeFinished) -> Self {
        match by_name(&Fallback::ALL, &finished.fallback_kind) {
            Ok(kind) if kind.blames_gpu() => Self::Failed,
            _ if finished.gpu_driver.is_empty() => Self::None,
            _ => Self::Done,
        }
    }
}

/// Has the media program say what it can do here, and so learns of the GPU.
pub(crate) async fn examine(program: &Program) -> io::Result<(Value, GpuMonitor)> {
    let new = |state| GpuMonitor::new(program.gpu() == GpuMode::True, state);
    match program.check().await {
        Ok(report) => {
            let gpu = new(verdict(&report));
            Ok((report, gpu))
        }
        // A driver may kill or stop whoever calls it; without the GPU all may be well.
        Err(error) if program.gpu() == GpuMode::Auto => {
            let report = program.without_gpu().check().await?;
            Ok((report, new(State::Off(error.to_string()))))
        }
        Err(error) => Err(error),
    }
}

/// What a report of the media program says of the GPU.
fn verdict(report: &Value) -> State {
    let gpu = &report["gpu"];
    match gpu["selfTest"]["passed"].as_bool() {
        None => State::None,
        Some(true) => State::Used { failures: 0, tested: false },
        Some(false) => State::Off(gpu["note"].as_str().unwrap_or("the GPU failed its test").to_owned()),
    }
}

impl GpuMonitor {
    fn new(must: bool, state: State) -> Self {
        let off = matches!(state, State::Off(_));
        if let State::Off(reason) = &state {
            tracing::warn!(reason, "clips are made without the GPU");
        }
        metrics::gauge!("clipfleet_gpu_quarantined").set(f64::from(u8::from(off)));
        Self { must, state: Mutex::new(state), went_off: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why it is let rest, if it is.
    pub(crate) fn off(&self) -> Option<String> {
        match &*self.state() {
            State::Off(reason) => Some(reason.clone()),
            State::None | State::Used { .. } => None,
        }
    }

    /// Why the worker cannot go on, if it cannot.
    pub(crate) fn ends_worker(&self) -> Option<String> {
        self.off().filter(|_| self.must)
    }

    /// Returns once it is off that was used.
    pub(crate) async fn went_off(&self) {
        self.went_off.cancelled().await;
    }

    /// For people who ask whether the worker is ready.
    pub(crate) fn details(&self) -> Value {
        match &*self.state() {
            State::None => json!({"state": "none"}),
            State::Used { failures, .. } => json!({"state": "used", "failedInARow": failures}),
            State::Off(reason) => json!({"state": "off", "reason": reason}),
        }
    }

    /// Notes what a clip tells. Says whether the GPU is to be tested; then [`GpuMonitor::tested`] must follow.
    #[must_use]
    pub(crate) fn note(&self, part: Part) -> bool {
        let State::Used { failures, tested } = &mut *self.state() else { return false };
        match part {
            Part::None => {}
            Part::Done => *failures = 0,
            Part::Failed => *failures += 1,
        }
        let test = !*tested && *failures >= MAX_GPU_FAILURES;
        *tested |= test;
        test
    }

    /// Notes how its test went.
    pub(crate) fn tested(&self, report: io::Result<Value>) {
        let found = match report.map(|report| verdict(&report)) {
            Ok(State::None) => State::Off("the GPU is no longer to be seen".into()),
            Ok(found) => found,
            Err(error) => State::Off(error.to_string()),
        };
        let outcome = if matches!(found, State::Off(_)) { "failed" } else { "passed" };
        metrics::counter!("clipfleet_gpu_retests_total", "outcome" => outcome).increment(1);
        tracing::warn!(
            ?found,
            "the GPU was tested again, since it failed {MAX_GPU_FAILURES} clips in a row"
        );
        let mut state = self.state();
        *state = found;
        if matches!(*state, State::Off(_)) {
            metrics::gauge!("clipfleet_gpu_quarantined").set(1.0);
            self.went_off.cancel();
        }
    }
}

/// Counts what a clip was made with.
pub(crate) fn count(finished: &TranscodeFinished) {
    let [encoder, decoder] = [&finished.encoder, &finished.decoder].map(|name| label(name));
    metrics::counter!("clipfleet_clips_made_total", "encoder" => encoder, "decoder" => decoder).increment(1);
    if let Ok(kind) = by_name(&Fallback::ALL, &finished.fallback_kind) {
        let kind = name_of(&Fallback::ALL, kind);
        metrics::counter!("clipfleet_fallbacks_total", "kind" => kind).increment(1);
    }
}

/// Names of elements are short and plain; the media process, which reads strangers' files, must not grow our metrics by others.
fn label(name: &str) -> String {
    const LONGEST: usize = 24;
    let plain = name.len() <= LONGEST && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { name.to_owned() } else { "other".to_owned() }
}

#[cfg(test)]
mod tests;

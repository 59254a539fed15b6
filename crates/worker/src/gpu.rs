//! Monitors the GPU: it is tested at the start, and again when clips fail on it, and disabled once it fails its test.
//!
//! ```text
//!   start ──no GPU, or GPU_ENABLED=false──▶ absent
//!   start ──passes its test──▶ enabled ──fails several consecutive clips──▶ tested again ──passes──▶ enabled
//!   start ──fails its test──▶ disabled ◀────────────────────────────────────fails─┘
//! ```
//!
//! Only clips that the CPU then made count as failures of the GPU: a clip that fails on both says nothing about it.
//! Three consecutive ones cause a test, and the test decides. An unusual source therefore does not disable a GPU, and a
//! broken GPU costs three clips some seconds each, not every clip.
//!
//! A disabled GPU stays disabled until the worker restarts: a GPU that fails and recovers repeatedly would delay many
//! clips. From then on clips are made on the CPU, and each records why.
//!
//! If a GPU is required, a worker without a working one ends, at start and later alike: it is not ready, hands its
//! clips back, and its supervisor starts another. A process that idles on a broken GPU would look like capacity.

use crate::program::{GpuMode, Program};
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{fallback::Fallback, limits::MAX_GPU_FAILURES, wire_name::WireName as _};
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use std::io;
use tokio_util::sync::CancellationToken;

/// The GPU of one worker.
pub(crate) struct GpuMonitor {
    required: bool,
    state: Mutex<State>,
    disabled: CancellationToken,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Absent,
    Enabled {
        /// Consecutive clips that failed on it.
        failures: u32,
        /// Its test is running.
        retesting: bool,
    },
    Disabled(String),
}

/// What a finished clip says about the GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GpuOutcome {
    /// It was not used.
    NotUsed,
    /// It did its part.
    Succeeded,
    /// It failed, and the clip was made without it.
    Failed,
}

impl GpuOutcome {
    pub(crate) fn of(finished: &TranscodeFinished) -> Self {
        match Fallback::parse(&finished.fallback_kind) {
            Ok(kind) if kind.blames_gpu() => Self::Failed,
            _ if finished.gpu_driver.is_empty() => Self::NotUsed,
            _ => Self::Succeeded,
        }
    }
}

/// Runs the media program's check, which reports its capabilities and the GPU.
pub(crate) async fn detect(program: &Program) -> io::Result<(Value, GpuMonitor)> {
    let new = |state| GpuMonitor::new(program.gpu() == GpuMode::True, state);
    match program.check().await {
        Ok(report) => {
            let gpu = new(state_of(&report));
            Ok((report, gpu))
        }
        // A driver may kill or hang its caller; without the GPU the check may pass.
        Err(error) if program.gpu() == GpuMode::Auto => {
            let report = program.without_gpu().check().await?;
            Ok((report, new(State::Disabled(error.to_string()))))
        }
        Err(error) => Err(error),
    }
}

/// The GPU's state, by a report of the media program.
fn state_of(report: &Value) -> State {
    let gpu = &report["gpu"];
    match gpu["selfTest"]["passed"].as_bool() {
        None => State::Absent,
        Some(true) => State::Enabled { failures: 0, retesting: false },
        Some(false) => State::Disabled(gpu["note"].as_str().unwrap_or("the GPU failed its test").to_owned()),
    }
}

impl GpuMonitor {
    fn new(required: bool, state: State) -> Self {
        let is_disabled = matches!(state, State::Disabled(_));
        if let State::Disabled(reason) = &state {
            tracing::warn!(reason, "GPU disabled");
        }
        metrics::gauge!("clipfleet_gpu_quarantined").set(f64::from(u8::from(is_disabled)));
        Self { required, state: Mutex::new(state), disabled: CancellationToken::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Why it is disabled, if it is.
    pub(crate) fn disabled_reason(&self) -> Option<String> {
        match &*self.state() {
            State::Disabled(reason) => Some(reason.clone()),
            State::Absent | State::Enabled { .. } => None,
        }
    }

    /// Why the worker must end, if it must: its GPU is required and disabled.
    pub(crate) fn fatal(&self) -> Option<String> {
        self.disabled_reason().filter(|_| self.required)
    }

    /// Returns once an enabled GPU is disabled.
    pub(crate) async fn wait_disabled(&self) {
        self.disabled.cancelled().await;
    }

    /// For `/ready`.
    pub(crate) fn details(&self) -> Value {
        match &*self.state() {
            State::Absent => json!({"state": "absent"}),
            State::Enabled { failures, .. } => json!({"state": "enabled", "consecutiveFailures": failures}),
            State::Disabled(reason) => json!({"state": "disabled", "reason": reason}),
        }
    }

    /// Records a finished clip. Returns whether the GPU must be tested again; then [`GpuMonitor::record_retest`] must
    /// follow.
    #[must_use]
    pub(crate) fn record(&self, outcome: GpuOutcome) -> bool {
        let State::Enabled { failures, retesting } = &mut *self.state() else { return false };
        match outcome {
            GpuOutcome::NotUsed => {}
            GpuOutcome::Succeeded => *failures = 0,
            GpuOutcome::Failed => *failures += 1,
        }
        let test = !*retesting && *failures >= MAX_GPU_FAILURES;
        *retesting |= test;
        test
    }

    /// Records the result of a retest.
    pub(crate) fn record_retest(&self, report: io::Result<Value>) {
        let found = match report.map(|report| state_of(&report)) {
            Ok(State::Absent) => State::Disabled("the GPU is no longer visible".into()),
            Ok(found) => found,
            Err(error) => State::Disabled(error.to_string()),
        };
        let outcome = if matches!(found, State::Disabled(_)) { "failed" } else { "passed" };
        metrics::counter!("clipfleet_gpu_retests_total", "outcome" => outcome).increment(1);
        tracing::warn!(?found, "GPU tested again after {MAX_GPU_FAILURES} consecutive clips failed on it");
        let mut state = self.state();
        *state = found;
        if matches!(*state, State::Disabled(_)) {
            metrics::gauge!("clipfleet_gpu_quarantined").set(1.0);
            self.disabled.cancel();
        }
    }
}

/// Counts a finished clip by its encoder and decoder.
pub(crate) fn count(finished: &TranscodeFinished) {
    let [encoder, decoder] = [&finished.encoder, &finished.decoder].map(|name| label(name));
    metrics::counter!("clipfleet_clips_made_total", "encoder" => encoder, "decoder" => decoder).increment(1);
    if let Ok(kind) = Fallback::parse(&finished.fallback_kind) {
        let kind = kind.name();
        metrics::counter!("clipfleet_fallbacks_total", "kind" => kind).increment(1);
    }
}

/// The name of an element as a label. The media process reads untrusted files, so that any other text is replaced:
/// labels must not multiply.
fn label(name: &str) -> String {
    const MAX_CHARS: usize = 24;
    let plain = name.len() <= MAX_CHARS && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if plain { name.to_owned() } else { "other".to_owned() }
}

#[cfg(test)]
mod tests;

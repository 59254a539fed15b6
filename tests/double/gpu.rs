//! A GPU of one's choice, and what came of a clip that was made on it.

use crate::{pattern, source::Source};
use clipfleet_tests::{
    clip,
    fixtures::directory,
    pipeline_process::{Order, STRICT, Transcript, binary, transcode_by},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where the double and its scripts are.
pub(crate) fn double(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("double").join(file)
}

/// What the double is to play; see README.md.
#[derive(Debug, Default)]
pub(crate) struct Gpu {
    kind: String,
    faults: String,
    environment: &'static [(&'static str, &'static str)],
}

impl Gpu {
    /// An L4 that is in order.
    pub(crate) fn l4() -> Self {
        Self::default()
    }

    /// Another one than an L4.
    pub(crate) fn other(kind: &str) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// An L4 with faults.
    pub(crate) fn with(faults: &str) -> Self {
        Self { faults: faults.into(), ..Self::default() }
    }

    /// An L4 whose process has more in its environment.
    pub(crate) fn under(environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..Self::default() }
    }

    /// Makes a clip.
    pub(crate) fn make(&self, order: &Order, source: &Path) -> Made {
        let log = directory();
        let path = log.path().join("calls");
        let mut command = Command::new(double("run.sh"));
        command.arg(binary()).envs(STRICT).env_remove("GST_REGISTRY").env_remove("GPU_ENABLED");
        command.env("CLIPFLEET_DOUBLE_GPU", &self.kind).env("CLIPFLEET_DOUBLE_FAULT", &self.faults);
        command.env("CLIPFLEET_DOUBLE_LOG", &path).envs(self.environment.iter().copied());
        let transcript = transcode_by(command, order, source);
        // A driver that was never asked has no log.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let calls = text.lines().map(|line| serde_json::from_str(line).expect("a line of the log")).collect();
        Made { transcript, calls }
    }
}

/// A clip, or what kept it from being made, and the calls that the driver got.
pub(crate) struct Made {
    pub(crate) transcript: Transcript,
    calls: Vec<Value>,
}

impl Made {
    /// All calls of one kind.
    pub(crate) fn calls(&self, kind: &str) -> Vec<&Value> {
        self.calls.iter().filter(|call| call["call"] == kind).collect()
    }

    /// The only call of that kind.
    #[track_caller]
    pub(crate) fn call(&self, kind: &str) -> &Value {
        let calls = self.calls(kind);
        assert_eq!(calls.len(), 1, "calls of {kind}: {calls:?}");
        calls[0]
    }

    /// The way that the clip took, as every place says that tells it: `decoder encoder`, and why no better one.
    #[track_caller]
    pub(crate) fn way(&self) -> (String, String) {
        let manifest = self.transcript.manifest();
        let finished = self.transcript.outcome.as_ref().expect("a clip");
        let reported = &self.transcript.progress.last().expect("a report").1;
        let text = |field: &str| manifest[field].as_str().expect("text").to_owned();
        assert_eq!((&finished.encoder, &finished.fallback_reason), (&text("encoder"), &text("fallbackReason")));
        assert_eq!((&reported.encoder, &reported.fallback_reason), (&text("encoder"), &text("fallbackReason")));
        (format!("{} {}", text("decoder"), text("encoder")), text("fallbackReason"))
    }

    /// Checks what is promised of every clip: container, cadence, number of frames, sound at its time.
    #[track_caller]
    pub(crate) fn check(&self, size: (u32, u32), order: &Order, source: &Source) {
        clip::check_file(&self.transcript, size, order);
        clip::check_sound(Some(source.beeps()), &self.transcript.output(), order);
    }

    /// What its pictures show of the pattern that the GPU's decoder gives.
    pub(crate) fn seen(&self, size: (u32, u32), source: &Source) -> Vec<pattern::Seen> {
        pattern::read(&self.transcript.output(), size, None, source.size())
    }
}

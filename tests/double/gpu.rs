//! A simulated GPU, and the results of a clip that was made on it.

use crate::{pattern, source::Source};
use clipfleet_tests::{
    clip,
    fixtures::directory,
    pipeline_process::{Order, STRICT, Transcript, binary, transcode_with},
};
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// The path of a file of the double.
pub(crate) fn double(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("double").join(file)
}

/// The settings of the double; see README.md.
#[derive(Debug, Default)]
pub(crate) struct Gpu {
    kind: String,
    faults: String,
    environment: &'static [(&'static str, &'static str)],
}

impl Gpu {
    /// An L4 without faults.
    pub(crate) fn l4() -> Self {
        Self::default()
    }

    /// Another kind of GPU.
    pub(crate) fn other(kind: &str) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// An L4 with faults.
    pub(crate) fn with(faults: &str) -> Self {
        Self { faults: faults.into(), ..Self::default() }
    }

    /// An L4 whose process has additional environment variables.
    pub(crate) fn under(environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..Self::default() }
    }

    /// Makes a clip.
    pub(crate) fn make(&self, order: &Order, source: &Path) -> GpuClip {
        let log = directory();
        let path = log.path().join("calls");
        let mut command = Command::new(double("run.sh"));
        command.arg(binary()).envs(STRICT).env_remove("GST_REGISTRY").env_remove("GPU_ENABLED");
        command.env("CLIPFLEET_DOUBLE_GPU", &self.kind).env("CLIPFLEET_DOUBLE_FAULT", &self.faults);
        command.env("CLIPFLEET_DOUBLE_LOG", &path).envs(self.environment.iter().copied());
        let transcript = transcode_with(command, order, source);
        // A driver that received no call has no log.
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let calls = text.lines().map(|line| serde_json::from_str(line).expect("a line of the log")).collect();
        GpuClip { transcript, calls }
    }
}

/// A clip or its failure, and the calls that the driver received.
pub(crate) struct GpuClip {
    pub(crate) transcript: Transcript,
    calls: Vec<Value>,
}

impl GpuClip {
    /// All calls of one kind.
    pub(crate) fn calls(&self, kind: &str) -> Vec<&Value> {
        self.calls.iter().filter(|call| call["call"] == kind).collect()
    }

    /// The only call of one kind.
    #[track_caller]
    pub(crate) fn call(&self, kind: &str) -> &Value {
        let calls = self.calls(kind);
        assert_eq!(calls.len(), 1, "calls of {kind}: {calls:?}");
        calls[0]
    }

    /// The route of the clip, `decoder encoder`, and why no better route was used. Asserts that all places that report
    /// it agree.
    #[track_caller]
    pub(crate) fn route(&self) -> (String, String) {
        let manifest = self.transcript.manifest();
        let finished = self.transcript.outcome.as_ref().expect("a clip");
        let reported = &self.transcript.progress.last().expect("a report").1;
        let text = |field: &str| manifest[field].as_str().expect("text").to_owned();
        assert_eq!((&finished.encoder, &finished.fallback_reason), (&text("encoder"), &text("fallbackReason")));
        assert_eq!((&reported.encoder, &reported.fallback_reason), (&text("encoder"), &text("fallbackReason")));
        (format!("{} {}", text("decoder"), text("encoder")), text("fallbackReason"))
    }

    /// Checks what every clip guarantees: container, timing, number of frames, audio in sync.
    #[track_caller]
    pub(crate) fn check(&self, size: (u32, u32), order: &Order, source: &Source) {
        clip::check_file(&self.transcript, size, order);
        clip::check_audio(Some(source.beeps()), &self.transcript.output(), order);
    }

    /// What its pictures show of the pattern that the GPU's decoder outputs.
    pub(crate) fn measured(&self, size: (u32, u32), source: &Source) -> Vec<pattern::MeasuredPicture> {
        pattern::read(&self.transcript.output(), size, None, source.size())
    }
}

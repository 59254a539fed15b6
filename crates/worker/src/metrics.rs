//! The worker's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_domain::{
    job::Job,
    lifecycle::{Encoding, Output},
};
use clipfleet_service::telemetry::Metric;
use serde_json::Value;

pub(crate) const METRICS: &[Metric] = &[
    Metric::counter_by(
        "clipfleet_attempts_total",
        "Attempts that ended, by outcome: done, obsolete, requeue, lease_lost.",
        "outcome",
        &["done", "obsolete", "requeue", "lease_lost"],
    ),
    Metric::gauge("clipfleet_busy_slots", "Clips that are processed now."),
    Metric::histogram("clipfleet_clip_seconds", "Seconds from the acceptance of a clip to its completion."),
    Metric::counter_by(
        "clipfleet_clips_ended_total",
        "Clips that completed or failed, by whether that was within 60 s and their own length.",
        "on_time",
        &["true", "false"],
    ),
    Metric::open_counter(
        "clipfleet_clips_made_total",
        "Clips encoded, by encoder and decoder. Results that already existed do not count.",
    ),
    Metric::histogram(
        "clipfleet_encode_frames_per_second",
        "Frames of a clip per second of decoding, reframing and encoding, by encoder.",
    ),
    Metric::open_counter(
        "clipfleet_fallbacks_total",
        "Clips that did not use the best route of the instance, by kind of reason.",
    ),
    Metric::gauge("clipfleet_gpu_quarantined", "1 while the GPU is not used because it failed clips or its test."),
    Metric::counter_by(
        "clipfleet_gpu_retests_total",
        "Tests of the GPU after clips failed on it, by outcome.",
        "outcome",
        &["passed", "failed"],
    ),
    Metric::counter("clipfleet_jobs_not_understood_total", "Jobs of another version, which were handed back."),
    Metric::histogram(
        "clipfleet_phase_seconds",
        "Seconds of a completed clip, by phase: fetch, encode, verify, upload.",
    ),
    Metric::histogram(
        "clipfleet_queue_wait_seconds",
        "Seconds from the acceptance of a clip, or of its retry, to the start of an attempt.",
    ),
    Metric::counter("clipfleet_source_bytes_served_total", "Bytes of sources passed to media processes."),
    Metric::counter("clipfleet_source_bytes_total", "Bytes of sources fetched from storage."),
    Metric::counter_by(
        "clipfleet_source_rereads_total",
        "Sources that were read a second time because they looked damaged, by the result of that reading.",
        "outcome",
        &["intact", "same"],
    ),
    Metric::gauge("clipfleet_worker_info", "1, with the versions of GStreamer and of the GPU driver of this instance."),
    Metric::gauge("clipfleet_worker_paused", "1 while the fleet is paused."),
    Metric::gauge("clipfleet_worker_cooldown", "1 while no jobs are leased because this instance fails its clips."),
    Metric::gauge("clipfleet_worker_sandboxed", "1 if the media processes of this instance run in a complete sandbox."),
    Metric::counter(
        "clipfleet_worker_stalls_total",
        "Stalls of the worker process after which its leases may be lost. It gave up every clip that it held.",
    ),
];

/// The time from the acceptance of a clip, or of its retry, to its end that the service level objective allows, beside
/// the length of the clip.
const TIME_OBJECTIVE_MS: i64 = 60_000;

/// Records what this instance works with, so that outcomes can be compared by it.
pub(crate) fn record_versions(capabilities: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let (gstreamer, driver) = (text(&capabilities["gstreamer"]), text(&capabilities["gpu"]["driver"]));
    metrics::gauge!("clipfleet_worker_info", "gstreamer" => gstreamer, "gpu_driver" => driver).set(1);
}

/// Records that a clip ends now. Returns whether that is on time.
pub(crate) fn record_end(job: &Job, now_ms: i64) -> bool {
    let length_ms = job.clip.window.length_ms();
    let on_time = now_ms - job.queued_at_ms <= TIME_OBJECTIVE_MS + length_ms;
    metrics::counter!("clipfleet_clips_ended_total", "on_time" => if on_time { "true" } else { "false" }).increment(1);
    on_time
}

/// Records how long a clip waited for this attempt.
pub(crate) fn record_start(job: &Job, now_ms: i64) {
    metrics::histogram!("clipfleet_queue_wait_seconds").record(seconds(now_ms - job.queued_at_ms));
}

/// Records where a completed clip's time went. A result that was adopted took none.
pub(crate) fn record_completion(job: &Job, output: &Output, encoding: &Encoding) {
    let timings = &output.timings;
    metrics::histogram!("clipfleet_clip_seconds").record(seconds(timings.total_ms));
    if timings.encode_ms == 0 {
        return;
    }
    for (phase, took) in [
        ("fetch", timings.fetch_ms),
        ("encode", timings.encode_ms),
        ("verify", timings.verify_ms),
        ("upload", timings.upload_ms),
    ] {
        metrics::histogram!("clipfleet_phase_seconds", "phase" => phase).record(seconds(took));
    }
    let frames = seconds(output.duration_ms) * f64::from(job.rendition.fps);
    metrics::histogram!("clipfleet_encode_frames_per_second", "encoder" => encoding.encoder.clone())
        .record(frames / seconds(timings.encode_ms));
}

fn seconds(ms: i64) -> f64 {
    ms.max(0) as f64 / 1_000.0
}

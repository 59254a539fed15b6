//! The scaler's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_service::telemetry::Metric;

/// The metrics of this role.
pub const METRICS: &[Metric] = &[
    Metric::counter("clipfleet_malformed_messages_total", "Messages that could not be decoded and were dropped."),
    Metric::gauge("clipfleet_scaler_busy_workers", "Workers that process clips."),
    Metric::gauge("clipfleet_scaler_clips_at_work", "Clips that are processed."),
    Metric::open_counter("clipfleet_scaler_decisions_total", "Decisions, by direction and reason."),
    Metric::counter("clipfleet_scaler_events_received_total", "Events received."),
    Metric::gauge("clipfleet_scaler_leader", "1 for the leader: the one scaler that sets the size."),
    Metric::gauge("clipfleet_scaler_loss_allowance_seconds", "Slot-seconds of work that scale-in may lose now."),
    Metric::gauge("clipfleet_scaler_outstanding_seconds", "Predicted slot-seconds of the outstanding work."),
    Metric::gauge("clipfleet_scaler_waiting_clips", "Clips that wait for a slot."),
    Metric::gauge("clipfleet_scaler_workers_allowed", "Largest size that the platform is believed to allow."),
    Metric::gauge("clipfleet_scaler_workers_target", "Size of the pool that was set last."),
    Metric::gauge("clipfleet_scaler_workers_desired", "Workers that the load calls for."),
    Metric::counter_by(
        "clipfleet_scaler_writes_total",
        "Attempts to set the size, by outcome.",
        "outcome",
        &["done", "quota", "conflict", "denied", "failed"],
    ),
];

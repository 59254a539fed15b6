//! The status service's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_service::telemetry::Metric;

/// The metrics of this role.
pub const METRICS: &[Metric] = &[
    Metric::counter("clipfleet_documents_written_total", "Writes of status documents."),
    Metric::counter("clipfleet_events_folded_total", "Events folded into documents."),
    Metric::counter("clipfleet_malformed_messages_total", "Messages that could not be decoded and were dropped."),
    Metric::counter("clipfleet_mirror_failures_total", "Writes of the legacy mirror that failed."),
    Metric::counter(
        "clipfleet_mirror_left_out_total",
        "Changes that the legacy mirror dropped because too many were pending.",
    ),
    Metric::histogram(
        "clipfleet_status_delay_seconds",
        "Seconds from the receipt of an event until the documents that it changed are written.",
    ),
    Metric::counter_by(
        "clipfleet_status_documents_refused_total",
        "Status documents that the database refused permanently, by outcome.",
        "outcome",
        &["reduced", "read_again", "given_up", "postponed"],
    ),
    Metric::counter(
        "clipfleet_status_write_failures_total",
        "Commits of status documents that failed and were retried.",
    ),
];

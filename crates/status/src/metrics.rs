//! The status service's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_service::telemetry::Metric;

pub(crate) const METRICS: &[Metric] = &[
    Metric::counter("clipfleet_documents_written_total", "Writes of status documents."),
    Metric::counter("clipfleet_events_folded_total", "Events folded into documents."),
    Metric::counter("clipfleet_malformed_messages_total", "Messages that could not be decoded and were dropped."),
    Metric::counter("clipfleet_mirror_failures_total", "Writes of the legacy mirror that failed."),
    Metric::counter(
        "clipfleet_mirror_left_out_total",
        "Changes that the legacy mirror dropped because too many were pending.",
    ),
    Metric::counter(
        "clipfleet_status_documents_refused_total",
        "Status documents that the database refused permanently, by outcome.",
    ),
    Metric::counter(
        "clipfleet_status_write_failures_total",
        "Commits of status documents that failed and were retried.",
    ),
];

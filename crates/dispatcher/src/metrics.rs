//! The dispatcher's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_service::telemetry::Metric;

/// The metrics of this role.
pub const METRICS: &[Metric] = &[
    Metric::counter("clipfleet_batches_accepted_total", "Batches accepted over HTTP or from the topic."),
    Metric::open_counter("clipfleet_batches_refused_total", "Batches from the topic that were refused, by code."),
    Metric::counter("clipfleet_clips_dispatched_total", "Clips whose jobs were published."),
    Metric::histogram(
        "clipfleet_dispatch_seconds",
        "Seconds from the acceptance of a batch to the confirmation of its last job.",
    ),
    Metric::counter(
        "clipfleet_jobs_republished_total",
        "Jobs published again because no event arrived for their clips.",
    ),
    Metric::counter(
        "clipfleet_records_unreadable_total",
        "Batch records that this version cannot read and skips, counted each time.",
    ),
];

//! The dispatcher's metrics, as `/metrics` explains them and `deploy/metrics.md` lists them.

use clipfleet_service::telemetry::Metric;

pub(crate) const METRICS: &[Metric] = &[
    Metric::counter("clipfleet_batches_accepted_total", "Batches accepted, by HTTP or topic."),
    Metric::counter("clipfleet_batches_refused_total", "Batches of the topic that were refused, by code."),
    Metric::counter("clipfleet_clips_dispatched_total", "Clips whose jobs were published."),
    Metric::histogram(
        "clipfleet_dispatch_seconds",
        "From the acceptance of a batch to the confirmation of its last job.",
    ),
    Metric::counter(
        "clipfleet_jobs_republished_total",
        "Jobs published again because nothing was heard of their clips.",
    ),
    Metric::counter(
        "clipfleet_records_unreadable_total",
        "Records of batches that this version cannot read, each time they were found and left out.",
    ),
];

//! Logs to standard error, metrics for `/metrics` and for a collector.

use crate::{
    bounds::{PER_SECOND, SECONDS},
    cloud_log::CloudLog,
    otlp,
    trace::{self, Traces},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::layers::FanoutBuilder;
use std::{
    fs::File,
    io::IsTerminal,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    fmt::writer::BoxMakeWriter,
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, with the fields that Cloud Logging interprets.
    Json,
}

/// Parses `text` or `json`.
pub fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        other => Err(format!("must be text or json, got {other:?}")),
    }
}

/// Starts logging and, if an endpoint is set, tracing as `service`. Called once per process, within tokio's runtime.
/// `default_filter` is a level or an `EnvFilter` directive; `CLIPFLEET_LOG` overrides it for log lines.
pub fn start_logging(format: LogFormat, default_filter: &str, service: &str, traces: &Traces) {
    log_to(None, format, default_filter, service, traces);
}

/// The same, with log lines appended to `file` instead of written to the standard error.
pub fn start_logging_to(file: File, format: LogFormat, default_filter: &str, service: &str, traces: &Traces) {
    log_to(Some(file), format, default_filter, service, traces);
}

fn log_to(file: Option<File>, format: LogFormat, default_filter: &str, service: &str, traces: &Traces) {
    let colors = file.is_none() && std::io::stderr().is_terminal();
    let writer = match file {
        Some(file) => BoxMakeWriter::new(Arc::new(file)),
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let filter = EnvFilter::try_from_env("CLIPFLEET_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let started = otlp::start(traces.endpoint.as_deref(), service).and_then(|()| trace::start(traces, service));
    let (tracer, otlp_error) = match started {
        Ok(tracer) => (tracer, None),
        Err(error) => (None, Some(error)),
    };
    // Only Clipfleet's own spans are exported: those of libraries do not concern clips.
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("clipfleet"));
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
    let registry = tracing_subscriber::registry().with(spans);
    // Spans are not logged: each line carries its own fields.
    let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
    let layer = tracing_subscriber::fmt::layer().with_writer(writer).with_target(false);
    // A second start (tests, embedding) keeps the first.
    let _ = match format {
        LogFormat::Text => registry.with(layer.with_ansi(colors).with_filter(filter)).try_init(),
        LogFormat::Json => registry.with(layer.event_format(CloudLog::new()).with_filter(filter)).try_init(),
    };
    if let Some(error) = otlp_error {
        tracing::warn!(%error, endpoint = traces.endpoint, "failed to start the export of traces and metrics");
    }
}

/// A metric of a role, with its description in `/metrics`. Names follow Prometheus: base units, `_total` for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// One sentence that names the labels.
    pub help: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter(Series),
    Gauge,
    Histogram,
}

/// The series of a counter that are zero from the start. A series that begins with its first event hides that event
/// from `rate()`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Series {
    Unlabelled,
    /// One for each of these values of a label.
    Labelled(&'static str, &'static [&'static str]),
    /// They are not known.
    Open,
}

impl Metric {
    /// A value that only grows, without labels.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter(Series::Unlabelled) }
    }

    /// Such a value for each of the values of a label.
    pub const fn counter_by(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        values: &'static [&'static str],
    ) -> Self {
        Self { name, help, kind: Kind::Counter(Series::Labelled(label, values)) }
    }

    /// Such a value with labels whose values are not all known before they occur.
    pub const fn open_counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter(Series::Open) }
    }

    /// A value that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge }
    }

    /// A distribution of values. The name must end in `_seconds` or `_per_second`.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Histogram }
    }
}

/// Starts a role's metrics. Values that were recorded before are lost.
pub fn start_metrics(of_role: &[Metric]) {
    metrics();
    for Metric { name, help, kind } in of_role {
        match kind {
            Kind::Counter(series) => {
                metrics::describe_counter!(*name, *help);
                match series {
                    Series::Unlabelled => metrics::counter!(*name).increment(0),
                    Series::Labelled(label, values) => {
                        values.iter().for_each(|value| metrics::counter!(*name, *label => *value).increment(0));
                    }
                    Series::Open => {}
                }
            }
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

/// The process's metrics in Prometheus's text format.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_per_second".into()), &PER_SECOND));
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        // Fails only if an embedding program has set a recorder already; then that one receives the values.
        let _ = match otlp::recorder() {
            None => metrics::set_global_recorder(recorder).map_err(drop),
            Some(exported) => {
                let both = FanoutBuilder::default().add_recorder(recorder).add_recorder(exported).build();
                metrics::set_global_recorder(both).map_err(drop)
            }
        };
        handle
    })
}

/// Sorts recorded values into their buckets periodically. Without this, each value stays in memory until `/metrics` is
/// read.
pub(crate) async fn run_upkeep() {
    const UPKEEP_INTERVAL: Duration = Duration::from_secs(30);
    loop {
        tokio::time::sleep(UPKEEP_INTERVAL).await;
        metrics().run_upkeep();
    }
}

//! Logs to standard error, metrics for `/metrics`.

use crate::{
    cloud_log::CloudLog,
    trace::{self, Traces},
};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, sync::OnceLock, time::Duration};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::{FilterExt as _, filter_fn},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, with the fields Cloud Logging reads.
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

/// Starts logging and, where spans are wanted, tracing as `service`, once per process and within tokio's runtime. `default_filter` is a level or an
/// `EnvFilter` directive; `CLIPFLEET_LOG` overrides it for log lines.
pub fn start_logging(format: LogFormat, default_filter: &str, service: &str, traces: &Traces) {
    let filter = EnvFilter::try_from_env("CLIPFLEET_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let (tracer, complaint) = match trace::start(traces, service) {
        Ok(tracer) => (tracer, None),
        Err(error) => (None, Some(error)),
    };
    // Spans are ours alone: libraries have theirs, which say nothing of clips.
    let ours = filter_fn(|metadata| metadata.is_span() && metadata.target().starts_with("clipfleet"));
    let spans = tracer.map(|tracer| tracing_opentelemetry::layer().with_tracer(tracer).with_filter(ours));
    let registry = tracing_subscriber::registry().with(spans);
    // Lines say for themselves what they are about.
    let filter = filter.and(filter_fn(|metadata| metadata.is_event()));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // A second start (tests, embedding) keeps the first.
    let _ = match format {
        LogFormat::Text => {
            registry.with(layer.with_ansi(std::io::stderr().is_terminal()).with_filter(filter)).try_init()
        }
        LogFormat::Json => registry.with(layer.event_format(CloudLog::new()).with_filter(filter)).try_init(),
    };
    if let Some(error) = complaint {
        tracing::warn!(%error, endpoint = traces.endpoint, "no traces are sent");
    }
}

/// A metric that a role has, with what `/metrics` says of it. Names follow Prometheus: base units, `_total` for counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// One sentence; labels are named in it.
    pub help: &'static str,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// One that only grows.
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Counter }
    }

    /// One that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Gauge }
    }

    /// How often values fell into which range: of names that end in `_seconds` or `_per_second`.
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, help, kind: Kind::Histogram }
    }
}

/// Starts a role's metrics: what was recorded before is lost.
pub fn start_metrics(of_role: &[Metric]) {
    metrics();
    for Metric { name, help, kind } in of_role {
        match kind {
            Kind::Counter => metrics::describe_counter!(*name, *help),
            Kind::Gauge => metrics::describe_gauge!(*name, *help),
            Kind::Histogram => metrics::describe_histogram!(*name, *help),
        }
    }
}

/// The process's metrics in Prometheus's text format.
pub(crate) fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    // Seconds; from the latency of the emulator's Pub/Sub to a clip's longest sensible time.
    const SECONDS: [f64; 14] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0];
    // Frames, say: from a CPU with too much to do to a GPU with nothing else.
    const PER_SECOND: [f64; 10] = [5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1_920.0];
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix("_per_second".into()), &PER_SECOND));
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        // Fails only when a recorder is there already (an embedding program's): then ours shows nothing, and that is theirs.
        let _ = metrics::set_global_recorder(recorder);
        handle
    })
}

/// Sorts recorded times into their buckets now and then, for ever: until someone reads the metrics, or this does, each one is kept.
pub(crate) async fn keep_up() {
    const EVERY: Duration = Duration::from_secs(30);
    loop {
        tokio::time::sleep(EVERY).await;
        metrics().run_upkeep();
    }
}

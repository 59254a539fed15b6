//! Logs to standard error, metrics for `/metrics`.

use crate::cloud_log::CloudLog;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::{io::IsTerminal, sync::OnceLock, time::Duration};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

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

/// Starts logging, once per process. `default_filter` is a level or an `EnvFilter` directive; `CLIPFLEET_LOG` overrides it.
pub fn start_logging(format: LogFormat, default_filter: &str) {
    let filter = EnvFilter::try_from_env("CLIPFLEET_LOG").unwrap_or_else(|_| EnvFilter::new(default_filter));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // A second start (tests, embedding) keeps the first.
    let _ = match format {
        LogFormat::Text => registry.with(layer.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(layer.event_format(CloudLog)).try_init(),
    };
}

/// The process's metrics in Prometheus's text format. The recorder is installed at the first call; values recorded before
/// are lost, so roles call it when they start.
pub fn metrics() -> &'static PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    // Seconds; from the embedded queue's latency to a clip's longest sensible time.
    const BUCKETS: [f64; 14] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0];
    HANDLE.get_or_init(|| {
        let builder = PrometheusBuilder::new();
        let builder = builder.set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS);
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

//! Metrics for a collector, beside those for `/metrics`: nobody scrapes the instances of a worker pool.

use crate::bounds::{PER_SECOND, SECONDS};
use metrics_exporter_opentelemetry::Recorder;
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    metrics::{Aggregation, Instrument, InstrumentKind, PeriodicReader, SdkMeterProvider, Stream},
};
use std::{error::Error, sync::OnceLock, time::Duration};

/// Timeout for one export, also for the last one when the process ends.
pub(crate) const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often metrics are exported: the resolution of Cloud Monitoring.
const EXPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Kept to export the last values when the process ends.
static METERS: OnceLock<(SdkMeterProvider, Recorder)> = OnceLock::new();

/// Starts the export as `service` to an endpoint, if there is one. Must be called within tokio's runtime, before the
/// first metric.
pub(crate) fn start(endpoint: Option<&str>, service: &str) -> Result<(), Box<dyn Error>> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    let exporter = opentelemetry_otlp::MetricExporter::builder().with_tonic();
    let exporter = exporter.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let reader = PeriodicReader::builder(exporter).with_interval(EXPORT_INTERVAL).build();
    let resource = Resource::builder().with_service_name(service.to_owned()).build();
    let recorder = Recorder::builder("clipfleet")
        .with_meter_provider(|provider| provider.with_reader(reader).with_resource(resource).with_view(with_bounds));
    // A second start (embedding) keeps the first.
    let _ = METERS.set(recorder.build());
    Ok(())
}

/// Histograms have the same bounds as in `/metrics`.
fn with_bounds(instrument: &Instrument) -> Option<Stream> {
    if instrument.kind() != InstrumentKind::Histogram {
        return None;
    }
    let boundaries = if instrument.name().ends_with("_per_second") { PER_SECOND.to_vec() } else { SECONDS.to_vec() };
    let aggregation = Aggregation::ExplicitBucketHistogram { boundaries, record_min_max: false };
    Stream::builder().with_aggregation(aggregation).build().ok()
}

/// Records values for the export, if it was started.
pub(crate) fn recorder() -> Option<Recorder> {
    METERS.get().map(|(_, recorder)| recorder.clone())
}

/// Exports the last values. Blocks.
pub(crate) fn end() {
    if let Some((provider, _)) = METERS.get()
        && let Err(error) = provider.shutdown_with_timeout(EXPORT_TIMEOUT)
    {
        tracing::debug!(%error, "failed to export the last metrics");
    }
}

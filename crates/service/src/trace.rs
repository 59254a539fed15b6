//! Traces from request to document. The spans of different processes form one trace because each message carries the
//! W3C Trace Context of its sender's span in its attributes.

use opentelemetry::{
    global,
    propagation::{Extractor, Injector},
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::{
    Resource,
    propagation::TraceContextPropagator,
    trace::{Sampler, SdkTracer, SdkTracerProvider},
};
use std::{collections::BTreeMap, error::Error, sync::OnceLock, time::Duration};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Timeout for the export of a batch of spans, and of the last spans when the process ends.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Where spans are exported to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    /// Address of an OTLP collector (gRPC), for example `http://127.0.0.1:4317`. Without one, no spans are recorded.
    pub endpoint: Option<String>,
    /// The share of traces that is sampled, 0 to 1. It is decided where a trace begins and holds in every process.
    pub share: f64,
}

/// Kept to flush the exporter when the process ends.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts the export as `service`. Must be called within tokio's runtime.
pub(crate) fn start(traces: &Traces, service: &str) -> Result<Option<SdkTracer>, Box<dyn Error>> {
    let Some(endpoint) = &traces.endpoint else { return Ok(None) };
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    let exporter = exporter.with_endpoint(endpoint).with_timeout(EXPORT_TIMEOUT).build()?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(traces.share))))
        .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
        .build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = provider.tracer("clipfleet");
    // A second start (embedding) keeps the first.
    let _ = PROVIDER.set(provider);
    Ok(Some(tracer))
}

/// Exports the remaining spans, in a few seconds at most. Must be the last call of a process.
pub async fn end() {
    if let Some(provider) = PROVIDER.get() {
        // The call blocks, and its exporter needs the runtime meanwhile.
        let flushed = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(EXPORT_TIMEOUT)).await;
        if let Ok(Err(error)) = flushed {
            tracing::debug!(%error, "failed to export the last spans");
        }
    }
}

/// The attributes that let a message continue the current span's trace; none if there is no trace.
pub fn inject() -> BTreeMap<String, String> {
    let mut carrier = Carrier::default();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&Span::current().context(), &mut carrier));
    carrier.0
}

/// Makes a span part of the trace that a message's attributes or a request's headers name, if they name one.
pub fn set_parent<'a>(span: &Span, attributes: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let carrier =
        Carrier(attributes.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect());
    let context = global::get_text_map_propagator(|propagator| propagator.extract(&carrier));
    if context.span().span_context().is_valid() {
        // Fails if no layer records the span, which is then unchanged.
        let _ = span.set_parent(context);
    }
}

/// A message's attributes in the form that [`set_parent`] takes.
pub fn pairs(attributes: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Whether a message's attributes name a trace.
pub fn has_context(attributes: &BTreeMap<String, String>) -> bool {
    attributes.contains_key("traceparent")
}

#[derive(Default)]
struct Carrier(BTreeMap<String, String>);

impl Injector for Carrier {
    fn set(&mut self, key: &str, value: String) {
        // An empty trace state carries no information.
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

impl Extractor for Carrier {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

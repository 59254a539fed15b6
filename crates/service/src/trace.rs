//! Traces from request to document: spans of processes that speak by messages, which are one trace because each message carries the
//! W3C Trace Context of the span that sent it among its labels.

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

/// Longest wait for a collector to take a batch of spans, and for the last of them when the process ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// Where spans go.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    /// Address of a collector that speaks OTLP over gRPC, for example `http://127.0.0.1:4317`; none: no spans are made.
    pub endpoint: Option<String>,
    /// Which share of traces is kept, 0 to 1, decided where a trace begins and the same in every process.
    pub share: f64,
}

/// The exporter, for the end of the process.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts exporting as `service`; within tokio's runtime.
pub(crate) fn start(traces: &Traces, service: &str) -> Result<Option<SdkTracer>, Box<dyn Error>> {
    let Some(endpoint) = &traces.endpoint else { return Ok(None) };
    let exporter = opentelemetry_otlp::SpanExporter::builder().with_tonic();
    let exporter = exporter.with_endpoint(endpoint).with_timeout(PATIENCE).build()?;
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

/// Sends what is not sent yet, in a few seconds at most. The last thing a process does.
pub async fn end() {
    if let Some(provider) = PROVIDER.get() {
        // It blocks, and its exporter needs the runtime meanwhile.
        let ended = tokio::task::spawn_blocking(|| provider.shutdown_with_timeout(PATIENCE)).await;
        if let Ok(Err(error)) = ended {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// The labels by which a message continues the trace of the current span; none where there is no trace.
pub fn labels() -> BTreeMap<String, String> {
    let mut labels = Labels::default();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&Span::current().context(), &mut labels));
    labels.0
}

/// Makes a span part of the trace that a message's labels, or a request's headers, name, if they name one.
pub fn follow<'a>(span: &Span, labels: impl IntoIterator<Item = (&'a str, &'a str)>) {
    let labels =
        Labels(labels.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect());
    let context = global::get_text_map_propagator(|propagator| propagator.extract(&labels));
    if context.span().span_context().is_valid() {
        // Fails where the span is of no trace, which is then as it was.
        let _ = span.set_parent(context);
    }
}

/// Labels as [`follow`] takes them.
pub fn texts(labels: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Whether labels name a trace.
pub fn is_in(labels: &BTreeMap<String, String>) -> bool {
    labels.contains_key("traceparent")
}

#[derive(Default)]
struct Labels(BTreeMap<String, String>);

impl Injector for Labels {
    fn set(&mut self, key: &str, value: String) {
        // An empty trace state says nothing.
        if !value.is_empty() {
            self.0.insert(key.to_owned(), value);
        }
    }
}

impl Extractor for Labels {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}

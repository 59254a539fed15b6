//! Traces from request to document. The spans of different processes form one trace because each message carries the
//! W3C Trace Context of its sender's span in its attributes.

use crate::otlp::{self, EXPORT_TIMEOUT};
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
use std::{collections::BTreeMap, error::Error, sync::OnceLock};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Where spans and metrics are exported to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Traces {
    /// Address of an OTLP collector (gRPC), for example `http://127.0.0.1:4317`. Without one, no spans are recorded and
    /// metrics are only served.
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

/// Exports the remaining spans and metrics, in a few seconds at most. Must be the last call of a process.
pub async fn end() {
    // The calls block, and their exporters need the runtime meanwhile.
    let metrics = tokio::task::spawn_blocking(otlp::end);
    let spans = tokio::task::spawn_blocking(|| match PROVIDER.get() {
        Some(provider) => provider.shutdown_with_timeout(EXPORT_TIMEOUT),
        None => Ok(()),
    });
    if let Ok(Err(error)) = spans.await {
        tracing::debug!(%error, "failed to export the last spans");
    }
    let _ = metrics.await;
}

tokio::task_local! {
    /// The trace of the request that a task answers, where no spans are recorded.
    static REQUEST_TRACE: String;
}

/// Answers a request within the trace that its headers name, so that its log lines stand beside it in Cloud Logging,
/// also where no spans are recorded.
pub async fn within_request<T>(headers: &http::HeaderMap, answer: impl Future<Output = T>) -> T {
    match trace_of(headers) {
        Some(trace) => REQUEST_TRACE.scope(trace, answer).await,
        None => answer.await,
    }
}

/// The trace of the request that this task answers.
pub(crate) fn of_request() -> Option<String> {
    REQUEST_TRACE.try_with(Clone::clone).ok()
}

/// The trace in the headers that Cloud Run gives to every request: W3C's `traceparent` (VERSION-TRACE-SPAN-FLAGS), or
/// Google's older `x-cloud-trace-context` (TRACE/SPAN;o=FLAGS).
fn trace_of(headers: &http::HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let w3c = text("traceparent").and_then(|value| value.split('-').nth(1));
    let google = || text("x-cloud-trace-context").and_then(|value| value.split('/').next());
    let trace = w3c.or_else(google)?.to_ascii_lowercase();
    let is_valid = trace.len() == 32 && trace.bytes().all(|byte| byte.is_ascii_hexdigit()) && trace != "0".repeat(32);
    is_valid.then_some(trace)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_of_a_request_is_read_from_either_header() {
        const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
        for (header, value, expected) in [
            ("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"), Some(TRACE)),
            ("x-cloud-trace-context", format!("{TRACE}/1234;o=1"), Some(TRACE)),
            ("x-cloud-trace-context", TRACE.to_uppercase(), Some(TRACE)),
            ("traceparent", format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None),
            ("traceparent", "\"}injected".to_owned(), None),
            ("x-other", TRACE.to_owned(), None),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert(header, value.parse().unwrap());
            assert_eq!(trace_of(&headers).as_deref(), expected, "{header}: {value}");
        }
    }
}

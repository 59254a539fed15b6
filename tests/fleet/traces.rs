//! One trace covers everything from the request to the last document, and metrics arrive, too, as a local collector
//! receives both.

use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, request},
};
use opentelemetry_proto::tonic::{
    collector::{
        metrics::v1::{
            ExportMetricsServiceRequest, ExportMetricsServiceResponse,
            metrics_service_server::{MetricsService, MetricsServiceServer},
        },
        trace::v1::{
            ExportTraceServiceRequest, ExportTraceServiceResponse,
            trace_service_server::{TraceService, TraceServiceServer},
        },
    },
    common::v1::any_value::Value,
    metrics::v1::{Metric, metric::Data, number_data_point},
    trace::v1::Span,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::Path,
    sync::Arc,
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

/// The collected spans and metrics, each with its service.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<(String, Span)>>>,
    metrics: Arc<Mutex<Vec<(String, Metric)>>>,
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let service = of_resource.resource.and_then(|it| text(&it.attributes, "service.name")).unwrap_or_default();
            let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            self.spans.lock().extend(spans.map(|span| (service.clone(), span)));
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_metrics {
            let service = of_resource.resource.and_then(|it| text(&it.attributes, "service.name")).unwrap_or_default();
            let metrics = of_resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            self.metrics.lock().extend(metrics.map(|metric| (service.clone(), metric)));
        }
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

impl Collector {
    async fn listen(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder()
            .add_service(TraceServiceServer::new(self.clone()))
            .add_service(MetricsServiceServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        address
    }

    /// The spans of one trace.
    fn of(&self, trace: &[u8]) -> Vec<(String, Span)> {
        self.spans.lock().iter().filter(|(_, span)| span.trace_id == trace).cloned().collect()
    }

    /// The last value of one series of a counter.
    fn count(&self, service: &str, name: &str, label: (&str, &str)) -> Option<i64> {
        let metrics = self.metrics.lock();
        let of_service = metrics.iter().filter(|(of, metric)| of == service && metric.name == name);
        let points = of_service.filter_map(|(_, metric)| match metric.data.as_ref()? {
            Data::Sum(sum) => Some(&sum.data_points),
            _ => None,
        });
        let mut labelled =
            points.flatten().filter(|point| text(&point.attributes, label.0).as_deref() == Some(label.1));
        match labelled.next_back()?.value? {
            number_data_point::Value::AsInt(value) => Some(value),
            number_data_point::Value::AsDouble(_) => None,
        }
    }
}

#[tokio::test]
async fn a_trace_follows_a_request_to_its_last_document() {
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    let collector = Collector::default();
    let endpoint = format!("http://{}", collector.listen().await);
    let directory = fixtures::directory();
    let source = Recipe { pictures: 60, ..Recipe::default() }.make(directory.path(), "source");
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", Path::new(&endpoint)), ("CLIPFLEET_LOG_FORMAT", Path::new("json"))];
    let fleet = Fleet::start_with(&directory.path().join("data"), 1, 1, &settings).await;
    let uri = fleet.upload(&source, "source.mp4").await;
    // A caller with its own trace, as Cloud Run gives one to every request.
    let sent = reqwest::Client::new().post(format!("{}/v1/batches", fleet.api));
    let sent = sent.header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
    let body = request("b1", &uri, &[("one", 0, 1_000), ("two", 500, 1_500)]).to_string();
    assert_eq!(sent.body(body).send().await.unwrap().status(), 202);
    fleet.finished("b1").await;
    assert_eq!(fleet.stop().await, Some(0), "the last spans are sent at the end");

    let trace: Vec<u8> = TRACE
        .as_bytes()
        .chunks(2)
        .map(|it| u8::from_str_radix(std::str::from_utf8(it).unwrap(), 16).unwrap())
        .collect();
    let spans = collector.of(&trace);
    let named = |name: &str| spans.iter().filter(|(_, span)| span.name == name).collect::<Vec<_>>();
    let of_clip = |name: &str, clip: &str| {
        let found = named(name).into_iter().filter(|(_, span)| text(&span.attributes, "clip").as_deref() == Some(clip));
        found.collect::<Vec<_>>()
    };
    let services: BTreeSet<&str> = spans.iter().map(|(service, _)| service.as_str()).collect();
    assert_eq!(services, BTreeSet::from(["clipfleet-up", "clipfleet-worker"]));
    let accepted = named("accept batch");
    assert_eq!(accepted.len(), 1);
    let accepted = &accepted[0].1;
    assert_eq!(
        accepted.parent_span_id,
        [0x00, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7],
        "it is a part of the caller's trace"
    );
    assert_eq!(text(&accepted.attributes, "batch").as_deref(), Some("b1"));
    let parents: BTreeMap<&[u8], &[u8]> =
        spans.iter().map(|(_, span)| (span.span_id.as_slice(), span.parent_span_id.as_slice())).collect();
    for clip in ["one", "two"] {
        let attempts = of_clip("attempt", clip);
        let (service, attempt) = attempts.last().expect("an attempt");
        assert_eq!((service.as_str(), &attempt.parent_span_id), ("clipfleet-worker", &accepted.span_id));
        assert_eq!(text(&attempt.attributes, "outcome").as_deref(), Some("done"));
        for part in ["make", "publish"] {
            assert!(named(part).iter().any(|(_, span)| span.parent_span_id == attempt.span_id), "{part} of {clip}");
        }
        let written = of_clip("write documents", clip);
        let last =
            written.iter().find(|(_, span)| text(&span.attributes, "event").as_deref() == Some("clip_completed"));
        let (service, last) = last.expect("the completed clip's document");
        assert_eq!((service.as_str(), parents[last.span_id.as_slice()]), ("clipfleet-up", attempt.span_id.as_slice()));
        assert!(last.end_time_unix_nano >= attempt.start_time_unix_nano);
    }
    let progress =
        spans.iter().filter(|(_, span)| text(&span.attributes, "event").as_deref() == Some("clip_progressed"));
    assert_eq!(progress.count(), 0, "progress events are too frequent to be traced");
    println!("{} spans of one trace", spans.len());
    let attempts = |outcome| collector.count("clipfleet-worker", "clipfleet_attempts_total", ("outcome", outcome));
    assert_eq!((attempts("done"), attempts("lease_lost")), (Some(2), Some(0)), "the last values are sent at the end");
    let bounds: BTreeSet<usize> = collector
        .metrics
        .lock()
        .iter()
        .filter_map(|(_, metric)| match (metric.name.as_str(), metric.data.as_ref()?) {
            ("clipfleet_clip_seconds", Data::Histogram(histogram)) => Some(&histogram.data_points),
            _ => None,
        })
        .flatten()
        .map(|point| point.explicit_bounds.len())
        .collect();
    assert_eq!(bounds, BTreeSet::from([18]), "as in /metrics");
}

//! Log lines as Cloud Logging reads them: one JSON object per line, with its names for time, severity and place in the
//! source. <https://docs.cloud.google.com/logging/docs/structured-logging>

use crate::trace;
use opentelemetry::{Context, trace::TraceContextExt as _};
use serde_json::{Map, Value, json};
use std::fmt;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// Formats log events for Cloud Logging.
pub(crate) struct CloudLog {
    /// The Google Cloud project that holds the traces.
    project: Option<String>,
}

impl CloudLog {
    pub(crate) fn new() -> Self {
        Self { project: std::env::var("GOOGLE_CLOUD_PROJECT").ok() }
    }
}

impl<S, N> FormatEvent<S, N> for CloudLog
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let metadata = event.metadata();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line(Map::new());
        // Recorded first, so that no field of the event replaces one that Cloud Logging interprets.
        event.record(&mut line);
        line.0.insert("time".into(), time.into());
        line.0.insert("severity".into(), severity(*metadata.level()).into());
        if let (Some(file), Some(number)) = (metadata.file(), metadata.line()) {
            let location = json!({"file": file, "line": number.to_string()});
            line.0.insert("logging.googleapis.com/sourceLocation".into(), location);
        }
        let context = Context::current();
        let span = context.span().span_context().clone();
        if span.is_valid() {
            line.0.insert("logging.googleapis.com/spanId".into(), span.span_id().to_string().into());
            line.0.insert("logging.googleapis.com/trace_sampled".into(), span.is_sampled().into());
        }
        let trace = if span.is_valid() { Some(span.trace_id().to_string()) } else { trace::of_request() };
        if let Some(trace) = trace {
            let name = match &self.project {
                Some(project) => format!("projects/{project}/traces/{trace}"),
                None => trace,
            };
            line.0.insert("logging.googleapis.com/trace".into(), name.into());
        }
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        Level::DEBUG | Level::TRACE => "DEBUG",
    }
}

/// The fields of one log line, each with its own type.
struct Line(Map<String, Value>);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().into(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().into(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().into(), value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::{io, sync::Arc};
    use tracing_subscriber::{fmt::MakeWriter, layer::SubscriberExt as _};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Lines {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn lines_have_the_fields_that_cloud_logging_reads() {
        let lines = Lines::default();
        let layer =
            tracing_subscriber::fmt::layer().event_format(CloudLog { project: None }).with_writer(lines.clone());
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(clip = %"c\n1", total_ms = 12_u64, reused = false, severity = "none", "clip completed");
            tracing::error!("second");
        });
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let parsed: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(parsed.len(), 2, "one line per event, even if a field contains a newline");
        let line = &parsed[0];
        assert_eq!((&line["message"], &line["severity"]), (&json!("clip completed"), &json!("WARNING")));
        assert_eq!((&line["clip"], &line["total_ms"], &line["reused"]), (&json!("c\n1"), &json!(12), &json!(false)));
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "{line}");
        assert!(line["logging.googleapis.com/sourceLocation"]["file"].as_str().unwrap().ends_with(".rs"), "{line}");
        assert_eq!(parsed[1]["severity"], "ERROR");
    }

    #[tokio::test]
    async fn a_line_about_a_request_names_its_trace() {
        let lines = Lines::default();
        let log = CloudLog { project: Some("p".into()) };
        let layer = tracing_subscriber::fmt::layer().event_format(log).with_writer(lines.clone());
        let _default = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        let mut headers = http::HeaderMap::new();
        headers.insert("x-cloud-trace-context", "4bf92f3577b34da6a3ce929d0e0e4736/1;o=1".parse().unwrap());
        trace::within_request(&headers, async { tracing::info!("inside") }).await;
        tracing::info!("outside");
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        let traces: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["logging.googleapis.com/trace"].clone())
            .collect();
        assert_eq!(traces, [json!("projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736"), Value::Null]);
    }
}

//! Settings that several roles share: the cloud, the buckets, the address to listen on, logs and traces.

use crate::exit::Failed;
use clipfleet_cloud::{Cloud, google, google::Endpoints};
use clipfleet_service::{
    settings::{Reader, Setting, list, optional, required},
    telemetry::{LogFormat, log_format, start_logging, start_logging_to},
    trace::Traces,
};
use std::{
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

const PROJECT: Setting = Setting {
    flag: "project",
    env: "GOOGLE_CLOUD_PROJECT",
    value: "PROJECT",
    default: clipfleet_contract::names::LOCAL_PROJECT,
    help: "Google Cloud project id",
};
const PUBSUB: Setting = Setting {
    flag: "pubsub-emulator-host",
    env: "PUBSUB_EMULATOR_HOST",
    value: "HOST:PORT",
    default: "",
    help: "host:port of a Pub/Sub server to use instead of Google's",
};
const FIRESTORE: Setting = Setting {
    flag: "firestore-emulator-host",
    env: "FIRESTORE_EMULATOR_HOST",
    value: "HOST:PORT",
    default: "",
    help: "host:port of a Firestore server to use instead of Google's",
};
/// The Firestore database.
pub(crate) const DATABASE: Setting = Setting {
    flag: "database",
    env: "CLIPFLEET_DATABASE",
    value: "DATABASE",
    default: "(default)",
    help: "Firestore database, by id",
};
const STORAGE: Setting = Setting {
    flag: "storage-emulator-host",
    env: "STORAGE_EMULATOR_HOST",
    value: "HOST:PORT",
    default: "",
    help: "host:port of a Cloud Storage server to use instead of Google's",
};
const DEFAULT_BUCKET: Setting = Setting {
    flag: "default-bucket",
    env: "CLIPFLEET_DEFAULT_BUCKET",
    value: "BUCKET",
    default: clipfleet_contract::names::LOCAL_BUCKET,
    help: "Bucket for the results of requests without a prefix",
};
const ALLOWED_BUCKETS: Setting = Setting {
    flag: "allowed-buckets",
    env: "CLIPFLEET_ALLOWED_BUCKETS",
    value: "BUCKETS",
    default: "",
    help: "Additional buckets for sources and results, comma-separated",
};
const LISTEN: Setting = Setting {
    flag: "listen",
    env: "CLIPFLEET_LISTEN",
    value: "ADDRESS",
    default: "",
    help: "Address to listen on [default: 0.0.0.0:PORT if PORT is set, otherwise 127.0.0.1 and a free port]",
};
/// The port that a role listens on if no address is given.
pub(crate) const PORT: Setting = Setting {
    flag: "port",
    env: "PORT",
    value: "PORT",
    default: "",
    help: "Port to listen on at all addresses, as set by Cloud Run",
};
const LOG_FORMAT: Setting = Setting {
    flag: "log-format",
    env: "CLIPFLEET_LOG_FORMAT",
    value: "FORMAT",
    default: "text",
    help: "Format of logs: text or json",
};

const TRACES: Setting = Setting {
    flag: "otlp-endpoint",
    env: "OTEL_EXPORTER_OTLP_ENDPOINT",
    value: "URL",
    default: "",
    help: "Collector that receives traces and metrics by OTLP over gRPC, for example http://127.0.0.1:4317",
};
const TRACE_SHARE: Setting = Setting {
    flag: "trace-share",
    env: "CLIPFLEET_TRACE_SHARE",
    value: "SHARE",
    default: "1",
    help: "Share of traces that are recorded, 0 to 1",
};

/// Settings of every role, beside [`TELEMETRY`].
pub(crate) const ROLE: &[Setting] = &[PROJECT, PUBSUB, FIRESTORE, DATABASE, STORAGE, LISTEN, PORT];
/// Settings of every process that listens, beside [`TELEMETRY`].
pub(crate) const LISTENER: &[Setting] = &[LISTEN, PORT];
/// Settings of logs and traces.
pub(crate) const TELEMETRY: &[Setting] = &[LOG_FORMAT, TRACES, TRACE_SHARE];
/// Settings of roles that check buckets.
pub(crate) const BUCKETS: &[Setting] = &[DEFAULT_BUCKET, ALLOWED_BUCKETS];

/// The values of [`ROLE`] and [`TELEMETRY`].
#[derive(Debug, Clone)]
pub(crate) struct RoleSettings {
    pub(crate) endpoints: Endpoints,
    pub(crate) listen: SocketAddr,
    pub(crate) telemetry: Telemetry,
}

/// The values of [`TELEMETRY`].
#[derive(Debug, Clone)]
pub(crate) struct Telemetry {
    log_format: LogFormat,
    traces: Traces,
}

impl Telemetry {
    /// Starts logging and tracing, with `service` as the name of the service.
    pub(crate) fn start(&self, service: &str) {
        start_logging(self.log_format, "info", &format!("clipfleet-{service}"), &self.traces);
    }

    /// The same, with log lines appended to a file.
    pub(crate) fn start_to(&self, log: File, service: &str) {
        start_logging_to(log, self.log_format, "info", &format!("clipfleet-{service}"), &self.traces);
    }

    /// Environment variables that make another Clipfleet process send traces to the same collector.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let share = (TRACE_SHARE.env, self.traces.share.to_string());
        let endpoint = self.traces.endpoint.iter().map(|endpoint| (TRACES.env, endpoint.clone()));
        endpoint.chain([share]).collect()
    }
}

/// Reads [`TELEMETRY`].
pub(crate) fn telemetry(reader: &mut Reader<'_>) -> Option<Telemetry> {
    let log_format = reader.take(&LOG_FORMAT, log_format);
    let endpoint = reader.take(&TRACES, optional);
    let share = reader.take(&TRACE_SHARE, share);
    Some(Telemetry { log_format: log_format?, traces: Traces { endpoint: endpoint?, share: share? } })
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("must be a number from 0 to 1, got {text:?}"))
}

/// Reads [`ROLE`] and [`TELEMETRY`].
pub(crate) fn role(reader: &mut Reader<'_>) -> Option<RoleSettings> {
    let project = reader.take(&PROJECT, required);
    let pubsub = reader.take(&PUBSUB, optional);
    let firestore = reader.take(&FIRESTORE, optional);
    let database = reader.take(&DATABASE, database);
    let storage = reader.take(&STORAGE, optional);
    let process = process(reader);
    let (project, pubsub, firestore, storage) = (project?, pubsub?, firestore?, storage?);
    let endpoints = Endpoints { project, pubsub, firestore, database: database?, storage };
    let ProcessSettings { listen, telemetry } = process?;
    Some(RoleSettings { endpoints, listen, telemetry })
}

/// Parses the id of a database; `None` is the default one.
fn database(text: &str) -> Result<Option<String>, String> {
    if text == DATABASE.default {
        return Ok(None);
    }
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let valid = (4..=63).contains(&text.len())
        && text.chars().all(letters)
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.ends_with('-');
    if valid {
        return Ok(Some(text.to_owned()));
    }
    Err(format!(
        "must be (default), or 4 to 63 lower-case letters, digits and hyphens, first a letter, last no hyphen, got {text:?}"
    ))
}

/// The values of [`LISTENER`] and [`TELEMETRY`].
#[derive(Debug, Clone)]
pub(crate) struct ProcessSettings {
    pub(crate) listen: SocketAddr,
    pub(crate) telemetry: Telemetry,
}

/// Reads [`LISTENER`] and [`TELEMETRY`].
pub(crate) fn process(reader: &mut Reader<'_>) -> Option<ProcessSettings> {
    let port = reader.take(&PORT, |text| if text.is_empty() { Ok(None) } else { port(text).map(Some) });
    let port = port.flatten();
    let listen = reader.take(&LISTEN, |text| match (text, port) {
        ("", Some(port)) => Ok(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))),
        ("", None) => Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
        (given, _) => given.parse().map_err(|_| format!("must be an address such as 127.0.0.1:8080, got {given:?}")),
    });
    let telemetry = telemetry(reader);
    Some(ProcessSettings { listen: listen?, telemetry: telemetry? })
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("must be a port number, got {text:?}"))
}

/// The values of [`BUCKETS`].
pub(crate) struct Buckets {
    pub(crate) default: String,
    pub(crate) others: Vec<String>,
}

/// Reads [`BUCKETS`].
pub(crate) fn buckets(reader: &mut Reader<'_>) -> Option<Buckets> {
    let default = reader.take(&DEFAULT_BUCKET, required);
    let others = reader.take(&ALLOWED_BUCKETS, list);
    Some(Buckets { default: default?, others: others? })
}

/// The endpoints of an emulator on this machine.
pub(crate) fn local_endpoints(emulator: SocketAddr) -> Endpoints {
    let reachable = if emulator.ip().is_unspecified() { IpAddr::from(Ipv4Addr::LOCALHOST) } else { emulator.ip() };
    let host = SocketAddr::from((reachable, emulator.port())).to_string();
    all_at(host, clipfleet_contract::names::LOCAL_PROJECT)
}

/// The endpoints of an emulator that answers for all services.
pub(crate) fn all_at(host: String, project: &str) -> Endpoints {
    let host = Some(host);
    Endpoints {
        project: project.to_owned(),
        pubsub: host.clone(),
        firestore: host.clone(),
        database: None,
        storage: host,
    }
}

/// Environment variables that make another Clipfleet process use the same endpoints.
pub(crate) fn environment(endpoints: &Endpoints) -> Vec<(&'static str, String)> {
    let hosts =
        [(PUBSUB.env, &endpoints.pubsub), (FIRESTORE.env, &endpoints.firestore), (STORAGE.env, &endpoints.storage)];
    let hosts = hosts.into_iter().filter_map(|(name, host)| host.clone().map(|host| (name, host)));
    let database = endpoints.database.clone().map(|database| (DATABASE.env, database));
    hosts.chain([(PROJECT.env, endpoints.project.clone())]).chain(database).collect()
}

pub(crate) async fn connect(endpoints: &Endpoints) -> Result<Cloud, Failed> {
    google::connect(endpoints).await.map_err(|error| Failed::because("connect to the cloud", error))
}

//! The stored documents, one module each: what each says as a type, and the only place that spells its fields. Roles
//! read and write the types.
//!
//! | document | type | written by | read by |
//! |---|---|---|---|
//! | `exportBatches/{batch}` | [`batch`] | status | clients, dispatcher, scaler |
//! | `exportBatches/{batch}/clips/{clip}` | [`clip`] | status | clients, dispatcher, worker, scaler |
//! | `exportRequests/{batch}` | [`request`] | dispatcher | dispatcher, scaler |
//! | `fleetControl/fleet` | [`fleet_control`] | dispatcher | dispatcher, worker, scaler |
//! | `fleetControl/scaler-{pool}` | [`leadership`] | scaler | scaler |
//! | `wizardProcessingJobs/{batch}:{clip}` | [`wizard`] | status, if enabled | the product's pages |
//! | `wizardProjects/{project}` | [`wizard`] | the product; status, if enabled | the product's pages |
//!
//! The first two are public: their fields are those of `proto/clipfleet/v1/status.proto`.

pub mod batch;
pub mod clip;
pub mod fleet_control;
pub mod leadership;
pub mod request;
pub mod wizard;

use clipfleet_document::{Fields, Value};
use clipfleet_domain::{
    failure::{Code, Failure, FieldViolation},
    history::GenerationEnd,
    limits::RETENTION_DAYS,
    state::State,
    wire_name::WireName as _,
};
use serde_json::{Map, Value as Json, json};

/// Field of a public document that clients must ignore: what status needs to fold on.
const FOLD: &str = "fold";

const STATUS: &str = "status";
const GENERATION: &str = "generation";
const ERROR: &str = "error";
const ENDED_AT: &str = "endedAt";

const CODE: &str = "code";
const MESSAGE: &str = "message";
const RETRYABLE: &str = "retryable";
const DETAILS: &str = "details";
const FIELD: &str = "field";
const REASON: &str = "reason";

/// The fields of a public document as JSON, without what clients must ignore. Instants are RFC 3339.
pub fn public_json(fields: &Fields) -> Map<String, Json> {
    let public = fields.iter().filter(|(name, _)| *name != FOLD);
    public.map(|(name, value)| (name.clone(), to_json(value))).collect()
}

/// As [`public_json`], with these fields only.
fn selected_json(fields: &Fields, names: &[&str]) -> Map<String, Json> {
    let selected = fields.iter().filter(|(name, _)| names.contains(&name.as_str()));
    selected.map(|(name, value)| (name.clone(), to_json(value))).collect()
}

/// As [`selected_json`], without the fields that have no value.
fn known_json(fields: &Fields, names: &[&str]) -> Map<String, Json> {
    let mut selected = selected_json(fields, names);
    selected.retain(|_, value| !value.is_null());
    selected
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Timestamp(_) => json!(value.as_instant().map(crate::rfc3339)),
        Value::Array(values) => values.iter().map(to_json).collect(),
        Value::Map(fields) => Json::Object(public_json(fields)),
    }
}

fn failure_value(failure: &Failure) -> Value {
    let Failure { code, message, retryable, details } = failure;
    let error =
        [(CODE, Value::text(code.as_str())), (MESSAGE, Value::text(message)), (RETRYABLE, Value::Bool(*retryable))];
    let detail =
        |bad: &FieldViolation| Value::map([(FIELD, Value::text(&bad.field)), (REASON, Value::text(&bad.reason))]);
    let details = (!details.is_empty()).then(|| (DETAILS, Value::Array(details.iter().map(detail).collect())));
    Value::map(error.into_iter().chain(details))
}

fn as_failure(value: &Value) -> Failure {
    let text = |value: &Value, name| value.field(name).as_text().unwrap_or_default().to_owned();
    let details = value.field(DETAILS).elements().iter();
    let details = details.map(|bad| FieldViolation::new(text(bad, FIELD), text(bad, REASON))).collect();
    let retryable = value.field(RETRYABLE).is_true();
    // A document of an older version may hold more than this one writes.
    Failure { code: Code::parse(&text(value, CODE)), message: text(value, MESSAGE), retryable, details }.bounded()
}

fn generation_end_value(generation: u32, end: &GenerationEnd) -> Value {
    Value::map([
        (GENERATION, Value::integer(generation)),
        (STATUS, Value::text(end.state.name())),
        (ERROR, Value::optional(end.failure.as_ref().map(failure_value))),
        (ENDED_AT, Value::instant(end.at_ms)),
    ])
}

fn as_generation_end(value: &Value) -> Option<(u32, GenerationEnd)> {
    let generation = u32::try_from(value.field(GENERATION).as_integer()?).ok()?;
    let state = State::parse(value.field(STATUS).as_text()?).ok()?;
    let at_ms = value.field(ENDED_AT).as_instant()?;
    let failure = value.field(ERROR).present().map(as_failure);
    Some((generation, GenerationEnd { state, at_ms, failure }))
}

/// When a document expires, from when its batch was created; Unix time, milliseconds.
fn expires_at_ms(created_at_ms: i64) -> i64 {
    const RETENTION_MS: i64 = RETENTION_DAYS as i64 * 24 * 3_600_000;
    created_at_ms.saturating_add(RETENTION_MS)
}

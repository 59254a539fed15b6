//! The wire contract: the messages of `proto/clipfleet/v1` as Rust types with their proto-JSON form, and the checked
//! conversions between them and `clipfleet-domain`.
//!
//! Input is parsed and checked only here: the types of `clipfleet-domain` cannot hold an invalid value. This crate
//! knows neither transports (HTTP, Pub/Sub) nor storage (Firestore).

mod audio;
pub mod batch;
pub mod documents;
pub mod event;
pub mod job;
mod json;
pub mod list;
pub mod names;
pub mod pipeline;
mod reframe;
mod violations;

/// The messages as generated from `proto/clipfleet/v1`, with proto-JSON through serde.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::unwrap_used)]
pub mod v1 {
    include!(concat!(env!("OUT_DIR"), "/clipfleet.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/clipfleet.v1.serde.rs"));
}

/// Formats Unix time in milliseconds as RFC 3339. Documents contain no finer times.
pub fn rfc3339(unix_ms: i64) -> String {
    let (seconds, millis) = (unix_ms.div_euclid(1_000), unix_ms.rem_euclid(1_000));
    let time = pbjson_types::Timestamp { seconds, nanos: millis as i32 * 1_000_000 };
    serde_json::to_value(time).ok().and_then(|text| text.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

/// A queue message that cannot be decoded: another sender wrote it, or another version of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(pub String);

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "malformed message: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Malformed {
    /// An adapter for `map_err` on the parser of a field.
    fn field<E: std::fmt::Display>(name: &'static str) -> impl FnOnce(E) -> Self {
        move |reason| Self(format!("{name} {reason}"))
    }
}

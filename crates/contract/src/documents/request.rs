//! The dispatcher's record of an accepted request, `exportRequests/{batch}`. Not for clients.

use super::expires_at_ms;
use crate::{Malformed, batch, v1};
use clipfleet_document::{Document, Fields, Search, Value, fields_of};
use clipfleet_domain::{ids::ClipId, job::PinnedSource, source::ObjectUri};
use std::collections::BTreeMap;

const DIGEST: &str = "digest";
const REQUEST: &str = "request";
const SOURCE_URI: &str = "sourceUri";
const SOURCE_GENERATION: &str = "sourceGeneration";
const SOURCE_SIZE_BYTES: &str = "sourceSizeBytes";
const ACCEPTED_AT_MS: &str = "acceptedAtMs";
const DISPATCHED: &str = "dispatched";
const OPEN: &str = "open";
const RETRIED: &str = "retried";
const REPAIRS: &str = "repairs";
const REPAIRED_AT_MS: &str = "repairedAtMs";
const EXPIRES_AT: &str = "expiresAt";

/// A request that was accepted, and how far its dispatch got.
#[derive(Debug, Clone, PartialEq)]
pub struct RequestRecord {
    /// Equal for requests that mean the same.
    pub digest: String,
    /// The request, every default filled in.
    pub request: v1::ExportBatch,
    /// The state of the source that every clip is cut from.
    pub source: PinnedSource,
    /// Unix time, milliseconds.
    pub accepted_at_ms: i64,
    /// Whether the publication of every job was confirmed.
    pub dispatched: bool,
    /// Whether some of its clips may not have ended.
    pub open: bool,
    /// The generations that retries requested, by clip. Documents of clips may not show them yet.
    pub retried: BTreeMap<ClipId, u32>,
    /// How often jobs were published again since the last retry.
    pub repairs: u32,
    /// When that was, or the last retry; Unix time, milliseconds.
    pub repaired_at_ms: i64,
}

impl RequestRecord {
    /// The generation that was requested last, as far as by a retry.
    pub fn requested_generation(&self, clip: &ClipId) -> u32 {
        self.retried.get(clip).copied().unwrap_or(0)
    }

    /// The document's fields.
    pub fn to_fields(&self) -> Result<Fields, Malformed> {
        let request = serde_json::to_string(&self.request).map_err(|error| Malformed(error.to_string()))?;
        let retried = self.retried.iter().map(|(clip, generation)| (clip.to_string(), Value::integer(*generation)));
        Ok(fields_of([
            (DIGEST, Value::text(&self.digest)),
            (REQUEST, Value::String(request)),
            (SOURCE_URI, Value::String(self.source.uri.to_string())),
            (SOURCE_GENERATION, Value::integer(self.source.generation)),
            (SOURCE_SIZE_BYTES, Value::unsigned(self.source.size_bytes)),
            (ACCEPTED_AT_MS, Value::integer(self.accepted_at_ms)),
            (DISPATCHED, Value::Bool(self.dispatched)),
            (OPEN, Value::Bool(self.open)),
            (RETRIED, Value::Map(retried.collect())),
            (REPAIRS, Value::integer(self.repairs)),
            (REPAIRED_AT_MS, Value::integer(self.repaired_at_ms)),
            (EXPIRES_AT, Value::instant(expires_at_ms(self.accepted_at_ms))),
        ]))
    }

    /// What a document says; `None` when another version wrote it.
    pub fn from_document(document: &Document) -> Option<Self> {
        let request = batch::from_json(document.field(REQUEST).as_text()?.as_bytes()).ok()?;
        let uri = ObjectUri::parse(&request.source.as_ref()?.uri).ok()?;
        let retried = document.field(RETRIED).fields().filter_map(|(clip, generation)| {
            Some((ClipId::parse(clip).ok()?, u32::try_from(generation.as_integer()?).ok()?))
        });
        Some(Self {
            digest: document.field(DIGEST).as_text()?.to_owned(),
            source: PinnedSource {
                uri,
                generation: document.field(SOURCE_GENERATION).as_integer()?,
                size_bytes: document.field(SOURCE_SIZE_BYTES).as_integer()?.try_into().ok()?,
            },
            request,
            accepted_at_ms: document.field(ACCEPTED_AT_MS).as_integer()?,
            dispatched: document.field(DISPATCHED).is_true(),
            open: document.field(OPEN).is_true(),
            retried: retried.collect(),
            repairs: document.field(REPAIRS).as_integer().and_then(|number| number.try_into().ok()).unwrap_or(0),
            repaired_at_ms: document.field(REPAIRED_AT_MS).as_integer().unwrap_or(0),
        })
    }
}

/// The fields of a record that lists of batches need.
pub const LISTED: [&str; 1] = [SOURCE_URI];

/// The URI of the source, of a record of which [`LISTED`] was read.
pub fn source_uri(document: &Document) -> Option<&str> {
    document.field(SOURCE_URI).as_text()
}

/// A page of the records whose dispatch did not finish, from the one after `after` on.
pub fn not_dispatched(after: &str, limit: u32) -> Search<'_> {
    Search::by_id(DISPATCHED, Value::Bool(false), after, limit)
}

/// A page of the records of batches that are not known to have ended, from the one after `after` on.
pub fn open(after: &str, limit: u32) -> Search<'_> {
    Search::by_id(OPEN, Value::Bool(true), after, limit)
}

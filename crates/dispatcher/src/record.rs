//! The dispatcher's own memory: one document per accepted request.

use clipfleet_cloud::{Cloud, CloudError, Document, ErrorKind, Fields, Precondition, Search, Value, Version, Write};
use clipfleet_contract::{batch, names, standing, v1};
use clipfleet_domain::{
    batch::Batch,
    ids::{BatchId, ClipId},
    job::PinnedSource,
    limits::RETENTION_DAYS,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};

/// A request that was accepted, and how far it got.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    /// Equal for requests that mean the same.
    pub(crate) digest: String,
    /// The request, every default filled in.
    pub(crate) request: v1::ExportBatch,
    /// The state of the source that every clip is cut from.
    pub(crate) source: PinnedSource,
    /// Unix time, milliseconds.
    pub(crate) accepted_at_ms: i64,
    /// Every job's publication was confirmed.
    pub(crate) dispatched: bool,
    /// Not all of its clips are known to be over.
    pub(crate) open: bool,
    /// The generations that were asked for by retries, by clip: what documents say of earlier ones is old.
    pub(crate) retried: BTreeMap<ClipId, u32>,
    /// How often jobs were published again since the last retry.
    pub(crate) repairs: u32,
    /// When that was, or the last retry; Unix time, milliseconds.
    pub(crate) repaired_at_ms: i64,
}

/// A record and the state it was read in.
pub(crate) struct Stored {
    pub(crate) record: Record,
    version: Version,
}

const DIGEST: &str = "digest";
const SOURCE_GENERATION: &str = "sourceGeneration";
const SOURCE_SIZE: &str = "sourceSizeBytes";
const ACCEPTED_AT: &str = "acceptedAtMs";
const EXPIRES_AT: &str = "expiresAt";
/// Field by which unfinished dispatches are found.
pub(crate) const DISPATCHED: &str = "dispatched";
const REPAIRS: &str = "repairs";
const REPAIRED_AT: &str = "repairedAtMs";

impl Record {
    pub(crate) fn new(batch: &Batch, source: PinnedSource, accepted_at_ms: i64) -> Self {
        let request = batch::to_message(batch);
        let digest = digest(&request);
        Self {
            digest,
            request,
            source,
            accepted_at_ms,
            dispatched: false,
            open: true,
            retried: BTreeMap::new(),
            repairs: 0,
            repaired_at_ms: 0,
        }
    }

    fn fields(&self) -> Result<Fields, CloudError> {
        let request = serde_json::to_string(&self.request)
            .map_err(|error| CloudError::new(ErrorKind::Invalid, "write the request as JSON").because(error))?;
        let accepted = Duration::from_millis(self.accepted_at_ms.unsigned_abs());
        let expires_at = UNIX_EPOCH + accepted + Duration::from_secs(RETENTION_DAYS * 24 * 3_600);
        let size = i64::try_from(self.source.size_bytes).unwrap_or(i64::MAX);
        let retried =
            self.retried.iter().map(|(clip, generation)| (clip.to_string(), Value::Integer((*generation).into())));
        Ok(Fields::from([
            (DIGEST.into(), Value::String(self.digest.clone())),
            (names::RECORD_REQUEST.into(), Value::String(request)),
            (SOURCE_GENERATION.into(), Value::Integer(self.source.generation)),
            (SOURCE_SIZE.into(), Value::Integer(size)),
            (ACCEPTED_AT.into(), Value::Integer(self.accepted_at_ms)),
            (DISPATCHED.into(), Value::Bool(self.dispatched)),
            (names::RECORD_OPEN.into(), Value::Bool(self.open)),
            (names::RECORD_RETRIED.into(), Value::Map(retried.collect())),
            (REPAIRS.into(), Value::Integer(i64::from(self.repairs))),
            (REPAIRED_AT.into(), Value::Integer(self.repaired_at_ms)),
            (EXPIRES_AT.into(), Value::Timestamp(expires_at)),
        ]))
    }

    /// The generation that was asked for last, as far as by a retry.
    pub(crate) fn asked(&self, clip: &ClipId) -> u32 {
        self.retried.get(clip).copied().unwrap_or(0)
    }

    fn parse(document: &Document) -> Option<Self> {
        let request = batch::from_json(document.text(names::RECORD_REQUEST)?.as_bytes()).ok()?;
        let uri = clipfleet_domain::source::ObjectUri::parse(&request.source.as_ref()?.uri).ok()?;
        Some(Self {
            digest: document.text(DIGEST)?.to_owned(),
            source: PinnedSource {
                uri,
                generation: document.integer(SOURCE_GENERATION)?,
                size_bytes: u64::try_from(document.integer(SOURCE_SIZE)?).ok()?,
            },
            request,
            accepted_at_ms: document.integer(ACCEPTED_AT)?,
            dispatched: document.is(DISPATCHED),
            open: document.is(names::RECORD_OPEN),
            retried: standing::retried(document.integers(names::RECORD_RETRIED)).collect(),
            repairs: document.integer(REPAIRS).and_then(|number| u32::try_from(number).ok()).unwrap_or(0),
            repaired_at_ms: document.integer(REPAIRED_AT).unwrap_or(0),
        })
    }
}

/// Equal for requests that mean the same, whatever their form on the wire.
pub(crate) fn digest(request: &v1::ExportBatch) -> String {
    hex::encode(Sha256::digest(request.encode_to_vec()))
}

/// Writes a new record; `AlreadyExists` when the batch's id is taken.
pub(crate) async fn create(cloud: &Cloud, batch: &BatchId, record: Record) -> Result<Stored, CloudError> {
    let version = put(cloud, batch, &record, Precondition::Absent).await?;
    Ok(Stored { record, version })
}

/// Notes that every job was published.
pub(crate) async fn mark_dispatched(cloud: &Cloud, batch: &BatchId, stored: Stored) -> Result<(), CloudError> {
    let record = Record { dispatched: true, ..stored.record };
    match put(cloud, batch, &record, Precondition::Unchanged(stored.version)).await {
        // Another dispatcher has repaired the batch meanwhile, or a clip was retried, and then the repair will: jobs that come twice do no harm.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Notes that every clip of the batch is over. `Conflict` when the record was changed since it was read, as by a retry.
pub(crate) async fn close(cloud: &Cloud, batch: &BatchId, stored: &Stored) -> Result<(), CloudError> {
    change(cloud, batch, stored, Record { open: false, ..stored.record.clone() }).await
}

/// Notes that jobs are about to be published again.
pub(crate) async fn note_repair(
    cloud: &Cloud,
    batch: &BatchId,
    stored: &Stored,
    now_ms: i64,
) -> Result<(), CloudError> {
    let repairs = stored.record.repairs.saturating_add(1);
    change(cloud, batch, stored, Record { repairs, repaired_at_ms: now_ms, ..stored.record.clone() }).await
}

/// Notes that clips are about to be retried, in these generations: the batch is open again, if it was not.
pub(crate) async fn note_retry(
    cloud: &Cloud,
    batch: &BatchId,
    stored: &Stored,
    retrying: &[(ClipId, u32)],
    now_ms: i64,
) -> Result<(), CloudError> {
    let mut record = Record { open: true, repairs: 0, repaired_at_ms: now_ms, ..stored.record.clone() };
    record.retried.extend(retrying.iter().cloned());
    change(cloud, batch, stored, record).await
}

async fn change(cloud: &Cloud, batch: &BatchId, stored: &Stored, record: Record) -> Result<(), CloudError> {
    put(cloud, batch, &record, Precondition::Unchanged(stored.version)).await.map(|_| ())
}

async fn put(
    cloud: &Cloud,
    batch: &BatchId,
    record: &Record,
    precondition: Precondition,
) -> Result<Version, CloudError> {
    let write = Write { path: names::request_document(batch), fields: record.fields()?, precondition };
    let versions = cloud.documents.commit(vec![write]).await?;
    versions
        .first()
        .copied()
        .ok_or_else(|| CloudError::new(ErrorKind::Unavailable, "read the version of a written record"))
}

/// The record of a batch, if there is one.
pub(crate) async fn load(cloud: &Cloud, batch: &BatchId) -> Result<Option<Stored>, CloudError> {
    cloud.documents.get_one(names::request_document(batch)).await?.map(|document| stored(&document)).transpose()
}

/// Some records, in the order of their ids.
pub(crate) struct Page {
    pub(crate) records: Vec<Stored>,
    /// The id after which the next page begins; empty where this was the last one.
    pub(crate) next: String,
}

/// A page of the records whose dispatch did not finish, from the one after `after` on, at most `limit`.
pub(crate) async fn unfinished(cloud: &Cloud, after: &str, limit: u32) -> Result<Page, CloudError> {
    page(cloud, Search { after, ..Search::new(DISPATCHED, Value::Bool(false), limit) }).await
}

/// A page of the records of batches that are not known to be over, from the one after `after` on, at most `limit`.
pub(crate) async fn open(cloud: &Cloud, after: &str, limit: u32) -> Result<Page, CloudError> {
    page(cloud, Search { after, ..Search::new(names::RECORD_OPEN, Value::Bool(true), limit) }).await
}

/// One record that cannot be read keeps no other waiting: it is left out, counted and logged.
async fn page(cloud: &Cloud, search: Search<'_>) -> Result<Page, CloudError> {
    let limit = search.limit as usize;
    let documents = cloud.documents.find(names::REQUESTS, search).await?;
    let last = documents.last().filter(|_| documents.len() >= limit).map(Document::id);
    let next = last.unwrap_or_default().to_owned();
    let readable = |document: &Document| match stored(document) {
        Ok(stored) => Some(stored),
        Err(error) => {
            metrics::counter!("clipfleet_records_unreadable_total").increment(1);
            tracing::error!(%error, "record left out");
            None
        }
    };
    Ok(Page { records: documents.iter().filter_map(readable).collect(), next })
}

fn stored(document: &Document) -> Result<Stored, CloudError> {
    let record = Record::parse(document).ok_or_else(|| {
        let message = format!("read the record {}: written by another version of the dispatcher", document.path);
        CloudError::new(ErrorKind::Invalid, message)
    })?;
    Ok(Stored { record, version: document.version })
}

//! Reads and writes the records of accepted requests: the dispatcher's durable state.

use crate::refusal::Refusal;
use clipfleet_cloud::{Cloud, CloudError, Document, ErrorKind, Precondition, Search, Version, Write};
use clipfleet_contract::{
    batch,
    documents::request::{self, RequestRecord},
    names, v1,
};
use clipfleet_domain::{
    batch::Batch,
    ids::{BatchId, ClipId},
    job::PinnedSource,
};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// A record and its version.
pub(crate) struct Stored {
    pub(crate) record: RequestRecord,
    version: Version,
}

/// The initial record of a batch.
pub(crate) fn new(batch: &Batch, source: PinnedSource, accepted_at_ms: i64) -> RequestRecord {
    let request = batch::to_message(batch);
    RequestRecord {
        digest: digest(&request),
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

/// The batch of a record.
pub(crate) fn recorded(record: &RequestRecord) -> Result<Batch, Refusal> {
    batch::recorded(&record.request).map_err(|malformed| {
        Refusal::Unavailable(CloudError::new(ErrorKind::Invalid, format!("read a record: {malformed}")))
    })
}

/// Equal for requests with the same meaning, whatever their encoding.
pub(crate) fn digest(request: &v1::ExportBatch) -> String {
    hex::encode(Sha256::digest(request.encode_to_vec()))
}

/// Writes a new record. Fails with `AlreadyExists` if the batch's id is taken.
pub(crate) async fn create(cloud: &Cloud, batch: &BatchId, record: RequestRecord) -> Result<Stored, CloudError> {
    let version = put(cloud, batch, &record, Precondition::Absent).await?;
    Ok(Stored { record, version })
}

/// Records that every job was published.
pub(crate) async fn mark_dispatched(cloud: &Cloud, batch: &BatchId, stored: Stored) -> Result<(), CloudError> {
    let record = RequestRecord { dispatched: true, ..stored.record };
    match put(cloud, batch, &record, Precondition::Unchanged(stored.version)).await {
        // Another dispatcher has repaired the batch meanwhile, or a clip was retried and a repair will follow.
        // Duplicate jobs do no harm.
        Err(error) if error.kind() == ErrorKind::Conflict => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Records that every clip of the batch has ended. Fails with `Conflict` if the record has changed since, for example
/// by a retry.
pub(crate) async fn close(cloud: &Cloud, batch: &BatchId, stored: &Stored) -> Result<(), CloudError> {
    change(cloud, batch, stored, RequestRecord { open: false, ..stored.record.clone() }).await
}

/// Records that jobs are about to be published again.
pub(crate) async fn record_repair(
    cloud: &Cloud,
    batch: &BatchId,
    stored: &Stored,
    now_ms: i64,
) -> Result<(), CloudError> {
    let repairs = stored.record.repairs.saturating_add(1);
    change(cloud, batch, stored, RequestRecord { repairs, repaired_at_ms: now_ms, ..stored.record.clone() }).await
}

/// Records that clips are about to be retried, in these generations. The batch becomes open.
pub(crate) async fn record_retry(
    cloud: &Cloud,
    batch: &BatchId,
    stored: &Stored,
    retrying: &[(ClipId, u32)],
    now_ms: i64,
) -> Result<(), CloudError> {
    let mut record = RequestRecord { open: true, repairs: 0, repaired_at_ms: now_ms, ..stored.record.clone() };
    record.retried.extend(retrying.iter().cloned());
    change(cloud, batch, stored, record).await
}

async fn change(cloud: &Cloud, batch: &BatchId, stored: &Stored, record: RequestRecord) -> Result<(), CloudError> {
    put(cloud, batch, &record, Precondition::Unchanged(stored.version)).await.map(|_| ())
}

async fn put(
    cloud: &Cloud,
    batch: &BatchId,
    record: &RequestRecord,
    precondition: Precondition,
) -> Result<Version, CloudError> {
    let fields =
        record.to_fields().map_err(|error| CloudError::new(ErrorKind::Invalid, "write a record").because(error))?;
    let write = Write { path: names::request_document(batch), fields, precondition };
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

/// A page of records, in the order of their ids.
pub(crate) struct Page {
    pub(crate) records: Vec<Stored>,
    /// The id after which the next page begins; empty after the last page.
    pub(crate) next: String,
}

/// A page of at most `limit` records after `after` whose dispatch did not finish.
pub(crate) async fn unfinished(cloud: &Cloud, after: &str, limit: u32) -> Result<Page, CloudError> {
    page(cloud, request::not_dispatched(after, limit)).await
}

/// A page of at most `limit` records after `after` whose batches are not known to have ended.
pub(crate) async fn open(cloud: &Cloud, after: &str, limit: u32) -> Result<Page, CloudError> {
    page(cloud, request::open(after, limit)).await
}

/// A record that cannot be read must not block the others: it is skipped, counted and logged.
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
    let record = RequestRecord::from_document(document).ok_or_else(|| {
        let message = format!("read the record {}: written by another version of the dispatcher", document.path);
        CloudError::new(ErrorKind::Invalid, message)
    })?;
    Ok(Stored { record, version: document.version })
}

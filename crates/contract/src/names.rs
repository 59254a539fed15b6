//! Public names: topics, subscriptions, document paths and message attributes.

use clipfleet_domain::ids::{BatchId, ClipId};

/// Topic of requests from Cloud Functions.
pub const EXPORT_REQUESTS: &str = "export-requests";
/// Topic of clip jobs, one message per clip.
pub const CLIP_JOBS: &str = "clip-jobs";
/// Topic of clip jobs that were dead-lettered after their last delivery.
pub const CLIP_JOBS_DEAD_LETTER: &str = "clip-jobs-dead-letter";
/// Topic of progress events.
pub const PROGRESS_EVENTS: &str = "progress-events";

/// The dispatcher's subscription to [`EXPORT_REQUESTS`].
pub const EXPORT_REQUESTS_DISPATCHER: &str = "export-requests-dispatcher";
/// The workers' subscription to [`CLIP_JOBS`].
pub const CLIP_JOBS_WORKER: &str = "clip-jobs-worker";
/// The status service's subscription to [`CLIP_JOBS_DEAD_LETTER`].
pub const CLIP_JOBS_DEAD_LETTER_STATUS: &str = "clip-jobs-dead-letter-status";
/// The status service's subscription to [`PROGRESS_EVENTS`].
pub const PROGRESS_EVENTS_STATUS: &str = "progress-events-status";
/// The scaler's subscription to [`PROGRESS_EVENTS`].
pub const PROGRESS_EVENTS_SCALER: &str = "progress-events-scaler";

/// Collection of batch status documents.
pub const BATCHES: &str = "exportBatches";
/// Collection of the dispatcher's records of accepted requests. Not for clients.
pub const REQUESTS: &str = "exportRequests";

/// Path of the status document of a batch.
pub fn batch_document(batch: &BatchId) -> String {
    format!("{BATCHES}/{batch}")
}

/// Path of the collection of a batch's clip status documents.
pub fn clip_documents(batch: &BatchId) -> String {
    format!("{BATCHES}/{batch}/clips")
}

/// Path of the status document of a clip.
pub fn clip_document(batch: &BatchId, clip: &ClipId) -> String {
    format!("{BATCHES}/{batch}/clips/{clip}")
}

/// Path of the dispatcher's record of a request.
pub fn request_document(batch: &BatchId) -> String {
    request_document_of(batch.as_str())
}

/// As [`request_document`], of the id of a batch's document.
pub fn request_document_of(batch: &str) -> String {
    format!("{REQUESTS}/{batch}")
}

/// Message attribute: the batch's id.
pub const ATTRIBUTE_BATCH: &str = "batch";
/// Message attribute: the clip's id.
pub const ATTRIBUTE_CLIP: &str = "clip";
/// Message attribute of progress events: the kind of event.
pub const ATTRIBUTE_EVENT: &str = "event";

/// Project id of a fleet on one machine.
pub const LOCAL_PROJECT: &str = "clipfleet-local";
/// Default bucket of a fleet on one machine.
pub const LOCAL_BUCKET: &str = "clipfleet-local";

//! The names that outsiders see: topics, subscriptions, document paths and the fields that more than one role reads.

use clipfleet_domain::ids::{BatchId, ClipId};

/// Requests of Cloud Functions.
pub const EXPORT_REQUESTS: &str = "export-requests";
/// One message per clip.
pub const CLIP_JOBS: &str = "clip-jobs";
/// Clip jobs set aside after their last delivery attempt.
pub const CLIP_JOBS_DEAD_LETTER: &str = "clip-jobs-dead-letter";
/// Events.
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
/// Collection of the dispatcher's own records of accepted requests. Not for clients.
pub const REQUESTS: &str = "exportRequests";

/// What operators ask of the whole fleet. Written by the dispatcher, read by workers. Not for clients.
pub const CONTROL_DOCUMENT: &str = "fleetControl/fleet";
/// Field of a record in [`REQUESTS`]: the request as proto-JSON, every default filled in. Written by the dispatcher, read by the scaler too.
pub const RECORD_REQUEST: &str = "request";
/// Field of a record in [`REQUESTS`]: not all clips of the batch are known to be over. Written by the dispatcher, read by the scaler too.
pub const RECORD_OPEN: &str = "open";
/// Field of a record in [`REQUESTS`]: the generations that were asked for by retries, by clip. Documents of clips may not have heard of them
/// yet. Written by the dispatcher, read by the scaler too.
pub const RECORD_RETRIED: &str = "retried";

/// Field of [`CONTROL_DOCUMENT`]: workers take nothing new.
pub const PAUSED: &str = "paused";
/// Field of [`CONTROL_DOCUMENT`]: since when it says so.
pub const CHANGED_AT: &str = "changedAt";

/// Status document of a batch.
pub fn batch_document(batch: &BatchId) -> String {
    format!("{BATCHES}/{batch}")
}

/// Collection of a batch's clip status documents.
pub fn clip_documents(batch: &BatchId) -> String {
    format!("{BATCHES}/{batch}/clips")
}

/// Status document of a clip.
pub fn clip_document(batch: &BatchId, clip: &ClipId) -> String {
    format!("{BATCHES}/{batch}/clips/{clip}")
}

/// Who sets the size of a pool of workers, and what was learned. Written and read by scalers. Not for clients.
pub fn scaler_document(pool: &str) -> String {
    format!("fleetControl/scaler-{pool}")
}

/// The dispatcher's record of a request.
pub fn request_document(batch: &BatchId) -> String {
    format!("{REQUESTS}/{batch}")
}

/// Field of a status document: where the clip or batch stands.
pub const STATUS: &str = "status";
/// Field of a clip's status document: 0 at first, one more at each explicit retry.
pub const GENERATION: &str = "generation";
/// Field of a clip's status document: the stage of its latest attempt.
pub const PHASE: &str = "phase";
/// Field of a status document: its last change.
pub const UPDATED_AT: &str = "updatedAt";
/// Field of a status document: percent.
pub const PROGRESS: &str = "progress";
/// Field of a clip's status document: the worker of the latest attempt.
pub const WORKER: &str = "worker";
/// Field of a clip's status document: number of the latest attempt.
pub const ATTEMPT: &str = "attempt";
/// Field of a clip's status document: id of the latest attempt.
pub const ATTEMPT_ID: &str = "attemptId";
/// Field of a clip's status document: when the latest attempt began.
pub const ATTEMPT_STARTED_AT: &str = "attemptStartedAt";
/// Field of a clip's status document: attempts that crashed.
pub const CRASHES: &str = "crashes";
/// Field of a clip's status document: attempts that were postponed.
pub const TRANSIENT_FAILURES: &str = "transientFailures";
/// Field of a clip's status document: attempts that were interrupted.
pub const INTERRUPTIONS: &str = "interruptions";
/// Field of a clip's status document: attempts that vanished.
pub const LOST_ATTEMPTS: &str = "lostAttempts";
/// Field of a batch's status document: whether the queue gave up any of its clips.
pub const HAS_DEAD_LETTERS: &str = "hasDeadLetters";
/// Field of a status document that only the status service reads: what it needs to fold on.
pub const FOLD: &str = "fold";

/// Attribute of queue messages: the batch's id.
pub const ATTRIBUTE_BATCH: &str = "batch";
/// Attribute of queue messages: the clip's id.
pub const ATTRIBUTE_CLIP: &str = "clip";
/// Attribute of progress events: the event's name.
pub const ATTRIBUTE_EVENT: &str = "event";

/// Project id of a fleet on one machine.
pub const LOCAL_PROJECT: &str = "clipfleet-local";
/// Default bucket of a fleet on one machine.
pub const LOCAL_BUCKET: &str = "clipfleet-local";

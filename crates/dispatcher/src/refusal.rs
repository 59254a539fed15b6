//! Why a request is refused.

use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
};

/// Why a request is refused.
#[derive(Debug)]
pub enum Refusal {
    /// The request is invalid.
    Invalid(Failure),
    /// The batch's id belongs to another request, or the clip's state does not allow the action.
    Conflict(Failure),
    /// The batch or clip does not exist.
    NotFound(Failure),
    /// The caller is unknown.
    Unauthenticated(Failure),
    /// The caller has no right to this.
    Forbidden(Failure),
    /// A dependency is unavailable; the same request may succeed later.
    Unavailable(CloudError),
}

impl From<CloudError> for Refusal {
    fn from(error: CloudError) -> Self {
        Self::Unavailable(error)
    }
}

/// Translates an error of writing a record. If the store will never accept the record, the request is invalid;
/// otherwise it would be redelivered forever.
pub(crate) fn record_refused(error: CloudError) -> Refusal {
    match error.kind() {
        ErrorKind::Invalid => {
            let message = format!("the database refuses the batch's record, split the batch: failed to {error}");
            // Not retryable, unlike a refused status document: the same record would be refused again.
            Refusal::Invalid(Failure { retryable: false, ..Failure::new(Code::DocumentRefused, message) })
        }
        _ => error.into(),
    }
}

/// A refusal for a batch that was never accepted.
pub(crate) fn no_such_batch(batch: &BatchId) -> Refusal {
    let message = format!("batch {:?} does not exist", batch.as_str());
    Refusal::NotFound(Failure::new(Code::BatchNotFound, message))
}

/// A refusal for a clip that its batch does not have.
pub(crate) fn no_such_clip(batch: &BatchId, clip: &ClipId) -> Refusal {
    let message = format!("batch {:?} has no clip {:?}", batch.as_str(), clip.as_str());
    Refusal::NotFound(Failure::new(Code::ClipNotFound, message))
}

//! How an attempt ends, and why one stops without a result.

use clipfleet_cloud::CloudError;
use clipfleet_domain::failure::Failure;

/// How an attempt ended, and so what becomes of its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The clip has ended, and its final event is published: ack.
    Done,
    /// The clip was cancelled, finished or superseded meanwhile: ack.
    Obsolete,
    /// Another attempt must follow: nack.
    Requeue,
    /// The lease may be another attempt's: nothing was published. A nack has no effect then.
    LeaseLost,
}

impl Outcome {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Obsolete => "obsolete",
            Outcome::Requeue => "requeue",
            Outcome::LeaseLost => "lease_lost",
        }
    }
}

/// Why an attempt stopped without a result.
#[derive(Debug)]
pub(crate) enum StopReason {
    /// The worker stalled for so long that the lease may be lost.
    LeaseLost,
    /// A later attempt has started, so the lease of this one was lost.
    Superseded,
    /// The clip has ended, or a later generation of it was requested.
    Obsolete,
    /// The worker was told to stop.
    Shutdown,
    /// Its start could not be published.
    NotAnnounced(CloudError),
    /// The clip could not be made.
    Failed(Failure),
}

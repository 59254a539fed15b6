//! Mutations: each removes one safeguard, and the simulation must then fail, or it proves nothing about that safeguard.
//! A mutation acts in the cloud that the roles are given, or in a role that the tests provide; no production code knows
//! of it.

/// One safeguard that is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Create-if-absent: the object store overwrites objects.
    OverwriteObjects,
    /// Confirm-before-ack, at the publisher: `publish` returns before the message is published.
    UnconfirmedPublish,
    /// Confirm-before-ack, at a subscription: its messages are acked on delivery.
    EarlyAck(&'static str),
    /// The lease check, first half: a worker does not notice that it stalled for longer than its leases last.
    NoStallDetection,
    /// The lease check, second half: an attempt does not see the later attempt that holds its lease.
    NoCheckForLaterAttempts,
    /// The monotone fold: documents show the event that arrived last.
    LastEventWins,
    /// Dedupe of requests: a record is written even if it exists already.
    NoRequestDedupe,
    /// Dedupe of work: a worker does not find existing results.
    NoCheckForResults,
    /// The check of a job's settings: a worker makes what it decoded, whatever was requested.
    NoVersionCheck,
    /// Reading cancellation: a worker finds no document.
    NoCheckForCancellation,
    /// Reading the pause: workers find no request to pause.
    NoPollForPause,
    /// Reconciliation: no dispatcher finds an open batch.
    NoScanForOpenBatches,
    /// Reading retries: no role finds the retries in the dispatcher's record.
    NoCheckForRetries,
    /// Conditional writes of leadership: every scaler that writes the document becomes the leader.
    UnconditionalLeadership,
    /// Conditional writes of status: documents are written even if they changed since they were read.
    UnconditionalStatusWrites,
    /// A refused document delays no other document: a permanent refusal looks like a transient one, so the write is
    /// retried forever.
    RefusalsAsTransient,
    /// The step down at a quota: a size that the quota refuses looks like an outage, so the same size is tried forever.
    QuotaAsOutage,
}

//! Fences taken away, one at a time: each must turn the simulation red, or the simulation proves nothing about it. They are taken away in
//! the cloud that the roles are given, or in a role of the tests' own; no production code knows of them.

/// One fence taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Create-if-absent: the object store overwrites.
    OverwrittenObjects,
    /// Confirm-before-ack, at the publisher: a publication is said to be confirmed before it is.
    UnconfirmedPublish,
    /// Confirm-before-ack, at a subscription: its messages are settled as they are handed out.
    EarlyAck(&'static str),
    /// The lease check, first half: a worker does not notice that it stood still for longer than its leases last.
    NoPulse,
    /// The lease check, second half: an attempt does not see the later one that has its lease.
    NoLookForLaterAttempts,
    /// The monotone fold: the last event is what people read.
    LastEventWins,
    /// Dedupe of requests: a record is written whether or not there is one.
    RecordsWithoutDedupe,
    /// Dedupe of work: a worker does not find what was made before.
    NoLookForResults,
    /// Cancellation is read: a worker finds no document.
    NoLookWhetherWanted,
    /// Pausing is read: workers find that nothing was asked of the fleet.
    NoLookForPause,
    /// Reconciliation: no dispatcher finds a batch that is open.
    NoLookForOpenBatches,
    /// What retries ask for: nobody finds it in the dispatcher's record.
    NoLookForRetries,
    /// Conditional writes of leadership: every scaler that writes the document leads.
    LeadershipForEveryone,
    /// Status writes only what it has read: documents are written whatever they say by now.
    BlindStatusWrites,
    /// A refused document holds up no other: what the store refuses for good looks like what may pass, so it is tried
    /// again for ever.
    RefusalsThatSeemToPass,
}

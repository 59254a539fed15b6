//! The leases of events that wait for documents which cover them.

use crate::cache::Key;
use clipfleet_cloud::Delivery;
use clipfleet_domain::{
    ids::{BatchId, ClipId},
    job::{Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind},
};
use std::{collections::BTreeMap, sync::Arc};
use tracing::Span;

/// The right to an event, and the span of its way into documents.
pub(crate) struct Lease {
    pub(crate) delivery: Delivery,
    pub(crate) span: Span,
}

/// A lease shared by the documents that cover its event; settled when the last of them is written.
type Shared = Arc<Lease>;

/// What waits for one document.
#[derive(Default)]
struct PendingWrite {
    events: Vec<Shared>,
    /// The latest progress of each clip: its lease covers what the same attempt told before. So what waits is bounded by the number of
    /// clips, however fast they report and however slowly documents are written, and an event that ends a clip is never kept out by progress.
    progress: BTreeMap<ClipId, (ClipEvent, Shared)>,
}

/// See the module. In order, so that leases are handed back in an order that a simulation can repeat.
#[derive(Default)]
pub(crate) struct PendingAcks(BTreeMap<Key, PendingWrite>);

impl PendingAcks {
    /// Keeps an event's lease until all of these documents are written; settles it when there are none.
    pub(crate) fn keep(&mut self, event: Event, lease: Lease, covering: Vec<Key>) {
        let shared = Arc::new(lease);
        let progress = match event.kind {
            EventKind::Clip { id, event } if matches!(event.kind, ClipEventKind::Progressed { .. }) => {
                Some((id, event))
            }
            _ => None,
        };
        for key in covering {
            let pending_write = self.0.entry(key).or_default();
            match &progress {
                Some((id, event)) => pending_write.report(id, event, Arc::clone(&shared)),
                None => pending_write.events.push(Arc::clone(&shared)),
            }
        }
        settle(shared);
    }

    /// Settles what waited for this document alone.
    pub(crate) fn written(&mut self, key: &Key) {
        let Some(pending_write) = self.0.remove(key) else { return };
        pending_write
            .events
            .into_iter()
            .chain(pending_write.progress.into_values().map(|(_, shared)| shared))
            .for_each(settle);
    }

    /// Hands back everything about a batch: a lease that is dropped unsettled goes back to the queue.
    pub(crate) fn hand_back(&mut self, batch: &BatchId) {
        self.0.retain(|key, _| key.batch() != batch);
    }
}

impl PendingWrite {
    fn report(&mut self, id: &ClipId, event: &ClipEvent, shared: Shared) {
        match self.progress.get_mut(id) {
            None => {
                self.progress.insert(id.clone(), (event.clone(), shared));
            }
            // Its document and its batch's both wait for the later one as well, so that the last share is given up here.
            Some(known) if event.supersedes(&known.0) => {
                let (_, earlier) = std::mem::replace(known, (event.clone(), shared));
                settle(earlier);
            }
            Some(_) => self.events.push(shared),
        }
    }
}

/// Gives up one share of a lease; the last one settles it.
fn settle(shared: Shared) {
    if let Some(Lease { delivery, span }) = Arc::into_inner(shared) {
        delivery.ack();
        drop(span);
    }
}

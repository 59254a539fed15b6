//! Holds the deliveries of folded events until the documents that the events changed are written, then acks them.

use crate::cache::Key;
use clipfleet_cloud::Delivery;
use clipfleet_domain::{
    ids::{BatchId, ClipId},
    job::{Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind},
};
use std::{collections::BTreeMap, sync::Arc};
use tokio::time::Instant;
use tracing::Span;

/// The delivery of an event, and the span of its way into documents.
pub(crate) struct PendingAck {
    pub(crate) delivery: Delivery,
    pub(crate) span: Span,
    pub(crate) received_at: Instant,
}

/// Shared by the documents that the event changed. The event is acked when the last of them is written.
type Shared = Arc<PendingAck>;

/// The acks that wait for one document.
#[derive(Default)]
struct DocumentAcks {
    events: Vec<Shared>,
    /// The latest progress of each clip. It supersedes the earlier progress of the same attempt, which is acked early.
    /// So the number of pending acks is bounded by the number of clips, however fast they report and however slowly
    /// documents are written, and progress cannot keep out an event that ends a clip.
    progress: BTreeMap<ClipId, (ClipEvent, Shared)>,
}

/// The pending acks by document. The map is ordered, so that a simulation is reproducible.
#[derive(Default)]
pub(crate) struct PendingAcks(BTreeMap<Key, DocumentAcks>);

impl PendingAcks {
    /// Holds an event until all of these documents are written. Acks it immediately if there are none.
    pub(crate) fn add(&mut self, event: Event, ack: PendingAck, documents: Vec<Key>) {
        let shared = Arc::new(ack);
        let progress = match event.kind {
            EventKind::Clip { id, event } if matches!(event.kind, ClipEventKind::Progressed { .. }) => {
                Some((id, event))
            }
            _ => None,
        };
        for key in documents {
            let acks = self.0.entry(key).or_default();
            match &progress {
                Some((id, event)) => acks.add_progress(id, event, Arc::clone(&shared)),
                None => acks.events.push(Arc::clone(&shared)),
            }
        }
        release(shared);
    }

    /// Acks the events that waited only for this document.
    pub(crate) fn written(&mut self, key: &Key) {
        let Some(DocumentAcks { events, progress }) = self.0.remove(key) else { return };
        events.into_iter().chain(progress.into_values().map(|(_, shared)| shared)).for_each(release);
    }

    /// Nacks the events of a batch: a delivery that is dropped unsettled is nacked.
    pub(crate) fn nack(&mut self, batch: &BatchId) {
        self.0.retain(|key, _| key.batch() != batch);
    }
}

impl DocumentAcks {
    fn add_progress(&mut self, id: &ClipId, event: &ClipEvent, shared: Shared) {
        match self.progress.get_mut(id) {
            None => {
                self.progress.insert(id.clone(), (event.clone(), shared));
            }
            // The documents of clip and batch both wait for the later event instead, so that the earlier one is acked
            // here.
            Some(known) if event.supersedes(&known.0) => {
                let (_, earlier) = std::mem::replace(known, (event.clone(), shared));
                release(earlier);
            }
            Some(_) => self.events.push(shared),
        }
    }
}

/// Releases one share of a pending ack. Releasing the last share acks the event.
fn release(shared: Shared) {
    if let Some(PendingAck { delivery, span, received_at }) = Arc::into_inner(shared) {
        metrics::histogram!("clipfleet_status_delay_seconds").record(received_at.elapsed().as_secs_f64());
        delivery.ack();
        drop(span);
    }
}

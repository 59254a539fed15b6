//! What all actions of the dispatcher share: its dependencies, and the publication of jobs and events.

use clipfleet_cloud::{Cloud, CloudError, LinkKind, Links, Message};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    access::AccessPolicy,
    batch::Batch,
    ids::ClipId,
    job::{BatchContext, Event, EventKind, Job},
    lifecycle::{ClipEvent, ClipEventKind},
};
use clipfleet_service::{clock::Clock, trace};

/// Concurrent publish calls: enough to fill the client's batches, bounded so that a thousand clips do not hold a
/// thousand buffers.
pub(crate) const MAX_PUBLISHES_IN_FLIGHT: usize = 256;

/// The dispatcher's actions, independent of the transport. Each action's module adds its methods.
pub struct Dispatch {
    pub(crate) cloud: Cloud,
    pub(crate) clock: Clock,
    pub(crate) access: AccessPolicy,
    pub(crate) links: Links,
}

impl Dispatch {
    /// A dispatcher on a cloud, with what owners may use. The kind of links to results follows from their bucket.
    pub fn new(cloud: Cloud, access: AccessPolicy, clock: Clock) -> Self {
        let links = Links::new(cloud.objects.clone(), None);
        Self { cloud, clock, access, links }
    }

    /// The same with links of one kind; `None` chooses by bucket.
    #[must_use]
    pub fn with_links(self, kind: Option<LinkKind>) -> Self {
        Self { links: Links::new(self.cloud.objects.clone(), kind), ..self }
    }

    /// Publishes a clip's job.
    pub(crate) async fn enqueue(&self, job: &Job) -> Result<(), CloudError> {
        let attributes = [
            (names::ATTRIBUTE_BATCH.to_owned(), job.batch.id.to_string()),
            (names::ATTRIBUTE_CLIP.to_owned(), job.clip.id.to_string()),
        ];
        let attributes = attributes.into_iter().chain(trace::inject()).collect();
        let message = Message { data: job::encode(job).into(), attributes };
        self.cloud.queue.publish(names::CLIP_JOBS, message).await.map(|_| ())
    }

    /// Publishes an event.
    pub(crate) async fn publish_event(&self, event: &Event) -> Result<(), CloudError> {
        let attributes = [
            (names::ATTRIBUTE_BATCH.to_owned(), event.batch.id.to_string()),
            (names::ATTRIBUTE_EVENT.to_owned(), event::kind_name(event).to_owned()),
        ];
        let attributes = attributes.into_iter().chain(trace::inject()).collect();
        let message = Message { data: event::encode(event).into(), attributes };
        self.cloud.queue.publish(names::PROGRESS_EVENTS, message).await.map(|_| ())
    }

    /// Publishes an event of one clip.
    pub(crate) async fn publish_clip_event(
        &self,
        batch: &Batch,
        clip: &ClipId,
        generation: u32,
        kind: ClipEventKind,
    ) -> Result<(), CloudError> {
        let event = ClipEvent { generation, at_ms: self.clock.now_ms(), attempt: None, kind };
        let kind = EventKind::Clip { id: clip.clone(), event };
        self.publish_event(&Event { batch: BatchContext::of(batch), kind }).await
    }
}

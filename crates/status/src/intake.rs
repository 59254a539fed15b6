//! Merges the two subscriptions of the service into one stream: events, and dead-lettered jobs, which become events.

use clipfleet_cloud::{Cloud, CloudError, Delivery, Message, Subscription};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    failure::Failure,
    job::{Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind},
};
use clipfleet_service::{clock::Clock, health::Readiness, trace};
use std::sync::Arc;
use tokio::{sync::mpsc, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::Span;

/// The maximum number of unsettled events: this many clips may have an unwritten event, since later progress replaces
/// earlier progress. An event has about 1 kB.
const MAX_UNSETTLED_EVENTS: usize = 10_000;
/// The maximum number of unsettled dead letters. They are rare.
const MAX_UNSETTLED_DEAD_LETTERS: usize = 100;

/// The attribute in which Pub/Sub reports how often a dead letter was delivered.
const DELIVERY_COUNT: &str = "CloudPubSubDeadLetterSourceDeliveryCount";

/// An event and its delivery, which is unsettled.
pub(crate) struct Leased {
    pub(crate) event: Event,
    pub(crate) delivery: Delivery,
    pub(crate) received_at: Instant,
    /// Ends when the documents that the event changed are written.
    pub(crate) span: Span,
}

/// The running intake.
pub(crate) struct Intake(JoinSet<()>);

impl Intake {
    /// Waits until both subscriptions are closed and their unsettled deliveries are nacked.
    pub(crate) async fn close(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Subscribes to both. The stream ends with an error if that is permanent, and without one after `stop`.
pub(crate) fn start(
    cloud: &Cloud,
    clock: Clock,
    readiness: &Readiness,
    stop: CancellationToken,
) -> (mpsc::Receiver<Result<Leased, CloudError>>, Intake) {
    let (sender, receiver) = mpsc::channel(MAX_UNSETTLED_EVENTS);
    let open = |name, outstanding| {
        let condition = readiness.condition(name);
        Subscription::open(Arc::clone(&cloud.queue), name, outstanding, move |state| condition.set(state))
    };
    let events = open(names::PROGRESS_EVENTS_STATUS, MAX_UNSETTLED_EVENTS);
    let dead_letters = open(names::CLIP_JOBS_DEAD_LETTER_STATUS, MAX_UNSETTLED_DEAD_LETTERS);
    let mut tasks = JoinSet::new();
    tasks.spawn(forward(
        events,
        |message| event::decode(&message.data).map_err(|bad| bad.to_string()),
        sender.clone(),
        stop.clone(),
    ));
    tasks.spawn(forward(dead_letters, move |message| dead_letter_event(message, clock.now_ms()), sender, stop));
    (receiver, Intake(tasks))
}

async fn forward(
    mut deliveries: Subscription,
    decode: impl Fn(&Message) -> Result<Event, String>,
    sender: mpsc::Sender<Result<Leased, CloudError>>,
    stop: CancellationToken,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            delivery = deliveries.next() => delivery,
        };
        let leased = match delivery {
            Some(Ok(delivery)) => match decode(&delivery.message) {
                Ok(event) => {
                    let span = span(&event, &delivery.message);
                    Ok(Leased { event, delivery, received_at: Instant::now(), span })
                }
                Err(reason) => {
                    // Redelivery could never succeed: the message is acked, counted and logged.
                    tracing::error!(message_id = delivery.message_id, "message dropped: {reason}");
                    metrics::counter!("clipfleet_malformed_messages_total").increment(1);
                    delivery.ack();
                    continue;
                }
            },
            Some(Err(error)) => Err(error),
            None => break,
        };
        if sender.send(leased).await.is_err() {
            break;
        }
    }
    deliveries.close().await;
}

/// A span for the way of the event into its documents. Progress gets none, because it is too frequent to be useful in a
/// trace.
fn span(event: &Event, message: &Message) -> Span {
    let progress = match &event.kind {
        EventKind::Clip { event, .. } => matches!(event.kind, ClipEventKind::Progressed { .. }),
        _ => false,
    };
    if progress || !trace::has_context(&message.attributes) {
        return Span::none();
    }
    let clip = match &event.kind {
        EventKind::Clip { id, .. } => Some(id.as_str()),
        _ => None,
    };
    let span =
        tracing::info_span!("write documents", batch = event.batch.id.as_str(), clip, event = event::kind_name(event));
    trace::set_parent(&span, trace::pairs(&message.attributes));
    span
}

/// The event of a dead-lettered job: its clip has failed.
fn dead_letter_event(message: &Message, at_ms: i64) -> Result<Event, String> {
    // A job is dead-lettered also because no worker knew its settings, so only the rest of it is decoded.
    let job = job::decode_header(&message.data).map_err(|bad| bad.to_string())?;
    let deliveries = message.attributes.get(DELIVERY_COUNT).map_or("its last", String::as_str);
    let kind = ClipEventKind::Failed(Failure::dead_lettered(deliveries));
    // The clocks of two machines may differ, but a clip does not fail before it is queued.
    let event = ClipEvent { generation: job.generation, at_ms: at_ms.max(job.queued_at_ms), attempt: None, kind };
    Ok(Event { batch: job.batch, kind: EventKind::Clip { id: job.clip, event } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_contract::v1::ClipJob;
    use clipfleet_domain::failure::Code;
    use clipfleet_domain::job::{Job, PinnedSource};
    use prost::Message as _;
    use std::collections::BTreeMap;

    #[test]
    fn a_dead_letter_becomes_a_failed_clip_with_the_number_of_deliveries() {
        let request = r#"{"batchId":"b1","ownerUid":"u1","projectId":"p1","source":{"uri":"gs://media/a.mp4"},
                          "clips":[{"clipId":"c1","startMs":0,"endMs":1000}]}"#;
        let request = clipfleet_contract::batch::from_json(request.as_bytes()).unwrap();
        let policy = clipfleet_domain::access::AccessPolicy::of_buckets("media", &[]);
        let batch = clipfleet_contract::batch::check(&request, &policy, "").unwrap();
        let source = PinnedSource { uri: batch.source.uri.clone(), generation: 1, size_bytes: 5 };
        let job = Job::new(&batch, batch.plan(1).unwrap().remove(0), source, 2, 0);
        let attributes: BTreeMap<_, _> = [(DELIVERY_COUNT.to_owned(), "100".to_owned())].into();
        // Of a later version, which may be why no worker made it.
        let mut message = ClipJob::decode(&job::encode(&job)[..]).unwrap();
        message.output.as_mut().unwrap().quality = "4320p".into();
        let message = Message { data: message.encode_to_vec().into(), attributes };
        assert!(job::decode(&message.data).is_err());
        let event = dead_letter_event(&message, 9).unwrap();
        let EventKind::Clip { id, event } = event.kind else { panic!("about a clip") };
        assert_eq!((id.as_str(), event.generation, event.at_ms), ("c1", 2, 9));
        let ClipEventKind::Failed(failure) = event.kind else { panic!("a failure") };
        assert_eq!((failure.code, failure.retryable), (Code::DeadLettered, true));
        assert!(failure.message.contains("100"), "{}", failure.message);
        let early = dead_letter_event(
            &Message { data: job::encode(&Job { queued_at_ms: 12, ..job }).into(), ..Message::default() },
            9,
        );
        assert!(matches!(early.unwrap().kind, EventKind::Clip { event, .. } if event.at_ms == 12));
        assert!(dead_letter_event(&Message::default(), 9).is_err());
    }
}

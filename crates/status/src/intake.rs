//! The two streams the service listens to, as one: events, and jobs that were set aside, which are events too.

use clipfleet_cloud::{Cloud, CloudError, Deliveries, Delivery, Message};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    failure::Failure,
    job::{Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind},
};
use clipfleet_service::{clock::Clock, trace};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Span;

/// Events held unsettled at once: the latest progress of so many clips, since it takes the place of what came before. About 1 kB each.
const EVENTS_OUTSTANDING: usize = 10_000;
/// Dead letters are rare.
const DEAD_LETTERS_OUTSTANDING: usize = 100;

/// Attribute that Pub/Sub puts on a dead letter: how often it was delivered.
const DELIVERIES: &str = "CloudPubSubDeadLetterSourceDeliveryCount";

/// An event and the lease on its message.
pub(crate) struct Leased {
    pub(crate) event: Event,
    pub(crate) delivery: Delivery,
    /// Ends when the documents that cover the event are written.
    pub(crate) span: Span,
}

/// The running intake.
pub(crate) struct Intake(JoinSet<()>);

impl Intake {
    /// Waits until both streams are closed and handed back what they held.
    pub(crate) async fn close(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

/// Starts listening. The stream ends with an error when waiting cannot mend it, and silently after `stop`.
pub(crate) fn start(
    cloud: &Cloud,
    clock: Clock,
    stop: CancellationToken,
) -> (mpsc::Receiver<Result<Leased, CloudError>>, Intake) {
    let (sender, receiver) = mpsc::channel(EVENTS_OUTSTANDING);
    let events = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, EVENTS_OUTSTANDING);
    let dead = cloud.queue.subscribe(names::CLIP_JOBS_DEAD_LETTER_STATUS, DEAD_LETTERS_OUTSTANDING);
    let mut tasks = JoinSet::new();
    tasks.spawn(forward(
        events,
        |message| event::decode(&message.data).map_err(|bad| bad.to_string()),
        sender.clone(),
        stop.clone(),
    ));
    tasks.spawn(forward(dead, move |message| set_aside(message, clock.now_ms()), sender, stop));
    (receiver, Intake(tasks))
}

async fn forward(
    mut deliveries: Deliveries,
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
                    Ok(Leased { event, delivery, span })
                }
                Err(reason) => {
                    // It would be no clearer the next time: settled, counted, and visible in the log.
                    tracing::error!(message = delivery.message_id, "dropped: {reason}");
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

/// Progress is told too often to be of use in a trace.
fn span(event: &Event, message: &Message) -> Span {
    let progress = match &event.kind {
        EventKind::Clip { event, .. } => matches!(event.kind, ClipEventKind::Progressed { .. }),
        _ => false,
    };
    if progress || !trace::is_in(&message.attributes) {
        return Span::none();
    }
    let clip = match &event.kind {
        EventKind::Clip { id, .. } => Some(id.as_str()),
        _ => None,
    };
    let span =
        tracing::info_span!("write documents", batch = event.batch.id.as_str(), clip, event = event::kind_name(event));
    trace::follow(&span, trace::texts(&message.attributes));
    span
}

fn set_aside(message: &Message, at_ms: i64) -> Result<Event, String> {
    let job = job::decode(&message.data).map_err(|bad| bad.to_string())?;
    let deliveries = message.attributes.get(DELIVERIES).map_or("its last", String::as_str);
    let kind = ClipEventKind::Failed(Failure::dead_lettered(deliveries));
    // Whatever the clocks say: nothing is given up before it was queued.
    let event = ClipEvent { generation: job.generation, at_ms: at_ms.max(job.queued_at_ms), attempt: None, kind };
    Ok(Event { batch: job.batch, kind: EventKind::Clip { id: job.clip.id, event } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;
    use clipfleet_domain::job::{Job, PinnedSource};

    #[test]
    fn a_job_that_was_set_aside_is_a_failed_clip_that_says_how_often_it_was_tried() {
        let request = r#"{"batchId":"b1","ownerUid":"u1","projectId":"p1","source":{"uri":"gs://media/a.mp4"},
                          "clips":[{"clipId":"c1","startMs":0,"endMs":1000}]}"#;
        let request = clipfleet_contract::batch::from_json(request.as_bytes()).unwrap();
        let policy =
            clipfleet_domain::batch::BucketPolicy { default_bucket: "media".into(), allowed: vec!["media".into()] };
        let batch = clipfleet_contract::batch::check(&request, &policy, "").unwrap();
        let source = PinnedSource { uri: batch.source.uri.clone(), generation: 1, size_bytes: 5 };
        let job = Job::new(&batch, batch.plan(1).unwrap().remove(0), source, 2, 0);
        let attributes = [(DELIVERIES.to_owned(), "100".to_owned())].into();
        let event = set_aside(&Message { data: job::encode(&job).into(), attributes }, 9).unwrap();
        let EventKind::Clip { id, event } = event.kind else { panic!("about a clip") };
        assert_eq!((id.as_str(), event.generation, event.at_ms), ("c1", 2, 9));
        let ClipEventKind::Failed(failure) = event.kind else { panic!("a failure") };
        assert_eq!((failure.code, failure.retryable), (Code::DeadLettered, true));
        assert!(failure.message.contains("100"), "{}", failure.message);
        let early =
            set_aside(&Message { data: job::encode(&Job { queued_at_ms: 12, ..job }).into(), ..Message::default() }, 9);
        assert!(matches!(early.unwrap().kind, EventKind::Clip { event, .. } if event.at_ms == 12));
        assert!(set_aside(&Message::default(), 9).is_err());
    }
}

//! A status service without the fold, for the mutation that removes it: documents show the event that arrived last.

use clipfleet_cloud::{Cloud, Fields, Precondition, Value, Write};
use clipfleet_contract::{event, names};
use clipfleet_domain::{job::EventKind, lifecycle::ClipEventKind, state::State, wire_name::WireName as _};
use tokio_util::sync::CancellationToken;

/// Events leased at the same time.
const OUTSTANDING: usize = 100;

pub(crate) async fn run(cloud: Cloud, stop: CancellationToken) -> Result<(), String> {
    let mut events = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, OUTSTANDING);
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            delivery = events.next() => delivery,
        };
        let Some(Ok(delivery)) = delivery else { return Ok(()) };
        let received = event::decode(&delivery.message.data).map_err(|bad| bad.to_string())?;
        let EventKind::Clip { id, event } = &received.kind else {
            delivery.ack();
            continue;
        };
        let (state, percent) = match &event.kind {
            ClipEventKind::Queued => (State::Queued, 0),
            ClipEventKind::Started
            | ClipEventKind::Interrupted
            | ClipEventKind::FailedTransiently(_)
            | ClipEventKind::Crashed(_) => (State::Processing, 0),
            ClipEventKind::Progressed { percent, .. } => (State::Processing, i64::from(*percent)),
            ClipEventKind::Completed { .. } => (State::Completed, 100),
            ClipEventKind::Failed(_) => (State::Failed, 0),
            ClipEventKind::Cancelled => (State::Cancelled, 0),
        };
        let output = match &event.kind {
            ClipEventKind::Completed { output, .. } => output.uri.clone(),
            _ => String::new(),
        };
        let fields = Fields::from([
            ("status".to_owned(), Value::String(state.name().to_owned())),
            ("progress".to_owned(), Value::Integer(percent)),
            ("outputUri".to_owned(), Value::String(output)),
            ("generation".to_owned(), Value::Integer(i64::from(event.generation))),
        ]);
        let write =
            Write { path: names::clip_document(&received.batch.id, id), fields, precondition: Precondition::None };
        match cloud.documents.commit(vec![write]).await {
            Ok(_) => delivery.ack(),
            Err(_) => delivery.nack(),
        }
    }
}

//! A status service without the rule of the fold, for the mutation that removes it: whatever fact comes last is what people read.

use clipfleet_cloud::{Cloud, Fields, Precondition, Value, Write};
use clipfleet_contract::{event, names};
use clipfleet_domain::{job::FleetFact, lifecycle::ClipFact, rendition::name_of, state::State};
use tokio_util::sync::CancellationToken;

/// Facts held at once.
const OUTSTANDING: usize = 100;

pub(crate) async fn run(cloud: Cloud, stop: CancellationToken) -> Result<(), String> {
    let mut facts = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, OUTSTANDING);
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(()),
            delivery = facts.next() => delivery,
        };
        let Some(Ok(delivery)) = delivery else { return Ok(()) };
        let fact = event::decode(&delivery.message.data).map_err(|bad| bad.to_string())?;
        let FleetFact::Clip { id, event } = &fact.fact else {
            delivery.ack();
            continue;
        };
        let (state, percent) = match &event.fact {
            ClipFact::Queued => (State::Queued, 0),
            ClipFact::Started | ClipFact::Interrupted | ClipFact::Postponed(_) | ClipFact::Crashed(_) => {
                (State::Processing, 0)
            }
            ClipFact::Progressed { percent, .. } => (State::Processing, i64::from(*percent)),
            ClipFact::Completed { .. } => (State::Completed, 100),
            ClipFact::Failed(_) => (State::Failed, 0),
            ClipFact::Cancelled => (State::Cancelled, 0),
        };
        let output = match &event.fact {
            ClipFact::Completed { output, .. } => output.uri.clone(),
            _ => String::new(),
        };
        let fields = Fields::from([
            (names::STATUS.to_owned(), Value::String(name_of(&State::ALL, state).to_owned())),
            ("progress".to_owned(), Value::Integer(percent)),
            ("outputUri".to_owned(), Value::String(output)),
            (names::GENERATION.to_owned(), Value::Integer(i64::from(event.generation))),
        ]);
        let write = Write { path: names::clip_document(&fact.batch.id, id), fields, precondition: Precondition::None };
        match cloud.documents.commit(vec![write]).await {
            Ok(_) => delivery.ack(),
            Err(_) => delivery.nack(),
        }
    }
}

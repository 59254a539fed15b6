//! The two streams the service listens to, as one: facts, and jobs that were set aside, which are facts too.

use clipfleet_cloud::{Cloud, CloudError, Deliveries, Delivery};
use clipfleet_contract::{event, job, names};
use clipfleet_domain::{
    failure::Failure,
    job::{FleetEvent, FleetFact},
    lifecycle::{ClipEvent, ClipFact},
};
use clipfleet_service::clock::Clock;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Facts held unsettled at once. A thousand clips that report every second are covered by less than two seconds of it.
const FACTS_OUTSTANDING: usize = 2_000;
/// Dead letters are rare.
const DEAD_LETTERS_OUTSTANDING: usize = 100;

/// A fact and the lease on its message.
pub(crate) struct Fact {
    pub(crate) event: FleetEvent,
    pub(crate) delivery: Delivery,
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
) -> (mpsc::Receiver<Result<Fact, CloudError>>, Intake) {
    let (sender, receiver) = mpsc::channel(FACTS_OUTSTANDING);
    let facts = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, FACTS_OUTSTANDING);
    let dead = cloud.queue.subscribe(names::CLIP_JOBS_DEAD_LETTER_STATUS, DEAD_LETTERS_OUTSTANDING);
    let mut tasks = JoinSet::new();
    tasks.spawn(forward(
        facts,
        |bytes| event::decode(bytes).map_err(|bad| bad.to_string()),
        sender.clone(),
        stop.clone(),
    ));
    tasks.spawn(forward(dead, move |bytes| set_aside(bytes, clock.now_ms()), sender, stop));
    (receiver, Intake(tasks))
}

async fn forward(
    mut deliveries: Deliveries,
    decode: impl Fn(&[u8]) -> Result<FleetEvent, String>,
    sender: mpsc::Sender<Result<Fact, CloudError>>,
    stop: CancellationToken,
) {
    loop {
        let delivery = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            delivery = deliveries.next() => delivery,
        };
        let fact = match delivery {
            Some(Ok(delivery)) => match decode(&delivery.message.data) {
                Ok(event) => Ok(Fact { event, delivery }),
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
        if sender.send(fact).await.is_err() {
            break;
        }
    }
    deliveries.close().await;
}

fn set_aside(bytes: &[u8], at_ms: i64) -> Result<FleetEvent, String> {
    let job = job::decode(bytes).map_err(|bad| bad.to_string())?;
    let message = "the clip was given up after its last delivery attempt; see the worker's log, then retry the clip";
    let failure = Failure::transient("dead_lettered", message);
    let event = ClipEvent { generation: job.generation, at_ms, attempt: None, fact: ClipFact::Failed(failure) };
    Ok(FleetEvent { batch: job.batch, fact: FleetFact::Clip { id: job.clip.id, event } })
}

//! The three traits in memory, for tests and for simulation in virtual time.
//!
//! A [`Memory`] is the service. Each [`connect`](Memory::connect) is one process of the fleet, which can be cut off as
//! if its instance had died. Nothing is random and all time is tokio's, so a run under a paused clock is reproducible.

mod broker;
mod documents;
mod objects;
mod queue;
mod subscription;

use crate::{Cloud, CloudError, ErrorKind};
use broker::Broker;
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A new, empty cloud.
pub fn cloud() -> Cloud {
    Memory::new().connect().0
}

/// The service that all connected clouds share.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    broker: Broker,
    buckets: objects::Buckets,
    documents: documents::Store,
    links: u64,
    faults: BTreeMap<Call, VecDeque<Fault>>,
    refused: BTreeMap<Call, ErrorKind>,
}

/// A call that can be made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// `Queue::publish`
    Publish,
    /// `Queue::check_access`, and each delivery of `Queue::subscribe`
    Receive,
    /// `Objects::stat`
    Stat,
    /// `Objects::read`
    Read,
    /// `Objects::create`
    Create,
    /// `Objects::set_metadata`
    SetMetadata,
    /// `Documents::get`, `list` and `find`
    Get,
    /// `Documents::commit`
    Commit,
}

/// How a call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call has no effect.
    Refused(ErrorKind),
    /// The call takes effect, but its response is lost.
    AnswerLost,
}

impl Memory {
    /// An empty service.
    pub fn new() -> Self {
        Self::default()
    }

    /// Connects another process. Returns its cloud, and the link that can kill it.
    pub fn connect(&self) -> (Cloud, Link) {
        let mut state = self.lock();
        state.links += 1;
        let client = Arc::new(Client { memory: self.clone(), link: state.links, cut: CancellationToken::new() });
        let cloud = Cloud {
            queue: Arc::new(client.clone()),
            objects: Arc::new(client.clone()),
            documents: Arc::new(client.clone()),
        };
        (cloud, Link { client })
    }

    /// Makes the next such call of any process fail, once. Several faults apply in order.
    pub fn fail_next(&self, call: Call, fault: Fault) {
        self.lock().faults.entry(call).or_default().push_back(fault);
    }

    /// Makes all such calls of all processes fail until [`allow`](Self::allow).
    pub fn refuse(&self, call: Call, kind: ErrorKind) {
        self.lock().refused.insert(call, kind);
    }

    /// Ends [`refuse`](Self::refuse).
    pub fn allow(&self, call: Call) {
        self.lock().refused.remove(&call);
    }

    /// The number of a subscription's messages that are waiting or leased.
    pub fn unsettled(&self, subscription: &str) -> usize {
        self.lock().broker.unsettled(subscription)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

/// The connection of one process, which can be cut.
pub struct Link {
    client: Arc<Client>,
}

impl Link {
    /// Kills the process: its calls fail, its streams end, its settlements have no effect, and its leases expire.
    pub fn cut(&self) {
        self.client.cut.cancel();
        self.client.memory.lock().broker.abandon(self.client.link, Instant::now());
    }
}

/// One process's view of the service.
struct Client {
    memory: Memory,
    link: u64,
    cut: CancellationToken,
}

impl Client {
    /// Runs one call to the service, unless the process was cut off or a fault applies.
    fn call<T>(
        &self,
        call: Call,
        doing: &str,
        run: impl FnOnce(&mut State) -> Result<T, CloudError>,
    ) -> Result<T, CloudError> {
        let failed = |kind, cause| Err(CloudError::new(kind, format!("{doing}: {cause}")));
        // The cut is checked under the lock: it precedes the abandonment of the process's leases, so that no lease is
        // created after it.
        let mut state = self.memory.lock();
        if self.cut.is_cancelled() {
            return failed(ErrorKind::Unavailable, "the process was cut off");
        }
        if let Some(kind) = state.refused.get(&call) {
            return failed(*kind, "refused by request of the test");
        }
        match state.faults.get_mut(&call).and_then(VecDeque::pop_front) {
            None => run(&mut state),
            Some(Fault::Refused(kind)) => failed(kind, "refused by request of the test"),
            Some(Fault::AnswerLost) => {
                run(&mut state)?;
                failed(ErrorKind::Unavailable, "answer lost by request of the test")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fields, Message, Precondition, SubscriptionSpec, Write};
    use std::time::Duration;

    /// A topic with a subscription, and one message in it.
    async fn with_one_message() -> Memory {
        let memory = Memory::new();
        let queue = memory.connect().0.queue;
        let (name, topic, ack_deadline) = ("jobs-worker".to_owned(), "jobs".to_owned(), Duration::from_secs(60));
        queue.ensure_topic("jobs").await.unwrap();
        let spec = SubscriptionSpec { name, topic, ack_deadline, dead_letter: None, backoff: None };
        queue.ensure_subscription(&spec).await.unwrap();
        queue.publish("jobs", message()).await.unwrap();
        memory
    }

    fn message() -> Message {
        Message { data: "clip".into(), ..Message::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_that_was_cut_off_settles_nothing() {
        let memory = with_one_message().await;
        let (cloud, link) = memory.connect();
        let mut stream = cloud.queue.subscribe("jobs-worker", 1);
        let delivery = stream.next().await.unwrap().unwrap();
        link.cut();
        delivery.ack();
        assert!(stream.next().await.is_none());
        assert!(cloud.queue.publish("jobs", message()).await.unwrap_err().is_transient());

        let died = Instant::now();
        let again = memory.connect().0.queue.subscribe("jobs-worker", 1).next().await.unwrap().unwrap();
        assert_eq!(died.elapsed(), Duration::from_secs(60));
        again.ack();
        assert_eq!(memory.unsettled("jobs-worker"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_call_has_no_effect_but_one_whose_response_is_lost_has() {
        let (memory, path) = (Memory::new(), "batches/b1".to_owned());
        let documents = memory.connect().0.documents;
        let write = || vec![Write { path: path.clone(), fields: Fields::new(), precondition: Precondition::Absent }];
        memory.fail_next(Call::Commit, Fault::Refused(ErrorKind::Unavailable));
        memory.fail_next(Call::Commit, Fault::AnswerLost);
        assert!(documents.commit(write()).await.unwrap_err().is_transient());
        assert_eq!(documents.get(std::slice::from_ref(&path)).await.unwrap(), [None]);
        assert!(documents.commit(write()).await.unwrap_err().is_transient());
        assert_eq!(documents.commit(write()).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
}

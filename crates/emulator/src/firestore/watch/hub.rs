//! The hub: tells every commit, in order, to the listeners that it may concern.
//!
//! A listener that does not keep up loses its queue, not the server its memory: it is told that it lags, and looks at the
//! store again.

use crate::{
    firestore::{fs, path::DocumentName, tables::Scope},
    limits,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::{Notify, watch};
use tonic::Status;

/// What one commit left behind.
#[derive(Debug, Default)]
pub(in crate::firestore) struct Commit {
    /// Its time, in microseconds; greater than that of every commit before.
    pub(in crate::firestore) at: u64,
    /// Every document it wrote, once.
    pub(in crate::firestore) changes: Vec<Change>,
    /// What the documents take, about.
    pub(in crate::firestore) bytes: usize,
}

/// A document after a commit.
#[derive(Debug)]
pub(in crate::firestore) struct Change {
    pub(in crate::firestore) name: DocumentName,
    /// `None` when it is gone.
    pub(in crate::firestore) document: Option<Arc<fs::Document>>,
}

/// The documents that a target may have to show.
#[derive(Debug)]
pub(super) enum Interest {
    Documents(BTreeSet<DocumentName>),
    Scope(Scope),
}

impl Interest {
    fn covers(&self, name: &DocumentName) -> bool {
        match self {
            Self::Documents(names) => names.contains(name),
            Self::Scope(scope) => scope.covers(&name.collection),
        }
    }
}

/// Where commits are announced.
pub(in crate::firestore) struct Hub {
    inboxes: Mutex<Inboxes>,
    /// The time of the last commit that every inbox has.
    announced: watch::Sender<u64>,
}

#[derive(Default)]
struct Inboxes {
    next: u64,
    open: BTreeMap<u64, Arc<Inbox>>,
}

#[derive(Default)]
struct Inbox {
    state: Mutex<State>,
    ready: Notify,
}

#[derive(Default)]
struct State {
    interests: BTreeMap<i32, Interest>,
    waiting: VecDeque<Arc<Commit>>,
    bytes: usize,
    lagged: bool,
}

/// What an inbox held.
pub(super) struct Taken {
    /// Every commit up to this time was in the inbox, now or before, if it was of interest.
    pub(super) announced: u64,
    pub(super) commits: VecDeque<Arc<Commit>>,
    /// Whether commits were lost, because there were too many.
    pub(super) lagged: bool,
}

impl Hub {
    /// A hub for a store whose last commit was at `announced`.
    pub(in crate::firestore) fn new(announced: u64) -> Self {
        Self { inboxes: Mutex::default(), announced: watch::Sender::new(announced) }
    }

    /// Tells a commit that just became visible; the caller keeps the order of commits.
    pub(in crate::firestore) fn publish(&self, commit: &Arc<Commit>) {
        if commit.changes.is_empty() {
            return;
        }
        for inbox in self.inboxes.lock().open.values() {
            inbox.offer(commit);
        }
        self.announced.send_replace(commit.at);
    }

    /// Waits until a commit that was seen in the store has been announced, too: an instant at most.
    pub(super) async fn reached(&self, at: u64) {
        // The sender lives as long as this hub.
        let _ = self.announced.subscribe().wait_for(|announced| *announced >= at).await;
    }

    /// Opens an inbox, at first of no interest.
    pub(super) fn subscribe(self: &Arc<Self>) -> Result<Subscription, Status> {
        let mut inboxes = self.inboxes.lock();
        if inboxes.open.len() >= limits::LISTENERS {
            return Err(Status::resource_exhausted("too many listeners"));
        }
        inboxes.next += 1;
        let (id, inbox) = (inboxes.next, Arc::<Inbox>::default());
        inboxes.open.insert(id, Arc::clone(&inbox));
        Ok(Subscription { hub: Arc::clone(self), id, inbox })
    }
}

impl Inbox {
    fn offer(&self, commit: &Arc<Commit>) {
        let mut state = self.state.lock();
        let concerns = |change: &Change| state.interests.values().any(|interest| interest.covers(&change.name));
        if !commit.changes.iter().any(concerns) {
            return;
        }
        let room = limits::LISTEN_QUEUE_BYTES.saturating_sub(state.bytes);
        if state.waiting.len() >= limits::LISTEN_QUEUE_COMMITS || commit.bytes > room {
            state.lagged = true;
        }
        if state.lagged {
            (state.waiting, state.bytes) = (VecDeque::new(), 0);
        } else {
            state.bytes += commit.bytes;
            state.waiting.push_back(Arc::clone(commit));
        }
        drop(state);
        self.ready.notify_one();
    }
}

/// An open inbox; closed when dropped.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    inbox: Arc<Inbox>,
}

impl Subscription {
    /// From now on commits of this interest arrive.
    pub(super) fn watch(&self, target: i32, interest: Interest) {
        self.inbox.state.lock().interests.insert(target, interest);
    }

    /// Ends an interest.
    pub(super) fn unwatch(&self, target: i32) {
        self.inbox.state.lock().interests.remove(&target);
    }

    /// Waits for something to take.
    pub(super) async fn ready(&self) {
        self.inbox.ready.notified().await;
    }

    /// Empties the inbox.
    pub(super) fn take(&self) -> Taken {
        // Looked at first: what is announced is in the inbox already, while the inbox may hold more.
        let announced = *self.hub.announced.borrow();
        let mut state = self.inbox.state.lock();
        state.bytes = 0;
        Taken { announced, commits: std::mem::take(&mut state.waiting), lagged: std::mem::take(&mut state.lagged) }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.inboxes.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(at: u64, collection: &str, bytes: usize) -> Arc<Commit> {
        let name = DocumentName { collection: collection.into(), id: "d".into() };
        Arc::new(Commit { at, changes: vec![Change { name, document: None }], bytes })
    }

    #[tokio::test]
    async fn only_what_is_of_interest_arrives_and_wakes() {
        let hub = Arc::new(Hub::new(1));
        let inbox = hub.subscribe().unwrap();
        inbox.watch(1, Interest::Scope(Scope::Collection("a".into())));
        hub.publish(&commit(2, "b", 0));
        let taken = inbox.take();
        assert_eq!((taken.announced, taken.commits.len(), taken.lagged), (2, 0, false));
        hub.publish(&commit(3, "a", 0));
        inbox.ready().await;
        assert_eq!(inbox.take().commits[0].at, 3);
        inbox.unwatch(1);
        hub.publish(&commit(4, "a", 0));
        assert!(inbox.take().commits.is_empty());
        drop(inbox);
        assert!(hub.inboxes.lock().open.is_empty());
    }

    #[test]
    fn a_full_inbox_is_emptied_and_says_so_once() {
        let hub = Arc::new(Hub::new(0));
        let inbox = hub.subscribe().unwrap();
        inbox.watch(1, Interest::Scope(Scope::Collection("a".into())));
        for at in 0..=limits::LISTEN_QUEUE_COMMITS as u64 {
            hub.publish(&commit(at, "a", 0));
        }
        let taken = inbox.take();
        assert!(taken.lagged && taken.commits.is_empty());
        hub.publish(&commit(5_000, "a", limits::LISTEN_QUEUE_BYTES));
        hub.publish(&commit(5_001, "a", 1));
        assert!(inbox.take().lagged);
        hub.publish(&commit(5_002, "a", 1));
        let taken = inbox.take();
        assert!(!taken.lagged && taken.commits.len() == 1);
    }
}

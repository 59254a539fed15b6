//! The hub publishes every commit, in order, to the listeners that it may concern.
//!
//! A listener that cannot keep up loses its queued commits, so that it cannot exhaust the server's memory. Its inbox
//! reports the lag, and the listener reads the store again.

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

/// The changes of one commit.
#[derive(Debug, Default)]
pub(in crate::firestore) struct Commit {
    /// The commit time in microseconds; later than that of every earlier commit.
    pub(in crate::firestore) at: u64,
    /// Every changed document, once.
    pub(in crate::firestore) changes: Vec<Change>,
    /// The approximate size of the documents.
    pub(in crate::firestore) bytes: usize,
}

/// A document after a commit.
#[derive(Debug)]
pub(in crate::firestore) struct Change {
    pub(in crate::firestore) name: DocumentName,
    /// `None` if the document was deleted.
    pub(in crate::firestore) document: Option<Arc<fs::Document>>,
}

/// The documents that may be in a target.
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

/// Publishes commits to inboxes.
pub(in crate::firestore) struct Hub {
    inboxes: Mutex<Inboxes>,
    /// The time of the last commit that every inbox has received.
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
    commits: VecDeque<Arc<Commit>>,
    bytes: usize,
    lagged: bool,
}

/// The contents of an inbox.
pub(super) struct InboxContents {
    /// Every relevant commit up to this time was in the inbox, now or before.
    pub(super) announced: u64,
    pub(super) commits: VecDeque<Arc<Commit>>,
    /// Whether commits were lost because there were too many.
    pub(super) lagged: bool,
}

impl Hub {
    /// A hub for a store whose last commit was at `announced`.
    pub(in crate::firestore) fn new(announced: u64) -> Self {
        Self { inboxes: Mutex::default(), announced: watch::Sender::new(announced) }
    }

    /// Publishes a commit that just became visible. The caller must call this in commit order.
    pub(in crate::firestore) fn publish(&self, commit: &Arc<Commit>) {
        if commit.changes.is_empty() {
            return;
        }
        for inbox in self.inboxes.lock().open.values() {
            inbox.push(commit);
        }
        self.announced.send_replace(commit.at);
    }

    /// Waits until a commit that is already visible in the store is also published, which takes only an instant.
    pub(super) async fn wait_announced(&self, at: u64) {
        // The sender lives as long as the hub.
        let _ = self.announced.subscribe().wait_for(|announced| *announced >= at).await;
    }

    /// Opens an inbox without interests.
    pub(super) fn subscribe(self: &Arc<Self>) -> Result<Subscription, Status> {
        let mut inboxes = self.inboxes.lock();
        if inboxes.open.len() >= limits::MAX_LISTENERS {
            return Err(Status::resource_exhausted("too many listeners"));
        }
        inboxes.next += 1;
        let (id, inbox) = (inboxes.next, Arc::<Inbox>::default());
        inboxes.open.insert(id, Arc::clone(&inbox));
        Ok(Subscription { hub: Arc::clone(self), id, inbox })
    }
}

impl Inbox {
    fn push(&self, commit: &Arc<Commit>) {
        let mut state = self.state.lock();
        let concerns = |change: &Change| state.interests.values().any(|interest| interest.covers(&change.name));
        if !commit.changes.iter().any(concerns) {
            return;
        }
        let free_bytes = limits::MAX_INBOX_BYTES.saturating_sub(state.bytes);
        if state.commits.len() >= limits::MAX_INBOX_COMMITS || commit.bytes > free_bytes {
            state.lagged = true;
        }
        if state.lagged {
            (state.commits, state.bytes) = (VecDeque::new(), 0);
        } else {
            state.bytes += commit.bytes;
            state.commits.push_back(Arc::clone(commit));
        }
        drop(state);
        self.ready.notify_one();
    }
}

/// An open inbox; it is closed when dropped.
pub(super) struct Subscription {
    hub: Arc<Hub>,
    id: u64,
    inbox: Arc<Inbox>,
}

impl Subscription {
    /// Adds an interest: its commits arrive from now on.
    pub(super) fn watch(&self, target: i32, interest: Interest) {
        self.inbox.state.lock().interests.insert(target, interest);
    }

    /// Removes an interest.
    pub(super) fn unwatch(&self, target: i32) {
        self.inbox.state.lock().interests.remove(&target);
    }

    /// Waits until the inbox has contents.
    pub(super) async fn ready(&self) {
        self.inbox.ready.notified().await;
    }

    /// Empties the inbox.
    pub(super) fn take(&self) -> InboxContents {
        // Read first: every announced commit is already in the inbox, which may also hold later ones.
        let announced = *self.hub.announced.borrow();
        let mut state = self.inbox.state.lock();
        state.bytes = 0;
        InboxContents {
            announced,
            commits: std::mem::take(&mut state.commits),
            lagged: std::mem::take(&mut state.lagged),
        }
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
    async fn only_commits_of_interest_arrive_and_wake() {
        let hub = Arc::new(Hub::new(1));
        let inbox = hub.subscribe().unwrap();
        inbox.watch(1, Interest::Scope(Scope::Collection("a".into())));
        hub.publish(&commit(2, "b", 0));
        let contents = inbox.take();
        assert_eq!((contents.announced, contents.commits.len(), contents.lagged), (2, 0, false));
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
    fn a_full_inbox_is_emptied_and_reports_the_lag_once() {
        let hub = Arc::new(Hub::new(0));
        let inbox = hub.subscribe().unwrap();
        inbox.watch(1, Interest::Scope(Scope::Collection("a".into())));
        for at in 0..=limits::MAX_INBOX_COMMITS as u64 {
            hub.publish(&commit(at, "a", 0));
        }
        let contents = inbox.take();
        assert!(contents.lagged && contents.commits.is_empty());
        hub.publish(&commit(5_000, "a", limits::MAX_INBOX_BYTES));
        hub.publish(&commit(5_001, "a", 1));
        assert!(inbox.take().lagged);
        hub.publish(&commit(5_002, "a", 1));
        let contents = inbox.take();
        assert!(!contents.lagged && contents.commits.len() == 1);
    }
}

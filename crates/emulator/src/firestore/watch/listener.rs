//! One client's targets: requests in, responses out, and all targets at the same time whenever a snapshot is said to be
//! consistent.
//!
//! Most commits are followed from what they say. A look at the store is needed when a target is new, when a commit shifts a
//! window (limit, offset), and when the inbox overflowed. A look sees the newest state, so it moves its targets ahead of the
//! others; these then follow, commit by commit, to the very time of the look.

use super::{
    hub::{Commit, Hub, Subscription},
    snapshot::{self, Outbox},
    target::Target,
};
use crate::{
    firestore::{fs, path, tables},
    limits,
    store::Store,
};
use fs::listen_request::TargetChange;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};
use tonic::Status;

/// The state of one stream.
pub(in crate::firestore) struct Listener {
    store: Store,
    hub: Arc<Hub>,
    inbox: Subscription,
    /// Named by the first request.
    database: Option<String>,
    /// Whether the server gives the ids; decided by the first target.
    assigns_ids: Option<bool>,
    targets: BTreeMap<i32, Target>,
    /// Commits taken from the inbox and not yet followed.
    pending: VecDeque<Arc<Commit>>,
    /// Whether commits are missing from `pending`.
    lagged: bool,
}

/// Which targets take a look.
#[derive(Clone, Copy)]
enum Due {
    New,
    Windowed,
    All,
}

/// What is to be said besides changes of documents.
#[derive(Default)]
struct Step {
    outbox: Outbox,
    /// Targets whose clients must forget what they have.
    reset: Vec<i32>,
    /// Targets that got their first result.
    opened: Vec<i32>,
}

impl Listener {
    /// A listener without targets.
    pub(in crate::firestore) fn new(store: Store, hub: Arc<Hub>) -> Result<Self, Status> {
        let inbox = hub.subscribe()?;
        Ok(Self {
            store,
            hub,
            inbox,
            database: None,
            assigns_ids: None,
            targets: BTreeMap::new(),
            pending: VecDeque::new(),
            lagged: false,
        })
    }

    /// Answers a request; an error ends the stream.
    pub(in crate::firestore) async fn handle(
        &mut self,
        request: fs::ListenRequest,
    ) -> Result<Vec<fs::ListenResponse>, Status> {
        let database = self.check_database(request.database)?;
        match request.target_change {
            Some(TargetChange::AddTarget(target)) => self.add(&database, target).await,
            Some(TargetChange::RemoveTarget(id)) => {
                self.end(id);
                Ok(vec![snapshot::removed(id, None)])
            }
            None => Err(Status::invalid_argument("a request must add or remove a target")),
        }
    }

    /// Waits until there is something to follow. May be dropped and called again at any time.
    pub(in crate::firestore) async fn changed(&self) {
        if self.pending.is_empty() {
            self.inbox.ready().await;
        }
    }

    /// Follows what was committed; yields nothing when that concerns no target.
    pub(in crate::firestore) async fn follow(&mut self) -> Result<Vec<fs::ListenResponse>, Status> {
        self.advance(false).await
    }

    /// As [`follow`](Self::follow), and tells an idle client that its targets are up to date.
    pub(in crate::firestore) async fn keep_alive(&mut self) -> Result<Vec<fs::ListenResponse>, Status> {
        self.advance(!self.targets.is_empty()).await
    }

    /// The first request names the database, later ones may.
    fn check_database(&mut self, named: String) -> Result<String, Status> {
        match &self.database {
            Some(known) if named.is_empty() || named == *known => Ok(known.clone()),
            Some(_) => Err(Status::invalid_argument("a stream is about one database")),
            None => {
                path::check_database(&named)?;
                self.database = Some(named.clone());
                Ok(named)
            }
        }
    }

    async fn add(&mut self, database: &str, target: fs::Target) -> Result<Vec<fs::ListenResponse>, Status> {
        let (id, target) = match self.admit(target.target_id) {
            Ok(id) => (id, Target::parse(id, database, target)),
            Err(status) => (target.target_id, Err(status)),
        };
        let target = match target {
            Ok(target) => target,
            Err(status) => {
                // For the client the id has ended, so no older target of that id goes on.
                self.end(id);
                return Ok(vec![snapshot::removed(id, Some(&status))]);
            }
        };
        // Of interest first, looked at second: what is committed in between arrives.
        self.inbox.watch(id, target.interest());
        self.targets.insert(id, target);
        let mut responses = vec![snapshot::added(id)];
        responses.append(&mut self.advance(false).await?);
        Ok(responses)
    }

    /// The id of a new target, if it may have one.
    fn admit(&mut self, id: i32) -> Result<i32, Status> {
        let assigns = *self.assigns_ids.get_or_insert(id == 0);
        if id < 0 {
            return Err(Status::invalid_argument("a target id is negative"));
        }
        if assigns != (id == 0) {
            return Err(Status::invalid_argument("either the client or the server gives the target ids of a stream"));
        }
        if self.targets.contains_key(&id) {
            return Err(Status::invalid_argument(format!("target id {id} is in use")));
        }
        if self.targets.len() >= limits::LISTEN_TARGETS {
            let most = limits::LISTEN_TARGETS;
            return Err(Status::resource_exhausted(format!("a stream has more than {most} targets")));
        }
        if !assigns {
            return Ok(id);
        }
        // Ids of targets that ended are free again; there are far more ids than targets.
        (1..).find(|id| !self.targets.contains_key(id)).ok_or_else(|| Status::internal("no target id is free"))
    }

    fn end(&mut self, id: i32) {
        self.inbox.unwatch(id);
        self.targets.remove(&id);
    }

    /// Moves every target to the newest time it can, and says what changed.
    async fn advance(&mut self, aloud: bool) -> Result<Vec<fs::ListenResponse>, Status> {
        let mut step = Step::default();
        let announced = self.take();
        let mut goal = None;
        let mut due = self.targets.values().any(Target::is_new).then_some(Due::New);
        let at = loop {
            if std::mem::take(&mut self.lagged) {
                due = Some(Due::All);
            }
            if let Some(due) = due.take() {
                let seen = self.look(due, &mut step).await?;
                // What the look saw may not have been announced yet, and the other targets must follow it that far.
                self.hub.reached(seen).await;
                self.take();
                goal = Some(seen);
                if self.lagged {
                    continue;
                }
            }
            match self.catch_up(goal, &mut step.outbox) {
                Some(last) => break goal.unwrap_or(announced.max(last)),
                // After this look no window is behind its time, so there is no third one for the same reason.
                None => due = Some(Due::Windowed),
            }
        };
        Ok(self.responses(step, at, aloud))
    }

    /// Empties the inbox into `pending`; answers up to which time that is complete.
    fn take(&mut self) -> u64 {
        let taken = self.inbox.take();
        if taken.lagged {
            self.lagged = true;
            self.pending.clear();
        }
        self.pending.extend(taken.commits);
        taken.announced
    }

    /// Follows pending commits, those up to `goal` if there is one. Answers the time of the last, 0 for none; `None` when one
    /// takes a look at the store.
    fn catch_up(&mut self, goal: Option<u64>, outbox: &mut Outbox) -> Option<u64> {
        let mut last = 0;
        while let Some(commit) = self.pending.front().filter(|commit| goal.is_none_or(|goal| commit.at <= goal)) {
            if self.targets.values().any(|target| target.is_behind(commit) && target.needs_look(commit)) {
                return None;
            }
            for target in self.targets.values_mut().filter(|target| target.is_behind(commit)) {
                target.apply(commit, outbox);
            }
            last = commit.at;
            self.pending.pop_front();
        }
        Some(last)
    }

    /// Renews the targets that are due, all from one state of the store, and answers the time of that.
    async fn look(&mut self, due: Due, step: &mut Step) -> Result<u64, Status> {
        let (mut looking, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.targets).into_iter().partition(|(_, target)| match due {
                Due::New => target.is_new(),
                Due::Windowed => target.is_new() || target.is_windowed(),
                Due::All => true,
            });
        let mut looked = std::mem::take(step);
        let read = self.store.read(move |state| {
            let at = tables::version(state)?;
            let table = tables::readable(state)?;
            for target in looking.values_mut() {
                if target.is_new() {
                    looked.opened.push(target.id);
                }
                let found = target.look(&table)?;
                if target.renew(found, at, |name| tables::get(&table, name), &mut looked.outbox)? {
                    looked.reset.push(target.id);
                }
            }
            Ok((at, looking, looked))
        });
        let (at, looking, looked) = read.await?;
        *step = looked;
        self.targets = rest;
        self.targets.extend(looking);
        Ok(at)
    }

    fn responses(&mut self, mut step: Step, at: u64, aloud: bool) -> Vec<fs::ListenResponse> {
        let mut responses = Vec::new();
        let grown = self.targets.values().filter_map(|target| Some((target.id, target.check_size().err()?)));
        for (id, status) in grown.collect::<Vec<_>>() {
            self.end(id);
            step.outbox.forget(id);
            step.opened.retain(|opened| *opened != id);
            step.reset.retain(|reset| *reset != id);
            responses.push(snapshot::removed(id, Some(&status)));
        }
        if !aloud && step.opened.is_empty() && step.outbox.is_empty() {
            return responses;
        }
        responses.extend(step.reset.into_iter().map(snapshot::reset));
        responses.extend(step.outbox.into_responses(at));
        responses.extend(step.opened.iter().map(|id| snapshot::current(*id, at)));
        responses.push(snapshot::consistent(at));
        for id in step.opened {
            if self.targets.get(&id).is_some_and(|target| target.once) {
                self.end(id);
                responses.push(snapshot::removed(id, None));
            }
        }
        responses
    }
}

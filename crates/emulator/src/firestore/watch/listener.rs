//! One client's targets. It turns requests into responses, and brings all targets to the same time before it declares a
//! snapshot consistent.
//!
//! Most commits are applied from their own contents. The listener reads the store again for a new target, for a commit
//! that shifts a window (limit, offset), and after the inbox overflowed. Such a refresh sees the newest state, so its
//! targets are ahead of the others. The others then apply commits up to the exact time of the refresh.

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
    /// The first request names it.
    database: Option<String>,
    /// Whether the server assigns the IDs; the first target decides.
    assigns_ids: Option<bool>,
    targets: BTreeMap<i32, Target>,
    /// Commits from the inbox that are not applied yet.
    pending: VecDeque<Arc<Commit>>,
    /// Whether commits are missing from `pending`.
    lagged: bool,
}

/// Which targets to refresh.
#[derive(Clone, Copy)]
enum RefreshScope {
    New,
    Windowed,
    All,
}

/// What to send apart from changes of documents.
#[derive(Default)]
struct Step {
    outbox: Outbox,
    /// Targets whose clients must discard their state.
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

    /// Handles a request; an error ends the stream.
    pub(in crate::firestore) async fn handle(
        &mut self,
        request: fs::ListenRequest,
    ) -> Result<Vec<fs::ListenResponse>, Status> {
        let database = self.check_database(request.database)?;
        match request.target_change {
            Some(TargetChange::AddTarget(target)) => self.add(&database, target).await,
            Some(TargetChange::RemoveTarget(id)) => {
                self.remove_target(id);
                Ok(vec![snapshot::removed(id, None)])
            }
            None => Err(Status::invalid_argument("a request must add or remove a target")),
        }
    }

    /// Waits until there are commits to apply. Cancellation-safe.
    pub(in crate::firestore) async fn changed(&self) {
        if self.pending.is_empty() {
            self.inbox.ready().await;
        }
    }

    /// Applies new commits; returns nothing if they concern no target.
    pub(in crate::firestore) async fn apply_commits(&mut self) -> Result<Vec<fs::ListenResponse>, Status> {
        self.advance(false).await
    }

    /// Like [`apply_commits`](Self::apply_commits), but also tells an idle client that its targets are current.
    pub(in crate::firestore) async fn keep_alive(&mut self) -> Result<Vec<fs::ListenResponse>, Status> {
        self.advance(!self.targets.is_empty()).await
    }

    /// The first request names the database; later ones may repeat it.
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
                // The client considers the ID removed, so an older target with this ID must not continue.
                self.remove_target(id);
                return Ok(vec![snapshot::removed(id, Some(&status))]);
            }
        };
        // The interest is registered before the refresh, so that commits in between arrive in the inbox.
        self.inbox.watch(id, target.interest());
        self.targets.insert(id, target);
        let mut responses = vec![snapshot::added(id)];
        responses.append(&mut self.advance(false).await?);
        Ok(responses)
    }

    /// The ID of a new target, if the target is admissible.
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
        if self.targets.len() >= limits::MAX_LISTEN_TARGETS {
            let max = limits::MAX_LISTEN_TARGETS;
            return Err(Status::resource_exhausted(format!("a stream has more than {max} targets")));
        }
        if !assigns {
            return Ok(id);
        }
        // IDs of removed targets are free again; there are far more IDs than targets.
        (1..).find(|id| !self.targets.contains_key(id)).ok_or_else(|| Status::internal("no target id is free"))
    }

    fn remove_target(&mut self, id: i32) {
        self.inbox.unwatch(id);
        self.targets.remove(&id);
    }

    /// Moves all targets to the newest common time and returns the responses. With `keep_alive`, there is a response
    /// even without changes.
    async fn advance(&mut self, keep_alive: bool) -> Result<Vec<fs::ListenResponse>, Status> {
        let mut step = Step::default();
        let announced = self.take();
        let mut goal = None;
        let mut scope = self.targets.values().any(Target::is_new).then_some(RefreshScope::New);
        let at = loop {
            if std::mem::take(&mut self.lagged) {
                scope = Some(RefreshScope::All);
            }
            if let Some(scope) = scope.take() {
                let seen = self.refresh(scope, &mut step).await?;
                // The refresh may have seen commits that are not announced yet, and the other targets must apply those,
                // too.
                self.hub.wait_announced(seen).await;
                self.take();
                goal = Some(seen);
                if self.lagged {
                    continue;
                }
            }
            match self.catch_up(goal, &mut step.outbox) {
                Some(last) => break goal.unwrap_or(announced.max(last)),
                // After this refresh no window is behind, so the loop does not take this branch again.
                None => scope = Some(RefreshScope::Windowed),
            }
        };
        Ok(self.responses(step, at, keep_alive))
    }

    /// Moves the inbox into `pending`; returns the time up to which it is complete.
    fn take(&mut self) -> u64 {
        let contents = self.inbox.take();
        if contents.lagged {
            self.lagged = true;
            self.pending.clear();
        }
        self.pending.extend(contents.commits);
        contents.announced
    }

    /// Applies pending commits, up to `goal` if there is one. Returns the time of the last one, or 0 if there is none;
    /// `None` if one requires a refresh.
    fn catch_up(&mut self, goal: Option<u64>, outbox: &mut Outbox) -> Option<u64> {
        let mut last = 0;
        while let Some(commit) = self.pending.front().filter(|commit| goal.is_none_or(|goal| commit.at <= goal)) {
            if self.targets.values().any(|target| target.is_behind(commit) && target.needs_refresh(commit)) {
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

    /// Refreshes the targets that `scope` selects from one state of the store and returns its time.
    async fn refresh(&mut self, scope: RefreshScope, step: &mut Step) -> Result<u64, Status> {
        let (mut refreshing, rest): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.targets).into_iter().partition(|(_, target)| match scope {
                RefreshScope::New => target.is_new(),
                RefreshScope::Windowed => target.is_new() || target.is_windowed(),
                RefreshScope::All => true,
            });
        let mut refreshed = std::mem::take(step);
        let read = self.store.read(move |state| {
            let at = tables::version(state)?;
            let table = tables::readable(state)?;
            for target in refreshing.values_mut() {
                if target.is_new() {
                    refreshed.opened.push(target.id);
                }
                let found = target.fetch(&table)?;
                if target.refresh(found, at, |name| tables::get(&table, name), &mut refreshed.outbox)? {
                    refreshed.reset.push(target.id);
                }
            }
            Ok((at, refreshing, refreshed))
        });
        let (at, refreshing, refreshed) = read.await?;
        *step = refreshed;
        self.targets = rest;
        self.targets.extend(refreshing);
        Ok(at)
    }

    fn responses(&mut self, mut step: Step, at: u64, keep_alive: bool) -> Vec<fs::ListenResponse> {
        let mut responses = Vec::new();
        let oversized = self.targets.values().filter_map(|target| Some((target.id, target.check_size().err()?)));
        for (id, status) in oversized.collect::<Vec<_>>() {
            self.remove_target(id);
            step.outbox.remove_target(id);
            step.opened.retain(|opened| *opened != id);
            step.reset.retain(|reset| *reset != id);
            responses.push(snapshot::removed(id, Some(&status)));
        }
        if !keep_alive && step.opened.is_empty() && step.outbox.is_empty() {
            return responses;
        }
        responses.extend(step.reset.into_iter().map(snapshot::reset));
        responses.extend(step.outbox.into_responses(at));
        responses.extend(step.opened.iter().map(|id| snapshot::current(*id, at)));
        responses.push(snapshot::consistent(at));
        for id in step.opened {
            if self.targets.get(&id).is_some_and(|target| target.once) {
                self.remove_target(id);
                responses.push(snapshot::removed(id, None));
            }
        }
        responses
    }
}

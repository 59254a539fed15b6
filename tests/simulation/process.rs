//! One process of the fleet: its condition, and the way of every call it makes to the cloud. A process reaches the world by calls
//! alone, so one whose calls do not return is as good as dead, and one whose calls wait is as good as frozen.

use crate::{holding::Holding, world::World};
use clipfleet_cloud::{CloudError, ErrorKind};
use parking_lot::{Mutex, MutexGuard};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// What a process does in the fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dispatcher,
    Worker,
    Status,
    Scaler,
}

/// How a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Running,
    /// Stopped by the system, to go on later as if nothing had been.
    Frozen,
    Dead,
}

/// One life of a process.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    /// New in each life.
    pub(crate) name: String,
    pub(crate) holding: Holding,
    condition: Mutex<Condition>,
    /// Wakes those who wait in the order they came.
    changed: Notify,
    stood_still: Mutex<Stood>,
}

/// How long a process stood still.
#[derive(Default)]
struct Stood {
    in_all: Duration,
    since: Option<Instant>,
}

/// How long a request can be on its way after its sender broke it off.
const ARRIVES: Duration = Duration::from_millis(500);

/// A token that is cancelled once its guard is dropped.
fn left_by_its_caller() -> (CancellationToken, DropGuard) {
    let token = CancellationToken::new();
    (token.clone(), token.drop_guard())
}

/// What becomes of one call.
enum Fate {
    Granted,
    Refused,
    AnswerLost,
    DiesBefore,
    DiesAfter,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, role: Role, name: String) -> Arc<Self> {
        let (condition, changed) = (Mutex::new(Condition::Running), Notify::new());
        let (holding, stood_still) = (Holding::default(), Mutex::default());
        Arc::new(Self { world: Arc::clone(world), role, name, holding, condition, changed, stood_still })
    }

    pub(crate) fn condition(&self) -> Condition {
        *self.condition.lock()
    }

    /// What it was before.
    fn becomes(&self, condition: Condition) -> Condition {
        let before = std::mem::replace(&mut *self.condition.lock(), condition);
        self.changed.notify_waiters();
        before
    }

    async fn wait_for(&self, condition: Condition) {
        loop {
            let changed = self.changed.notified();
            if self.condition() == condition {
                return;
            }
            changed.await;
        }
    }

    /// Ends it between two effects: its calls never return, its media stops, its leases run out.
    pub(crate) fn kill(self: &Arc<Self>) {
        if self.becomes(Condition::Dead) == Condition::Dead || self.world.lock().over {
            return;
        }
        self.world.trace(&self.name, format_args!("is dead"));
        self.world.observe(|ledger, _| {
            ledger.process_ended(&self.name);
            Ok(())
        });
        self.holding.abandon(self);
    }

    pub(crate) fn freeze(self: &Arc<Self>) {
        if self.condition() == Condition::Running {
            self.world.trace(&self.name, format_args!("freezes"));
            self.becomes(Condition::Frozen);
            self.stood().since = Some(Instant::now());
            self.holding.freeze(self);
        }
    }

    pub(crate) fn thaw(&self) {
        if self.condition() == Condition::Frozen {
            self.world.trace(&self.name, format_args!("thaws"));
            self.excuse();
            let mut stood = self.stood();
            let since = stood.since.take().unwrap_or_else(Instant::now);
            stood.in_all += since.elapsed();
            drop(stood);
            self.world.observe(|ledger, _| {
                ledger.stood_still(&self.name, since);
                Ok(())
            });
            self.becomes(Condition::Running);
        }
    }

    /// Time that it stood still in all, as a thawed process can know it.
    pub(crate) fn stood_still(&self) -> Duration {
        self.stood().in_all
    }

    fn stood(&self) -> MutexGuard<'_, Stood> {
        self.stood_still.lock()
    }

    /// It could not know better until now: what it had to notice in time, it has to notice from now on.
    pub(crate) fn excuse(&self) {
        self.world.observe(|ledger, _| {
            ledger.excuse(&self.name);
            Ok(())
        });
    }

    /// Returns when it is dead.
    pub(crate) async fn died(&self) {
        self.wait_for(Condition::Dead).await;
    }

    /// Returns when it runs; never once it is dead.
    pub(crate) async fn runs(&self) {
        self.wait_for(Condition::Running).await;
    }

    /// Makes a call that changes something. Once sent it cannot be taken back: who stops waiting for it stops no effect, but what is
    /// still on its way then arrives soon: nothing more is sent for it, so the service has all of it or never will.
    pub(crate) async fn send<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        effect: impl Future<Output = Result<T, CloudError>> + Send + 'static,
    ) -> Result<T, CloudError> {
        let (process, name) = (Arc::clone(self), name.to_owned());
        let (broken_off, _waiting) = left_by_its_caller();
        let sent = tokio::spawn(async move { process.go(&name, &broken_off, effect).await });
        sent.await.map_err(|error| CloudError::new(ErrorKind::Unavailable, "send").because(error))?
    }

    /// Makes one call: there, the effect at one instant, and back. Each part may go wrong.
    pub(crate) async fn call<T>(
        self: &Arc<Self>,
        name: &str,
        effect: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        self.go(name, &CancellationToken::new(), effect).await
    }

    async fn go<T>(
        self: &Arc<Self>,
        name: &str,
        broken_off: &CancellationToken,
        effect: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        let asked = Instant::now();
        self.travel(broken_off).await;
        let fate = self.fate();
        let failed = |cause| CloudError::new(ErrorKind::Unavailable, format!("{name}: {cause}"));
        match fate {
            Fate::Refused => {
                self.world.trace(&self.name, format_args!("{name} refused"));
                return Err(failed("refused by the simulation"));
            }
            Fate::DiesBefore => self.die(name, "before").await,
            _ => {}
        }
        let done = effect.await;
        if matches!(fate, Fate::DiesAfter) {
            self.die(name, "after").await;
        }
        self.travel(broken_off).await;
        if asked.elapsed().as_millis() > 200 {
            self.excuse();
        }
        match fate {
            Fate::AnswerLost => {
                self.world.trace(&self.name, format_args!("{name} lost its answer"));
                Err(failed("answer lost by the simulation"))
            }
            _ => done,
        }
    }

    async fn die(self: &Arc<Self>, name: &str, when: &str) {
        self.world.trace(&self.name, format_args!("dies {when} {name}"));
        self.kill();
        std::future::pending::<()>().await;
    }

    /// One way between a process and the cloud.
    async fn travel(&self, broken_off: &CancellationToken) {
        self.runs().await;
        let delay = if self.world.happens("a call was slow", |weather| weather.slow) {
            self.world.draw_ms(200, 2_000)
        } else {
            self.world.draw_ms(0, 15)
        };
        if !delay.is_zero() {
            tokio::select! {
                biased;
                () = sleep(delay) => {}
                () = async { broken_off.cancelled().await; sleep(ARRIVES).await } => {}
            }
        }
        self.runs().await;
    }

    fn fate(&self) -> Fate {
        let world = &self.world;
        if world.happens("a call was refused", |weather| weather.refused) {
            self.excuse();
            return Fate::Refused;
        }
        if world.happens("a call lost its answer", |weather| weather.answer_lost) {
            self.excuse();
            return Fate::AnswerLost;
        }
        if world.happens("a process died at a call", |weather| weather.dies_at_call) {
            return if world.draw(|rng| rng.bool()) { Fate::DiesBefore } else { Fate::DiesAfter };
        }
        Fate::Granted
    }
}

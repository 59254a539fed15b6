//! One process of the fleet: its condition, and the path of every call that it makes to the cloud. A process affects
//! the world only through calls. Therefore a process whose calls never return is dead, and a process whose calls wait
//! is frozen.

use crate::{leases::Leases, world::World};
use clipfleet_cloud::{CloudError, ErrorKind};
use parking_lot::{Mutex, MutexGuard};
use std::{future::Future, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The role of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Dispatcher,
    Worker,
    Status,
    Scaler,
}

/// The condition of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Condition {
    Running,
    /// Stopped by the system; it continues later without noticing.
    Frozen,
    Dead,
}

/// One incarnation of a process.
pub(crate) struct Process {
    pub(crate) world: Arc<World>,
    pub(crate) role: Role,
    /// Unique for each incarnation.
    pub(crate) name: String,
    pub(crate) leases: Leases,
    condition: Mutex<Condition>,
    /// Wakes waiters in the order of their arrival.
    changed: Notify,
    stall_time: Mutex<StallTime>,
}

/// How long a process was frozen.
#[derive(Default)]
struct StallTime {
    total: Duration,
    since: Option<Instant>,
}

/// How long a request stays in flight after its caller dropped it.
const IN_FLIGHT_TIMEOUT: Duration = Duration::from_millis(500);

/// Returns a token that is cancelled when its guard is dropped.
fn cancelled_on_drop() -> (CancellationToken, DropGuard) {
    let token = CancellationToken::new();
    (token.clone(), token.drop_guard())
}

/// The fault that is injected into one call.
enum CallFault {
    None,
    Refused,
    AnswerLost,
    DiesBefore,
    DiesAfter,
}

impl Process {
    pub(crate) fn new(world: &Arc<World>, role: Role, name: String) -> Arc<Self> {
        let (condition, changed) = (Mutex::new(Condition::Running), Notify::new());
        let (leases, stall_time) = (Leases::default(), Mutex::default());
        Arc::new(Self { world: Arc::clone(world), role, name, leases, condition, changed, stall_time })
    }

    pub(crate) fn condition(&self) -> Condition {
        *self.condition.lock()
    }

    /// Returns the previous condition.
    fn set_condition(&self, condition: Condition) -> Condition {
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

    /// Kills the process between two effects: its calls never return, its media work stops, its leases expire.
    pub(crate) fn kill(self: &Arc<Self>) {
        if self.set_condition(Condition::Dead) == Condition::Dead || self.world.lock().ended {
            return;
        }
        self.world.trace(&self.name, format_args!("is dead"));
        self.world.observe(|checker, _| {
            checker.process_ended(&self.name);
            Ok(())
        });
        self.leases.expire_all(self);
    }

    pub(crate) fn freeze(self: &Arc<Self>) {
        if self.condition() == Condition::Running {
            self.world.trace(&self.name, format_args!("freezes"));
            self.set_condition(Condition::Frozen);
            self.stall_time().since = Some(Instant::now());
            self.leases.freeze(self);
        }
    }

    pub(crate) fn thaw(&self) {
        if self.condition() == Condition::Frozen {
            self.world.trace(&self.name, format_args!("thaws"));
            self.reset_reaction_time();
            let mut stall_time = self.stall_time();
            let since = stall_time.since.take().unwrap_or_else(Instant::now);
            stall_time.total += since.elapsed();
            drop(stall_time);
            self.world.observe(|checker, _| {
                checker.process_stalled(&self.name, since);
                Ok(())
            });
            self.set_condition(Condition::Running);
        }
    }

    /// How long the process was frozen in total, as it can measure after it thawed.
    pub(crate) fn total_stall_time(&self) -> Duration {
        self.stall_time().total
    }

    fn stall_time(&self) -> MutexGuard<'_, StallTime> {
        self.stall_time.lock()
    }

    /// The process could not react before now: the checker measures its reaction time from now on.
    pub(crate) fn reset_reaction_time(&self) {
        self.world.observe(|checker, _| {
            checker.reset_reaction_time(&self.name);
            Ok(())
        });
    }

    /// Returns when the process is dead.
    pub(crate) async fn wait_until_dead(&self) {
        self.wait_for(Condition::Dead).await;
    }

    /// Returns when the process runs; never after its death.
    pub(crate) async fn wait_until_running(&self) {
        self.wait_for(Condition::Running).await;
    }

    /// Makes a call that changes something. A caller that stops waiting cannot undo the effect. A request that is still
    /// in flight then arrives soon: the caller sends nothing more, so the service either has all of it or never will.
    pub(crate) async fn send<T: Send + 'static>(
        self: &Arc<Self>,
        name: &str,
        effect: impl Future<Output = Result<T, CloudError>> + Send + 'static,
    ) -> Result<T, CloudError> {
        let (process, name) = (Arc::clone(self), name.to_owned());
        let (caller_gone, _waiting) = cancelled_on_drop();
        let sent = tokio::spawn(async move { process.perform(&name, &caller_gone, effect).await });
        sent.await.map_err(|error| CloudError::new(ErrorKind::Unavailable, "send").because(error))?
    }

    /// Makes one call: the request travels, the effect occurs at one instant, and the response travels back. Each part
    /// can fail.
    pub(crate) async fn call<T>(
        self: &Arc<Self>,
        name: &str,
        effect: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        self.perform(name, &CancellationToken::new(), effect).await
    }

    async fn perform<T>(
        self: &Arc<Self>,
        name: &str,
        caller_gone: &CancellationToken,
        effect: impl Future<Output = Result<T, CloudError>> + Send,
    ) -> Result<T, CloudError> {
        let called_at = Instant::now();
        self.transmit(caller_gone).await;
        // Storage is not denied: a source or a bucket without permission is a failure of the clip.
        let is_storage = name.ends_with("an object") || name == "sign a URL";
        if !is_storage && self.is_denied() {
            self.world.count("a call was denied");
            self.reset_reaction_time();
            return Err(CloudError::new(ErrorKind::Denied, format!("{name}: denied by the simulation")));
        }
        let fault = self.draw_fault();
        let failed = |cause| CloudError::new(ErrorKind::Unavailable, format!("{name}: {cause}"));
        match fault {
            CallFault::Refused => {
                self.world.trace(&self.name, format_args!("{name} refused"));
                return Err(failed("refused by the simulation"));
            }
            CallFault::DiesBefore => self.die(name, "before").await,
            _ => {}
        }
        let done = effect.await;
        if matches!(fault, CallFault::DiesAfter) {
            self.die(name, "after").await;
        }
        self.transmit(caller_gone).await;
        if called_at.elapsed().as_millis() > 200 {
            self.reset_reaction_time();
        }
        match fault {
            CallFault::AnswerLost => {
                self.world.trace(&self.name, format_args!("{name} lost its answer"));
                Err(failed("answer lost by the simulation"))
            }
            _ => done,
        }
    }

    /// Whether the cloud refuses this process at present.
    pub(crate) fn is_denied(&self) -> bool {
        let now = self.world.started.elapsed();
        let denial = self.world.lock().faults.denial;
        denial.is_some_and(|denial| denial.role == self.role && (denial.from..denial.until).contains(&now))
    }

    /// Returns when the cloud begins to refuse this process.
    pub(crate) async fn wait_until_denied(&self) {
        let denial = self.world.lock().faults.denial.filter(|denial| denial.role == self.role);
        let until_then = denial.and_then(|denial| denial.from.checked_sub(self.world.started.elapsed()));
        match until_then {
            Some(time) => sleep(time).await,
            None if self.is_denied() => {}
            None => std::future::pending().await,
        }
    }

    async fn die(self: &Arc<Self>, name: &str, when: &str) {
        self.world.trace(&self.name, format_args!("dies {when} {name}"));
        self.kill();
        std::future::pending::<()>().await;
    }

    /// The latency of one direction between a process and the cloud.
    async fn transmit(&self, caller_gone: &CancellationToken) {
        self.wait_until_running().await;
        let delay = if self.world.occurs("a call was slow", |faults| faults.slow) {
            self.world.draw_ms(200, 2_000)
        } else {
            self.world.draw_ms(0, 15)
        };
        if !delay.is_zero() {
            tokio::select! {
                biased;
                () = sleep(delay) => {}
                () = async { caller_gone.cancelled().await; sleep(IN_FLIGHT_TIMEOUT).await } => {}
            }
        }
        self.wait_until_running().await;
    }

    fn draw_fault(&self) -> CallFault {
        let world = &self.world;
        if world.occurs("a call was refused", |faults| faults.refused) {
            self.reset_reaction_time();
            return CallFault::Refused;
        }
        if world.occurs("a call lost its answer", |faults| faults.answer_lost) {
            self.reset_reaction_time();
            return CallFault::AnswerLost;
        }
        if world.occurs("a process died at a call", |faults| faults.dies_at_call) {
            return if world.draw(|rng| rng.bool()) { CallFault::DiesBefore } else { CallFault::DiesAfter };
        }
        CallFault::None
    }
}

//! How many workers there should be. Pure: the state of the fleet comes in, a number and its reason come out.
//!
//! ```text
//!  needed = ceil( predicted slot-seconds outstanding / (backlog target x slots) ), at most one slot per clip
//!  desired = max( needed, busy workers, minimum of the hour ), at most the quota
//!
//!  scale up:    at once, by at most `max_scale_up`
//!  scale down:  after fewer workers have sufficed for long enough, by at most `max_scale_down`; on a backend that may
//!               stop busy workers, only while the share of work lost to it stays below `max_lost_work`
//! ```
//!
//! Cloud Run chooses which instances it stops. If none were stopped while others work, they would be idle for a fifth
//! of a day. If the excess were stopped at once, several percent of the work would be lost. Half a percent of the work
//! done (`max_lost_work`) may therefore be lost, counted as the expected loss of each step.

use crate::schedule::Schedule;

/// The limits and targets of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Clips that one worker processes at once.
    pub slots: u32,
    /// Seconds within which the outstanding work should be done.
    pub backlog_target_seconds: f64,
    /// The smallest number of workers.
    pub min: u32,
    /// The largest number of workers: the quota.
    pub max: u32,
    /// The smallest number of workers, by the hour.
    pub min_schedule: Schedule,
    /// The most workers added by one decision.
    pub max_scale_up: u32,
    /// The most workers removed by one decision while there is work.
    pub max_scale_down: u32,
    /// Seconds that fewer workers must have sufficed before any is removed while there is work.
    pub scale_down_delay_seconds: f64,
    /// Seconds without work before all workers above the minimum are removed.
    pub idle_seconds: f64,
    /// Share of all slot-seconds that may be lost because busy workers are removed.
    pub max_lost_work: f64,
}

impl Default for Policy {
    /// For a Cloud Run pool with one L4 per instance; deploy/scaling.md says how these values were found.
    fn default() -> Self {
        Self {
            slots: 2,
            backlog_target_seconds: 120.0,
            min: 0,
            max: 3,
            min_schedule: Schedule::default(),
            max_scale_up: 20,
            max_scale_down: 5,
            scale_down_delay_seconds: 20.0,
            idle_seconds: 10.0,
            max_lost_work: 0.005,
        }
    }
}

/// The work that is left, and who does it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Clips that wait for a slot.
    pub waiting: u32,
    /// Clips that are processed.
    pub at_work: u32,
    /// Predicted slot-seconds left in both.
    pub outstanding_seconds: f64,
    /// Workers that process a clip.
    pub busy_workers: u32,
    /// Slot-seconds already spent on clips in progress. They would be lost if every worker stopped now.
    pub at_risk_seconds: f64,
    /// Workers lease no new clips, so waiting clips need no workers.
    pub paused: bool,
}

/// The state of the pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pool {
    /// The size that was set last.
    pub target: u32,
    /// Whether the backend stops idle workers first. Cloud Run does not.
    pub ends_idle: bool,
    /// Since when fewer workers suffice; Unix time, milliseconds.
    pub excess_since_ms: Option<i64>,
    /// Slot-seconds that may still be lost.
    pub allowance_seconds: f64,
}

/// Why a size was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// The outstanding work needs this many.
    Backlog,
    /// More are busy than are needed.
    Busy,
    /// The minimum, always or at this hour.
    Minimum,
    /// More are needed than the quota allows.
    Quota,
    /// More are needed than may be added at once.
    ScaleUpLimit,
    /// The size is the desired one.
    Enough,
    /// Fewer suffice, but not for long enough yet.
    ScaleDownDelayed,
    /// Fewer suffice, but a busy worker might be stopped.
    WouldLoseWork,
    /// Fewer have sufficed for long enough.
    ExcessCapacity,
    /// There has been no work for long enough.
    Idle,
}

impl Reason {
    /// The name in logs and metric labels.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Backlog => "backlog",
            Reason::Busy => "busy",
            Reason::Minimum => "minimum",
            Reason::Quota => "quota",
            Reason::ScaleUpLimit => "scale_up_limit",
            Reason::Enough => "enough",
            Reason::ScaleDownDelayed => "scale_down_delayed",
            Reason::WouldLoseWork => "would_lose_work",
            Reason::ExcessCapacity => "excess_capacity",
            Reason::Idle => "idle",
        }
    }
}

/// How many workers there should be now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decision {
    /// The new size.
    pub target: u32,
    /// Why.
    pub reason: Reason,
    /// The size that the load calls for, before limits on changes.
    pub desired: u32,
    /// Slot-seconds of work that the change is expected to lose.
    pub loss_seconds: f64,
}

/// Decides. `now_ms` is Unix time, milliseconds.
pub fn decide(load: &Load, pool: &Pool, policy: &Policy, now_ms: i64) -> Decision {
    let (desired, reason) = desired(load, policy, now_ms);
    let stay = |reason| Decision { target: pool.target, reason, desired, loss_seconds: 0.0 };
    if desired > pool.target {
        let limit = pool.target.saturating_add(policy.max_scale_up.max(1));
        let reason = if desired > limit { Reason::ScaleUpLimit } else { reason };
        return Decision { target: desired.min(limit), reason, desired, loss_seconds: 0.0 };
    }
    if desired == pool.target {
        return stay(Reason::Enough);
    }
    let idle = load.at_work == 0 && (load.waiting == 0 || load.paused);
    let delay_seconds = if idle { policy.idle_seconds } else { policy.scale_down_delay_seconds };
    let since_ms = pool.excess_since_ms.unwrap_or(now_ms);
    if ((now_ms - since_ms) as f64) < delay_seconds * 1_000.0 {
        return stay(Reason::ScaleDownDelayed);
    }
    if idle {
        return Decision { target: desired, reason: Reason::Idle, desired, loss_seconds: 0.0 };
    }
    let excess = (pool.target - desired).min(policy.max_scale_down.max(1));
    // Each worker is equally likely to be stopped.
    let loss = |removed: u32| load.at_risk_seconds * f64::from(removed) / f64::from(pool.target.max(1));
    let affordable = |removed: &u32| pool.ends_idle || loss(*removed) <= pool.allowance_seconds;
    match (1..=excess).rev().find(affordable) {
        None => stay(Reason::WouldLoseWork),
        Some(removed) => {
            let loss_seconds = if pool.ends_idle { 0.0 } else { loss(removed) };
            Decision { target: pool.target - removed, reason: Reason::ExcessCapacity, desired, loss_seconds }
        }
    }
}

fn desired(load: &Load, policy: &Policy, now_ms: i64) -> (u32, Reason) {
    let slots = policy.slots.max(1);
    let clips = if load.paused { load.at_work } else { load.at_work + load.waiting };
    let needed = if clips == 0 || load.paused {
        0
    } else {
        let workers = load.outstanding_seconds / (policy.backlog_target_seconds.max(1.0) * f64::from(slots));
        // The prediction may be zero, but a clip needs a worker.
        (workers.ceil() as u32).clamp(1, clips.div_ceil(slots))
    };
    let minimum = policy.min.max(policy.min_schedule.minimum(now_ms));
    let mut desired = (minimum, Reason::Minimum);
    if needed > desired.0 {
        desired = (needed, Reason::Backlog);
    }
    if load.busy_workers > desired.0 {
        desired = (load.busy_workers, Reason::Busy);
    }
    if desired.0 > policy.max { (policy.max, Reason::Quota) } else { desired }
}

impl Pool {
    /// Records since when fewer workers suffice. Called for every decision, whether it is applied or not.
    pub fn track_excess(&mut self, decision: &Decision, now_ms: i64) {
        if decision.desired < self.target {
            self.excess_since_ms.get_or_insert(now_ms);
        } else {
            self.excess_since_ms = None;
        }
    }

    /// Records that a decision is applied. A further step down waits for the full delay again.
    pub fn apply(&mut self, decision: &Decision, now_ms: i64) {
        self.target = decision.target;
        self.allowance_seconds = (self.allowance_seconds - decision.loss_seconds).max(0.0);
        self.excess_since_ms = (decision.desired < self.target).then_some(now_ms);
    }

    /// Adds the slot-seconds of completed clips, of which a share may be lost. The unused allowance is bounded, so that
    /// a quiet week does not permit heavy losses in one hour.
    pub fn add_served(&mut self, slot_seconds: f64, policy: &Policy) {
        const MAX_ALLOWANCE_SECONDS: f64 = 600.0;
        let allowance_seconds = self.allowance_seconds + slot_seconds * policy.max_lost_work;
        self.allowance_seconds = allowance_seconds.min(MAX_ALLOWANCE_SECONDS);
    }
}

#[cfg(test)]
mod tests;

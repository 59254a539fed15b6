//! How many workers there should be. Pure: what is known comes in, a number and its reason come out.
//!
//! ```text
//!  needed = ceil( predicted slot-seconds outstanding / (backlog target x slots) ), at most one slot per clip
//!  desired = max( needed, busy workers, minimum of the hour ), at most the quota
//!
//!  more than there are:   at once, by at most `max_scale_up`
//!  fewer than there are:  when that was so for long enough, by at most `max_scale_down`, and if whoever ends the workers cannot tell
//!                         the idle from the busy, only as far as the work lost by it stays below `max_lost_work`
//! ```

use crate::schedule::Schedule;

/// What is asked of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Clips that one worker makes at once.
    pub slots: u32,
    /// Seconds in which what is outstanding should be done.
    pub backlog_target_seconds: f64,
    /// Workers that are always there.
    pub min: u32,
    /// The most there may be: the quota.
    pub max: u32,
    /// Workers that are there at certain hours.
    pub min_schedule: Schedule,
    /// The most workers added by one decision.
    pub max_scale_up: u32,
    /// The most workers taken away by one decision while others work.
    pub max_scale_down: u32,
    /// Seconds that fewer must have been enough before any is taken away while others work.
    pub scale_down_delay_seconds: f64,
    /// Seconds without anything to do before all but the minimum are taken away.
    pub idle_seconds: f64,
    /// Share of all slot-seconds that may be lost by taking away busy workers.
    pub max_lost_work: f64,
}

impl Default for Policy {
    /// For a pool of Cloud Run with one L4 each; see deploy/scaling.md for how these were found.
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

/// What there is to do, and who does it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Load {
    /// Clips that wait for a slot.
    pub waiting: u32,
    /// Clips at work.
    pub at_work: u32,
    /// Predicted slot-seconds of both that are still to be done.
    pub outstanding_seconds: f64,
    /// Workers with a clip at work.
    pub busy_workers: u32,
    /// Slot-seconds done for clips at work, which would be lost if every worker ended now.
    pub at_risk_seconds: f64,
    /// Workers take nothing new: what waits needs none.
    pub paused: bool,
}

/// What is known of the pool.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Pool {
    /// Workers last asked for.
    pub target: u32,
    /// Whether whoever ends workers ends idle ones: a count of Cloud Run's does not.
    pub ends_idle: bool,
    /// Since when fewer would do; Unix time, milliseconds.
    pub excess_since_ms: Option<i64>,
    /// Slot-seconds that may still be lost.
    pub allowance_seconds: f64,
}

/// Why a number was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// What is outstanding needs so many.
    Backlog,
    /// More are busy than are needed.
    Busy,
    /// The minimum, always or at this hour.
    Minimum,
    /// More were needed than may be.
    Quota,
    /// More were needed than may be added at once.
    ScaleUpLimit,
    /// There are enough.
    Enough,
    /// Fewer would do, but not for long enough yet.
    ScaleDownDelayed,
    /// Fewer would do, but a busy one might be ended.
    WouldLoseWork,
    /// Fewer have been enough for long.
    ExcessCapacity,
    /// There has been nothing to do for long.
    Idle,
}

impl Reason {
    /// For logs and labels.
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
    /// So many.
    pub target: u32,
    /// Why.
    pub reason: Reason,
    /// How many would be wanted if nothing stood against it.
    pub desired: u32,
    /// Slot-seconds of work that are expected to be lost by it.
    pub loss_seconds: f64,
}

/// Decides. `now_ms` is Unix time, milliseconds.
pub fn decide(load: &Load, pool: &Pool, policy: &Policy, now_ms: i64) -> Decision {
    let (desired, reason) = desired(load, policy, now_ms);
    let stay = |reason| Decision { target: pool.target, reason, desired, loss_seconds: 0.0 };
    if desired > pool.target {
        let most = pool.target.saturating_add(policy.max_scale_up.max(1));
        let reason = if desired > most { Reason::ScaleUpLimit } else { reason };
        return Decision { target: desired.min(most), reason, desired, loss_seconds: 0.0 };
    }
    if desired == pool.target {
        return stay(Reason::Enough);
    }
    let nothing_to_do = load.at_work == 0 && (load.waiting == 0 || load.paused);
    let patience_seconds = if nothing_to_do { policy.idle_seconds } else { policy.scale_down_delay_seconds };
    let since_ms = pool.excess_since_ms.unwrap_or(now_ms);
    if ((now_ms - since_ms) as f64) < patience_seconds * 1_000.0 {
        return stay(Reason::ScaleDownDelayed);
    }
    if nothing_to_do {
        return Decision { target: desired, reason: Reason::Idle, desired, loss_seconds: 0.0 };
    }
    let excess = (pool.target - desired).min(policy.max_scale_down.max(1));
    // Each worker is as likely to be ended as any other.
    let loss = |ended: u32| load.at_risk_seconds * f64::from(ended) / f64::from(pool.target.max(1));
    let affordable = |ended: &u32| pool.ends_idle || loss(*ended) <= pool.allowance_seconds;
    match (1..=excess).rev().find(affordable) {
        None => stay(Reason::WouldLoseWork),
        Some(ended) => {
            let loss_seconds = if pool.ends_idle { 0.0 } else { loss(ended) };
            Decision { target: pool.target - ended, reason: Reason::ExcessCapacity, desired, loss_seconds }
        }
    }
}

fn desired(load: &Load, policy: &Policy, now_ms: i64) -> (u32, Reason) {
    let slots = policy.slots.max(1);
    let clips = if load.paused { load.at_work } else { load.at_work + load.waiting };
    let needed = if clips == 0 || load.paused {
        0
    } else {
        let drained = load.outstanding_seconds / (policy.backlog_target_seconds.max(1.0) * f64::from(slots));
        // What is predicted may be nothing; a clip needs a worker all the same.
        (drained.ceil() as u32).clamp(1, clips.div_ceil(slots))
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
    /// Notes what was decided, whether it is carried out or not: since when fewer would do.
    pub fn note(&mut self, decision: &Decision, now_ms: i64) {
        if decision.desired < self.target {
            self.excess_since_ms.get_or_insert(now_ms);
        } else {
            self.excess_since_ms = None;
        }
    }

    /// Notes that a decision is carried out. The next step of several waits as long again.
    pub fn carried_out(&mut self, decision: &Decision, now_ms: i64) {
        self.target = decision.target;
        self.allowance_seconds = (self.allowance_seconds - decision.loss_seconds).max(0.0);
        self.excess_since_ms = (decision.desired < self.target).then_some(now_ms);
    }

    /// Notes slot-seconds that clips took which completed: a share of them may be lost. What is not used is kept up to a bound, so
    /// that a quiet week does not pay for a reckless hour.
    pub fn served(&mut self, slot_seconds: f64, policy: &Policy) {
        const KEPT_SECONDS: f64 = 600.0;
        self.allowance_seconds = (self.allowance_seconds + slot_seconds * policy.max_lost_work).min(KEPT_SECONDS);
    }
}

#[cfg(test)]
mod tests;

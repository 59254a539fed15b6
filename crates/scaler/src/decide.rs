//! How many workers there should be. Pure: what is known comes in, a number and its reason come out.
//!
//! ```text
//!  needed = ceil( foretold slot-seconds outstanding / (drain target x slots) ), at most one slot per clip
//!  wanted = max( needed, busy workers, minimum of the hour ), at most the quota
//!
//!  more than there are:   at once, by at most `step_out`
//!  fewer than there are:  when that was so for long enough, by at most `step_in`, and if whoever ends the workers cannot tell
//!                         the idle from the busy, only as far as the work lost by it stays below `waste`
//! ```

use crate::schedule::Schedule;

/// What is asked of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Clips that one worker makes at once.
    pub slots: u32,
    /// Seconds in which what is outstanding should be done.
    pub drain_seconds: f64,
    /// Workers that are always there.
    pub min: u32,
    /// The most there may be: the quota.
    pub max: u32,
    /// Workers that are there at certain hours.
    pub warm: Schedule,
    /// The most workers added by one decision.
    pub step_out: u32,
    /// The most workers taken away by one decision while others work.
    pub step_in: u32,
    /// Seconds that fewer must have been enough before any is taken away while others work.
    pub surplus_seconds: f64,
    /// Seconds without anything to do before all but the minimum are taken away.
    pub idle_seconds: f64,
    /// Share of all slot-seconds that may be lost by taking away busy workers.
    pub waste: f64,
}

impl Default for Policy {
    /// For a pool of Cloud Run with one L4 each; see deploy/scaling.md for how these were found.
    fn default() -> Self {
        Self {
            slots: 2,
            drain_seconds: 120.0,
            min: 0,
            max: 3,
            warm: Schedule::default(),
            step_out: 20,
            step_in: 5,
            surplus_seconds: 20.0,
            idle_seconds: 10.0,
            waste: 0.005,
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
    /// Foretold slot-seconds of both that are still to be done.
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
    pub asked: u32,
    /// Whether whoever ends workers ends idle ones: a count of Cloud Run's does not.
    pub ends_idle: bool,
    /// Since when fewer would do; Unix time, milliseconds.
    pub surplus_since_ms: Option<i64>,
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
    StepLimit,
    /// There are enough.
    Enough,
    /// Fewer would do, but not for long enough yet.
    SurplusIsYoung,
    /// Fewer would do, but a busy one might be ended.
    WouldLoseWork,
    /// Fewer have been enough for long.
    Surplus,
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
            Reason::StepLimit => "step_limit",
            Reason::Enough => "enough",
            Reason::SurplusIsYoung => "surplus_is_young",
            Reason::WouldLoseWork => "would_lose_work",
            Reason::Surplus => "surplus",
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
    pub wanted: u32,
    /// Slot-seconds of work that are expected to be lost by it.
    pub loss_seconds: f64,
}

/// Decides. `now_ms` is Unix time, milliseconds.
pub fn decide(load: &Load, pool: &Pool, policy: &Policy, now_ms: i64) -> Decision {
    let (wanted, reason) = wanted(load, policy, now_ms);
    let stay = |reason| Decision { target: pool.asked, reason, wanted, loss_seconds: 0.0 };
    if wanted > pool.asked {
        let most = pool.asked.saturating_add(policy.step_out.max(1));
        let reason = if wanted > most { Reason::StepLimit } else { reason };
        return Decision { target: wanted.min(most), reason, wanted, loss_seconds: 0.0 };
    }
    if wanted == pool.asked {
        return stay(Reason::Enough);
    }
    let nothing_to_do = load.at_work == 0 && (load.waiting == 0 || load.paused);
    let patience_seconds = if nothing_to_do { policy.idle_seconds } else { policy.surplus_seconds };
    let since_ms = pool.surplus_since_ms.unwrap_or(now_ms);
    if ((now_ms - since_ms) as f64) < patience_seconds * 1_000.0 {
        return stay(Reason::SurplusIsYoung);
    }
    if nothing_to_do {
        return Decision { target: wanted, reason: Reason::Idle, wanted, loss_seconds: 0.0 };
    }
    let surplus = (pool.asked - wanted).min(policy.step_in.max(1));
    // Each worker is as likely to be ended as any other.
    let loss = |ended: u32| load.at_risk_seconds * f64::from(ended) / f64::from(pool.asked.max(1));
    let affordable = |ended: &u32| pool.ends_idle || loss(*ended) <= pool.allowance_seconds;
    match (1..=surplus).rev().find(affordable) {
        None => stay(Reason::WouldLoseWork),
        Some(ended) => {
            let loss_seconds = if pool.ends_idle { 0.0 } else { loss(ended) };
            Decision { target: pool.asked - ended, reason: Reason::Surplus, wanted, loss_seconds }
        }
    }
}

fn wanted(load: &Load, policy: &Policy, now_ms: i64) -> (u32, Reason) {
    let slots = policy.slots.max(1);
    let clips = if load.paused { load.at_work } else { load.at_work + load.waiting };
    let needed = if clips == 0 || load.paused {
        0
    } else {
        let drained = load.outstanding_seconds / (policy.drain_seconds.max(1.0) * f64::from(slots));
        // What is foretold may be nothing; a clip needs a worker all the same.
        (drained.ceil() as u32).clamp(1, clips.div_ceil(slots))
    };
    let minimum = policy.min.max(policy.warm.minimum(now_ms));
    let mut wanted = (minimum, Reason::Minimum);
    if needed > wanted.0 {
        wanted = (needed, Reason::Backlog);
    }
    if load.busy_workers > wanted.0 {
        wanted = (load.busy_workers, Reason::Busy);
    }
    if wanted.0 > policy.max { (policy.max, Reason::Quota) } else { wanted }
}

impl Pool {
    /// Notes what was decided, whether it is carried out or not: since when fewer would do.
    pub fn note(&mut self, decision: &Decision, now_ms: i64) {
        if decision.wanted < self.asked {
            self.surplus_since_ms.get_or_insert(now_ms);
        } else {
            self.surplus_since_ms = None;
        }
    }

    /// Notes that a decision is carried out. The next step of several waits as long again.
    pub fn carried_out(&mut self, decision: &Decision, now_ms: i64) {
        self.asked = decision.target;
        self.allowance_seconds = (self.allowance_seconds - decision.loss_seconds).max(0.0);
        self.surplus_since_ms = (decision.wanted < self.asked).then_some(now_ms);
    }

    /// Notes slot-seconds that clips took which completed: a share of them may be lost. What is not used is kept up to a bound, so
    /// that a quiet week does not pay for a reckless hour.
    pub fn served(&mut self, slot_seconds: f64, policy: &Policy) {
        const KEPT_SECONDS: f64 = 600.0;
        self.allowance_seconds = (self.allowance_seconds + slot_seconds * policy.waste).min(KEPT_SECONDS);
    }
}

#[cfg(test)]
mod tests;

//! Fault injection: latency, errors, broken connections, lost responses, duplicate and reordered delivery, lost
//! acknowledgements. It makes rare failures reproducible for the tests of clients.
//!
//! There are no faults until a client puts rules to [`PATH`]. `PUT` replaces the rules, `GET` shows them and how often
//! each struck, `DELETE` removes them. A restart also removes them. See [`rule`] for the fields of a rule.

mod calls;
mod rule;

pub(crate) use calls::inject;

use parking_lot::Mutex;
use rule::{Fault, InvalidRules, Rule, Rules};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use wildmatch::WildMatch;

/// Where clients put rules. No bucket can have such a name.
pub(crate) const PATH: &str = "/_clipfleet/faults";

/// The active rules.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether there are rules. Without any, a call does not take the lock.
    active: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seed: u64,
    rng: fastrand::Rng,
    rules: Vec<ActiveRule>,
}

/// An active rule.
#[derive(Debug)]
struct ActiveRule {
    rule: Rule,
    pattern: WildMatch,
    struck: u64,
}

impl Faults {
    /// Replaces all rules.
    pub(crate) fn set(&self, json: &[u8]) -> Result<(), InvalidRules> {
        let Rules { seed, rules } = Rules::parse(json)?;
        let mut state = self.state.lock();
        let activate = |rule: Rule| ActiveRule { pattern: WildMatch::new(&rule.on), rule, struck: 0 };
        *state = State { seed, rng: fastrand::Rng::with_seed(seed), rules: rules.into_iter().map(activate).collect() };
        self.active.store(!state.rules.is_empty(), Ordering::Relaxed);
        tracing::warn!(rules = state.rules.len(), seed, "fault rules set");
        Ok(())
    }

    /// Removes all rules.
    pub(crate) fn clear(&self) {
        *self.state.lock() = State::default();
        self.active.store(false, Ordering::Relaxed);
        tracing::warn!("fault rules removed");
    }

    /// The rules, and how often each struck.
    pub(crate) fn show(&self) -> Value {
        let state = self.state.lock();
        let rules: Vec<_> = state
            .rules
            .iter()
            .map(|active| {
                let mut rule = json!(active.rule);
                rule["struck"] = active.struck.into();
                rule
            })
            .collect();
        json!({"seed": state.seed, "rules": rules})
    }

    /// Whether no rule is active.
    pub(crate) fn are_off(&self) -> bool {
        !self.active.load(Ordering::Relaxed)
    }

    /// Whether this delivery's lease ends immediately, so that the message is delivered again.
    pub(crate) fn duplicates(&self, subscription: &str) -> bool {
        self.strikes(subscription, Fault::Duplicate)
    }

    /// Whether this acknowledgement is confirmed but dropped.
    pub(crate) fn loses_ack(&self, subscription: &str) -> bool {
        self.strikes(subscription, Fault::LoseAck)
    }

    /// By how many positions to rotate a queue of this length before delivering from it.
    pub(crate) fn reorders(&self, subscription: &str, length: usize) -> usize {
        if length > 1 && self.strikes(subscription, Fault::Reorder) {
            self.state.lock().rng.usize(0..length)
        } else {
            0
        }
    }

    fn strikes(&self, name: &str, fault: Fault) -> bool {
        !self.are_off() && !self.strike(name, |found| (*found == fault).then_some(())).is_empty()
    }

    /// Draws for every rule that matches `name` and whose fault `select` accepts. Returns the selected faults that
    /// struck, in the order of the rules.
    fn strike<T>(&self, name: &str, select: impl Fn(&Fault) -> Option<T>) -> Vec<T> {
        let mut state = self.state.lock();
        let State { rng, rules, .. } = &mut *state;
        let mut struck = Vec::new();
        for active in rules.iter_mut().filter(|active| active.pattern.matches(name)) {
            let is_exhausted = active.rule.times.is_some_and(|times| active.struck >= times);
            let Some(selected) = select(&active.rule.fault).filter(|_| !is_exhausted) else { continue };
            if rng.f64() < active.rule.probability {
                active.struck += 1;
                struck.push(selected);
            }
        }
        struck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(rules: &str) -> Faults {
        let faults = Faults::default();
        faults.set(rules.as_bytes()).unwrap();
        faults
    }

    #[test]
    fn a_rule_strikes_matching_names_a_limited_number_of_times() {
        let faults =
            faults(r#"{"rules": [{"on": "projects/*/subscriptions/jobs", "fault": "duplicate", "times": 2}]}"#);
        let struck: Vec<_> = (0..4).map(|_| faults.duplicates("projects/p/subscriptions/jobs")).collect();
        assert_eq!(struck, [true, true, false, false]);
        assert!(!faults.duplicates("projects/p/subscriptions/other"));
        assert!(!faults.loses_ack("projects/p/subscriptions/jobs"));
        assert_eq!(faults.show()["rules"][0]["struck"], 2);
        faults.clear();
        assert!(faults.are_off());
    }

    #[test]
    fn equal_seeds_give_equal_draws() {
        let rules = r#"{"seed": 5, "rules": [{"on": "*", "fault": "lose_ack", "probability": 0.3}]}"#;
        let run = || {
            let faults = faults(rules);
            (0..200).map(|_| faults.loses_ack("s")).collect::<Vec<_>>()
        };
        let struck = run();
        assert_eq!(struck, run());
        let count = struck.iter().filter(|struck| **struck).count();
        assert!((30..90).contains(&count), "{count} of 200 at 0.3");
    }
}

//! Faults on demand: latency, refusals, broken connections, lost answers; duplicate and reordered delivery, lost
//! acknowledgements. What a client must survive on a bad day can be had on any day.
//!
//! Off until rules are put to [`PATH`] (`PUT`; `GET` shows them with how often each struck, `DELETE` ends them); a restart forgets
//! them. See [`rule`] for what a rule says.

mod calls;
mod rule;

pub(crate) use calls::around;

use parking_lot::Mutex;
use rule::{BadRules, Fault, Rule, Rules};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use wildmatch::WildMatch;

/// Where rules are put. No bucket can be called that.
pub(crate) const PATH: &str = "/_clipfleet/faults";

/// The rules in force.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Whether there are any, so that a healthy server does not take a lock for each call.
    active: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seed: u64,
    dice: fastrand::Rng,
    rules: Vec<Armed>,
}

/// A rule at work.
#[derive(Debug)]
struct Armed {
    rule: Rule,
    pattern: WildMatch,
    struck: u64,
}

impl Faults {
    /// Replaces all rules.
    pub(crate) fn set(&self, json: &[u8]) -> Result<(), BadRules> {
        let Rules { seed, rules } = Rules::parse(json)?;
        let mut state = self.state.lock();
        let arm = |rule: Rule| Armed { pattern: WildMatch::new(&rule.on), rule, struck: 0 };
        *state = State { seed, dice: fastrand::Rng::with_seed(seed), rules: rules.into_iter().map(arm).collect() };
        self.active.store(!state.rules.is_empty(), Ordering::Relaxed);
        tracing::warn!(rules = state.rules.len(), seed, "faults set");
        Ok(())
    }

    /// Ends all faults.
    pub(crate) fn clear(&self) {
        *self.state.lock() = State::default();
        self.active.store(false, Ordering::Relaxed);
        tracing::warn!("faults ended");
    }

    /// The rules, and how often each struck.
    pub(crate) fn show(&self) -> Value {
        let state = self.state.lock();
        let rules: Vec<_> = state
            .rules
            .iter()
            .map(|armed| {
                let mut rule = json!(armed.rule);
                rule["struck"] = armed.struck.into();
                rule
            })
            .collect();
        json!({"seed": state.seed, "rules": rules})
    }

    /// Whether nothing can go wrong on purpose.
    pub(crate) fn are_off(&self) -> bool {
        !self.active.load(Ordering::Relaxed)
    }

    /// Whether this delivery's lease ends at once, so that the message is offered again.
    pub(crate) fn duplicates(&self, subscription: &str) -> bool {
        self.strikes(subscription, Fault::Duplicate)
    }

    /// Whether the confirmation of this acknowledgement is a lie.
    pub(crate) fn loses_ack(&self, subscription: &str) -> bool {
        self.strikes(subscription, Fault::LoseAck)
    }

    /// By how much to turn a queue of this length before delivering from it.
    pub(crate) fn reorders(&self, subscription: &str, length: usize) -> usize {
        if length > 1 && self.strikes(subscription, Fault::Reorder) {
            self.state.lock().dice.usize(0..length)
        } else {
            0
        }
    }

    fn strikes(&self, name: &str, fault: Fault) -> bool {
        !self.are_off() && !self.strike(name, |found| (*found == fault).then_some(())).is_empty()
    }

    /// What strikes `name` of those faults that `pick` picks, in the order of the rules.
    fn strike<T>(&self, name: &str, pick: impl Fn(&Fault) -> Option<T>) -> Vec<T> {
        let mut state = self.state.lock();
        let State { dice, rules, .. } = &mut *state;
        let mut struck = Vec::new();
        for armed in rules.iter_mut().filter(|armed| armed.pattern.matches(name)) {
            let spent = armed.rule.times.is_some_and(|times| armed.struck >= times);
            let Some(picked) = pick(&armed.rule.fault).filter(|_| !spent) else { continue };
            if dice.f64() < armed.rule.probability {
                armed.struck += 1;
                struck.push(picked);
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
    fn a_rule_strikes_what_it_names_as_often_as_it_says() {
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
    fn equal_seeds_throw_equal_dice() {
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

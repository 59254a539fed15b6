//! Who decides: this scaler, or CREMA as Google documents it.

use super::View;
use crate::decide::{Policy, Pool, decide};
use std::collections::VecDeque;

/// Sets the number of instances.
pub trait Controller {
    /// How often it looks.
    fn every_ms(&self) -> i64;
    /// Whether it hears of a batch when that is submitted.
    fn receives_events(&self) -> bool;
    /// How many instances there should be.
    fn decide(&mut self, view: &View) -> u32;
}

/// This scaler: what it decides in a real fleet, by the same function.
#[derive(Debug, Clone)]
pub struct InBand {
    policy: Policy,
    pool: Pool,
    start_ms: i64,
}

impl InBand {
    /// On a pool that ends any instance, from a Unix time in milliseconds on.
    pub fn new(policy: Policy, start_ms: i64) -> Self {
        Self { policy, pool: Pool::default(), start_ms }
    }
}

impl Controller for InBand {
    fn every_ms(&self) -> i64 {
        1_000
    }

    fn receives_events(&self) -> bool {
        true
    }

    fn decide(&mut self, view: &View) -> u32 {
        let now_ms = self.start_ms + view.now_ms;
        self.pool.served(view.served_seconds, &self.policy);
        let decision = decide(&view.load, &self.pool, &self.policy, now_ms);
        self.pool.note(&decision, now_ms);
        if decision.target != self.pool.target {
            self.pool.carried_out(&decision, now_ms);
        }
        self.pool.target
    }
}

/// CREMA (Google's external-metrics autoscaler) on the metric `num_undelivered_messages`, which counts queued clips and those at work:
/// `ceil(metric / value)`, with the stabilisation and the steps of the configuration in deploy/scaling.md.
#[derive(Debug, Clone)]
pub struct Crema {
    /// Messages per instance.
    value: f64,
    max: u32,
    /// The metric, by when it was sampled.
    samples: VecDeque<(i64, u32)>,
    sampled_ms: i64,
    /// What the formula said, by when.
    said: VecDeque<(i64, u32)>,
    fell_ms: i64,
}

/// Between two samples of the metric.
const SAMPLED_EVERY_MS: i64 = 60_000;
/// Until a sample can be read: "not visible for up to 120 seconds".
const VISIBLE_AFTER_MS: i64 = 120_000;
const POLL_MS: i64 = 15_000;
const STABILISATION_MS: i64 = 300_000;
const STEP_DOWN_EVERY_MS: i64 = 60_000;

impl Crema {
    /// With a value per instance and a maximum of instances. `phase_ms` is when the first sample is taken.
    pub fn new(value: f64, max: u32, phase_ms: i64) -> Self {
        let sampled_ms = phase_ms.rem_euclid(SAMPLED_EVERY_MS) - SAMPLED_EVERY_MS;
        Self { value, max, samples: VecDeque::new(), sampled_ms, said: VecDeque::new(), fell_ms: -STEP_DOWN_EVERY_MS }
    }

    /// The newest sample that can be read.
    fn visible(&mut self, now_ms: i64) -> Option<u32> {
        while self.samples.get(1).is_some_and(|(at_ms, _)| at_ms + VISIBLE_AFTER_MS <= now_ms) {
            self.samples.pop_front();
        }
        self.samples.front().filter(|(at_ms, _)| at_ms + VISIBLE_AFTER_MS <= now_ms).map(|(_, metric)| *metric)
    }
}

impl Controller for Crema {
    /// Looked at as often as the world needs to take its samples; it decides at its polls only.
    fn every_ms(&self) -> i64 {
        1_000
    }

    fn receives_events(&self) -> bool {
        false
    }

    fn decide(&mut self, view: &View) -> u32 {
        let now_ms = view.now_ms;
        if now_ms - self.sampled_ms >= SAMPLED_EVERY_MS {
            self.sampled_ms += SAMPLED_EVERY_MS;
            self.samples.push_back((now_ms, view.load.waiting + view.load.at_work));
        }
        if now_ms % POLL_MS != 0 {
            return view.target;
        }
        let Some(metric) = self.visible(now_ms) else { return view.target };
        let said = ((f64::from(metric) / self.value).ceil() as u32).min(self.max);
        self.said.push_back((now_ms, said));
        self.said.retain(|(at_ms, _)| now_ms - at_ms < STABILISATION_MS);
        let held = self.said.iter().map(|(_, said)| *said).max().unwrap_or(said);
        if view.target == 0 {
            // From nothing it always goes to one first, and on at the next poll.
            return said.min(1);
        }
        if said > view.target {
            return said.min((view.target * 2).max(view.target + 3));
        }
        if held < view.target && now_ms - self.fell_ms >= STEP_DOWN_EVERY_MS {
            self.fell_ms = now_ms;
            return view.target - 1;
        }
        view.target
    }
}

//! What decides in the model: this scaler, or CREMA as Google documents it.

use super::View;
use crate::decide::{Policy, Pool, decide};
use std::collections::VecDeque;

/// Sets the number of instances.
pub trait Controller {
    /// How often it is called.
    fn poll_interval_ms(&self) -> i64;
    /// Whether it is called when a batch is submitted, too.
    fn receives_events(&self) -> bool;
    /// How many instances there should be.
    fn decide(&mut self, view: &View) -> u32;
}

/// This scaler, with the same function that decides in a real fleet.
#[derive(Debug, Clone)]
pub struct InBand {
    policy: Policy,
    pool: Pool,
    start_ms: i64,
}

impl InBand {
    /// On a pool that may stop any instance, starting at a Unix time in milliseconds.
    pub fn new(policy: Policy, start_ms: i64) -> Self {
        Self { policy, pool: Pool::default(), start_ms }
    }
}

impl Controller for InBand {
    fn poll_interval_ms(&self) -> i64 {
        1_000
    }

    fn receives_events(&self) -> bool {
        true
    }

    fn decide(&mut self, view: &View) -> u32 {
        let now_ms = self.start_ms + view.now_ms;
        self.pool.add_served(view.served_seconds, &self.policy);
        let decision = decide(&view.load, &self.pool, &self.policy, now_ms);
        self.pool.track_excess(&decision, now_ms);
        if decision.target != self.pool.target {
            self.pool.apply(&decision, now_ms);
        }
        self.pool.target
    }
}

/// CREMA (Google's external-metrics autoscaler) on the metric `num_undelivered_messages`, which counts clips that are
/// queued or processed: `ceil(metric / value)`, with the stabilization window and the steps of the configuration in
/// deploy/scaling.md.
#[derive(Debug, Clone)]
pub struct Crema {
    /// Messages per instance.
    value: f64,
    max: u32,
    /// The metric, with the time of each sample.
    samples: VecDeque<(i64, u32)>,
    sampled_ms: i64,
    /// Results of the formula, with the time of each.
    recommendations: VecDeque<(i64, u32)>,
    stepped_down_ms: i64,
}

/// Time between two samples of the metric.
const SAMPLE_INTERVAL_MS: i64 = 60_000;
/// Time until a sample can be read: "not visible for up to 120 seconds".
const SAMPLE_DELAY_MS: i64 = 120_000;
const POLL_INTERVAL_MS: i64 = 15_000;
const STABILIZATION_WINDOW_MS: i64 = 300_000;
const STEP_DOWN_INTERVAL_MS: i64 = 60_000;

impl Crema {
    /// With a value per instance and a maximum of instances. `phase_ms` is when the first sample is taken.
    pub fn new(value: f64, max: u32, phase_ms: i64) -> Self {
        let sampled_ms = phase_ms.rem_euclid(SAMPLE_INTERVAL_MS) - SAMPLE_INTERVAL_MS;
        let (samples, recommendations) = (VecDeque::new(), VecDeque::new());
        Self { value, max, samples, sampled_ms, recommendations, stepped_down_ms: -STEP_DOWN_INTERVAL_MS }
    }

    /// The newest sample that can be read.
    fn visible(&mut self, now_ms: i64) -> Option<u32> {
        while self.samples.get(1).is_some_and(|(at_ms, _)| at_ms + SAMPLE_DELAY_MS <= now_ms) {
            self.samples.pop_front();
        }
        self.samples.front().filter(|(at_ms, _)| at_ms + SAMPLE_DELAY_MS <= now_ms).map(|(_, metric)| *metric)
    }
}

impl Controller for Crema {
    /// Called often enough to sample the metric. It decides only every `POLL_INTERVAL_MS`.
    fn poll_interval_ms(&self) -> i64 {
        1_000
    }

    fn receives_events(&self) -> bool {
        false
    }

    fn decide(&mut self, view: &View) -> u32 {
        let now_ms = view.now_ms;
        if now_ms - self.sampled_ms >= SAMPLE_INTERVAL_MS {
            self.sampled_ms += SAMPLE_INTERVAL_MS;
            self.samples.push_back((now_ms, view.load.waiting + view.load.at_work));
        }
        if now_ms % POLL_INTERVAL_MS != 0 {
            return view.target;
        }
        let Some(metric) = self.visible(now_ms) else { return view.target };
        let recommended = ((f64::from(metric) / self.value).ceil() as u32).min(self.max);
        self.recommendations.push_back((now_ms, recommended));
        self.recommendations.retain(|(at_ms, _)| now_ms - at_ms < STABILIZATION_WINDOW_MS);
        let stabilized = self.recommendations.iter().map(|(_, count)| *count).max().unwrap_or(recommended);
        if view.target == 0 {
            // From zero it always goes to one first, and further at the next poll.
            return recommended.min(1);
        }
        if recommended > view.target {
            return recommended.min((view.target * 2).max(view.target + 3));
        }
        if stabilized < view.target && now_ms - self.stepped_down_ms >= STEP_DOWN_INTERVAL_MS {
            self.stepped_down_ms = now_ms;
            return view.target - 1;
        }
        view.target
    }
}

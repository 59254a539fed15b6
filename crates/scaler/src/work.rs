//! How much work a clip is: the slot-seconds it will take, predicted from those that earlier clips took.

use clipfleet_domain::{
    rendition::{Quality, Rendition},
    wire_name::WireName as _,
};
use std::collections::BTreeMap;

/// Slot-seconds of a clip that do not depend on its length: looking for an earlier result, reading the first bytes of
/// the source, storing. Measured: 0.1 s of messages and documents, 0.3 s to the first picture, and an upload.
pub const FIXED_SECONDS: f64 = 1.0;

/// Slot-seconds per second of a 1080p30 clip until one has completed: as measured on four vCPUs.
pub const INITIAL_RATE: f64 = 0.3;

/// Weight of a completed clip of [`FULL_WEIGHT_SECONDS`] or longer in the moving average of its quality's rate.
const LEARNING_RATE: f64 = 0.2;

/// Length from which on a clip has its full weight, seconds. Most of a shorter clip's time does not depend on its
/// length.
const FULL_WEIGHT_SECONDS: f64 = 15.0;

/// The work in a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    quality: Quality,
    /// Seconds of portrait video at 30 frames a second.
    units: f64,
}

impl Work {
    /// The work in a clip of a length and form.
    pub fn of(length_ms: i64, rendition: &Rendition) -> Self {
        let pixels = |rendition: &Rendition| f64::from(rendition.size().width) * f64::from(rendition.size().height);
        let upright = Rendition { aspect: clipfleet_domain::rendition::Aspect::Portrait, ..*rendition };
        let seconds = length_ms.max(0) as f64 / 1_000.0;
        let units = seconds * f64::from(rendition.fps) / 30.0 * pixels(rendition) / pixels(&upright);
        Self { quality: rendition.quality, units }
    }
}

/// Slot-seconds per unit of work, learned for each quality from clips that completed.
#[derive(Debug, Clone, PartialEq)]
pub struct Speed {
    initial_rate: f64,
    learned: BTreeMap<&'static str, f64>,
}

impl Default for Speed {
    fn default() -> Self {
        Self::with_initial_rate(INITIAL_RATE)
    }
}

impl Speed {
    /// `initial_rate` is the slot-seconds per second of 1080p30 until a clip has completed.
    pub fn with_initial_rate(initial_rate: f64) -> Self {
        Self { initial_rate, learned: BTreeMap::new() }
    }

    /// Restores rates that were learned earlier, by the names of qualities. Unknown names and unusable numbers are
    /// skipped.
    #[must_use]
    pub fn with_learned(mut self, known: impl IntoIterator<Item = (String, f64)>) -> Self {
        for (name, rate) in known {
            if let (Ok(quality), true) = (Quality::parse(&name), rate.is_finite() && rate > 0.0) {
                self.learned.insert(quality.name(), rate);
            }
        }
        self
    }

    /// The learned rates, by the names of qualities.
    pub fn learned(&self) -> &BTreeMap<&'static str, f64> {
        &self.learned
    }

    /// Predicts the slot-seconds that work will take.
    pub fn seconds(&self, work: &Work) -> f64 {
        FIXED_SECONDS + self.rate(work.quality) * work.units
    }

    /// The rate of a quality of which no clip has completed is estimated from its number of pixels.
    fn rate(&self, quality: Quality) -> f64 {
        if let Some(rate) = self.learned.get(quality.name()) {
            return *rate;
        }
        let pixels = |quality| {
            let size = Rendition { quality, ..Rendition::default() }.size();
            f64::from(size.width) * f64::from(size.height)
        };
        let base = self.learned.get(Quality::P1080.name()).copied().unwrap_or(self.initial_rate);
        base * pixels(quality) / pixels(Quality::P1080)
    }

    /// Learns from a completed clip that took this many slot-seconds.
    pub fn learn(&mut self, work: &Work, slot_seconds: f64) {
        if work.units <= 0.0 || !slot_seconds.is_finite() {
            return;
        }
        // The clamp limits the influence of outliers, such as a clip that waited minutes for its source.
        let known = self.rate(work.quality);
        let observed = ((slot_seconds - FIXED_SECONDS) / work.units).clamp(known / 8.0, known * 8.0);
        let weight = LEARNING_RATE * (work.units / FULL_WEIGHT_SECONDS).min(1.0);
        self.learned.insert(work.quality.name(), known + (observed - known) * weight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::rendition::Aspect;

    #[test]
    fn work_grows_with_length_rate_and_pixels() {
        let plain = Work::of(45_000, &Rendition::default());
        assert_eq!(plain.units, 45.0);
        assert_eq!(Work::of(45_000, &Rendition { fps: 60, ..Rendition::default() }).units, 90.0);
        let square = Work::of(45_000, &Rendition { aspect: Aspect::Square, ..Rendition::default() });
        assert!((square.units - 45.0 * 9.0 / 16.0).abs() < 1e-9);
        assert_eq!(Work::of(-1, &Rendition::default()).units, 0.0);
    }

    #[test]
    fn completed_clips_predict_the_next_one() {
        let mut speed = Speed::with_initial_rate(0.6);
        let work = Work::of(45_000, &Rendition::default());
        for _ in 0..40 {
            speed.learn(&work, 6.5);
        }
        assert!((speed.seconds(&work) - 6.5).abs() < 0.1, "{}", speed.seconds(&work));
        let larger = Work::of(45_000, &Rendition { quality: Quality::P2160, ..Rendition::default() });
        assert!((speed.seconds(&larger) - FIXED_SECONDS - 4.0 * 5.5).abs() < 0.3, "estimated by pixels");
    }

    #[test]
    fn outliers_and_empty_clips_change_the_rate_little() {
        let work = Work::of(45_000, &Rendition::default());
        let mut speed = Speed::with_initial_rate(0.2);
        speed.learn(&work, 100_000.0);
        assert!(speed.seconds(&work) < FIXED_SECONDS + 45.0 * 0.2 * 2.5);
        let before = speed.clone();
        speed.learn(&Work::of(0, &Rendition::default()), 5.0);
        speed.learn(&work, f64::NAN);
        assert_eq!(speed, before);
    }

    #[test]
    fn restored_rates_are_validated() {
        let known = [("1080p", 0.14), ("8k", 9.0), ("720p", -1.0), ("2160p", f64::NAN)];
        let speed = Speed::default().with_learned(known.map(|(name, rate)| (name.to_owned(), rate)));
        assert_eq!(speed.learned(), &BTreeMap::from([("1080p", 0.14)]));
    }
}

//! How much work a clip is: the seconds it will have a slot, predicted from those that earlier clips had one.

use clipfleet_domain::rendition::{Quality, Rendition, name_of};
use std::collections::BTreeMap;

/// Slot-seconds of a clip that its length does not change: looking for an earlier result, the first bytes of the source, storing.
/// Measured: 0.1 s of messages and documents, 0.3 s to the first picture, and an upload.
pub const FIXED_SECONDS: f64 = 1.0;

/// Slot-seconds per second of a 1080p30 clip before any was seen: what four vCPUs were measured to take.
pub const INITIAL_RATE: f64 = 0.3;

/// Share of what is known that one more clip of a quarter of a minute or longer replaces.
const NEWS: f64 = 0.2;

/// Seconds of a clip from which on it tells its full share; of a shorter one, what does not depend on its length is most.
const TELLING_SECONDS: f64 = 15.0;

/// The work in a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    quality: Quality,
    /// Seconds of 30 upright pictures each.
    units: f64,
}

impl Work {
    /// Of a clip's length and form.
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
    first: f64,
    learned: BTreeMap<&'static str, f64>,
}

impl Default for Speed {
    fn default() -> Self {
        Self::starting_with(INITIAL_RATE)
    }
}

impl Speed {
    /// Slot-seconds per second of 1080p30, until something is learned.
    pub fn starting_with(first: f64) -> Self {
        Self { first, learned: BTreeMap::new() }
    }

    /// What was learned before, by the names of qualities. Names and numbers that make no sense are left out.
    #[must_use]
    pub fn remembering(mut self, known: impl IntoIterator<Item = (String, f64)>) -> Self {
        for (name, rate) in known {
            let quality = Quality::ALL.iter().find(|(_, known)| *known == name);
            if let (Some((_, name)), true) = (quality, rate.is_finite() && rate > 0.0) {
                self.learned.insert(name, rate);
            }
        }
        self
    }

    /// What was learned, by the names of qualities.
    pub fn learned(&self) -> &BTreeMap<&'static str, f64> {
        &self.learned
    }

    /// The slot-seconds that work will take.
    pub fn seconds(&self, work: &Work) -> f64 {
        FIXED_SECONDS + self.rate(work.quality) * work.units
    }

    /// Before a quality was seen it is taken to cost as its pixels do.
    fn rate(&self, quality: Quality) -> f64 {
        if let Some(rate) = self.learned.get(name_of(&Quality::ALL, quality)) {
            return *rate;
        }
        let pixels = |quality| {
            let size = Rendition { quality, ..Rendition::default() }.size();
            f64::from(size.width) * f64::from(size.height)
        };
        let base = self.learned.get(name_of(&Quality::ALL, Quality::P1080)).copied().unwrap_or(self.first);
        base * pixels(quality) / pixels(Quality::P1080)
    }

    /// Learns from a clip that had a slot for so long.
    pub fn learn(&mut self, work: &Work, slot_seconds: f64) {
        if work.units <= 0.0 || !slot_seconds.is_finite() {
            return;
        }
        // A clip that waited for its source for minutes says little about the next one.
        let known = self.rate(work.quality);
        let seen = ((slot_seconds - FIXED_SECONDS) / work.units).clamp(known / 8.0, known * 8.0);
        let share = NEWS * (work.units / TELLING_SECONDS).min(1.0);
        self.learned.insert(name_of(&Quality::ALL, work.quality), known + (seen - known) * share);
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
    fn what_clips_took_predicts_the_next() {
        let mut speed = Speed::starting_with(0.6);
        let work = Work::of(45_000, &Rendition::default());
        for _ in 0..40 {
            speed.learn(&work, 6.5);
        }
        assert!((speed.seconds(&work) - 6.5).abs() < 0.1, "{}", speed.seconds(&work));
        let larger = Work::of(45_000, &Rendition { quality: Quality::P2160, ..Rendition::default() });
        assert!((speed.seconds(&larger) - FIXED_SECONDS - 4.0 * 5.5).abs() < 0.3, "by its pixels, until one was seen");
    }

    #[test]
    fn one_clip_that_hung_and_one_that_tells_nothing_change_little() {
        let work = Work::of(45_000, &Rendition::default());
        let mut speed = Speed::starting_with(0.2);
        speed.learn(&work, 100_000.0);
        assert!(speed.seconds(&work) < FIXED_SECONDS + 45.0 * 0.2 * 2.5);
        let before = speed.clone();
        speed.learn(&Work::of(0, &Rendition::default()), 5.0);
        speed.learn(&work, f64::NAN);
        assert_eq!(speed, before);
    }

    #[test]
    fn what_is_remembered_is_checked() {
        let known = [("1080p", 0.14), ("8k", 9.0), ("720p", -1.0), ("2160p", f64::NAN)];
        let speed = Speed::default().remembering(known.map(|(name, rate)| (name.to_owned(), rate)));
        assert_eq!(speed.learned(), &BTreeMap::from([("1080p", 0.14)]));
    }
}

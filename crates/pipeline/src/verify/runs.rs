//! Finds runs of black and of frozen pictures. They are only reported, because a source may contain them.

use super::fingerprint::Fingerprint;
use serde::Serialize;
use std::ops::Range;

/// Maximum distance within a frozen run. A repeated picture has a distance of 0. A static screen in a compressed source
/// changes by a fraction of a level.
const MAX_STILL_DISTANCE: f32 = 0.5;

/// Minimum length of a frozen run that is reported, milliseconds. Shorter ones are pauses in a movement.
const MIN_FROZEN_MS: i64 = 1_000;

/// Minimum length of a black run that is reported, milliseconds. Shorter ones are cuts and blinks.
const MIN_BLACK_MS: i64 = 500;

/// Maximum number of reported runs of each kind.
const MAX_RUNS: usize = 100;

/// A stretch of the clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Start from the clip's start, milliseconds.
    pub start_ms: i64,
    /// Length, milliseconds.
    pub length_ms: i64,
}

/// The runs in a sequence of pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Runs {
    /// Runs without movement.
    pub frozen: Vec<Run>,
    /// Black runs. They are also frozen.
    pub black: Vec<Run>,
}

/// Finds the runs of consecutive pictures at `fps`.
pub fn find(pictures: &[&Fingerprint], fps: u32) -> Runs {
    let frozen = runs(pictures, fps, MIN_FROZEN_MS, |first, next| first.distance(next) < MAX_STILL_DISTANCE);
    let black = runs(pictures, fps, MIN_BLACK_MS, |first, next| first.is_black() && next.is_black());
    Runs { frozen, black }
}

/// Runs of pictures that match the first one of their run.
fn runs(
    pictures: &[&Fingerprint],
    fps: u32,
    shortest_ms: i64,
    together: impl Fn(&Fingerprint, &Fingerprint) -> bool,
) -> Vec<Run> {
    let ms = |frames: usize| frames as i64 * 1_000 / i64::from(fps.max(1));
    let alike = stretches(pictures, |first, next| together(first, next));
    let reported =
        alike.filter(|run| ms(run.len()) >= shortest_ms && together(pictures[run.start], pictures[run.start]));
    reported.map(|run| Run { start_ms: ms(run.start), length_ms: ms(run.len()) }).take(MAX_RUNS).collect()
}

/// Splits a sequence into stretches of items that match the first item of their stretch.
pub(super) fn stretches<T>(items: &[T], together: impl Fn(&T, &T) -> bool) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let first = items.get(start)?;
        let length = items[start..].iter().take_while(|next| together(first, next)).count().max(1);
        start += length;
        Some(start - length..start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(luma: u8) -> Fingerprint {
        Fingerprint::flat(luma, [128, 128])
    }

    fn find_in(pictures: &[Fingerprint]) -> Runs {
        find(&pictures.iter().collect::<Vec<_>>(), 30)
    }

    #[test]
    fn what_moves_has_no_runs() {
        let moving: Vec<_> = (0..200).map(|n| grey(40 + n % 100)).collect();
        assert_eq!(find_in(&moving), Runs::default());
    }

    #[test]
    fn runs_have_a_start_and_a_length() {
        let mut pictures: Vec<_> = (0..30).map(|n| grey(100 + n)).collect();
        pictures.extend(vec![grey(16); 45]);
        pictures.extend((0..30).map(|n| grey(50 + n)));
        pictures.extend(vec![grey(200); 60]);
        let runs = find_in(&pictures);
        assert_eq!(runs.black, [Run { start_ms: 1_000, length_ms: 1_500 }]);
        assert_eq!(runs.frozen, [Run { start_ms: 1_000, length_ms: 1_500 }, Run { start_ms: 3_500, length_ms: 2_000 }]);
    }

    #[test]
    fn short_runs_are_not_reported() {
        let pictures: Vec<_> = (0..120).map(|n| grey(if n % 25 < 12 { 16 } else { 100 })).collect();
        assert_eq!(find_in(&pictures), Runs::default());
    }
}

//! Chooses the frames of a clip that are compared with the source, and finds the source picture that each of them must
//! show.

use crate::timing::{FrameAction, FrameGrid};

/// Minimum and maximum number of compared frames. More frames cost more and hardly find more.
const MIN_FRAMES: u32 = 3;
const MAX_FRAMES: u32 = 8;

/// Frames of a clip per additional compared frame.
const FRAMES_PER_INSTANT: u32 = 45;

/// Pictures within this number of frames around a chosen frame are kept, so that its picture can be distinguished from
/// its neighbours.
const NEIGHBOUR_FRAMES: f64 = 1.6;

/// Gap between two pictures, in frames, from which the earlier one is kept in any case, because several chosen frames
/// may show it.
const MIN_GAP_FRAMES: f64 = 1.9;

/// The frames that are compared, ascending: the first, the last, and one in each stretch between them. `seed` chooses
/// the positions, so that no fixed part of clips is always left out.
pub fn chosen(frames: u32, seed: u64) -> Vec<u32> {
    let last = frames.saturating_sub(1);
    let count = (MIN_FRAMES + frames / FRAMES_PER_INSTANT).min(MAX_FRAMES).min(frames.max(2));
    let stretch = f64::from(last) / f64::from(count - 1);
    let inner = (1..count - 1).map(|index| {
        let share = (mixed(seed.wrapping_add(u64::from(index))) >> 11) as f64 / (1_u64 << 53) as f64;
        (stretch * (f64::from(index) - 0.4 + 0.8 * share)) as u32
    });
    let mut chosen: Vec<u32> = [0].into_iter().chain(inner).chain([last]).collect();
    chosen.dedup();
    chosen
}

/// Hashes a number to 64 bits (the finalizer of SplitMix64).
pub fn mixed(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Assigns the pictures of a source to the chosen frames of a clip.
#[derive(Debug)]
pub struct Instants {
    grid: FrameGrid,
    start_ns: i64,
    fps: f64,
    chosen: Vec<u32>,
    pictures: usize,
    last_ns: Option<i64>,
    /// The picture of each chosen frame, as far as it is known.
    shown: Vec<Option<usize>>,
}

impl Instants {
    /// The chosen frames of a clip that starts at `start_ns` of the source.
    pub fn new(start_ns: i64, fps: u32, frames: u32, seed: u64) -> Self {
        let chosen = chosen(frames, seed);
        let shown = vec![None; chosen.len()];
        let grid = FrameGrid::new(start_ns, fps, frames);
        Self { grid, start_ns, fps: fps.into(), chosen, pictures: 0, last_ns: None, shown }
    }

    /// Takes the next picture of the source. Returns its number, and the chosen frames for which it must be kept.
    pub fn offer(&mut self, time_ns: i64) -> (usize, Vec<u32>) {
        let place = |ns: i64| (ns - self.start_ns) as f64 * self.fps / 1e9;
        let at = place(time_ns);
        let sparse = self.last_ns.is_none_or(|last| at - place(last) > MIN_GAP_FRAMES);
        let near = |frame: &u32| (at - f64::from(*frame)).abs() <= NEIGHBOUR_FRAMES;
        let mut kept: Vec<u32> = self.chosen.iter().copied().filter(near).collect();
        if sparse && kept.is_empty() && !self.grid.is_full() {
            kept.extend(self.chosen.iter().copied().find(|frame| f64::from(*frame) > at));
        }
        let number = self.pictures;
        let from = self.grid.emitted();
        let held = number.checked_sub(1);
        match self.grid.offer(time_ns) {
            FrameAction::Before | FrameAction::Skip => {}
            FrameAction::Show { repeats } => {
                self.show(from..from + repeats, held);
                self.show(from + repeats..from + repeats + 1, Some(number));
            }
            FrameAction::After { repeats } => self.show(from..from + repeats, held),
        }
        (self.pictures, self.last_ns) = (number + 1, Some(time_ns));
        (number, kept)
    }

    /// Completes the clip with the last picture, at the end of the source.
    pub fn complete(&mut self) {
        let from = self.grid.emitted();
        let missing = self.grid.complete();
        self.show(from..from + missing, self.pictures.checked_sub(1));
    }

    fn show(&mut self, frames: std::ops::Range<u32>, picture: Option<usize>) {
        for (frame, shown) in self.chosen.iter().zip(&mut self.shown) {
            if frames.contains(frame) {
                *shown = picture;
            }
        }
    }

    /// The chosen frames.
    pub fn chosen(&self) -> &[u32] {
        &self.chosen
    }

    /// The chosen frames whose pictures are known, with the numbers of those pictures.
    pub fn shown(&self) -> impl Iterator<Item = (u32, usize)> + '_ {
        self.chosen.iter().zip(&self.shown).filter_map(|(frame, shown)| Some((*frame, (*shown)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_and_the_last_frame_are_always_chosen() {
        for frames in [1, 2, 3, 30, 75, 450, 36_000] {
            for seed in 0..50 {
                let chosen = chosen(frames, seed);
                assert!(chosen.len() <= MAX_FRAMES as usize && chosen.is_sorted(), "{chosen:?}");
                assert_eq!((chosen.first(), chosen.last()), (Some(&0), Some(&(frames - 1))));
            }
        }
        assert_ne!(chosen(900, 1), chosen(900, 2));
    }

    #[test]
    fn the_picture_of_each_frame_and_its_neighbours_are_kept() {
        let mut instants = Instants::new(1_000_000_000, 30, 90, 7);
        let mut kept = Vec::new();
        for picture in 0..200_i64 {
            let (number, frames) = instants.offer(picture * 1_000_000_000 / 30);
            kept.extend(frames.into_iter().map(|frame| (frame, number)));
        }
        for (frame, picture) in instants.shown() {
            assert_eq!(picture, 30 + frame as usize);
            for number in picture - 1..=picture + 1 {
                assert!(kept.contains(&(frame, number)), "picture {number} of frame {frame}: {kept:?}");
            }
        }
        assert_eq!(instants.shown().count(), instants.chosen().len());
        assert!(kept.len() <= 4 * instants.chosen().len(), "{}", kept.len());
    }

    #[test]
    fn a_repeated_picture_is_kept_for_the_frames_that_repeat_it() {
        let mut instants = Instants::new(0, 30, 300, 7);
        let kept = [0, 4_000_000_000].map(|time_ns| instants.offer(time_ns).1);
        instants.complete();
        assert!(kept[0].contains(&0) && !kept[1].is_empty(), "{kept:?}");
        let shown: Vec<usize> = instants.shown().map(|(_, picture)| picture).collect();
        assert!(shown.is_sorted() && shown.contains(&0) && shown.contains(&1), "{shown:?}");
    }
}

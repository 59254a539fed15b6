//! Compares the frames of a file with the frames that entered the encoder, one by one. Pure.

use super::{fingerprint::Fingerprint, runs::stretches};
use crate::failure;
use clipfleet_domain::failure::Failure;
use std::ops::Range;

/// Maximum distance that an encoder's loss may cause. Measured over good files of every kind: 0.1 to 0.8 levels, 2.1 at
/// worst on coarse noise. A larger distance is not a fault yet: the frame is then searched for at other times.
const MAX_CODING_LOSS: f32 = 2.0;

/// Distance at which a single frame is a fault. An encoder short of bits blurs, but keeps the mean of a block.
const MISMATCH: f32 = 12.0;

/// Number of displaced frames that are a fault together, although each alone is not: an encoder may repeat parts of a
/// picture for one or two frames where little moves.
const MIN_DISPLACED: usize = 3;

/// How far around its time a frame is searched for, milliseconds.
const SEARCH_MS: usize = 500;

/// Maximum distance within a frozen run, and its minimum length: a quarter of a second.
const MAX_FROZEN_DISTANCE: f32 = 1.0;
const FROZEN_FRAMES_DIVISOR: usize = 4;

/// A frame and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// Nanoseconds from the clip's start.
    pub time_ns: i64,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// How similar the frames are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Similarity {
    /// Mean distance, levels.
    pub mean: f32,
    /// Greatest distance, levels.
    pub worst: f32,
    /// Index of the frame with the greatest distance.
    pub worst_frame: usize,
}

/// The frames of a file that were decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded<'a> {
    /// The frames, in display order.
    pub frames: &'a [Frame],
    /// Index of each of them in the clip, ascending.
    pub indices: Vec<usize>,
}

impl<'a> Decoded<'a> {
    /// All `count` frames of a clip.
    pub fn all(frames: &'a [Frame], count: usize) -> Self {
        Self { frames, indices: (0..count).collect() }
    }

    /// The frames with these presentation times, nanoseconds.
    pub fn at(frames: &'a [Frame], times_ns: &[i64], fps: u32) -> Self {
        let index = |ns: &i64| (ns * i64::from(fps) + 500_000_000).div_euclid(1_000_000_000).max(0) as usize;
        Self { frames, indices: times_ns.iter().map(index).collect() }
    }

    /// The fingerprint of each of the clip's `count` frames. A frame that was not decoded gets that of the frame before
    /// it.
    pub fn fingerprints(&self, count: usize) -> Vec<&'a Fingerprint> {
        let mut decoded = self.indices.iter().zip(self.frames).peekable();
        let mut latest = None;
        let mut fingerprint = |index| {
            while let Some((_, frame)) = decoded.next_if(|(next, _)| **next <= index) {
                latest = Some(&frame.fingerprint);
            }
            latest
        };
        (0..count).filter_map(&mut fingerprint).collect()
    }
}

/// Compares the decoded frames with the frames that entered the encoder, one by one.
pub fn compare(input: &[Frame], output: &Decoded<'_>, fps: u32) -> Result<Similarity, Failure> {
    let Decoded { frames, indices } = output;
    let comparison = Comparison { input, output: frames, indices, fps: fps.max(1) as usize };
    let times: Vec<i64> = frames.iter().map(|frame| frame.time_ns).collect();
    check_times(&times, indices, fps)?;
    if indices.last().is_some_and(|last| *last >= input.len()) {
        return Err(failure::encode_slip(format!("pictures are encoded beyond the {} that entered", input.len())));
    }
    let distance = |at: usize| comparison.output[at].fingerprint.distance(&comparison.original(at).fingerprint);
    let distances: Vec<f32> = (0..indices.len()).map(distance).collect();
    comparison.check_contents(&distances)?;
    comparison.check_movement()?;
    let worst = distances.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let mean = distances.iter().sum::<f32>() / distances.len().max(1) as f32;
    Ok(worst.map_or(Similarity::default(), |(at, worst)| Similarity { mean, worst, worst_frame: indices[at] }))
}

/// Checks that there is one frame for each index, at the right time.
pub fn check_times(times_ns: &[i64], indices: &[usize], fps: u32) -> Result<(), Failure> {
    let fps = i64::from(fps.max(1));
    if times_ns.len() != indices.len() {
        let (found, due) = (times_ns.len(), indices.len());
        return Err(failure::verify_failed(format!("{found} pictures can be decoded of the {due} that were encoded")));
    }
    let (at_ns, frame_ns) = (|index: usize| index as i64 * 1_000_000_000 / fps, 1_000_000_000 / fps);
    let late = |(time_ns, index): &(&i64, &usize)| (**time_ns - at_ns(**index)).abs() > frame_ns / 2;
    match times_ns.iter().zip(indices).find(late) {
        None => Ok(()),
        Some((time_ns, index)) => {
            let (at, due) = (time_ns / 1_000_000, at_ns(*index) / 1_000_000);
            Err(failure::encode_slip(format!("picture {index} is shown at {at} ms instead of {due} ms")))
        }
    }
}

struct Comparison<'a> {
    input: &'a [Frame],
    /// The decoded frames.
    output: &'a [Frame],
    /// Index in `input` of each decoded frame.
    indices: &'a [usize],
    fps: usize,
}

impl Comparison<'_> {
    fn ms(&self, frame: usize) -> usize {
        frame * 1_000 / self.fps
    }

    /// The input of a decoded frame. `compare` has checked that it exists.
    fn original(&self, at: usize) -> &Frame {
        &self.input[self.indices[at]]
    }

    fn check_contents(&self, distances: &[f32]) -> Result<(), Failure> {
        let suspects = distances.iter().enumerate().filter(|(_, distance)| **distance > MAX_CODING_LOSS);
        let suspects: Vec<Suspect> = suspects
            .map(|(at, distance)| Suspect { at, distance: *distance, displaced: self.displaced(at, *distance) })
            .collect();
        let faults: Vec<Suspect> =
            suspects.into_iter().filter(|one| one.distance > MISMATCH || one.displaced.is_some()).collect();
        let displaced = faults.iter().filter(|fault| fault.displaced.is_some()).count();
        if displaced < MIN_DISPLACED && !faults.iter().any(|fault| fault.distance > MISMATCH) {
            return Ok(());
        }
        Err(self.explain(&faults, displaced))
    }

    /// The offset, in frames, of the input that a decoded frame resembles much more than its own input.
    fn displaced(&self, at: usize, distance: f32) -> Option<isize> {
        let reach = (self.fps * SEARCH_MS / 1_000).max(1) as isize;
        let offsets = (1..=reach).flat_map(|step| [step, -step]);
        let others = offsets.filter_map(|offset| {
            let other = self.input.get(self.indices[at].checked_add_signed(offset)?)?;
            Some((offset, self.output[at].fingerprint.distance(&other.fingerprint)))
        });
        let (offset, nearest) = others.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (nearest * 2.0 < distance && nearest + MAX_CODING_LOSS < distance).then_some(offset)
    }

    fn explain(&self, faults: &[Suspect], displaced: usize) -> Failure {
        let (Some(first), Some(last)) = (faults.first(), faults.last()) else { return failure::internal("no fault") };
        let (count, total) = (faults.len(), self.output.len());
        let (from, to) = (self.ms(self.indices[first.at]), self.ms(self.indices[last.at] + 1));
        let place = format!("{count} of {total} pictures, from {from} ms to {to} ms");
        let black = |fault: &&Suspect| {
            self.output[fault.at].fingerprint.is_black() && !self.original(fault.at).fingerprint.is_black()
        };
        if faults.iter().filter(black).count() * 2 > count {
            return failure::encode_black(place);
        }
        if self.is_frozen(faults) {
            return failure::encode_frozen(place);
        }
        let worst = faults.iter().map(|fault| fault.distance).fold(0.0, f32::max);
        if displaced * 2 >= count {
            let mut offsets: Vec<isize> = faults.iter().filter_map(|fault| fault.displaced).collect();
            offsets.sort_unstable();
            let offset = offsets.get(offsets.len() / 2).copied().unwrap_or(0);
            let (frames, direction) = (offset.unsigned_abs(), if offset < 0 { "late" } else { "early" });
            return failure::encode_slip(format!("{place} are shown {frames} frames {direction}"));
        }
        failure::encode_mismatch(format!("{place} are not those encoded; they differ by up to {worst:.0} levels"))
    }

    /// Whether all faulty frames show the same picture, and that picture is one of the inputs.
    fn is_frozen(&self, faults: &[Suspect]) -> bool {
        let Some(held) = faults.first().map(|fault| &self.output[fault.at].fingerprint) else { return false };
        faults.len() >= MIN_DISPLACED
            && faults.iter().all(|fault| self.output[fault.at].fingerprint.distance(held) <= MAX_CODING_LOSS)
            && self.input.iter().any(|input| input.fingerprint.distance(held) <= 2.0 * MAX_CODING_LOSS)
    }

    /// Checks that the output does not freeze where the input moves. Slow movement may differ by too little per frame
    /// for [`Self::check_contents`].
    fn check_movement(&self) -> Result<(), Failure> {
        let shortest = (self.fps / FROZEN_FRAMES_DIVISOR).max(2);
        let still = |held: &Frame, next: &Frame| next.fingerprint.distance(&held.fingerprint) < MAX_FROZEN_DISTANCE;
        // In frames of the clip: frames between two frozen ones that were not decoded count as frozen.
        let frames = |run: Range<usize>| self.indices[run.start]..self.indices[run.end - 1] + 1;
        for run in stretches(self.output, still).map(frames).filter(|run| run.len() >= shortest) {
            let origin = &self.input[run.start].fingerprint;
            let moved =
                self.input[run.clone()].iter().map(|next| next.fingerprint.distance(origin)).fold(0.0, f32::max);
            if moved > 2.0 * MAX_CODING_LOSS {
                let (pictures, from, to) = (run.len(), self.ms(run.start), self.ms(run.end));
                return Err(failure::encode_frozen(format!(
                    "{pictures} pictures, from {from} ms to {to} ms, while what entered moves by {moved:.1} levels"
                )));
            }
        }
        Ok(())
    }
}

struct Suspect {
    /// Position among the decoded frames.
    at: usize,
    distance: f32,
    displaced: Option<isize>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::failure::Code;

    const FPS: u32 = 30;

    fn sequence(luma: impl IntoIterator<Item = u8>) -> Vec<Frame> {
        let frame = |(index, luma): (usize, u8)| Frame {
            time_ns: index as i64 * 1_000_000_000 / i64::from(FPS),
            fingerprint: Fingerprint::flat(luma, [128, 128]),
        };
        luma.into_iter().enumerate().map(frame).collect()
    }

    /// Brightness that never repeats within a second.
    fn moving(index: usize) -> u8 {
        40 + (index * 37 % 180) as u8
    }

    fn compared(input: &[Frame], output: &[Frame]) -> Result<Similarity, Failure> {
        compare(input, &Decoded::all(output, input.len()), FPS)
    }

    fn code(output: Vec<Frame>) -> Code {
        compared(&sequence((0..90).map(moving)), &output).expect_err("a failure").code
    }

    #[test]
    fn small_losses_are_no_fault() {
        let output = sequence((0..90).map(|index| moving(index) + (index % 2) as u8));
        let similarity = compared(&sequence((0..90).map(moving)), &output).expect("alike");
        assert_eq!((similarity.mean, similarity.worst, similarity.worst_frame % 2), (0.5, 1.0, 1));
    }

    #[test]
    fn missing_and_late_frames_are_found() {
        assert_eq!(code(sequence((0..80).map(moving))), Code::VerifyFailed);
        let mut late = sequence((0..90).map(moving));
        late.iter_mut().for_each(|frame| frame.time_ns += 40_000_000);
        assert_eq!(code(late), Code::EncodeSlip);
    }

    #[test]
    fn one_picture_twice_and_one_never_is_a_slip() {
        assert_eq!(code(sequence((0..90).map(|index| moving(if index == 45 { 44 } else { index })))), Code::EncodeSlip);
        assert_eq!(code(sequence((0..90).map(|index| moving(usize::saturating_sub(index, 1))))), Code::EncodeSlip);
        assert_eq!(code(sequence((0..90).map(|index| moving((index + 7).min(89))))), Code::EncodeSlip);
    }

    #[test]
    fn frozen_black_and_foreign_pictures_are_named() {
        assert_eq!(
            code(sequence((0..90).map(|index| moving(if index < 40 { index } else { 39 })))),
            Code::EncodeFrozen
        );
        assert_eq!(code(sequence((0..90).map(|_| moving(0)))), Code::EncodeFrozen);
        assert_eq!(code(sequence((0..90).map(|index| if index < 60 { moving(index) } else { 16 }))), Code::EncodeBlack);
        let green = (0..90).map(|index| Frame {
            fingerprint: Fingerprint::flat(0, [0, 0]),
            ..sequence((0..90).map(moving))[index].clone()
        });
        assert_eq!(
            code(green.map(|frame| Frame { fingerprint: Fingerprint::flat(60, [0, 0]), ..frame }).collect()),
            Code::EncodeMismatch
        );
    }

    #[test]
    fn a_slow_movement_that_stops_is_frozen() {
        let slow = |index: usize| 100 + (index / 8) as u8;
        let output = sequence((0..90).map(|index| slow(index.min(30))));
        let failed = compared(&sequence((0..90).map(slow)), &output).expect_err("a failure");
        assert_eq!(failed.code, Code::EncodeFrozen);
    }

    #[test]
    fn a_still_source_is_no_fault() {
        let still = sequence([120; 90]);
        assert!(compared(&still, &still).is_ok());
    }

    #[test]
    fn a_part_of_the_frames_is_compared_each_with_its_own() {
        let input = sequence((0..90).map(moving));
        let pictures: Vec<Frame> = [0, 4, 5, 88].map(|frame: usize| input[frame].clone()).into();
        let times: Vec<i64> = pictures.iter().map(|frame| frame.time_ns + 400).collect();
        let some = Decoded::at(&pictures, &times, FPS);
        assert_eq!(some.indices, [0, 4, 5, 88]);
        assert_eq!(compare(&input, &some, FPS).expect("alike").worst, 0.0);
        let fingerprints = some.fingerprints(90);
        assert_eq!(fingerprints.len(), 90);
        assert_eq!(
            [fingerprints[3], fingerprints[4], fingerprints[87]],
            [&pictures[0].fingerprint, &pictures[1].fingerprint, &pictures[2].fingerprint]
        );
        for (luma, code) in [
            ((|frame| moving(usize::min(frame, 39))) as fn(usize) -> u8, Code::EncodeFrozen),
            (|frame| if frame < 60 { moving(frame) } else { 16 }, Code::EncodeBlack),
            (|frame| moving(usize::saturating_sub(frame, 1)), Code::EncodeSlip),
        ] {
            let pictures: Vec<Frame> = sequence((0..90).map(luma)).into_iter().step_by(2).collect();
            let some = Decoded { frames: &pictures, indices: (0..90).step_by(2).collect() };
            assert_eq!(compare(&input, &some, FPS).expect_err("a failure").code, code);
        }
        let beyond = Decoded { frames: &pictures, indices: vec![0, 4, 5, 90] };
        assert_eq!(compare(&input, &beyond, FPS).expect_err("a failure").code, Code::EncodeSlip);
    }
}

//! Whether the pictures that a file shows are those that entered the encoder, each in its place: numbers in, findings out.

use super::{fingerprint::Fingerprint, runs::stretches};
use crate::failure;
use clipfleet_domain::failure::{Code, Failure};
use std::ops::Range;

/// Distance that an encoder's loss may make unasked. Measured over good files of every kind: 0.1 to 0.8 levels, 2.1 at worst on
/// coarse noise. More is no fault yet: the picture is then looked for elsewhere.
const LOSS: f32 = 2.0;

/// Distance at which one picture alone proves a fault. An encoder short of bits blurs, but keeps what blocks look like on the whole.
const DIFFERENT: f32 = 12.0;

/// Pictures in the wrong place that prove a fault where each alone does not: an encoder may repeat parts of a picture for one
/// or two frames where little moves.
const DISPLACED: usize = 3;

/// How far around its place a picture is looked for, milliseconds.
const REACH_MS: usize = 500;

/// How much the pictures shown in a run may stir for it to stand still, and how many there must be: a quarter of a second.
const STANDING: f32 = 1.0;
const STANDING_SHARE: usize = 4;

/// A picture with the time at which it is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Nanoseconds from the clip's start.
    pub time_ns: i64,
    /// What it looks like.
    pub print: Fingerprint,
}

/// How alike the pictures are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Likeness {
    /// Mean distance, levels.
    pub mean: f32,
    /// Greatest distance, levels.
    pub worst: f32,
    /// Frame with the greatest distance.
    pub worst_frame: usize,
}

/// The pictures that a file shows, as far as they were decoded.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown<'a> {
    /// The pictures, in the order in which they are shown.
    pub pictures: &'a [Seen],
    /// The frame that each of them is to be, ascending.
    pub due: Vec<usize>,
}

impl<'a> Shown<'a> {
    /// Every frame of a clip was decoded.
    pub fn all(pictures: &'a [Seen], frames: usize) -> Self {
        Self { pictures, due: (0..frames).collect() }
    }

    /// The frames that are shown at these times were decoded, nanoseconds.
    pub fn at(pictures: &'a [Seen], times_ns: &[i64], fps: u32) -> Self {
        let frame = |ns: &i64| (ns * i64::from(fps) + 500_000_000).div_euclid(1_000_000_000).max(0) as usize;
        Self { pictures, due: times_ns.iter().map(frame).collect() }
    }

    /// What each frame shows: one that was not decoded is taken for the one before it.
    pub fn prints(&self, frames: usize) -> Vec<&'a Fingerprint> {
        let mut decoded = self.due.iter().zip(self.pictures).peekable();
        let mut held = None;
        let mut print = |frame| {
            while let Some((_, seen)) = decoded.next_if(|(due, _)| **due <= frame) {
                held = Some(&seen.print);
            }
            held
        };
        (0..frames).filter_map(&mut print).collect()
    }
}

/// Compares what is shown with what entered the encoder, picture by picture.
pub fn compare(entered: &[Seen], shown: &Shown<'_>, fps: u32) -> Result<Likeness, Failure> {
    let both = Both { entered, shown: shown.pictures, due: &shown.due, fps: fps.max(1) as usize };
    let times: Vec<i64> = shown.pictures.iter().map(|seen| seen.time_ns).collect();
    check_places(&times, &shown.due, fps)?;
    if shown.due.last().is_some_and(|last| *last >= entered.len()) {
        return Err(failure::encode_slip(format!("pictures are encoded beyond the {} that entered", entered.len())));
    }
    let distances: Vec<f32> =
        (0..shown.due.len()).map(|index| both.shown[index].print.distance(&both.origin(index).print)).collect();
    both.check_contents(&distances)?;
    both.check_movement()?;
    let worst = distances.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
    let mean = distances.iter().sum::<f32>() / distances.len().max(1) as f32;
    Ok(worst.map_or(Likeness::default(), |(index, worst)| Likeness { mean, worst, worst_frame: shown.due[index] }))
}

/// As many pictures as are due, each at its time.
pub fn check_places(times_ns: &[i64], due: &[usize], fps: u32) -> Result<(), Failure> {
    let fps = i64::from(fps.max(1));
    if times_ns.len() != due.len() {
        let (found, due) = (times_ns.len(), due.len());
        return Err(failure::verify_failed(format!("{found} pictures can be decoded of the {due} that were encoded")));
    }
    let (at_ns, frame_ns) = (|frame: usize| frame as i64 * 1_000_000_000 / fps, 1_000_000_000 / fps);
    let late = |(time_ns, frame): &(&i64, &usize)| (**time_ns - at_ns(**frame)).abs() > frame_ns / 2;
    match times_ns.iter().zip(due).find(late) {
        None => Ok(()),
        Some((time_ns, frame)) => {
            let (at, due) = (time_ns / 1_000_000, at_ns(*frame) / 1_000_000);
            Err(failure::encode_slip(format!("picture {frame} is shown at {at} ms instead of {due} ms")))
        }
    }
}

/// Frames are counted in the clip, pictures among those that were decoded.
struct Both<'a> {
    entered: &'a [Seen],
    shown: &'a [Seen],
    /// The frame of each picture shown.
    due: &'a [usize],
    fps: usize,
}

impl Both<'_> {
    fn ms(&self, frame: usize) -> usize {
        frame * 1_000 / self.fps
    }

    /// What entered as a picture that is shown. `compare` has seen to it that there is one.
    fn origin(&self, index: usize) -> &Seen {
        &self.entered[self.due[index]]
    }

    fn check_contents(&self, distances: &[f32]) -> Result<(), Failure> {
        let suspects = distances.iter().enumerate().filter(|(_, distance)| **distance > LOSS);
        let suspects: Vec<Suspect> = suspects
            .map(|(index, distance)| Suspect {
                index,
                distance: *distance,
                displaced: self.displaced(index, *distance),
            })
            .collect();
        let faults: Vec<Suspect> =
            suspects.into_iter().filter(|one| one.distance > DIFFERENT || one.displaced.is_some()).collect();
        let displaced = faults.iter().filter(|fault| fault.displaced.is_some()).count();
        if displaced < DISPLACED && !faults.iter().any(|fault| fault.distance > DIFFERENT) {
            return Ok(());
        }
        Err(self.explain(&faults, displaced))
    }

    /// Where a picture's likeness entered: frames from its place, when it is much more like that one than like its own.
    fn displaced(&self, index: usize, distance: f32) -> Option<isize> {
        let reach = (self.fps * REACH_MS / 1_000).max(1) as isize;
        let offsets = (1..=reach).flat_map(|step| [step, -step]);
        let others = offsets.filter_map(|offset| {
            let other = self.entered.get(self.due[index].checked_add_signed(offset)?)?;
            Some((offset, self.shown[index].print.distance(&other.print)))
        });
        let (offset, nearest) = others.min_by(|a, b| a.1.total_cmp(&b.1))?;
        (nearest * 2.0 < distance && nearest + LOSS < distance).then_some(offset)
    }

    fn explain(&self, faults: &[Suspect], displaced: usize) -> Failure {
        let (Some(first), Some(last)) = (faults.first(), faults.last()) else { return failure::internal("no fault") };
        let (count, total) = (faults.len(), self.shown.len());
        let (from, to) = (self.ms(self.due[first.index]), self.ms(self.due[last.index] + 1));
        let place = format!("{count} of {total} pictures, from {from} ms to {to} ms");
        let black =
            |fault: &&Suspect| self.shown[fault.index].print.is_black() && !self.origin(fault.index).print.is_black();
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
            let (frames, way) = (offset.unsigned_abs(), if offset < 0 { "late" } else { "early" });
            return failure::encode_slip(format!("{place} are shown {frames} frames {way}"));
        }
        failure::encode_mismatch(format!("{place} are not those encoded; they differ by up to {worst:.0} levels"))
    }

    /// All show the same, and that had its time: it is a picture that entered.
    fn is_frozen(&self, faults: &[Suspect]) -> bool {
        let Some(held) = faults.first().map(|fault| &self.shown[fault.index].print) else { return false };
        faults.len() >= DISPLACED
            && faults.iter().all(|fault| self.shown[fault.index].print.distance(held) <= LOSS)
            && self.entered.iter().any(|entered| entered.print.distance(held) <= 2.0 * LOSS)
    }

    /// Standing still where what entered moves, though perhaps by little in all.
    fn check_movement(&self) -> Result<(), Failure> {
        let shortest = (self.fps / STANDING_SHARE).max(2);
        let still = |held: &Seen, next: &Seen| next.print.distance(&held.print) < STANDING;
        // As frames: pictures that were not decoded stand still between two that do.
        let frames = |run: Range<usize>| self.due[run.start]..self.due[run.end - 1] + 1;
        for run in stretches(self.shown, still).map(frames).filter(|run| run.len() >= shortest) {
            let origin = &self.entered[run.start].print;
            let moved = self.entered[run.clone()].iter().map(|next| next.print.distance(origin)).fold(0.0, f32::max);
            if moved > 2.0 * LOSS {
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
    index: usize,
    distance: f32,
    displaced: Option<isize>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const FPS: u32 = 30;

    fn sequence(luma: impl IntoIterator<Item = u8>) -> Vec<Seen> {
        let seen = |(index, luma): (usize, u8)| Seen {
            time_ns: index as i64 * 1_000_000_000 / i64::from(FPS),
            print: Fingerprint::flat(luma, [128, 128]),
        };
        luma.into_iter().enumerate().map(seen).collect()
    }

    /// Brightness that never repeats within a second.
    fn moving(index: usize) -> u8 {
        40 + (index * 37 % 180) as u8
    }

    fn compared(entered: &[Seen], shown: &[Seen]) -> Result<Likeness, Failure> {
        compare(entered, &Shown::all(shown, entered.len()), FPS)
    }

    fn code(shown: Vec<Seen>) -> Code {
        compared(&sequence((0..90).map(moving)), &shown).expect_err("a failure").code
    }

    #[test]
    fn small_losses_are_none() {
        let shown = sequence((0..90).map(|index| moving(index) + (index % 2) as u8));
        let likeness = compared(&sequence((0..90).map(moving)), &shown).expect("alike");
        assert_eq!((likeness.mean, likeness.worst, likeness.worst_frame % 2), (0.5, 1.0, 1));
    }

    #[test]
    fn what_is_missing_or_at_another_time_is_found() {
        assert_eq!(code(sequence((0..80).map(moving))), Code::VerifyFailed);
        let mut late = sequence((0..90).map(moving));
        late.iter_mut().for_each(|seen| seen.time_ns += 40_000_000);
        assert_eq!(code(late), Code::EncodeSlip);
    }

    #[test]
    fn one_picture_twice_and_one_never_is_a_slip() {
        assert_eq!(code(sequence((0..90).map(|index| moving(if index == 45 { 44 } else { index })))), Code::EncodeSlip);
        assert_eq!(code(sequence((0..90).map(|index| moving(usize::saturating_sub(index, 1))))), Code::EncodeSlip);
        assert_eq!(code(sequence((0..90).map(|index| moving((index + 7).min(89))))), Code::EncodeSlip);
    }

    #[test]
    fn frozen_black_and_foreign_pictures_have_their_names() {
        assert_eq!(
            code(sequence((0..90).map(|index| moving(if index < 40 { index } else { 39 })))),
            Code::EncodeFrozen
        );
        assert_eq!(code(sequence((0..90).map(|_| moving(0)))), Code::EncodeFrozen);
        assert_eq!(code(sequence((0..90).map(|index| if index < 60 { moving(index) } else { 16 }))), Code::EncodeBlack);
        let green = (0..90)
            .map(|index| Seen { print: Fingerprint::flat(0, [0, 0]), ..sequence((0..90).map(moving))[index].clone() });
        assert_eq!(
            code(green.map(|seen| Seen { print: Fingerprint::flat(60, [0, 0]), ..seen }).collect()),
            Code::EncodeMismatch
        );
    }

    #[test]
    fn a_slow_movement_that_stops_is_frozen() {
        let slow = |index: usize| 100 + (index / 8) as u8;
        let shown = sequence((0..90).map(|index| slow(index.min(30))));
        let failed = compared(&sequence((0..90).map(slow)), &shown).expect_err("a failure");
        assert_eq!(failed.code, Code::EncodeFrozen);
    }

    #[test]
    fn a_still_source_may_stand_still() {
        let still = sequence([120; 90]);
        assert!(compared(&still, &still).is_ok());
    }

    #[test]
    fn some_of_the_frames_are_compared_each_with_its_own() {
        let entered = sequence((0..90).map(moving));
        let pictures: Vec<Seen> = [0, 4, 5, 88].map(|frame: usize| entered[frame].clone()).into();
        let times: Vec<i64> = pictures.iter().map(|seen| seen.time_ns + 400).collect();
        let some = Shown::at(&pictures, &times, FPS);
        assert_eq!(some.due, [0, 4, 5, 88]);
        assert_eq!(compare(&entered, &some, FPS).expect("alike").worst, 0.0);
        let prints = some.prints(90);
        assert_eq!(prints.len(), 90);
        assert_eq!([prints[3], prints[4], prints[87]], [&pictures[0].print, &pictures[1].print, &pictures[2].print]);
        for (luma, code) in [
            ((|frame| moving(usize::min(frame, 39))) as fn(usize) -> u8, Code::EncodeFrozen),
            (|frame| if frame < 60 { moving(frame) } else { 16 }, Code::EncodeBlack),
            (|frame| moving(usize::saturating_sub(frame, 1)), Code::EncodeSlip),
        ] {
            let pictures: Vec<Seen> = sequence((0..90).map(luma)).into_iter().step_by(2).collect();
            let some = Shown { pictures: &pictures, due: (0..90).step_by(2).collect() };
            assert_eq!(compare(&entered, &some, FPS).expect_err("a failure").code, code);
        }
        let beyond = Shown { pictures: &pictures, due: vec![0, 4, 5, 90] };
        assert_eq!(compare(&entered, &beyond, FPS).expect_err("a failure").code, Code::EncodeSlip);
    }
}

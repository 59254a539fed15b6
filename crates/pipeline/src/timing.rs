//! Decides which source picture is shown in which frame of the output, and which source samples are used. Pure
//! arithmetic.
//!
//! Sources have any frame rate, or none: screen captures write a picture when something moved, with time stamps rounded
//! to milliseconds. The output has exactly one frame every `1/fps` seconds. Only time stamps decide; pictures are not
//! counted. Times are nanoseconds on the source's own time line, on which the clip starts at `start`.
//!
//! GStreamer's own cut, a segment that clips what a seek delivers, is not used: a seek only gets near the start.
//! Instead, two small elements behind the decoders emit exactly N frames and M samples. A source without an index, with
//! irregular pictures or with stray time stamps is therefore cut by the same rule as any other.

/// Nanoseconds per second. This is also the length of one output frame in the unit used here: time multiplied by the
/// frame rate.
const SECOND: i128 = 1_000_000_000;

/// A picture up to this much before the start counts as at the start: requests are in whole milliseconds, and pictures
/// are not.
const START_TOLERANCE_NS: i128 = 500_000;

/// How much earlier than its frame a picture may be, in frames, to be shown there. Slightly less than a half, so that
/// with a source of twice the rate exactly every other picture is dropped.
const MAX_EARLY: i128 = SECOND * 45 / 100;

/// How much later a picture may be. Together, both exceed a frame. A source with jittering time stamps therefore keeps
/// one picture per frame, where strict rounding would drop one and double the next.
const MAX_LATE: i128 = SECOND * 60 / 100;

/// From its start, a clip shows the first picture at or after the start. If that picture is later than this, the source
/// did not change, and the previous picture is shown until then.
const MAX_PICTURE_GAP_NS: i128 = SECOND / 2;

/// How much of a clip's end may be missing in the source, milliseconds. Players and editors show a duration that is
/// rounded up, or the duration of the longer track; the difference is a few frames.
pub const END_TOLERANCE_MS: i64 = 100;

/// What to do with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameAction {
    /// It is before the clip. Skip it.
    Before,
    /// Its frame already has a picture. Skip it.
    Skip,
    /// Repeat the previous picture this often, then show this one.
    Show {
        /// Number of repeats, which fill the gap.
        repeats: u32,
    },
    /// It is after the clip. Repeat the previous picture this often, then stop.
    After {
        /// Number of repeats, which complete the clip.
        repeats: u32,
    },
}

/// Assigns pictures to the frames of the output.
#[derive(Debug, Clone)]
pub struct FrameGrid {
    start_ns: i128,
    fps: i128,
    frames: u32,
    next: u32,
    max_late: i128,
    has_previous: bool,
}

impl FrameGrid {
    /// A grid of `frames` frames at `fps` frames per second. The first frame is at `start_ns` of the source.
    pub fn new(start_ns: i64, fps: u32, frames: u32) -> Self {
        Self { start_ns: start_ns.into(), fps: fps.into(), frames, next: 0, max_late: MAX_LATE, has_previous: false }
    }

    /// Number of frames emitted so far.
    pub fn emitted(&self) -> u32 {
        self.next
    }

    /// Whether all frames have been emitted.
    pub fn is_full(&self) -> bool {
        self.next == self.frames
    }

    /// Presentation time of frame `index`, nanoseconds from the clip's start.
    pub fn time_ns(&self, index: u32) -> u64 {
        (u64::from(index) * SECOND as u64 + self.fps as u64 / 2) / self.fps as u64
    }

    /// Places the source's next picture, whose presentation time there is `time_ns`.
    pub fn offer(&mut self, time_ns: i64) -> FrameAction {
        if self.is_full() {
            return FrameAction::After { repeats: 0 };
        }
        let since = i128::from(time_ns) - self.start_ns;
        if since < -START_TOLERANCE_NS {
            self.has_previous = true;
            return FrameAction::Before;
        }
        let place = since * self.fps;
        let nearest = ((place + SECOND / 2) / SECOND).max(0);
        let slot = if self.next == 0 && (since <= MAX_PICTURE_GAP_NS || !self.has_previous) {
            self.max_late = (place + SECOND / 10).clamp(MAX_LATE, SECOND);
            0
        } else {
            let next = i128::from(self.next);
            let lateness = place - next * SECOND;
            if lateness < -MAX_EARLY {
                return FrameAction::Skip;
            }
            if lateness <= self.max_late {
                next
            } else {
                self.max_late = MAX_LATE;
                nearest.max(next)
            }
        };
        let repeats = (slot - i128::from(self.next)).min(i128::from(self.frames - self.next)) as u32;
        self.next += repeats;
        self.has_previous = true;
        if self.is_full() {
            return FrameAction::After { repeats };
        }
        self.next += 1;
        FrameAction::Show { repeats }
    }

    /// Completes the clip at the end of the source. Returns how often its last picture must be repeated.
    pub fn complete(&mut self) -> u32 {
        let missing = self.frames - self.next;
        self.next = self.frames;
        missing
    }
}

/// What to do with an audio buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SampleAction {
    /// Silent samples to insert before it.
    pub silence: u64,
    /// Number of samples to stretch the buffer to, before anything else. It differs slightly from the buffer's length
    /// if the source's clock drifts.
    pub stretch_to: u64,
    /// Samples to skip at its beginning.
    pub skip: u64,
    /// Samples to keep after those.
    pub take: u64,
}

/// Maximum difference, in milliseconds, between a time stamp and the end of the previous audio at which both are
/// contiguous. Captures round and jitter by less. A larger difference is a real gap.
const CONTINUATION_MS: i64 = 20;

/// Differences up to this value, in milliseconds, are ignored: captures jitter by this much, and it is inaudible.
const JITTER_MS: i64 = 4;

/// Time in which stretching the audio corrects a difference beyond [`JITTER_MS`]. A difference of a millisecond changes
/// the pitch by a thirtieth of a semitone, and a clock that drifts by 1 % is followed with a difference of 9 ms.
const CATCH_UP_MS: i128 = 500;

/// Audio is stretched by at most one sample in this many. A sixty-fourth is a quarter of a semitone, and more than any
/// clock drifts.
const MAX_STRETCH_DIVISOR: i128 = 64;

/// How far the audio in a file may be behind the video. FFmpeg, for example, writes 10 s of video before it stops
/// waiting for audio.
const MAX_INTERLEAVE_MS: i64 = 30_000;

/// Assigns audio to the samples of the output.
#[derive(Debug, Clone)]
pub struct SampleGrid {
    start_ns: i128,
    rate: i128,
    samples: u64,
    filled: u64,
    /// End of the latest audio, in samples from the start.
    ended: Option<i128>,
}

impl SampleGrid {
    /// A grid of `samples` samples at `rate` per second. The first sample is at `start_ns` of the source.
    pub fn new(start_ns: i64, rate: u32, samples: u64) -> Self {
        Self { start_ns: start_ns.into(), rate: rate.into(), samples, filled: 0, ended: None }
    }

    /// Number of samples emitted so far.
    pub fn emitted(&self) -> u64 {
        self.filled
    }

    /// Whether all samples have been emitted.
    pub fn is_full(&self) -> bool {
        self.filled == self.samples
    }

    /// Presentation time of sample `index`, nanoseconds from the clip's start.
    pub fn time_ns(&self, index: u64) -> u64 {
        (u128::from(index) * SECOND as u128 / self.rate as u128) as u64
    }

    /// Places the source's next `count` samples, which begin at `time_ns` there.
    pub fn offer(&mut self, time_ns: i64, count: u64) -> SampleAction {
        let stamped = (i128::from(time_ns) - self.start_ns) * self.rate;
        let stamped = (stamped + SECOND / 2).div_euclid(SECOND);
        let tolerance = self.rate * i128::from(CONTINUATION_MS) / 1_000;
        let continued = self.ended.filter(|ended| (stamped - ended).abs() <= tolerance);
        let begin = continued.unwrap_or(stamped);
        let stretch_to = i128::from(count) + self.stretch(stamped - begin, count);
        let end = begin + stretch_to;
        self.ended = Some(end);
        let filled = i128::from(self.filled);
        let end = end.min(i128::from(self.samples));
        if end <= filled {
            return SampleAction::default();
        }
        let first = begin.max(filled);
        if first >= end {
            return SampleAction::default();
        }
        self.filled = end as u64;
        SampleAction {
            silence: (first - filled) as u64,
            stretch_to: stretch_to as u64,
            skip: (first - begin) as u64,
            take: (end - first) as u64,
        }
    }

    /// Samples to add to a buffer of `count` samples that is `late` samples before its time stamp.
    fn stretch(&self, late: i128, count: u64) -> i128 {
        let (samples, count) = (|ms: i128| self.rate * ms / 1_000, i128::from(count));
        let excess = (late.abs() - samples(JITTER_MS.into())).max(0);
        let most = count / MAX_STRETCH_DIVISOR;
        late.signum() * (excess * count / samples(CATCH_UP_MS)).min(most)
    }

    /// Whether audio of this clip can no longer be expected when the video is at `time_ns` of the source, even in a
    /// badly interleaved file.
    pub fn is_missed_by(&self, time_ns: i64) -> bool {
        let end_ns = self.start_ns + i128::from(self.samples) * SECOND / self.rate;
        i128::from(time_ns) > end_ns + i128::from(MAX_INTERLEAVE_MS) * 1_000_000
    }

    /// Completes the clip at the end of the source. Returns the number of silent samples.
    pub fn complete(&mut self) -> u64 {
        let missing = self.samples - self.filled;
        self.filled = self.samples;
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    /// The index of the source picture in each frame of the output.
    fn shown(times_ns: impl IntoIterator<Item = i64>, start_ns: i64, fps: u32, frames: u32) -> Vec<usize> {
        let mut grid = FrameGrid::new(start_ns, fps, frames);
        let mut output = Vec::new();
        let mut last = 0;
        for (index, time) in times_ns.into_iter().enumerate() {
            match grid.offer(time) {
                FrameAction::Before | FrameAction::Skip => {}
                FrameAction::Show { repeats } => {
                    output.extend(std::iter::repeat_n(last, repeats as usize));
                    output.push(index);
                }
                FrameAction::After { repeats } => {
                    output.extend(std::iter::repeat_n(last, repeats as usize));
                    break;
                }
            }
            last = index;
        }
        output.extend(std::iter::repeat_n(last, grid.complete() as usize));
        output
    }

    fn rate(numerator: i64, denominator: i64) -> impl Iterator<Item = i64> {
        (0..).map(move |n| n * 1_000_000_000 * denominator / numerator)
    }

    #[test]
    fn equal_rates_give_every_picture_once_wherever_the_clip_starts() {
        for start_ms in [0, 1, 17, 33, 67, 100, 4_999] {
            let first = (start_ms * 30 + 999) / 1_000;
            let first = if start_ms == 67 { 2 } else { first as usize };
            let expected: Vec<usize> = (first..first + 90).collect();
            assert_eq!(shown(rate(30, 1).take(400), start_ms * MS, 30, 90), expected, "start {start_ms} ms");
        }
    }

    #[test]
    fn stamps_rounded_to_milliseconds_or_off_by_a_nanosecond_make_no_difference() {
        let expected: Vec<usize> = (60..150).collect();
        let rounded = rate(30, 1).take(400).map(|ns| (ns + MS / 2) / MS * MS);
        assert_eq!(shown(rounded, 2_000 * MS, 30, 90), expected);
        assert_eq!(shown(rate(30, 1).take(400).map(|ns| ns - 1), 2_000 * MS, 30, 90), expected);
    }

    #[test]
    fn twice_the_rate_drops_every_other_picture_and_half_the_rate_doubles_each() {
        assert_eq!(shown(rate(60, 1).take(400), 0, 30, 4), [0, 2, 4, 6]);
        assert_eq!(shown(rate(50, 1).take(400), 0, 25, 4), [0, 2, 4, 6]);
        assert_eq!(shown(rate(15, 1).take(400), 0, 30, 6), [0, 0, 1, 1, 2, 2]);
    }

    #[test]
    fn every_picture_is_shown_within_one_frame_of_its_time() {
        for (numerator, denominator) in [(30_000, 1_001), (25, 1), (24_000, 1_001), (60, 1), (48, 1), (7, 1)] {
            for fps in [24, 25, 30, 50, 60] {
                let times: Vec<i64> = rate(numerator, denominator).take(1_300).collect();
                let frames = 15 * fps;
                let output = shown(times.iter().copied(), 1_234 * MS, fps, frames);
                assert_eq!(output.len(), frames as usize);
                for (slot, index) in output.iter().enumerate() {
                    let frame = 1_000_000_000 / i64::from(fps);
                    let source = 1_000_000_000 * denominator / numerator;
                    let off = times[*index] - 1_234 * MS - slot as i64 * frame;
                    let first = *index == output[0];
                    assert!(off <= frame + MS || first && off <= source, "{numerator} to {fps}: {slot} early by {off}");
                    assert!(-off <= source + frame, "{numerator} to {fps}: frame {slot} late by {off}");
                }
            }
        }
    }

    #[test]
    fn jitter_neither_drops_nor_doubles() {
        let jittered = rate(30, 1).take(100).enumerate().map(|(n, ns)| ns + [0, 9, -8, 4, -11, 12][n % 6] * MS);
        assert_eq!(shown(jittered, 0, 30, 90), (0..90).collect::<Vec<_>>());
    }

    #[test]
    fn a_gap_repeats_the_picture_before_it() {
        assert_eq!(shown([0, 33, 200, 233].map(|ms| ms * MS), 0, 30, 9), [0, 1, 1, 1, 1, 1, 2, 3, 3]);
    }

    #[test]
    fn the_first_picture_after_the_start_comes_first_unless_it_is_too_late() {
        assert_eq!(shown([0, 300, 400].map(|ms| ms * MS), 100 * MS, 30, 10), [1, 1, 1, 1, 1, 1, 1, 1, 1, 2]);
        assert_eq!(shown([0, 1_000].map(|ms| ms * MS), 100 * MS, 10, 11), [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    }

    #[test]
    fn audio_is_trimmed_padded_and_cut_to_the_sample() {
        let mut grid = SampleGrid::new(1_000 * MS, 48_000, 48_000);
        assert_eq!(grid.offer(800 * MS, 4_800), SampleAction::default());
        assert_eq!(grid.offer(999 * MS, 96), SampleAction { silence: 0, stretch_to: 96, skip: 48, take: 48 });
        let silence = 24_000 - 48;
        assert_eq!(grid.offer(1_500 * MS, 480), SampleAction { silence, stretch_to: 480, skip: 0, take: 480 });
        let silence = 48_000 - 480 - 24_480;
        assert_eq!(grid.offer(1_990 * MS, 4_800), SampleAction { silence, stretch_to: 4_800, skip: 0, take: 480 });
        assert!(grid.is_full());
    }

    #[test]
    fn audio_that_starts_late_or_ends_early_is_completed_with_silence() {
        let mut grid = SampleGrid::new(0, 48_000, 48_000);
        let hearing = SampleAction { silence: 12_000, stretch_to: 1_024, skip: 0, take: 1_024 };
        assert_eq!(grid.offer(250 * MS, 1_024), hearing);
        assert_eq!(grid.complete(), 48_000 - 12_000 - 1_024);
    }

    #[test]
    fn audio_is_expected_for_longer_than_any_file_is_badly_interleaved() {
        let grid = SampleGrid::new(5_000 * MS, 48_000, 48_000);
        assert!(!grid.is_missed_by(36_000 * MS) && grid.is_missed_by(36_000 * MS + 1));
    }

    #[test]
    fn small_errors_of_time_stamps_are_no_gaps() {
        let mut grid = SampleGrid::new(0, 48_000, 48_000);
        for (stamp_ms, count) in [(0, 960), (21, 960), (39, 960), (63, 960)] {
            assert_eq!(
                grid.offer(stamp_ms * MS, count),
                SampleAction { silence: 0, stretch_to: count, skip: 0, take: count }
            );
        }
        assert_eq!(grid.offer(120 * MS, 960).silence, 5_760 - 3_840);
    }

    #[test]
    fn a_drifting_clock_is_followed_without_a_gap() {
        for percent in [-1, 1] {
            let mut grid = SampleGrid::new(0, 48_000, 480_000);
            for packet in 0..400 {
                let stamp_ns = packet * 1_024 * 1_000_000_000 / 48_000 * (100 + percent) / 100;
                let before = grid.emitted();
                let hearing = grid.offer(stamp_ns, 1_024);
                assert_eq!((hearing.silence, hearing.skip, hearing.take), (0, 0, hearing.stretch_to));
                assert!(hearing.stretch_to.abs_diff(1_024) <= 16, "{hearing:?}");
                let away_ms = (grid.time_ns(before) as i64 - stamp_ns) / MS;
                assert!(away_ms.abs() <= 9, "packet {packet} is {away_ms} ms away");
            }
        }
    }

    #[test]
    fn jittering_and_drifting_time_stamps_do_not_change_the_pitch_audibly() {
        // As browsers record: packets of 60 ms, stamped up to 2 ms off, by a clock that is 0.1 % slow.
        let mut grid = SampleGrid::new(0, 48_000, 960_000);
        for packet in 0..300_i64 {
            let jitter_us = [1_000, -1_000, 2_000, -2_000, 0][packet as usize % 5];
            let hearing = grid.offer((packet * 60_060 + jitter_us) * 1_000, 2_880);
            assert_eq!((hearing.silence, hearing.skip), (if packet == 0 { 48 } else { 0 }, 0), "packet {packet}");
            let cents = 1_200.0 * (hearing.stretch_to as f64 / 2_880.0).log2();
            assert!(cents.abs() < 10.0, "packet {packet} is {cents} cents off");
        }
    }
}

//! The element around [`crate::timing::SampleGrid`]: it turns decoded audio into the clip's samples. Gaps become
//! silence.

use super::{add_pads, clip_segment, filter_pads, stereo};
use crate::{
    audio::channels::Downmix,
    source::{edits::AudiblePart, time_line::TimeLine},
    timing::SampleGrid,
};
use gst::{glib, subclass::prelude::*};
use gstreamer as gst;

glib::wrapper! {
    /// Cuts audio to the sample.
    pub struct SampleGridElement(ObjectSubclass<imp::SampleGridElement>) @extends gst::Element, gst::Object;
}

/// Bytes of one sample of one channel.
const SAMPLE_BYTES: usize = 4;

/// Bytes of one sample of both channels.
const FRAME_BYTES: usize = 2 * SAMPLE_BYTES;

/// Report of a [`SampleGridElement`].
#[derive(Debug, Clone, Copy, Default)]
pub struct SamplesReport {
    /// Start of the first audio that arrived, nanoseconds on the source's own time line.
    pub first_ns: Option<i64>,
    /// End of the source's audio on its own time line, nanoseconds; present if it ended before the clip.
    pub ended_ns: Option<i64>,
    /// There are more than two channels without positions.
    pub channels_are_discrete: bool,
}

impl SampleGridElement {
    /// An element that fills `grid` with interleaved stereo samples in 32-bit floating point, mixed down from any
    /// number of channels.
    pub fn new(grid: SampleGrid, time_line: TimeLine, rate: u32) -> Self {
        let element: Self = glib::Object::new();
        element.imp().configure(grid, time_line, rate);
        element
    }

    /// Whether the clip has all its samples.
    pub fn is_over(&self) -> bool {
        self.imp().state.lock().over
    }

    /// The report so far.
    pub fn report(&self) -> SamplesReport {
        self.imp().state.lock().report
    }
}

mod imp {
    use super::*;
    use crate::timing::SampleAction;
    use gst::prelude::*;
    use parking_lot::Mutex;
    use std::ops::Range;

    /// Samples of silence per buffer: a second.
    const SILENCE_STEP: u64 = 48_000;

    pub struct SampleGridElement {
        sink: gst::Pad,
        src: gst::Pad,
        pub(super) state: Mutex<State>,
    }

    pub(super) struct State {
        segment: gst::FormattedSegment<gst::ClockTime>,
        grid: SampleGrid,
        time_line: TimeLine,
        rate: u32,
        downmix: Downmix,
        /// End of the latest audio on its track's own time line.
        media_end_ns: Option<i64>,
        ended_ns: Option<i64>,
        pub(super) over: bool,
        pub(super) report: SamplesReport,
    }

    impl SampleGridElement {
        pub(super) fn configure(&self, grid: SampleGrid, time_line: TimeLine, rate: u32) {
            let mut state = self.state.lock();
            (state.grid, state.time_line, state.rate) = (grid, time_line, rate);
        }

        fn chain(&self, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
            let mut output = Vec::new();
            let (full, ended) = {
                let mut state = self.state.lock();
                if state.over {
                    return Err(gst::FlowError::Eos);
                }
                let ended = state.take(buffer, &mut output);
                state.over = state.grid.is_full();
                (state.over, ended)
            };
            self.push_all(output)?;
            if full {
                self.src.push_event(gst::event::Eos::new());
            } else if ended {
                self.end(&gst::event::Eos::new());
            }
            if full || ended { Err(gst::FlowError::Eos) } else { Ok(gst::FlowSuccess::Ok) }
        }

        fn has_format(&self) -> bool {
            self.src.sticky_event::<gst::event::Caps>(0).is_some()
        }

        /// Sends format and segment for a stream that ends before any data. Silence also needs them.
        fn begin(&self, end: &gst::Event) {
            if self.has_format() {
                return;
            }
            self.src.push_event(self.format(end.seqnum()));
            self.src.push_event(clip_segment(end));
        }

        /// The format of the output.
        fn format(&self, seqnum: gst::Seqnum) -> gst::Event {
            let rate = self.state.lock().rate as i32;
            let caps = gst::Caps::builder("audio/x-raw")
                .field("format", "F32LE")
                .field("layout", "interleaved")
                .field("rate", rate)
                .field("channels", 2)
                .field("channel-mask", gst::Bitmask::new(0x3))
                .build();
            gst::event::Caps::builder(&caps).seqnum(seqnum).build()
        }

        fn push_all(&self, pieces: Vec<gst::Buffer>) -> Result<(), gst::FlowError> {
            pieces.into_iter().try_for_each(|piece| self.src.push(piece).map(|_| ()))
        }

        /// Completes the clip with silence at the end of the source's audio.
        fn end(&self, event: &gst::Event) -> bool {
            let mut output = Vec::new();
            {
                let mut state = self.state.lock();
                if state.over {
                    return true;
                }
                state.over = true;
                // If the audio ended before the clip began, its end is the earliest possible time.
                state.report.ended_ns = Some(state.ended_ns.unwrap_or(i64::MIN / 2));
                let from = state.grid.emitted();
                let missing = state.grid.complete();
                state.silence(from, missing, &mut output);
            }
            self.begin(event);
            let _ = self.push_all(output);
            self.src.push_event(gst::event::Eos::builder().seqnum(event.seqnum()).build())
        }

        fn event(&self, event: gst::Event) -> bool {
            match event.view() {
                gst::EventView::Segment(segment) => {
                    if let Some(segment) = segment.segment().downcast_ref::<gst::ClockTime>() {
                        self.state.lock().segment = segment.clone();
                    }
                    // A format must come first, but an empty stream has none.
                    !self.has_format() || self.src.push_event(clip_segment(&event))
                }
                gst::EventView::Eos(_) => self.end(&event),
                gst::EventView::Gap(gap) => {
                    let (time, _) = gap.get();
                    let is_over = self.state.lock().is_over_by(time);
                    !is_over || self.end(&event)
                }
                gst::EventView::Tag(_) => true,
                // The default handler does not forward caps.
                gst::EventView::Caps(caps) => {
                    let Some(downmix) = downmix_of(caps.caps()) else { return false };
                    {
                        let mut state = self.state.lock();
                        state.report.channels_are_discrete |= downmix.is_discrete();
                        state.downmix = downmix;
                    }
                    if self.has_format() {
                        return true;
                    }
                    self.src.push_event(self.format(event.seqnum())) && self.src.push_event(clip_segment(&event))
                }
                _ => gst::Pad::event_default(&self.sink, Some(&*self.obj()), event),
            }
        }
    }

    impl State {
        fn new() -> Self {
            Self {
                segment: gst::FormattedSegment::new(),
                grid: SampleGrid::new(0, 1, 0),
                time_line: TimeLine::Stamped,
                rate: 1,
                downmix: Downmix::new(2, 0),
                media_end_ns: None,
                ended_ns: None,
                over: false,
                report: SamplesReport::default(),
            }
        }

        /// Adds a buffer. Returns whether the track has ended, according to its edit list.
        fn take(&mut self, buffer: gst::Buffer, output: &mut Vec<gst::Buffer>) -> bool {
            let Some(piece) = self.mixed(&buffer) else { return false };
            let count = (piece.size() / FRAME_BYTES) as u64;
            let stamped = self.time_line.media_time(&self.segment, buffer.pts());
            let Some(media_ns) = stamped.or(self.media_end_ns) else { return false };
            let length_ns = self.duration_ns(count);
            self.media_end_ns = Some(media_ns + length_ns);
            let (parts, ended) = self.time_line.edits().audible_parts(media_ns, length_ns);
            for AudiblePart { movie_ns, skip_ns, length_ns: audible_ns } in parts {
                // Uses the whole buffer except at borders of edits, so that there is no rounding.
                let from = self.samples(skip_ns).min(count);
                let to = if skip_ns + audible_ns == length_ns {
                    count
                } else {
                    self.samples(skip_ns + audible_ns).min(count)
                };
                self.place(movie_ns, &piece, from..to.max(from), output);
            }
            ended
        }

        /// Mixes a buffer down to stereo.
        fn mixed(&self, buffer: &gst::Buffer) -> Option<gst::Buffer> {
            if self.downmix.is_stereo() {
                return Some(buffer.clone());
            }
            let bytes = buffer.map_readable().ok()?;
            let numbers: Vec<f32> = bytes.chunks_exact(SAMPLE_BYTES).map(number).collect();
            let mixed = numbers.chunks_exact(self.downmix.channels()).flat_map(|sample| self.downmix.mix(sample));
            Some(gst::Buffer::from_slice(mixed.flat_map(f32::to_le_bytes).collect::<Vec<u8>>()))
        }

        /// Places a part of a buffer at a time.
        fn place(&mut self, time: i64, piece: &gst::Buffer, part: Range<u64>, output: &mut Vec<gst::Buffer>) {
            let count = part.end - part.start;
            self.report.first_ns.get_or_insert(time);
            self.ended_ns = Some(time + self.duration_ns(count));
            let filled = self.grid.emitted();
            let SampleAction { silence, stretch_to, skip, take } = self.grid.offer(time, count);
            self.silence(filled, silence, output);
            if take == 0 {
                return;
            }
            let bytes = |samples: Range<u64>| samples.start as usize * FRAME_BYTES..samples.end as usize * FRAME_BYTES;
            let cut = |piece: &gst::Buffer, part| piece.copy_region(gst::BufferCopyFlags::MEMORY, bytes(part)).ok();
            let cut = match stretch_to == count {
                true => cut(piece, part.start + skip..part.start + skip + take),
                false => cut(piece, part).and_then(|part| cut(&stretched(&part, stretch_to)?, skip..skip + take)),
            };
            match cut {
                Some(cut) => output.push(self.stamped(audible(cut), filled + silence, take)),
                None => self.silence(filled + silence, take, output),
            }
        }

        /// Whether the track has ended by `time`. Matroska does not declare when a track ends; its demuxer only reports
        /// that there was no data up to `time`. MP4 declares the end, and its demuxer reports gaps even if audio
        /// follows.
        fn is_over_by(&self, time: gst::ClockTime) -> bool {
            let time = self.time_line.media_time(&self.segment, Some(time));
            self.time_line == TimeLine::Stamped && time.is_some_and(|time| self.grid.is_missed_by(time))
        }

        fn samples(&self, ns: i64) -> u64 {
            ((i128::from(ns) * i128::from(self.rate) + 500_000_000) / 1_000_000_000).max(0) as u64
        }

        fn silence(&self, from: u64, count: u64, output: &mut Vec<gst::Buffer>) {
            for begin in (from..from + count).step_by(SILENCE_STEP as usize) {
                let count = SILENCE_STEP.min(from + count - begin);
                let piece = gst::Buffer::from_slice(vec![0_u8; count as usize * FRAME_BYTES]);
                output.push(self.stamped(piece, begin, count));
            }
        }

        fn stamped(&self, mut piece: gst::Buffer, from: u64, count: u64) -> gst::Buffer {
            let time = self.grid.time_ns(from);
            let buffer = piece.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(time));
            buffer.set_duration(gst::ClockTime::from_nseconds(self.grid.time_ns(from + count) - time));
            piece
        }

        fn duration_ns(&self, count: u64) -> i64 {
            (count * 1_000_000_000 / u64::from(self.rate)) as i64
        }
    }

    fn downmix_of(caps: &gst::CapsRef) -> Option<Downmix> {
        let structure = caps.structure(0)?;
        let channels = usize::try_from(structure.get::<i32>("channels").ok()?).ok()?;
        let mask = structure.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
        Some(Downmix::new(channels, mask))
    }

    fn number(bytes: &[u8]) -> f32 {
        bytes.try_into().map_or(0.0, f32::from_le_bytes)
    }

    /// Resamples a buffer to another number of samples by linear interpolation.
    fn stretched(piece: &gst::Buffer, samples: u64) -> Option<gst::Buffer> {
        let bytes = piece.map_readable().ok()?;
        let from: Vec<[f32; 2]> = stereo(&bytes).collect();
        let last = from.len().checked_sub(1)?;
        let step = last as f64 / (samples.max(2) - 1) as f64;
        let at = |index: u64| {
            let place = index as f64 * step;
            let (before, share) = ((place as usize).min(last), place.fract() as f32);
            let after = (before + 1).min(last);
            [0, 1].map(|side| from[before][side] * (1.0 - share) + from[after][side] * share)
        };
        let stretched: Vec<u8> = (0..samples).flat_map(at).flat_map(f32::to_le_bytes).collect();
        Some(gst::Buffer::from_slice(stretched))
    }

    /// Removes invalid samples. Damaged audio decodes to NaN, or to values thousands of times too large. Values beyond
    /// full scale are clipped, as in every player.
    fn audible(piece: gst::Buffer) -> gst::Buffer {
        let fine = |bytes: &[u8]| bytes.chunks_exact(SAMPLE_BYTES).all(|sample| number(sample).abs() <= 1.0);
        let Ok(bytes) = piece.map_readable() else { return piece };
        if fine(&bytes) {
            drop(bytes);
            return piece;
        }
        let limit = |value: f32| if value.is_finite() { value.clamp(-1.0, 1.0) } else { 0.0 };
        let limited: Vec<u8> =
            bytes.chunks_exact(SAMPLE_BYTES).flat_map(|sample| limit(number(sample)).to_le_bytes()).collect();
        gst::Buffer::from_slice(limited)
    }

    element_class! {
        SampleGridElement: gst::Element,
        "ClipfleetSampleGrid", "Sample grid", "Filter/Audio", "Cuts audio to a clip and fills gaps with silence",
        filter_pads(&gst::Caps::new_any());
        gst::PadFlags::empty()
    }
}

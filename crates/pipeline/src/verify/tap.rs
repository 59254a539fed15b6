//! Listening in on a pad: fingerprints of the pictures and the course of the sound that pass it. Nothing is held up or copied.

use super::{
    fingerprint::{Fingerprint, Plane},
    loudness::Loudness,
    packets::Packets,
    pictures::Seen,
    reference::{downmix::Moment, sides::Sides},
    sound::{Course, SAMPLE_RATE},
};
use crate::elements::clip_time;
use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use parking_lot::Mutex;
use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What passed.
#[derive(Debug, Default)]
pub struct Passed {
    /// The pictures, in the order in which they are shown.
    pub pictures: Vec<Seen>,
    /// Encoded pictures.
    pub packets: Packets,
    /// The sound.
    pub sound: Course,
    /// How loud it is, where that was asked for.
    pub loudness: Option<Loudness>,
    /// Its two sides, where loudness was asked for.
    pub sides: Sides,
    /// What could not be looked at.
    pub unreadable: Option<String>,
}

/// Something that listens in, shared with the pads it listens to.
#[derive(Debug, Default)]
pub struct Tap {
    passed: Mutex<Passed>,
    count: AtomicU64,
}

impl Tap {
    /// One that measures loudness, too.
    pub fn with_loudness() -> Self {
        let passed = Passed { loudness: Loudness::new(), ..Passed::default() };
        Self { passed: Mutex::new(passed), count: AtomicU64::new(0) }
    }

    /// Looks at the decoded pictures that pass a pad.
    pub fn look(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                tap.note(|passed| match picture(pad, buffer) {
                    Some(seen) => passed.pictures.push(seen),
                    None => passed.unreadable = pad.current_caps().map(|caps| caps.to_string()),
                });
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Notes the encoded pictures that pass a pad.
    pub fn mark(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(buffer), Some(segment)) = (info.buffer(), segment(pad)) {
                tap.note(|passed| passed.packets.add(pad.current_caps().as_deref(), &segment, buffer));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// As [`Tap::mark`], before a decoder that gets only what has to be decoded.
    pub fn sift(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let spared = info.buffer().zip(segment(pad)).is_some_and(|(buffer, segment)| {
                tap.note(|passed| passed.packets.add(pad.current_caps().as_deref(), &segment, buffer))
            });
            // `Handled` consumes the buffer; `Drop` makes GStreamer release it a second time.
            if spared { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
    }

    /// Listens to the decoded sound that passes a pad: interleaved pairs of 32-bit numbers at 48 kHz.
    pub fn listen(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                tap.note(|passed| sound(pad, buffer, passed));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Buffers that passed so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What passed, once everything has.
    pub fn take(&self) -> Passed {
        mem::take(&mut *self.passed.lock())
    }

    fn note<T>(&self, note: impl FnOnce(&mut Passed) -> T) -> T {
        self.count.fetch_add(1, Ordering::Relaxed);
        note(&mut self.passed.lock())
    }
}

fn segment(pad: &gst::Pad) -> Option<gst::FormattedSegment<gst::ClockTime>> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>().cloned()
}

fn picture(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Seen> {
    let time_ns = time_of(pad, buffer)?;
    with_planes(pad, buffer, |planes| Some(Seen { time_ns, print: Fingerprint::of(planes)? }))
}

/// When a buffer that passes a pad is shown or heard, nanoseconds.
pub(crate) fn time_of(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<i64> {
    clip_time(&segment(pad)?, buffer.pts())
}

/// Looks at brightness and colours of a picture that passes a pad; `None` if they are not 8-bit numbers.
pub(crate) fn with_planes<T>(
    pad: &gst::Pad,
    buffer: &gst::BufferRef,
    look: impl FnOnce([Plane<'_>; 3]) -> Option<T>,
) -> Option<T> {
    let info = gst_video::VideoInfo::from_caps(pad.current_caps()?.as_ref()).ok()?;
    let format = info.format_info();
    if !format.is_yuv() || format.n_components() != 3 || format.depth().iter().any(|bits| *bits != 8) {
        return None;
    }
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let plane = |component: usize| {
        let (index, offset) = (format.plane()[component], format.poffset()[component]);
        Some(Plane {
            bytes: frame.plane_data(index).ok()?.get(offset as usize..)?,
            stride: usize::try_from(*frame.plane_stride().get(index as usize)?).ok()?,
            pixel_stride: usize::try_from(frame.comp_pstride(component as u32)).ok()?,
            width: frame.comp_width(component as u32) as usize,
            height: frame.comp_height(component as u32) as usize,
        })
    };
    look([plane(0)?, plane(1)?, plane(2)?])
}

fn sound(pad: &gst::Pad, buffer: &gst::BufferRef, passed: &mut Passed) {
    const FRAME_BYTES: usize = 8;
    let samples = |ns: i64| ((i128::from(ns) * i128::from(SAMPLE_RATE) + 500_000_000).div_euclid(1_000_000_000)) as i64;
    let Some(segment) = segment(pad) else { return };
    let Some(at) = clip_time(&segment, buffer.pts()).map(samples) else { return };
    let Ok(map) = buffer.map_readable() else { return };
    let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
    let frames: Vec<[f32; 2]> =
        map.chunks_exact(FRAME_BYTES).map(|frame| [number(&frame[..4]), number(&frame[4..])]).collect();
    // What an edit list cuts off at either end is decoded, but not heard.
    let end = clip_time(&segment, segment.stop()).map_or(i64::MAX, samples);
    let heard = |sample: i64| (sample - at).clamp(0, frames.len() as i64) as usize;
    let (from, to) = (heard(0), heard(end));
    let frames = frames.get(from..to).unwrap_or_default();
    passed.sound.add(at + from as i64, frames);
    if let Some(loudness) = &mut passed.loudness {
        loudness.add(frames);
        let moments = frames.iter().map(|sides| Moment { sides: *sides, low: 0.0 });
        passed.sides.add((at + from as i64) as f64 / f64::from(SAMPLE_RATE), SAMPLE_RATE, f64::INFINITY, moments);
    }
}

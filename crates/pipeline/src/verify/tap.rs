//! Observes pads: fingerprints of the frames and the envelope of the audio that pass. Buffers are neither held nor
//! copied.

use super::{
    audio::{Envelope, SAMPLE_RATE},
    fingerprint::{Fingerprint, Plane},
    frames::Frame,
    loudness::LoudnessMeter,
    packets::Packets,
    reference::{downmix::Moment, sides::Sides},
};
use crate::source::time_line::clip_time;
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

/// What passed the observed pads.
#[derive(Debug, Default)]
pub struct Observed {
    /// The frames, in display order.
    pub frames: Vec<Frame>,
    /// Encoded frames.
    pub packets: Packets,
    /// The audio.
    pub audio: Envelope,
    /// The audio's loudness; `None` unless requested.
    pub loudness: Option<LoudnessMeter>,
    /// The audio's two channels; empty unless loudness was requested.
    pub sides: Sides,
    /// Caps that could not be read.
    pub unreadable: Option<String>,
}

/// An observer, shared with the pads that it observes.
#[derive(Debug, Default)]
pub struct Tap {
    observed: Mutex<Observed>,
    count: AtomicU64,
}

impl Tap {
    /// A tap that also measures loudness.
    pub fn with_loudness() -> Self {
        let observed = Observed { loudness: LoudnessMeter::new(), ..Observed::default() };
        Self { observed: Mutex::new(observed), count: AtomicU64::new(0) }
    }

    /// Observes the decoded frames that pass a pad.
    pub fn observe_video(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                tap.record(|observed| match frame(pad, buffer) {
                    Some(frame) => observed.frames.push(frame),
                    None => observed.unreadable = pad.current_caps().map(|caps| caps.to_string()),
                });
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Records the encoded frames that pass a pad.
    pub fn record_packets(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(buffer), Some(segment)) = (info.buffer(), segment(pad)) {
                tap.record(|observed| observed.packets.add(pad.current_caps().as_deref(), &segment, buffer));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// As [`Tap::record_packets`], at the input of a decoder. Packets that need not be decoded are dropped.
    pub fn filter_packets(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let skipped = info.buffer().zip(segment(pad)).is_some_and(|(buffer, segment)| {
                tap.record(|observed| observed.packets.add(pad.current_caps().as_deref(), &segment, buffer))
            });
            // `Handled` consumes the buffer. `Drop` makes GStreamer release it a second time.
            if skipped { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
    }

    /// Observes the decoded audio that passes a pad: interleaved stereo in 32-bit floating point at 48 kHz.
    pub fn observe_audio(self: &Arc<Self>, pad: &gst::Pad) {
        let tap = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                tap.record(|observed| add_audio(pad, buffer, observed));
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Number of buffers that passed so far.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes the result, once everything has passed.
    pub fn take(&self) -> Observed {
        mem::take(&mut *self.observed.lock())
    }

    fn record<T>(&self, record: impl FnOnce(&mut Observed) -> T) -> T {
        self.count.fetch_add(1, Ordering::Relaxed);
        record(&mut self.observed.lock())
    }
}

fn segment(pad: &gst::Pad) -> Option<gst::FormattedSegment<gst::ClockTime>> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>().cloned()
}

fn frame(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<Frame> {
    let time_ns = time_of(pad, buffer)?;
    with_planes(pad, buffer, |planes| Some(Frame { time_ns, fingerprint: Fingerprint::of(planes)? }))
}

/// The presentation time of a buffer that passes a pad, nanoseconds.
pub(crate) fn time_of(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<i64> {
    clip_time(&segment(pad)?, buffer.pts())
}

/// Reads brightness and colours of a picture that passes a pad; `None` if they are not 8-bit numbers.
pub(crate) fn with_planes<T>(
    pad: &gst::Pad,
    buffer: &gst::BufferRef,
    read: impl FnOnce([Plane<'_>; 3]) -> Option<T>,
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
    read([plane(0)?, plane(1)?, plane(2)?])
}

fn add_audio(pad: &gst::Pad, buffer: &gst::BufferRef, observed: &mut Observed) {
    const FRAME_BYTES: usize = 8;
    let samples = |ns: i64| ((i128::from(ns) * i128::from(SAMPLE_RATE) + 500_000_000).div_euclid(1_000_000_000)) as i64;
    let Some(segment) = segment(pad) else { return };
    let Some(at) = clip_time(&segment, buffer.pts()).map(samples) else { return };
    let Ok(map) = buffer.map_readable() else { return };
    let number = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
    let frames: Vec<[f32; 2]> =
        map.chunks_exact(FRAME_BYTES).map(|frame| [number(&frame[..4]), number(&frame[4..])]).collect();
    // The parts that an edit list cuts off at both ends are decoded, but not audible.
    let end = clip_time(&segment, segment.stop()).map_or(i64::MAX, samples);
    let index = |sample: i64| (sample - at).clamp(0, frames.len() as i64) as usize;
    let (from, to) = (index(0), index(end));
    let frames = frames.get(from..to).unwrap_or_default();
    observed.audio.add(at + from as i64, frames);
    if let Some(loudness) = &mut observed.loudness {
        loudness.add(frames);
        let moments = frames.iter().map(|sides| Moment { sides: *sides, low: 0.0 });
        observed.sides.add((at + from as i64) as f64 / f64::from(SAMPLE_RATE), SAMPLE_RATE, f64::INFINITY, moments);
    }
}

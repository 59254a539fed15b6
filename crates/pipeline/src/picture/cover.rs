//! The cover: one picture of the clip, as a JPEG file beside it.
//!
//! It is chosen while the pictures pass, so that none is decoded for it and only one is held. It is the picture at the
//! requested time. Without one, it is the first picture that is not black, or a picture in the next three seconds that
//! has much more detail, so that a fade-in or a blurred start is skipped.

use crate::{
    failure,
    verify::{
        fingerprint::Fingerprint,
        tap::{time_of, with_planes},
    },
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gst_video::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use jpeg_encoder::{ColorType, Encoder};
use parking_lot::Mutex;
use std::{fmt::Display, path::Path, sync::Arc};

/// Name of the cover within the attempt's directory.
pub const COVER_FILE: &str = "cover.jpg";

/// How long after the first picture that is not black a better one is searched for.
const SEARCH_DURATION_NS: i64 = 3_000_000_000;

/// How much more detail a later picture must have. Encoders and noise change it by a tenth.
const MIN_DETAIL_RATIO: f32 = 1.4;

/// JPEG quality: no visible artefacts at the size of a phone, and 200 to 500 kB for 1080x1920.
const JPEG_QUALITY: u8 = 88;

/// The choice of the cover.
#[derive(Debug, Default)]
struct Choice {
    /// The requested time, nanoseconds.
    at_ns: Option<i64>,
    taken: Option<Taken>,
}

#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Time of the first picture that is not black.
    first_lit_ns: Option<i64>,
    detail: f32,
}

/// What to do with a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Take,
    Pass,
    /// Skip this picture and all later ones.
    Done,
}

impl Choice {
    /// Judges the next picture. `inspect` returns whether it is black, and its detail.
    fn judge(&mut self, time_ns: i64, inspect: impl FnOnce() -> (bool, f32)) -> Verdict {
        if let Some(at_ns) = self.at_ns {
            // The picture shown at that time is the last one that starts at or before it.
            return match time_ns <= at_ns || self.taken.is_none() {
                true => self.take(None, 0.0),
                false => Verdict::Done,
            };
        }
        let Some(taken) = self.taken else {
            let (black, detail) = inspect();
            return self.take((!black).then_some(time_ns), detail);
        };
        if taken.first_lit_ns.is_some_and(|first| time_ns > first + SEARCH_DURATION_NS) {
            return Verdict::Done;
        }
        match (inspect(), taken.first_lit_ns) {
            ((true, _), _) => Verdict::Pass,
            ((false, detail), None) => self.take(Some(time_ns), detail),
            ((false, detail), first) if detail > taken.detail * MIN_DETAIL_RATIO => self.take(first, detail),
            _ => Verdict::Pass,
        }
    }

    fn take(&mut self, first_lit_ns: Option<i64>, detail: f32) -> Verdict {
        self.taken = Some(Taken { first_lit_ns, detail });
        Verdict::Take
    }
}

/// The cover, while it is being chosen.
#[derive(Debug, Default)]
pub struct Cover {
    state: Mutex<(Choice, Option<gst::Sample>)>,
}

impl Cover {
    /// The picture at this time of the clip, or else the first suitable one.
    pub fn new(at_ms: Option<i64>) -> Self {
        let choice = Choice { at_ns: at_ms.map(|ms| ms * 1_000_000), taken: None };
        Self { state: Mutex::new((choice, None)) }
    }

    /// Chooses from the decoded pictures that pass a pad.
    pub fn observe(self: &Arc<Self>, pad: &gst::Pad) {
        let cover = Arc::clone(self);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| match info.buffer() {
            Some(buffer) if cover.judge(pad, buffer) == Verdict::Done => gst::PadProbeReturn::Remove,
            _ => gst::PadProbeReturn::Ok,
        });
    }

    fn judge(&self, pad: &gst::Pad, buffer: &gst::Buffer) -> Verdict {
        let (choice, sample) = &mut *self.state.lock();
        let Some(time_ns) = time_of(pad, buffer) else { return Verdict::Pass };
        let inspect = || {
            let inspected =
                with_planes(pad, buffer, |planes| Some((Fingerprint::of(planes)?.is_black(), planes[0].detail())));
            inspected.unwrap_or((true, 0.0))
        };
        let verdict = choice.judge(time_ns, inspect);
        if verdict == Verdict::Take {
            let caps = pad.current_caps();
            *sample = caps.map(|caps| gst::Sample::builder().buffer(buffer).caps(&caps).build());
        }
        verdict
    }

    /// Writes the chosen picture.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let sample = self.state.lock().1.take().ok_or_else(|| unwritten("no picture passed"))?;
        let (Some(caps), Some(picture)) = (sample.caps(), sample.buffer()) else {
            return Err(unwritten("it has no colours"));
        };
        let decoded = gst_video::VideoInfo::from_caps(caps).map_err(unwritten)?;
        let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(picture, &decoded).map_err(unwritten)?;
        let (width, height) = (decoded.width(), decoded.height());
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, width, height);
        let info = info.fps(decoded.fps()).par(decoded.par()).build().map_err(unwritten)?;
        // Not by a pipeline of its own, as a helper of GStreamer does it: nothing else needs its elements.
        let converter = gst_video::VideoConverter::new(&decoded, &info, None).map_err(unwritten)?;
        let mut converted = gst::Buffer::with_size(info.size()).map_err(unwritten)?;
        let pixels = converted.get_mut().ok_or_else(|| unwritten("its buffer is shared"))?;
        let mut frame = gst_video::VideoFrameRef::from_buffer_ref_writable(pixels, &info).map_err(unwritten)?;
        converter.frame_ref(&picture, &mut frame);
        let (width, height) = (info.width() as usize, info.height() as usize);
        let stride = usize::try_from(frame.plane_stride()[0]).map_err(unwritten)?;
        let rows = frame.plane_data(0).map_err(unwritten)?.chunks(stride.max(1)).take(height);
        let pixels: Vec<u8> = rows.flat_map(|row| row.get(..width * 3).unwrap_or_default()).copied().collect();
        let side = |length: usize| u16::try_from(length).map_err(unwritten);
        let encoder = Encoder::new_file(path, JPEG_QUALITY).map_err(unwritten)?;
        encoder.encode(&pixels, side(width)?, side(height)?, ColorType::Rgb).map_err(unwritten)
    }
}

fn unwritten(reason: impl Display) -> Failure {
    failure::internal(format!("the cover cannot be written: {reason}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME_NS: i64 = 33_333_333;

    /// Index of the picture that becomes the cover. Each is given as whether it is black, and its detail.
    fn chosen(at_ms: Option<i64>, pictures: &[(bool, f32)]) -> usize {
        let mut choice = Choice { at_ns: at_ms.map(|ms| ms * 1_000_000), taken: None };
        let mut chosen = None;
        for (index, picture) in pictures.iter().enumerate() {
            match choice.judge(index as i64 * FRAME_NS, || *picture) {
                Verdict::Take => chosen = Some(index),
                Verdict::Pass => {}
                Verdict::Done => break,
            }
        }
        chosen.expect("a picture")
    }

    #[test]
    fn the_first_picture_is_chosen_if_no_later_one_is_much_better() {
        assert_eq!(chosen(None, &[(false, 5.0), (false, 6.0), (false, 5.5)]), 0);
    }

    #[test]
    fn black_and_fading_pictures_are_skipped() {
        let fade: Vec<(bool, f32)> = (0..60_u8).map(|n| (n < 10, f32::from(n.min(40)))).collect();
        let index = chosen(None, &fade);
        assert!((29..=40).contains(&index), "{index}");
    }

    #[test]
    fn after_three_seconds_the_search_is_over() {
        let late: Vec<(bool, f32)> = (0..200).map(|n| (n < 50, if n > 145 { 50.0 } else { 5.0 })).collect();
        assert_eq!(chosen(None, &late), 50);
    }

    #[test]
    fn a_clip_that_is_black_throughout_has_a_black_cover() {
        assert_eq!(chosen(None, &[(true, 0.0); 200]), 0);
    }

    #[test]
    fn a_requested_time_gives_the_picture_shown_then() {
        let pictures = [(false, 5.0); 30];
        assert_eq!(chosen(Some(0), &pictures), 0);
        assert_eq!(chosen(Some(100), &pictures), 3);
        assert_eq!(chosen(Some(132), &pictures), 3);
        assert_eq!(chosen(Some(60_000), &pictures), 29);
    }
}

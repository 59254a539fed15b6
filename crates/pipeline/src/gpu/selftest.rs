//! Tests whether a GPU's encoder works: one second of moving pictures is encoded, and decoded again on the CPU. A
//! driver may be installed and every element registered, and the output may still be empty or wrong.
//!
//! ```text
//! moving pictures ── [upload ── scale on the GPU] ── encode ── decode ── compare
//!                                     Tap::observe_video   Tap::observe_video
//! ```

use crate::{
    failure,
    graph::{
        build::{Grids, chain},
        bus::{self, Event, PipelineGuard, StallDetector},
    },
    plan::{
        Expected, Step,
        catalog::Encoder,
        reframe,
        step::{element, frame_format, verification_steps, with},
        video,
    },
    verify::{
        frames::{self, Decoded},
        tap::Tap,
    },
};
use clipfleet_domain::{
    failure::Failure,
    rendition::{Rendition, Size},
};
use gst::prelude::*;
use gstreamer as gst;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Number of frames that are encoded, and their rate.
const FRAMES: u32 = 30;

/// Maximum time without progress. The first use of a GPU compiles its kernels and raises its clocks.
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Encodes and compares. Returns the duration, or what went wrong.
pub fn run(encoder: &Encoder, lacking: &[&str], on_gpu: bool) -> Result<Duration, Failure> {
    let began = Instant::now();
    let pipeline = PipelineGuard::new(gst::Pipeline::with_name("self-test"));
    let steps = steps("smpte", FRAMES, FRAMES, encoder, lacking, on_gpu);
    let elements = chain(&steps, Path::new(""), &mut Grids::default())?;
    bus::add_linked(&pipeline, &elements)?;
    let (input, output) = <(Arc<Tap>, Arc<Tap>)>::default();
    for (tap, name) in [(&input, "video-encoder"), (&output, "verification-out")] {
        let element = pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a self-test without {name}")))?;
        tap.observe_video(&bus::pad(&element, "sink")?);
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = StallDetector::with_timeout("testing the GPU", STALL_TIMEOUT);
    loop {
        match pipeline.next_event() {
            Some(Event::Ended) => break,
            Some(Event::Failed(error)) => return Err(failure::encode_failed(error)),
            None => stall.check(input.count() + output.count())?,
        }
        std::thread::sleep(bus::POLL_INTERVAL);
    }
    let (input, output) = (input.take(), output.take());
    if input.frames.len() != FRAMES as usize {
        return Err(failure::encode_failed(format!("{} of {FRAMES} pictures reached it", input.frames.len())));
    }
    frames::compare(&input.frames, &Decoded::all(&output.frames, input.frames.len()), FRAMES)?;
    Ok(began.elapsed())
}

/// A test pattern with this number of pictures, encoded as for a clip and decoded again. With `on_gpu`, it is scaled in
/// the GPU's memory.
pub(crate) fn steps(
    pattern: &str,
    frames: u32,
    fps: u32,
    encoder: &Encoder,
    lacking: &[&str],
    on_gpu: bool,
) -> Vec<Step> {
    let expected = Expected { size: Rendition::default().size(), fps, frames, samples: 0 };
    let source = Size { width: 640, height: 360 };
    let mut steps = vec![
        with("videotestsrc", &[("pattern", pattern), ("horizontal-speed", "7"), ("num-buffers", &frames.to_string())]),
        Step::Caps(frame_format("NV12", source, fps)),
    ];
    match on_gpu {
        true => {
            steps.push(element("cudaupload"));
            steps.extend(reframe::scale_on_gpu(&expected, encoder));
        }
        false => steps.extend(reframe::scale(&expected, encoder.format)),
    }
    steps.extend(video::encoder_steps(&Rendition { fps, ..Rendition::default() }, encoder, lacking));
    steps.extend(verification_steps());
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{catalog::ENCODERS, installed::Installed};

    #[test]
    fn every_installed_encoder_passes_and_a_missing_one_fails() {
        let installed = Installed::start().expect("GStreamer");
        assert!(!installed.encoder_names().is_empty(), "an encoder must be installed for this test");
        for encoder in ENCODERS {
            let passed = run(encoder, installed.lacking(encoder.name), false);
            let here = installed.encoder_names().contains(&encoder.name);
            assert_eq!(passed.is_ok(), here, "{}: {passed:?}", encoder.name);
        }
    }
}

//! Whether a GPU's encoder does what it says.
//!
//! A second of moving pictures goes through it and is decoded again, on the CPU. A driver may be there, every element registered, and still nothing or nonsense come out.
//!
//! ```text
//! moving pictures ── [upload ── scale on the GPU] ── encode ── decode ── compare
//!                                                    Tap::look    Tap::look
//! ```

use crate::{
    build::{Grids, chain},
    bus::{self, Event, Guard, StallGuard},
    catalog::Encoder,
    failure, plan,
    verify::{
        pictures::{self, Shown},
        tap::Tap,
    },
};
use clipfleet_domain::failure::Failure;
use gst::prelude::*;
use gstreamer as gst;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Frames that are encoded, and their rate.
pub const FRAMES: u32 = 30;

/// Longest silence. The first use of a GPU compiles its kernels and takes its clocks up.
const PATIENCE: Duration = Duration::from_secs(20);

/// Encodes and compares; how long it took, or what went wrong.
pub fn run(encoder: &Encoder, lacking: &[&str], on_gpu: bool) -> Result<Duration, Failure> {
    let began = Instant::now();
    let pipeline = Guard::new(gst::Pipeline::with_name("self-test"));
    let steps = plan::self_test(encoder, lacking, on_gpu);
    let elements = chain(&steps, Path::new(""), &mut Grids::default())?;
    bus::add_linked(&pipeline, &elements)?;
    let (entering, leaving) = <(Arc<Tap>, Arc<Tap>)>::default();
    for (tap, name) in [(&entering, "video-encoder"), (&leaving, "proof-out")] {
        let element = pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a self-test without {name}")))?;
        tap.look(&bus::pad(&element, "sink")?);
    }
    pipeline.start(gst::State::Playing)?;
    let mut stall = StallGuard::with_patience("testing the GPU", PATIENCE);
    loop {
        match pipeline.next_event() {
            Some(Event::Ended) => break,
            Some(Event::Failed(error)) => return Err(failure::encode_failed(error)),
            None => stall.check(entering.count() + leaving.count())?,
        }
        std::thread::sleep(bus::STEP);
    }
    let (entered, shown) = (entering.take(), leaving.take());
    if entered.pictures.len() != FRAMES as usize {
        return Err(failure::encode_failed(format!("{} of {FRAMES} pictures reached it", entered.pictures.len())));
    }
    pictures::compare(&entered.pictures, &Shown::all(&shown.pictures, entered.pictures.len()), FRAMES)?;
    Ok(began.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{ENCODERS, Installed};

    #[test]
    fn every_encoder_that_is_here_passes_and_one_that_is_not_says_so() {
        let installed = Installed::start().expect("GStreamer");
        assert!(!installed.encoder_names().is_empty(), "an encoder must be installed for this test");
        for encoder in ENCODERS {
            let passed = run(encoder, installed.lacking(encoder.name), false);
            let here = installed.encoder_names().contains(&encoder.name);
            assert_eq!(passed.is_ok(), here, "{}: {passed:?}", encoder.name);
        }
    }
}

//! Rate control of the GPU's encoder with our settings: whether easy pictures take less than the configured average
//! (which equals the cap, because the preset's average would apply otherwise), and whether the hardest pictures stay
//! below the cap.
//!
//! ```text
//! videotestsrc ── [upload ── scale on the GPU] ── encode ── count ── decode
//! ```

use crate::{
    failure,
    gpu::selftest,
    graph::{
        build::{Grids, chain},
        bus::{self, PipelineGuard},
    },
    plan::catalog::Encoder,
};
use clipfleet_domain::{failure::Failure, rendition::Rendition};
use gst::prelude::*;
use gstreamer as gst;
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Length of each test. The encoder's buffer and look-ahead are one or two seconds.
const TEST_SECONDS: u32 = 10;

/// A pattern with little movement, and noise, which no encoder can predict.
const EASY_PATTERN: &str = "ball";
const HARD_PATTERN: &str = "snow";

/// Share of the cap that easy pictures may take. They need a fiftieth. An encoder that fills its average takes all of
/// it.
const MAX_EASY_SHARE: f64 = 0.5;

/// Share of the cap that the hardest pictures may take: a buffer of one second adds a tenth to ten seconds, and a
/// margin.
const MAX_HARD_SHARE: f64 = 1.15;

/// The measured rates, kbit/s.
#[derive(Debug)]
pub(super) struct Measured {
    cap: f64,
    easy: f64,
    /// With neither average nor maximum set, so that the preset's values apply.
    easy_by_preset: f64,
    hard: f64,
}

/// Encodes each pattern.
pub(super) fn measure(encoder: &Encoder, lacking: &[&str]) -> Result<Measured, Failure> {
    let settings = (encoder.properties)(&Rendition::default());
    let cap = settings.iter().find(|(name, _)| *name == "max-bitrate").and_then(|(_, value)| value.parse().ok());
    let preset = [("bitrate", "0"), ("max-bitrate", "0")];
    Ok(Measured {
        cap: cap.ok_or_else(|| failure::internal("an encoder without a cap"))?,
        easy: kbps(encoder, lacking, EASY_PATTERN, &[])?,
        easy_by_preset: kbps(encoder, lacking, EASY_PATTERN, &preset)?,
        hard: kbps(encoder, lacking, HARD_PATTERN, &[])?,
    })
}

impl Measured {
    pub(super) fn quality_decides(&self) -> Result<String, String> {
        let Self { cap, easy, easy_by_preset, .. } = self;
        let text = format!(
            "easy pictures {easy:.0} kbit/s of a cap of {cap:.0}; by the preset's own average {easy_by_preset:.0}"
        );
        if *easy > 0.0 && *easy <= cap * MAX_EASY_SHARE { Ok(text) } else { Err(text) }
    }

    pub(super) fn cap_holds(&self) -> Result<String, String> {
        let Self { cap, easy, hard, .. } = self;
        let text = format!("noise {hard:.0} kbit/s of a cap of {cap:.0}");
        if hard > easy && *hard <= cap * MAX_HARD_SHARE { Ok(text) } else { Err(text) }
    }
}

fn kbps(encoder: &Encoder, lacking: &[&str], pattern: &str, changes: &[(&str, &str)]) -> Result<f64, Failure> {
    let pipeline = PipelineGuard::new(gst::Pipeline::with_name("rate"));
    let rendition = Rendition::default();
    let steps = selftest::steps(pattern, TEST_SECONDS * rendition.fps, rendition.fps, encoder, lacking, false);
    let elements = chain(&steps, Path::new(""), &mut Grids::default())?;
    bus::add_linked(&pipeline, &elements)?;
    let part = |name: &str| pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a trial without {name}")));
    for (name, value) in changes {
        bus::set(&part("video-encoder")?, name, value)?;
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    bus::pad(&part("verification-in")?, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        counted.fetch_add(info.buffer().map_or(0, |buffer| buffer.size() as u64), Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    super::material::finish(&pipeline)?;
    Ok(bytes.load(Ordering::Relaxed) as f64 * 8.0 / 1_000.0 / f64::from(TEST_SECONDS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Measured = Measured { cap: 16_000.0, easy: 400.0, easy_by_preset: 390.0, hard: 16_500.0 };

    #[test]
    fn an_encoder_that_fills_its_average_or_breaks_its_cap_is_found() {
        assert!(GOOD.quality_decides().is_ok() && GOOD.cap_holds().is_ok());
        assert!(Measured { easy: 15_800.0, ..GOOD }.quality_decides().is_err());
        assert!(Measured { easy: 0.0, ..GOOD }.quality_decides().is_err());
        assert!(Measured { hard: 40_000.0, ..GOOD }.cap_holds().is_err());
        assert!(Measured { hard: 300.0, ..GOOD }.cap_holds().is_err(), "noise cannot be easier than a ball");
    }
}

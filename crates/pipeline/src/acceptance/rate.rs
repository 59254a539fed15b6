//! What a GPU's encoder makes of our settings: whether easy pictures cost less than the average that it is told (which is the cap, since
//! without one a preset's own would hold), and whether the hardest stay below the cap.
//!
//! ```text
//! videotestsrc ── [upload ── scale on the GPU] ── encode ── count ── decode
//! ```

use crate::{
    build::{Grids, chain},
    bus::{self, Guard},
    catalog::Encoder,
    failure, plan,
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

/// Length of each try: the encoder's buffer and its look-ahead are a second or two.
const SECONDS: u32 = 10;

/// Hardly anything moves, and noise, which no encoder can foretell.
const EASY: &str = "ball";
const HARD: &str = "snow";

/// Share of the cap that easy pictures may take. They need a fiftieth; an encoder that fills its average takes all of it.
const EASY_SHARE: f64 = 0.5;

/// Share of the cap that the hardest may take: what a buffer of a second adds to ten, and a little.
const HARD_SHARE: f64 = 1.15;

/// What was found, kbit/s.
#[derive(Debug)]
pub(super) struct Measured {
    cap: f64,
    easy: f64,
    /// With neither average nor maximum set: what the preset has.
    easy_by_preset: f64,
    hard: f64,
}

/// Encodes each kind of pictures.
pub(super) fn measure(encoder: &Encoder, lacking: &[&str]) -> Result<Measured, Failure> {
    let settings = (encoder.properties)(&Rendition::default());
    let cap = settings.iter().find(|(name, _)| *name == "max-bitrate").and_then(|(_, value)| value.parse().ok());
    let preset = [("bitrate", "0"), ("max-bitrate", "0")];
    Ok(Measured {
        cap: cap.ok_or_else(|| failure::internal("an encoder without a cap"))?,
        easy: kbps(encoder, lacking, EASY, &[])?,
        easy_by_preset: kbps(encoder, lacking, EASY, &preset)?,
        hard: kbps(encoder, lacking, HARD, &[])?,
    })
}

impl Measured {
    pub(super) fn quality_decides(&self) -> Result<String, String> {
        let Self { cap, easy, easy_by_preset, .. } = self;
        let told = format!(
            "easy pictures {easy:.0} kbit/s of a cap of {cap:.0}; by the preset's own average {easy_by_preset:.0}"
        );
        if *easy > 0.0 && *easy <= cap * EASY_SHARE { Ok(told) } else { Err(told) }
    }

    pub(super) fn cap_holds(&self) -> Result<String, String> {
        let Self { cap, easy, hard, .. } = self;
        let told = format!("noise {hard:.0} kbit/s of a cap of {cap:.0}");
        if hard > easy && *hard <= cap * HARD_SHARE { Ok(told) } else { Err(told) }
    }
}

fn kbps(encoder: &Encoder, lacking: &[&str], pattern: &str, changes: &[(&str, &str)]) -> Result<f64, Failure> {
    let pipeline = Guard::new(gst::Pipeline::with_name("rate"));
    let rendition = Rendition::default();
    let steps = plan::trial(pattern, SECONDS * rendition.fps, rendition.fps, encoder, lacking, false);
    let elements = chain(&steps, Path::new(""), &mut Grids::default())?;
    bus::add_linked(&pipeline, &elements)?;
    let named = |name: &str| pipeline.by_name(name).ok_or_else(|| failure::internal(format!("a trial without {name}")));
    for (name, value) in changes {
        bus::set(&named("video-encoder")?, name, value)?;
    }
    let bytes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&bytes);
    bus::pad(&named("proof-in")?, "sink")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        counted.fetch_add(info.buffer().map_or(0, |buffer| buffer.size() as u64), Ordering::Relaxed);
        gst::PadProbeReturn::Ok
    });
    super::material::finish(&pipeline)?;
    Ok(bytes.load(Ordering::Relaxed) as f64 * 8.0 / 1_000.0 / f64::from(SECONDS))
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

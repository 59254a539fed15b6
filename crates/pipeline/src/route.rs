//! Which way a clip's pictures take: by which decoder, on which memory they are reframed, and by which encoder they leave. Rows of one
//! table, best first; what is not here, or cannot do this clip, is passed over with its reason.
//!
//! ```text
//! nvh264dec ── videocrop ── cudaconvertscale ── nvh264enc       nothing leaves the GPU
//! nvh264dec ─────────── frames in memory ────── nvh264enc       what the GPU cannot reframe
//! avdec_h264 ────────── frames in memory ────── nvh264enc       what the GPU cannot decode
//! nvh264dec ── videocrop ── cudaconvertscale ── x264enc         GPUs without an encoder
//! avdec_h264 ────────── frames in memory ────── x264enc | openh264enc
//! ```

use crate::{
    catalog::{Decoder, ENCODERS, Encoder, Installed},
    check,
    probe::{Picture, Probed, Rotation},
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{fallback::Fallback, lifecycle::Encoding, reframe::Reframe};
use std::fmt;

/// Where a stage works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// On the CPU, in its memory.
    Cpu,
    /// On the GPU, in the GPU's memory.
    Gpu,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// Where pictures are decoded.
    pub decode: Unit,
    /// Where they are cropped, scaled and converted.
    pub frames: Unit,
    /// The encoder's name.
    pub encoder: &'static str,
}

const fn route(decode: Unit, frames: Unit, encoder: &'static str) -> Route {
    Route { decode, frames, encoder }
}

/// Every way, best first.
pub const ROUTES: [Route; 6] = [
    route(Unit::Gpu, Unit::Gpu, "nvh264enc"),
    route(Unit::Gpu, Unit::Cpu, "nvh264enc"),
    route(Unit::Cpu, Unit::Cpu, "nvh264enc"),
    route(Unit::Gpu, Unit::Gpu, "x264enc"),
    route(Unit::Cpu, Unit::Cpu, "x264enc"),
    route(Unit::Cpu, Unit::Cpu, "openh264enc"),
];

/// A way that can be gone here.
#[derive(Debug, Clone)]
pub struct Way {
    /// Where pictures are decoded, and by what.
    pub decode: (Unit, &'static Decoder),
    /// Where they are reframed.
    pub frames: Unit,
    /// What they are encoded by.
    pub encoder: &'static Encoder,
    /// Settings that this GPU's encoder does not have.
    pub lacking: Vec<&'static str>,
}

impl Way {
    /// On the CPU alone.
    pub fn on_the_processor(probed: &Probed, encoder: &'static Encoder) -> Self {
        let decode = (Unit::Cpu, probed.video.decoder);
        Self { decode, frames: Unit::Cpu, encoder, lacking: Vec::new() }
    }

    /// What is told of a clip that is made this way, `reasons` being why no better one is taken.
    pub fn encoding(&self, reasons: &Reasons) -> Encoding {
        Encoding {
            encoder: self.encoder.name.to_owned(),
            fallback_reason: reasons.to_string(),
            decoder: self.decode.1.element.to_owned(),
            gpu_driver: if self.uses_gpu() {
                check::driver().unwrap_or_else(|| "unknown".into())
            } else {
                String::new()
            },
        }
    }

    /// Whether a GPU has a part in it.
    pub fn uses_gpu(&self) -> bool {
        self.decode.0 == Unit::Gpu || self.frames == Unit::Gpu || self.encoder.on_gpu
    }

    /// For people and logs.
    pub fn name(&self) -> String {
        let frames = if self.frames == Unit::Gpu { "+cuda" } else { "" };
        format!("{}{frames}+{}", self.decode.1.element, self.encoder.name)
    }
}

/// Why better ways than one are not taken: kinds, and words for people.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Vec<(Fallback, String)>);

impl Reasons {
    /// Notes another, unless it is known already.
    pub fn add(&mut self, kind: Fallback, words: String) {
        if !self.0.iter().any(|(_, known)| *known == words) {
            self.0.push((kind, words));
        }
    }

    /// The gravest kind among them.
    pub fn gravest(&self) -> Option<Fallback> {
        self.0.iter().map(|(kind, _)| *kind).max()
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<&str> = self.0.iter().map(|(_, words)| words.as_str()).collect();
        f.write_str(&words.join("; "))
    }
}

/// The ways that an order may take, best first, and why better ones are passed over.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// To be tried in this order.
    pub ways: Vec<Way>,
    /// What was passed over before the first.
    pub passed_over: Reasons,
}

/// Chooses for an order on a source.
pub fn choose(order: &Transcode, probed: &Probed, installed: &Installed) -> Choice {
    let mut choice = Choice::default();
    let allowed = |route: &&Route| order.encoder == "auto" || order.encoder == route.encoder;
    for route in ROUTES.iter().filter(allowed) {
        match way(route, order, probed, installed) {
            Ok(way) => choice.ways.push(way),
            Err(Some((kind, words))) if choice.ways.is_empty() => choice.passed_over.add(kind, words),
            Err(_) => {}
        }
    }
    choice
}

/// An error without a reason: nobody who has no GPU misses one, and an encoder that was asked for by name is named elsewhere.
fn way(
    route: &Route,
    order: &Transcode,
    probed: &Probed,
    installed: &Installed,
) -> Result<Way, Option<(Fallback, String)>> {
    let missing = |words| Some((Fallback::Missing, words));
    let unsupported = |words| Some((Fallback::Unsupported, words));
    let row_on_gpu = ENCODERS.iter().any(|row| row.name == route.encoder && row.on_gpu);
    let on_gpu = row_on_gpu || route.decode == Unit::Gpu || route.frames == Unit::Gpu;
    if let Some(reason) = order.passed_over.clone().filter(|_| on_gpu) {
        return Err(Some((Fallback::GpuDisabled, reason)));
    }
    let Some(encoder) = installed.encoders(route.encoder).first().copied() else {
        let reason = installed.refusal(route.encoder).map(|reason| format!("{}: {reason}", route.encoder));
        let missed = order.encoder == "auto" && (route.encoder != "nvh264enc" || installed.has_gpu());
        return Err(reason.filter(|_| missed).and_then(missing));
    };
    if on_gpu && !installed.has_gpu() {
        return Err(None);
    }
    let decoder = match route.decode {
        Unit::Cpu => probed.video.decoder,
        Unit::Gpu => decoder_on_gpu(probed, installed).map_err(unsupported)?,
    };
    if route.frames == Unit::Gpu {
        let reason = frames_on_cpu(&order.clip.reframe, probed).map(str::to_owned).and_then(unsupported);
        reason.or_else(|| installed.no_gpu_frames().and_then(missing)).map_or(Ok(()), |reason| Err(Some(reason)))?;
    }
    let lacking = installed.lacking(encoder.name).to_vec();
    Ok(Way { decode: (route.decode, decoder), frames: route.frames, encoder, lacking })
}

fn decoder_on_gpu(probed: &Probed, installed: &Installed) -> Result<&'static Decoder, String> {
    let Picture { interlaced, plain_samples, .. } = probed.picture;
    let codec = probed.video.decoder.codec;
    match () {
        () if interlaced => Err("interlaced pictures are decoded on the CPU".into()),
        () if !plain_samples => Err("pictures other than 8-bit 4:2:0 are decoded on the CPU".into()),
        () => installed.gpu_decoder(codec).ok_or_else(|| format!("the GPU does not decode {codec}")),
    }
}

/// Why pictures cannot be reframed in the GPU's memory.
fn frames_on_cpu(reframe: &Reframe, probed: &Probed) -> Option<&'static str> {
    let stands_still = match reframe {
        Reframe::AutoCenter { .. } => true,
        Reframe::CropPath(path) => path.steady().is_some(),
        Reframe::FitBlur => return Some("fit_blur is drawn on the CPU"),
    };
    match () {
        () if !stands_still => Some("a moving crop is drawn on the CPU"),
        () if probed.rotation != Rotation::None => Some("turned pictures are reframed on the CPU"),
        () if !probed.picture.plain_colours() => Some("colours other than BT.709 are converted on the CPU"),
        () => None,
    }
}

#[cfg(test)]
mod tests;

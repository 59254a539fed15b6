//! The route of a clip's pictures: the decoder, the device that reframes, and the encoder. The candidates are the rows
//! of one table, best first. A route that is not available, or cannot make this clip, is skipped and its reason is
//! recorded.
//!
//! ```text
//! nvh264dec ── videocrop ── cudaconvertscale ── nvh264enc       everything stays in the GPU's memory
//! nvh264dec ─────────── frames in memory ────── nvh264enc       the GPU cannot reframe the clip
//! avdec_h264 ────────── frames in memory ────── nvh264enc       the GPU cannot decode the source
//! nvh264dec ── videocrop ── cudaconvertscale ── x264enc         GPUs without an encoder
//! avdec_h264 ────────── frames in memory ────── x264enc | openh264enc
//! ```

use crate::{
    plan::{
        catalog::{Decoder, ENCODERS, Encoder},
        installed::Installed,
    },
    source::{
        probe::{Picture, Probed},
        rotation::Rotation,
    },
};
use clipfleet_contract::pipeline::Transcode;
use clipfleet_domain::{fallback::Fallback, lifecycle::Encoding, reframe::Reframe};
use std::fmt;

/// The device that runs a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The CPU, with pictures in its memory.
    Cpu,
    /// The GPU, with pictures in its memory.
    Gpu,
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// Device that decodes.
    pub decode: Device,
    /// Device that crops, scales and converts.
    pub frames: Device,
    /// The encoder's name.
    pub encoder: &'static str,
}

const fn spec(decode: Device, frames: Device, encoder: &'static str) -> RouteSpec {
    RouteSpec { decode, frames, encoder }
}

/// Every route, best first.
pub const ROUTES: [RouteSpec; 6] = [
    spec(Device::Gpu, Device::Gpu, "nvh264enc"),
    spec(Device::Gpu, Device::Cpu, "nvh264enc"),
    spec(Device::Cpu, Device::Cpu, "nvh264enc"),
    spec(Device::Gpu, Device::Gpu, "x264enc"),
    spec(Device::Cpu, Device::Cpu, "x264enc"),
    spec(Device::Cpu, Device::Cpu, "openh264enc"),
];

/// A route that is available here.
#[derive(Debug, Clone)]
pub struct Route {
    /// Device that decodes, and the decoder.
    pub decode: (Device, &'static Decoder),
    /// Device that reframes.
    pub frames: Device,
    /// The encoder.
    pub encoder: &'static Encoder,
    /// Settings that this GPU's encoder does not have.
    pub lacking: Vec<&'static str>,
}

impl Route {
    /// The route that uses only the CPU.
    pub fn on_cpu(probed: &Probed, encoder: &'static Encoder) -> Self {
        let decode = (Device::Cpu, probed.video.decoder);
        Self { decode, frames: Device::Cpu, encoder, lacking: Vec::new() }
    }

    /// What is reported for a clip on this route. `reasons` says why no better route is used.
    pub fn encoding(&self, reasons: &Reasons, installed: &Installed) -> Encoding {
        Encoding {
            encoder: self.encoder.name.to_owned(),
            fallback_reason: reasons.to_string(),
            decoder: self.decode.1.element.to_owned(),
            gpu_driver: match self.uses_gpu() {
                true => installed.gpu_driver().unwrap_or("unknown").to_owned(),
                false => String::new(),
            },
        }
    }

    /// Whether any stage runs on the GPU.
    pub fn uses_gpu(&self) -> bool {
        self.decode.0 == Device::Gpu || self.frames == Device::Gpu || self.encoder.on_gpu
    }

    /// The name for people and logs.
    pub fn name(&self) -> String {
        let frames = if self.frames == Device::Gpu { "+cuda" } else { "" };
        format!("{}{frames}+{}", self.decode.1.element, self.encoder.name)
    }
}

/// Why better routes are not used: the kind, and a text for people.
#[derive(Debug, Clone, Default)]
pub struct Reasons(Vec<(Fallback, String)>);

impl Reasons {
    /// Adds a reason, unless its text is already there.
    pub fn add(&mut self, kind: Fallback, text: String) {
        if !self.0.iter().any(|(_, known)| *known == text) {
            self.0.push((kind, text));
        }
    }

    /// The most severe kind.
    pub fn gravest(&self) -> Option<Fallback> {
        self.0.iter().map(|(kind, _)| *kind).max()
    }
}

impl fmt::Display for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<&str> = self.0.iter().map(|(_, text)| text.as_str()).collect();
        f.write_str(&texts.join("; "))
    }
}

/// The routes that are available for an order, best first, and why better ones were skipped.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// To be tried in this order.
    pub routes: Vec<Route>,
    /// Why the routes before the first one were skipped.
    pub rejected: Reasons,
}

/// Chooses the routes for an order on a source.
pub fn choose(order: &Transcode, probed: &Probed, installed: &Installed) -> Choice {
    let mut choice = Choice::default();
    let allowed = |spec: &&RouteSpec| order.encoder == "auto" || order.encoder == spec.encoder;
    for spec in ROUTES.iter().filter(allowed) {
        match resolve(spec, order, probed, installed) {
            Ok(route) => choice.routes.push(route),
            Err(Some((kind, text))) if choice.routes.is_empty() => choice.rejected.add(kind, text),
            Err(_) => {}
        }
    }
    choice
}

/// The route of a row, or why it is skipped. There is no reason if the installation has no GPU at all, and if an
/// encoder was requested by name: another error names that one.
fn resolve(
    spec: &RouteSpec,
    order: &Transcode,
    probed: &Probed,
    installed: &Installed,
) -> Result<Route, Option<(Fallback, String)>> {
    let missing = |text| Some((Fallback::Missing, text));
    let unsupported = |text| Some((Fallback::Unsupported, text));
    let row_on_gpu = ENCODERS.iter().any(|row| row.name == spec.encoder && row.on_gpu);
    let on_gpu = row_on_gpu || spec.decode == Device::Gpu || spec.frames == Device::Gpu;
    if let Some(reason) = order.gpu_disabled_reason.clone().filter(|_| on_gpu) {
        return Err(Some((Fallback::GpuDisabled, reason)));
    }
    let Some(encoder) = installed.encoders(spec.encoder).first().copied() else {
        let reason = installed.refusal(spec.encoder).map(|reason| format!("{}: {reason}", spec.encoder));
        let missed = order.encoder == "auto" && (spec.encoder != "nvh264enc" || installed.has_gpu());
        return Err(reason.filter(|_| missed).and_then(missing));
    };
    if on_gpu && !installed.has_gpu() {
        return Err(None);
    }
    let decoder = match spec.decode {
        Device::Cpu => probed.video.decoder,
        Device::Gpu => gpu_decoder(probed, installed).map_err(unsupported)?,
    };
    if spec.frames == Device::Gpu {
        let reason = frames_on_cpu(&order.clip.reframe, probed).map(str::to_owned).and_then(unsupported);
        reason.or_else(|| installed.no_gpu_frames().and_then(missing)).map_or(Ok(()), |reason| Err(Some(reason)))?;
    }
    let lacking = installed.lacking(encoder.name).to_vec();
    Ok(Route { decode: (spec.decode, decoder), frames: spec.frames, encoder, lacking })
}

fn gpu_decoder(probed: &Probed, installed: &Installed) -> Result<&'static Decoder, String> {
    let Picture { interlaced, plain_samples, .. } = probed.picture;
    let codec = probed.video.decoder.codec;
    match () {
        () if interlaced => Err("interlaced pictures are decoded on the CPU".into()),
        () if !plain_samples => Err("pictures other than 8-bit 4:2:0 are decoded on the CPU".into()),
        () => installed.gpu_decoder(codec).ok_or_else(|| format!("the GPU does not decode {codec}")),
    }
}

/// Why the pictures cannot be reframed in the GPU's memory.
fn frames_on_cpu(reframe: &Reframe, probed: &Probed) -> Option<&'static str> {
    let is_static = match reframe {
        Reframe::AutoCenter { .. } => true,
        Reframe::CropPath(path) => path.steady().is_some(),
        Reframe::FitBlur => return Some("fit_blur is drawn on the CPU"),
    };
    match () {
        () if !is_static => Some("a moving crop is drawn on the CPU"),
        () if probed.rotation != Rotation::None => Some("turned pictures are reframed on the CPU"),
        () if !probed.picture.plain_colours() => Some("colours other than BT.709 are converted on the CPU"),
        () => None,
    }
}

#[cfg(test)]
mod tests;

//! What this installation can do, for `clipfleet doctor` and for a worker's start.

use crate::{
    catalog::{
        AAC_ENCODER, DECODERS, ENCODERS, Encoder, GPU_DECODERS, GPU_ENABLED, GPU_SCALER, Installed, Kind,
        PROOF_DECODER, exists,
    },
    driver_log, failure, selftest,
};
use gstreamer as gst;
use serde::Serialize;

/// The report of `clipfleet-pipeline --check`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of GStreamer at run time.
    pub gstreamer: String,
    /// Whether a clip can be made at all: an H.264 encoder, the AAC encoder and the multiplexer are there.
    pub usable: bool,
    /// What to do, when something is missing; the first lines concern what makes it unusable.
    pub missing: Vec<String>,
    /// Every decoder we know.
    pub decoders: Vec<DecoderState>,
    /// Every encoder we know.
    pub encoders: Vec<EncoderState>,
    /// The GPU.
    pub gpu: Gpu,
}

/// One decoder.
#[derive(Debug, Serialize)]
pub struct DecoderState {
    /// Name of the codec.
    pub codec: &'static str,
    /// Element that decodes it.
    pub element: &'static str,
    /// Whether it can be used.
    pub available: bool,
    /// Debian package that has it.
    pub package: &'static str,
}

/// One encoder.
#[derive(Debug, Serialize)]
pub struct EncoderState {
    /// Name in results and orders.
    pub name: &'static str,
    /// `h264` or `aac`.
    pub kind: &'static str,
    /// Whether it can be used.
    pub available: bool,
    /// Empty, or why not.
    pub note: String,
}

/// The GPU, as GStreamer sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Whether one is there and to be used.
    pub enabled: bool,
    /// Elements found.
    pub elements: Vec<&'static str>,
    /// Version of its driver, where the kernel tells.
    pub driver: Option<String>,
    /// How its encoder, or its scaler where it has no encoder, did a second of moving pictures.
    pub self_test: Option<SelfTest>,
    /// What follows.
    pub note: String,
}

/// See [`Gpu::self_test`].
#[derive(Debug, Serialize)]
pub struct SelfTest {
    /// Whether what came out was what went in.
    pub passed: bool,
    /// How long it took; 0 when it failed.
    pub milliseconds: u64,
    /// What went wrong; empty when nothing did.
    pub reason: String,
}

/// Elements without which no plan can be built, and where they come from.
const NEEDED: [(&str, &str); 11] = [
    (AAC_ENCODER, "gstreamer1.0-libav"),
    (PROOF_DECODER, "gstreamer1.0-libav"),
    ("mp4mux", "gstreamer1.0-plugins-good"),
    ("qtdemux", "gstreamer1.0-plugins-good"),
    ("matroskademux", "gstreamer1.0-plugins-good"),
    ("videocrop", "gstreamer1.0-plugins-good"),
    ("videoflip", "gstreamer1.0-plugins-good"),
    ("videoconvert", "gstreamer1.0-plugins-base"),
    ("videoconvertscale", "gstreamer1.0-plugins-base"),
    ("audioresample", "gstreamer1.0-plugins-base"),
    ("queue", "gstreamer1.0-plugins-base"),
];

/// Looks at this installation.
pub fn check(installed: &Installed) -> Report {
    let decoders: Vec<DecoderState> = DECODERS
        .iter()
        .map(|row| DecoderState {
            codec: row.codec,
            element: row.element,
            available: installed.has_decoder(row),
            package: row.package,
        })
        .collect();
    let mut encoders: Vec<EncoderState> = ENCODERS
        .iter()
        .filter(|row| installed.has_gpu() || !row.on_gpu)
        .map(|row| {
            let refusal = installed.refusal(row.name);
            EncoderState {
                name: row.name,
                kind: "h264",
                available: refusal.is_none(),
                note: refusal.unwrap_or_default().to_owned(),
            }
        })
        .collect();
    encoders.push(EncoderState { name: AAC_ENCODER, kind: "aac", available: exists(AAC_ENCODER), note: String::new() });
    let gpu = gpu(installed);
    let (mut usable, mut missing) = missing(installed);
    if std::env::var(GPU_ENABLED).as_deref() == Ok("true") && !gpu.self_test.as_ref().is_some_and(|test| test.passed) {
        usable = false;
        missing.insert(0, format!("{GPU_ENABLED}=true asks for a GPU: {}", gpu.note));
    }
    Report { gstreamer: version(), usable, missing, decoders, encoders, gpu }
}

fn missing(installed: &Installed) -> (bool, Vec<String>) {
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|(element, _)| !exists(element))
        .map(|(element, package)| format!("element {element}: install {package}"))
        .collect();
    if installed.encoder_names().is_empty() {
        let package = ENCODERS.iter().find(|row| !row.on_gpu).map_or("", |row| row.package);
        missing.push(format!("an H.264 encoder: install {package}"));
    }
    let usable = missing.is_empty();
    for kind in [Kind::Video, Kind::Audio] {
        let mut rows: Vec<_> = DECODERS.iter().filter(|row| row.kind == kind).collect();
        rows.retain(|row| !DECODERS.iter().any(|other| other.codec == row.codec && installed.has_decoder(other)));
        rows.dedup_by_key(|row| row.codec);
        missing.extend(rows.iter().map(|row| format!("decoder for {}: install {}", row.codec, row.package)));
    }
    (usable, missing)
}

fn version() -> String {
    let (major, minor, micro, _) = gst::version();
    format!("{major}.{minor}.{micro}")
}

fn gpu(installed: &Installed) -> Gpu {
    let decoders = GPU_DECODERS.iter().map(|row| row.element);
    let encoders = ENCODERS.iter().filter(|row| row.on_gpu).map(|row| row.name);
    let elements: Vec<&str> = encoders.chain(decoders).chain([GPU_SCALER]).filter(|name| exists(name)).collect();
    let enabled = installed.has_gpu();
    let self_test = enabled.then(|| self_test(installed));
    let note = match &self_test {
        None if elements.is_empty() => "no GPU is to be seen; clips are encoded on the CPU".to_owned(),
        None => format!("there is a GPU, and {GPU_ENABLED} says not to use it"),
        Some(SelfTest { passed: true, .. }) => "the GPU is used".to_owned(),
        Some(SelfTest { reason, .. }) => format!("the GPU failed its test: {reason}"),
    };
    Gpu { enabled, elements, driver: driver(), self_test, note }
}

/// By the best that the GPU has: its encoder, and its scaler if that crops.
fn self_test(installed: &Installed) -> SelfTest {
    let on_gpu = installed.no_gpu_frames().is_none();
    let names = installed.encoder_names();
    let here = |row: &&Encoder| names.contains(&row.name) && (row.on_gpu || on_gpu);
    let Some(encoder) = ENCODERS.iter().find(here) else {
        return SelfTest { passed: false, milliseconds: 0, reason: "it neither encodes nor scales".into() };
    };
    driver_log::forget();
    match selftest::run(encoder, installed.lacking(encoder.name), on_gpu) {
        Ok(time) => SelfTest { passed: true, milliseconds: time.as_millis() as u64, reason: String::new() },
        Err(failed) => {
            let reason = failure::on_the_gpu(failed, driver_log::first()).message;
            SelfTest { passed: false, milliseconds: 0, reason }
        }
    }
}

/// Version of the GPU's driver, from the first line of what its kernel module says of itself.
pub(crate) fn driver() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    version_in(&text)
}

fn version_in(text: &str) -> Option<String> {
    let words = text.lines().next()?.split_whitespace();
    words.map(str::to_owned).find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_read_from_either_kind_of_kernel_module() {
        let closed =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.216.03  Fri Oct 25 22:43:06 UTC 2024\nGCC version:  x";
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build  (root)\n";
        let (closed, open) = (version_in(closed), version_in(open));
        assert_eq!((closed.as_deref(), open.as_deref()), (Some("535.216.03"), Some("580.65.06")));
        assert_eq!(version_in("\n"), None);
    }
}

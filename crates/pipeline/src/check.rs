//! What this installation can do, for `clipfleet doctor` and for a worker's start.

use crate::catalog::{AAC_ENCODER, DECODERS, ENCODERS, Installed, Kind, PROOF_DECODER, exists};
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
    /// Elements that use a graphics card.
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

/// Hardware elements, whether or not a plan uses them.
#[derive(Debug, Serialize)]
pub struct Gpu {
    /// Those found.
    pub elements: Vec<&'static str>,
    /// What follows.
    pub note: &'static str,
}

const GPU_ELEMENTS: [&str; 8] = [
    "nvh264enc",
    "nvcudah264enc",
    "nvautogpuh264enc",
    "nvh264dec",
    "nvh264sldec",
    "cudaconvertscale",
    "cudascale",
    "cudaupload",
];

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
    let (usable, missing) = missing(installed);
    Report { gstreamer: version(), usable, missing, decoders, encoders, gpu: gpu() }
}

fn missing(installed: &Installed) -> (bool, Vec<String>) {
    let mut missing: Vec<String> = NEEDED
        .iter()
        .filter(|(element, _)| !exists(element))
        .map(|(element, package)| format!("element {element}: install {package}"))
        .collect();
    if installed.encoder_names().is_empty() {
        let package = ENCODERS.first().map_or("", |row| row.package);
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

fn gpu() -> Gpu {
    let elements: Vec<&str> = GPU_ELEMENTS.into_iter().filter(|element| exists(element)).collect();
    let note = if elements.is_empty() {
        "no elements for a graphics card are registered; clips are encoded on the CPU"
    } else {
        "elements for a graphics card are registered"
    };
    Gpu { elements, note }
}

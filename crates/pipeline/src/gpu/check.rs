//! The report on this installation, for `clipfleet doctor` and for the start of a worker.

use crate::{
    failure,
    gpu::{driver, driver_log, selftest},
    plan::{
        catalog::{AAC_ENCODER, DECODERS, ENCODERS, Encoder, GPU_DECODERS, GPU_SCALER, Kind, VERIFICATION_DECODER},
        installed::{GPU_ENABLED, Installed, exists},
        registry,
    },
};
use gst::prelude::*;
use gstreamer as gst;
use serde::Serialize;
use std::collections::BTreeMap;

/// The report of `clipfleet-pipeline --check`.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of GStreamer at run time.
    pub gstreamer: String,
    /// Whether clips can be made at all: an H.264 encoder, the AAC encoder and the multiplexer are installed.
    pub usable: bool,
    /// What to install. The lines about what makes the installation unusable come first.
    pub missing: Vec<String>,
    /// The modules of GStreamer from which the elements of this program come.
    pub modules: Vec<Module>,
    /// Every decoder of the catalog.
    pub decoders: Vec<DecoderState>,
    /// Every encoder of the catalog.
    pub encoders: Vec<EncoderState>,
    /// The GPU.
    pub gpu: Gpu,
}

/// One module of GStreamer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Module {
    /// Its name, for example `gst-plugins-good`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its elements that this program may use. Others cannot be created.
    pub elements: Vec<&'static str>,
}

/// One decoder.
#[derive(Debug, Serialize)]
pub struct DecoderState {
    /// Name of the codec.
    pub codec: &'static str,
    /// The decoding element.
    pub element: &'static str,
    /// Whether it can be used.
    pub available: bool,
    /// The Debian package that contains it.
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
    /// Why it cannot be used; empty if it can.
    pub note: String,
}

/// The GPU, as GStreamer sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Gpu {
    /// Whether a GPU is present and enabled.
    pub enabled: bool,
    /// Elements found.
    pub elements: Vec<&'static str>,
    /// Version of its driver, if the kernel reports it.
    pub driver: Option<String>,
    /// Files of the driver's libraries that were loaded.
    pub libraries: Vec<String>,
    /// Result of processing one second of moving pictures with its encoder, or with its scaler if it has no encoder.
    pub self_test: Option<SelfTest>,
    /// The conclusion.
    pub note: String,
}

/// See [`Gpu::self_test`].
#[derive(Debug, Serialize)]
pub struct SelfTest {
    /// Whether the output matched the input.
    pub passed: bool,
    /// How long it took; 0 if it failed.
    pub milliseconds: u64,
    /// What went wrong; empty if it passed.
    pub reason: String,
}

/// Elements without which no plan can be built, and the packages that contain them.
const REQUIRED: [(&str, &str); 11] = [
    (AAC_ENCODER, "gstreamer1.0-libav"),
    (VERIFICATION_DECODER, "gstreamer1.0-libav"),
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

/// Reports on this installation.
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
    Report { gstreamer: version(), usable, missing, modules: modules(), decoders, encoders, gpu }
}

fn modules() -> Vec<Module> {
    let mut modules = BTreeMap::<_, Vec<_>>::new();
    for name in registry::elements() {
        let plugin = gst::ElementFactory::find(name).and_then(|factory| factory.plugin());
        if let Some(plugin) = plugin {
            modules.entry((plugin.source().to_string(), plugin.version().to_string())).or_default().push(name);
        }
    }
    modules.into_iter().map(|((name, version), elements)| Module { name, version, elements }).collect()
}

fn missing(installed: &Installed) -> (bool, Vec<String>) {
    let mut missing: Vec<String> = REQUIRED
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
        None if elements.is_empty() => "no GPU found; encoding on CPU (slower)".to_owned(),
        None => format!("there is a GPU, and {GPU_ENABLED} says not to use it"),
        Some(SelfTest { passed: true, .. }) => "the GPU is used".to_owned(),
        Some(SelfTest { reason, .. }) => format!("the GPU failed its test: {reason}"),
    };
    let driver = installed.gpu_driver().map(str::to_owned);
    Gpu { enabled, elements, driver, libraries: driver::libraries(), self_test, note }
}

/// Tests the GPU's encoder, and its scaler if it can crop.
fn self_test(installed: &Installed) -> SelfTest {
    let on_gpu = installed.no_gpu_frames().is_none();
    let names = installed.encoder_names();
    let here = |row: &&Encoder| names.contains(&row.name) && (row.on_gpu || on_gpu);
    let Some(encoder) = ENCODERS.iter().find(here) else {
        return SelfTest { passed: false, milliseconds: 0, reason: "it neither encodes nor scales".into() };
    };
    driver_log::clear();
    match selftest::run(encoder, installed.lacking(encoder.name), on_gpu) {
        Ok(time) => SelfTest { passed: true, milliseconds: time.as_millis() as u64, reason: String::new() },
        Err(failed) => {
            let reason = failure::on_the_gpu(failed, driver_log::first_error()).message;
            SelfTest { passed: false, milliseconds: 0, reason }
        }
    }
}

//! Which decoders and encoders of the catalog are installed. This is detected once per process.

use super::{
    catalog::{DECODERS, Decoder, ENCODERS, Encoder, GPU_DECODERS, GPU_SCALER, common_name},
    registry,
};
use crate::gpu::{driver, driver_log};
use clipfleet_domain::rendition::Rendition;
use gst::prelude::*;
use gstreamer as gst;

/// Whether to use a GPU: `auto` (also when unset), `true` (a GPU is required) or `false`.
pub const GPU_ENABLED: &str = "GPU_ENABLED";

/// The first version of GStreamer whose elements crop in the GPU's memory without copying.
const MIN_GPU_CROP_VERSION: (u32, u32) = (1, 28);

/// The rows of the catalog that are installed here, and the GPU.
#[derive(Debug, Default)]
pub struct Installed {
    gpu: bool,
    gpu_driver: Option<String>,
    /// Why pictures cannot be reframed in the GPU's memory.
    no_gpu_frames: Option<String>,
    decoders: Vec<&'static Decoder>,
    gpu_decoders: Vec<&'static Decoder>,
    encoders: Vec<&'static Encoder>,
    /// Optional settings that an encoder does not have here.
    lacking: Vec<(&'static str, Vec<&'static str>)>,
    refused: Vec<(&'static str, String)>,
}

impl Installed {
    /// Starts GStreamer with the elements of our tables alone, and detects which of them are installed.
    pub fn start() -> Result<Self, gst::glib::Error> {
        registry::start().map(|()| Self::detect())
    }

    fn detect() -> Self {
        driver_log::install();
        // The plugin registers its elements only if it finds a GPU and its driver.
        let gpu = exists("cudaupload") && std::env::var(GPU_ENABLED).as_deref() != Ok("false");
        let is_installed = |row: &&Decoder| {
            exists(row.element) && row.parser.is_none_or(exists) && row.fallback_parser.is_none_or(exists)
        };
        let mut installed = Self {
            gpu,
            gpu_driver: driver::version(),
            no_gpu_frames: no_gpu_frames(),
            decoders: DECODERS.iter().filter(is_installed).collect(),
            gpu_decoders: GPU_DECODERS.iter().filter(|_| gpu).filter(is_installed).collect(),
            ..Self::default()
        };
        for row in ENCODERS.iter().filter(|row| gpu || !row.on_gpu) {
            match encoder_lacks(row) {
                Ok(lacking) => {
                    installed.encoders.push(row);
                    installed.lacking.push((row.name, lacking));
                }
                Err(reason) => installed.refused.push((row.name, reason)),
            }
        }
        installed
    }

    /// Whether a GPU is present and enabled.
    pub fn has_gpu(&self) -> bool {
        self.gpu
    }

    /// Version of the GPU's driver, if the kernel reports it.
    pub fn gpu_driver(&self) -> Option<&str> {
        self.gpu_driver.as_deref()
    }

    /// The GPU's decoder for a codec.
    pub fn gpu_decoder(&self, codec: &str) -> Option<&'static Decoder> {
        self.gpu_decoders.iter().copied().find(|row| row.codec == codec)
    }

    /// Optional settings that an encoder does not have here.
    pub fn lacking(&self, encoder: &str) -> &[&'static str] {
        self.lacking.iter().find(|(name, _)| *name == encoder).map_or(&[], |(_, lacking)| lacking)
    }

    /// Why pictures cannot be reframed in the GPU's memory; `None` if they can.
    pub fn no_gpu_frames(&self) -> Option<String> {
        self.no_gpu_frames.clone()
    }

    /// An installation that does not exist, for tests.
    #[cfg(test)]
    pub(crate) fn imagined(gpu: bool, encoders: &[&str], decoders: &[&str]) -> Self {
        let (present, absent): (Vec<&Encoder>, Vec<&Encoder>) =
            ENCODERS.iter().partition(|row| encoders.contains(&row.name));
        Self {
            gpu,
            gpu_decoders: GPU_DECODERS.iter().filter(|row| decoders.contains(&row.element)).collect(),
            encoders: present,
            refused: absent.iter().map(|row| (row.name, "not found".to_owned())).collect(),
            ..Self::default()
        }
    }

    /// Loads the GPU's libraries, if there is a GPU, before an order arrives. All others are loaded at the start.
    pub fn preload(&self) {
        for name in self.gpu_decoders.iter().map(|row| row.element).chain(self.gpu.then_some(GPU_SCALER)) {
            // An element that cannot be loaded reports that when it is created.
            let _ = gst::ElementFactory::find(name).map(|factory| factory.load());
        }
    }

    /// The decoder for caps of a demuxer. The error is the codec's name and a remedy.
    pub fn decoder(&self, caps: &gst::CapsRef) -> Result<&'static Decoder, (String, String)> {
        let takes = |row: &Decoder| row.caps.parse::<gst::Caps>().is_ok_and(|known| caps.can_intersect(&known));
        if let Some(row) = self.decoders.iter().find(|row| takes(row)) {
            return Ok(row);
        }
        match DECODERS.iter().find(|row| takes(row)) {
            Some(row) => Err((row.codec.into(), format!("install {} on the worker", row.package))),
            None => Err((common_name(caps), "convert it to H.264, HEVC, VP8, VP9 or AV1 with AAC or Opus".into())),
        }
    }

    /// The encoders that may be tried for an order (`auto`, or one name), best first.
    pub fn encoders(&self, wanted: &str) -> Vec<&'static Encoder> {
        self.encoders.iter().copied().filter(|row| wanted == "auto" || row.name == wanted).collect()
    }

    /// Names of all installed encoders.
    pub fn encoder_names(&self) -> Vec<&'static str> {
        self.encoders.iter().map(|row| row.name).collect()
    }

    /// Whether a row of [`DECODERS`] is installed.
    pub fn has_decoder(&self, row: &Decoder) -> bool {
        self.decoders.iter().any(|known| known.element == row.element && known.codec == row.codec)
    }

    /// Why an encoder cannot be used; `None` if it can.
    pub fn refusal(&self, name: &str) -> Option<&str> {
        self.refused.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| reason.as_str())
    }
}

/// Whether an element with this name is installed.
pub fn exists(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

fn no_gpu_frames() -> Option<String> {
    let (major, minor, ..) = gst::version();
    if (major, minor) < MIN_GPU_CROP_VERSION {
        let (wanted, crop) = MIN_GPU_CROP_VERSION;
        return Some(format!("GStreamer {major}.{minor} does not crop in the GPU's memory; {wanted}.{crop} does"));
    }
    (!exists(GPU_SCALER)).then(|| format!("{GPU_SCALER} is not there; install libnvrtc12"))
}

/// The optional settings that an encoder does not have, or why it cannot be used.
fn encoder_lacks(row: &Encoder) -> Result<Vec<&'static str>, String> {
    if row.parser.is_some_and(|parser| !exists(parser)) {
        return Err(format!("install {}", row.package));
    }
    let Ok(element) = gst::ElementFactory::make(row.name).build() else {
        // The plugin is installed, because the GPU's other elements exist.
        let of_gpu = || "neither the GPU nor its driver has an encoder for GStreamer".to_owned();
        return Err(if row.on_gpu { of_gpu() } else { format!("not found; install {}", row.package) });
    };
    let unknown = (row.properties)(&Rendition::default()).into_iter();
    let unknown = unknown.filter(|(name, value)| !accepts(&element, name, value)).map(|(name, _)| name);
    let (lacking, missing): (Vec<&str>, Vec<&str>) = unknown.partition(|name| row.optional.contains(name));
    if missing.is_empty() { Ok(lacking) } else { Err(format!("this version lacks {}", missing.join(", "))) }
}

/// Whether an element has a setting and can parse this value. Setting it without this check would panic.
pub fn accepts(element: &gst::Element, name: &str, value: &str) -> bool {
    element.find_property(name).is_some_and(|pspec| gst::glib::Value::deserialize_with_pspec(value, &pspec).is_ok())
}

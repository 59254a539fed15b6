//! Every decoder and encoder we may use: rows of tables, in order of preference. What is really installed is found out by
//! looking, once per process; hardware variants are further rows.

use crate::driver_log;
use clipfleet_domain::rendition::{Quality, Rendition};
use gst::prelude::*;
use gstreamer as gst;

/// Pictures or sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// One way to decode one codec.
#[derive(Debug)]
pub struct Decoder {
    /// What it decodes, for people.
    pub codec: &'static str,
    /// What it decodes, as capabilities.
    pub caps: &'static str,
    /// Pictures or sound.
    pub kind: Kind,
    /// An element needed before it. Demuxers deliver whole frames, so most need none; H.264 is 0.5 ms per frame cheaper so.
    pub parser: Option<&'static str>,
    /// An element needed before it where the decoder does not take a stream as the demuxer gives it: H.264 with its parameters in the
    /// stream, as browsers record it, or pictures of JPEG that nobody has looked at.
    otherwise: Option<&'static str>,
    /// The decoding element.
    pub element: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
}

const LIBAV: &str = "gstreamer1.0-libav";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BASE: &str = "gstreamer1.0-plugins-base";
const BAD: &str = "gstreamer1.0-plugins-bad";

const fn video(codec: &'static str, caps: &'static str, element: &'static str, package: &'static str) -> Decoder {
    Decoder { codec, caps, kind: Kind::Video, parser: None, otherwise: None, element, package }
}

const fn audio(codec: &'static str, caps: &'static str, element: &'static str, package: &'static str) -> Decoder {
    Decoder { codec, caps, kind: Kind::Audio, parser: None, otherwise: None, element, package }
}

const fn parsed(parser: &'static str, decoder: Decoder) -> Decoder {
    Decoder { parser: Some(parser), ..decoder }
}

const fn or_parsed(parser: &'static str, decoder: Decoder) -> Decoder {
    Decoder { otherwise: Some(parser), ..decoder }
}

impl Decoder {
    /// The element needed before it for a stream of these caps.
    pub fn parser_for(&self, caps: &gst::Caps) -> Option<&'static str> {
        let taken = || gst::ElementFactory::find(self.element).is_some_and(|factory| factory.can_sink_all_caps(caps));
        self.parser.or_else(|| self.otherwise.filter(|_| !taken()))
    }
}

/// Every decoder, best first within a codec.
pub const DECODERS: &[Decoder] = &[
    or_parsed("h264parse", video("H.264", "video/x-h264", "avdec_h264", LIBAV)),
    or_parsed("h265parse", video("HEVC", "video/x-h265", "avdec_h265", LIBAV)),
    video("VP8", "video/x-vp8", "vp8dec", GOOD),
    video("VP9", "video/x-vp9", "vp9dec", GOOD),
    parsed("av1parse", video("AV1", "video/x-av1", "dav1ddec", "gstreamer1.0-dav1d")),
    parsed("av1parse", video("AV1", "video/x-av1", "av1dec", BAD)),
    video("MPEG-4 Visual", "video/mpeg,mpegversion=4", "avdec_mpeg4", LIBAV),
    video("MPEG-2", "video/mpeg,mpegversion=[1,2]", "avdec_mpeg2video", LIBAV),
    video("ProRes", "video/x-prores", "avdec_prores", LIBAV),
    or_parsed("jpegparse", video("Motion JPEG", "image/jpeg", "avdec_mjpeg", LIBAV)),
    parsed("aacparse", audio("AAC", "audio/mpeg,mpegversion={2,4}", "avdec_aac", LIBAV)),
    audio("Opus", "audio/x-opus", "opusdec", BASE),
    audio("Vorbis", "audio/x-vorbis", "vorbisdec", BASE),
    parsed("mpegaudioparse", audio("MP3", "audio/mpeg,mpegversion=1", "mpg123audiodec", GOOD)),
    parsed("flacparse", audio("FLAC", "audio/x-flac", "flacdec", GOOD)),
    parsed("ac3parse", audio("AC-3", "audio/x-ac3", "avdec_ac3", LIBAV)),
    parsed("ac3parse", audio("E-AC-3", "audio/x-eac3", "avdec_eac3", LIBAV)),
    audio("ALAC", "audio/x-alac", "avdec_alac", LIBAV),
    audio("PCM", "audio/x-raw", "identity", BASE),
];

/// Decoders of GPUs, for pictures that are plain enough; the others' elements parse by themselves.
pub const GPU_DECODERS: &[Decoder] = &[
    video("H.264", "video/x-h264", "nvh264dec", BAD),
    video("HEVC", "video/x-h265", "nvh265dec", BAD),
    video("VP8", "video/x-vp8", "nvvp8dec", BAD),
    parsed("vp9parse", video("VP9", "video/x-vp9", "nvvp9dec", BAD)),
    parsed("av1parse", video("AV1", "video/x-av1", "nvav1dec", BAD)),
];

/// Crops and scales in a GPU's memory.
pub const GPU_SCALER: &str = "cudaconvertscale";

/// The first GStreamer whose elements crop in a GPU's memory without copying.
const GPU_CROP: (u32, u32) = (1, 28);

/// One way to encode. Whatever its variant, it takes pictures in the caps it names and gives H.264 that an MP4 takes.
#[derive(Debug)]
pub struct Encoder {
    /// Its name in orders, results and logs; also the element's.
    pub name: &'static str,
    /// The Debian package that has it.
    pub package: &'static str,
    /// The pixel format it is fed with.
    pub format: &'static str,
    /// Whether it is a part of a GPU.
    pub on_gpu: bool,
    /// Its settings for a rendition. Every one must exist for the row to count as available, but for those named next.
    pub properties: fn(&Rendition) -> Vec<Property>,
    /// Settings that only some GPUs have; those that have not are encoded without.
    pub optional: &'static [&'static str],
    /// Caps asked of it, which fix the profile.
    pub output: &'static str,
    /// An element needed between it and the multiplexer.
    pub parser: Option<&'static str>,
}

/// Name and value of a setting, as text.
pub type Property = (&'static str, String);

/// Every H.264 encoder, best first.
pub const ENCODERS: &[Encoder] = &[
    Encoder {
        name: "nvh264enc",
        package: BAD,
        format: "NV12",
        on_gpu: true,
        properties: nvenc,
        optional: &["bframes", "b-adapt", "spatial-aq", "aq-strength", "rc-lookahead"],
        output: "video/x-h264,profile=high,stream-format=avc,alignment=au",
        parser: None,
    },
    Encoder {
        name: "x264enc",
        package: "gstreamer1.0-plugins-ugly",
        format: "I420",
        on_gpu: false,
        properties: x264,
        optional: &[],
        output: "video/x-h264,profile=high,stream-format=avc,alignment=au",
        parser: None,
    },
    Encoder {
        name: "openh264enc",
        package: BAD,
        format: "I420",
        on_gpu: false,
        properties: openh264,
        optional: &[],
        output: "video/x-h264,stream-format=byte-stream,alignment=au",
        parser: Some("h264parse"),
    },
];

/// Elements that every plan or nearly every plan has.
const FIXED: [&str; 8] = [
    AAC_ENCODER,
    PROOF_DECODER,
    "qtdemux",
    "matroskademux",
    "mp4mux",
    "videocrop",
    "videoconvertscale",
    "audioresample",
];

/// Decodes what an encoder made, for the proof: software whatever the encoder is, so that no GPU vouches for itself.
pub const PROOF_DECODER: &str = "avdec_h264";

/// The AAC encoder: the coder of libavcodec.
///
/// Measured by `examples/aac_encoders.rs` at 128 kbit/s on made-up sound of -13 LUFS, GStreamer 1.22 with FFmpeg 5.1: share of the ear's bands
/// (one ERB) in which the coding noise is above a simple mask, mean error of the bands' levels, rise of the true peak,
/// CPU time of a minute, kbit/s really taken. Lower is better; `fdkaacenc` (not free) was not installed.
///
/// | | delay | speech | music | clicks |
/// |---|---|---|---|---|
/// | `avenc_aac`, `twoloop` | 1,024 | 49 %, 0.9 dB, +0.3 dB, 2.1 s, 131 | 46 %, 1.3 dB, +1.1 dB, 1.3 s, 139 | 36 %, 1.2 dB, +0.9 dB, 1.3 s, 73 |
/// | `avenc_aac`, `fast` | 1,024 | 37 %, 0.6 dB, +0.1 dB, 0.5 s, 130 | 38 %, 0.9 dB, +1.7 dB, 0.4 s, 133 | 12 %, 0.8 dB, +0.9 dB, 0.7 s, 98 |
/// | `voaacenc` | 1,600 | 41 %, 8.9 dB, +0.1 dB, 0.5 s, 131 | 26 %, 1.8 dB, +0.5 dB, 0.6 s, 130 | 48 %, 1.8 dB, +0.9 dB, 0.5 s, 130 |
///
/// `voaacenc` cuts the treble off. That was measured with mid/side coding forced on every band, GStreamer's default, which puts what is on
/// one side on both; without it, error to the sound (dB), largest difference between the sides within 50 ms where they are alike (dB):
///
/// | | speech, the same on both sides | beeps, the same on both sides | 440 Hz left, 3 kHz right |
/// |---|---|---|---|
/// | `twoloop`, forced | -28.0, 0.00 | -25.5, 0.00 | -3.0 |
/// | `twoloop` | -24.8, 0.10 | -24.9, 0.53 | -29.5 |
/// | `fast`, forced | -32.2, 0.07 | -53.5, 0.00 | -3.0 |
/// | `fast` | -36.2, 0.00 | -48.9, 0.00 | -57.7 |
///
/// So `fast` it is, without: nearer to the sound by all figures, the same on both sides where the sound is, and in half of the time.
pub const AAC_ENCODER: &str = "avenc_aac";

/// Samples by which [`AAC_ENCODER`]'s output begins before the sound it was given.
pub const AAC_PRIMING: u32 = 1_024;

/// Bits per second of the sound.
const AAC_BITS_PER_SECOND: u32 = 128_000;

/// The settings of [`AAC_ENCODER`]. Mid/side coding by band, libavcodec's own default, has no value in GStreamer 1.22,
/// where `aac-ms` is a boolean. In 1.28 it is one of three; 0 is off in both.
pub fn aac() -> Vec<Property> {
    vec![("bitrate", AAC_BITS_PER_SECOND.to_string()), ("aac-coder", "fast".into()), ("aac-ms", "0".into())]
}

/// Seconds between key frames.
const KEY_SECONDS: u32 = 2;

/// Average kbit/s of ordinary content at up to 30 frames per second; the cap is twice that.
fn average_kbps(rendition: &Rendition) -> u32 {
    let short_side = match rendition.quality {
        Quality::P720 => 4_000,
        Quality::P1080 | Quality::High => 8_000,
        Quality::P1440 => 14_000,
        Quality::P2160 => 28_000,
    };
    if rendition.fps > 30 { short_side * 3 / 2 } else { short_side }
}

/// Constant quality under a cap. `bitrate` is the cap and only together with `vbv-buf-capacity`; its default would squeeze
/// every picture into 2 Mbit/s. The buffer of 1.5 s lets a scene change through and fits the levels of all players.
fn x264(rendition: &Rendition) -> Vec<Property> {
    let (preset, quantizer) = match rendition.quality {
        Quality::High => ("veryfast", 23),
        _ => ("superfast", 24),
    };
    vec![
        ("speed-preset", preset.into()),
        ("pass", "qual".into()),
        ("quantizer", quantizer.to_string()),
        ("bitrate", (2 * average_kbps(rendition)).to_string()),
        ("vbv-buf-capacity", "1500".into()),
        ("key-int-max", (KEY_SECONDS * rendition.fps).to_string()),
    ]
}

/// Constant quality under a cap, as of x264. Without an average, the preset's own would stay in force; ours is the cap.
fn nvenc(rendition: &Rendition) -> Vec<Property> {
    let (preset, quality) = match rendition.quality {
        Quality::High => ("p5", 20),
        _ => ("p4", 23),
    };
    let cap = 2 * average_kbps(rendition);
    vec![
        ("preset", preset.into()),
        ("tune", "high-quality".into()),
        ("rc-mode", "vbr".into()),
        ("const-quality", quality.to_string()),
        ("bitrate", cap.to_string()),
        ("max-bitrate", cap.to_string()),
        ("gop-size", (KEY_SECONDS * rendition.fps).to_string()),
        ("bframes", "2".into()),
        ("spatial-aq", "true".into()),
        ("aq-strength", "8".into()),
        ("rc-lookahead", "20".into()),
    ]
}

fn openh264(rendition: &Rendition) -> Vec<Property> {
    let average = average_kbps(rendition) * 1_000;
    vec![
        ("rate-control", "bitrate".into()),
        ("bitrate", average.to_string()),
        ("max-bitrate", (2 * average).to_string()),
        ("gop-size", (KEY_SECONDS * rendition.fps).to_string()),
        ("complexity", "medium".into()),
    ]
}

/// Whether a GPU is to be used: `auto` (also when unset), `true` (nothing else will do) or `false`.
pub const GPU_ENABLED: &str = "GPU_ENABLED";

/// What of the tables is installed here.
#[derive(Debug, Default)]
pub struct Installed {
    gpu: bool,
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
    /// Starts GStreamer and looks at what it has.
    pub fn start() -> Result<Self, gst::glib::Error> {
        gst::init().map(|()| Self::look())
    }

    /// Looks at what GStreamer has. Call after `gst::init`.
    pub fn look() -> Self {
        driver_log::listen();
        // The plugin registers elements only where it finds a GPU and its driver.
        let gpu = exists("cudaupload") && std::env::var(GPU_ENABLED).as_deref() != Ok("false");
        let here =
            |row: &&Decoder| exists(row.element) && row.parser.is_none_or(exists) && row.otherwise.is_none_or(exists);
        let mut installed = Self {
            gpu,
            no_gpu_frames: no_gpu_frames(),
            decoders: DECODERS.iter().filter(here).collect(),
            gpu_decoders: GPU_DECODERS.iter().filter(|_| gpu).filter(here).collect(),
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

    /// Whether there is a GPU to be used.
    pub fn has_gpu(&self) -> bool {
        self.gpu
    }

    /// What decodes a codec on the GPU.
    pub fn gpu_decoder(&self, codec: &str) -> Option<&'static Decoder> {
        self.gpu_decoders.iter().copied().find(|row| row.codec == codec)
    }

    /// Optional settings that an encoder does not have here.
    pub fn lacking(&self, encoder: &str) -> &[&'static str] {
        self.lacking.iter().find(|(name, _)| *name == encoder).map_or(&[], |(_, lacking)| lacking)
    }

    /// Why pictures cannot be reframed in the GPU's memory; `None` when they can.
    pub fn no_gpu_frames(&self) -> Option<String> {
        self.no_gpu_frames.clone()
    }

    /// A machine that is not this one.
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

    /// Loads the libraries of everything that a clip may need, while nobody waits for it.
    pub fn preload(&self) {
        let rows = self.decoders.iter().chain(&self.gpu_decoders);
        let decoders = rows.flat_map(|row| [Some(row.element), row.parser, row.otherwise]).flatten();
        let encoders = self.encoders.iter().map(|row| row.name);
        for name in decoders.chain(encoders).chain(FIXED) {
            // What cannot be loaded says so when it is needed.
            let _ = gst::ElementFactory::find(name).map(|factory| factory.load());
        }
    }

    /// The decoder for caps of a demuxer, or the codec's name and what to do.
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

    /// Names of all encoders that are here.
    pub fn encoder_names(&self) -> Vec<&'static str> {
        self.encoders.iter().map(|row| row.name).collect()
    }

    /// Whether a row of [`DECODERS`] can be used.
    pub fn has_decoder(&self, row: &Decoder) -> bool {
        self.decoders.iter().any(|known| known.element == row.element && known.codec == row.codec)
    }

    /// Why an encoder cannot be used; `None` when it can.
    pub fn refusal(&self, name: &str) -> Option<&str> {
        self.refused.iter().find(|(refused, _)| *refused == name).map(|(_, reason)| reason.as_str())
    }
}

/// Codecs that we do not decode, by the name of their caps or the four characters that MP4 has for them.
const OTHERS: &[(&str, &str)] = &[
    ("AVdh", "DNxHR or DNxHD"),
    ("AVdn", "DNxHD"),
    ("audio/x-dts", "DTS"),
    ("audio/x-true-hd", "Dolby TrueHD"),
    ("audio/x-wma", "Windows Media Audio"),
    ("ap4h", "ProRes 4444"),
    ("apac", "Apple Positional Audio"),
    ("ai12", "AVC-Intra"),
    ("ai5p", "AVC-Intra"),
    ("video/x-cineform", "CineForm"),
    ("video/x-dnxhd", "DNxHD"),
    ("video/x-dv", "DV"),
    ("video/x-ffv", "FFV1"),
    ("video/x-flash-video", "Sorenson Spark"),
    ("video/x-h263", "H.263"),
    ("video/x-h266", "VVC"),
    ("video/x-huffyuv", "HuffYUV"),
    ("video/x-indeo", "Indeo"),
    ("video/x-msmpeg", "Microsoft MPEG-4"),
    ("video/x-svq", "Sorenson Video"),
    ("video/x-theora", "Theora"),
    ("video/x-wmv", "Windows Media Video"),
];

/// What people call the codec of caps that we do not decode.
fn common_name(caps: &gst::CapsRef) -> String {
    let name = caps.structure(0).map_or("unknown", |structure| structure.name().as_str());
    let fourcc = name.rsplit_once("x-gst-fourcc-").map(|(_, fourcc)| fourcc);
    let known = OTHERS.iter().find(|(known, _)| *known == fourcc.unwrap_or(name));
    known.map_or_else(|| fourcc.unwrap_or(name).to_owned(), |(_, common)| (*common).to_owned())
}

/// Whether an element of that name is installed.
pub fn exists(element: &str) -> bool {
    gst::ElementFactory::find(element).is_some()
}

fn no_gpu_frames() -> Option<String> {
    let (major, minor, ..) = gst::version();
    if (major, minor) < GPU_CROP {
        let (wanted, crop) = GPU_CROP;
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
        // Its plugin is there, since the GPU's other elements are.
        let of_gpu = || "neither the GPU nor its driver has an encoder for GStreamer".to_owned();
        return Err(if row.on_gpu { of_gpu() } else { format!("not found; install {}", row.package) });
    };
    let unknown = (row.properties)(&Rendition::default()).into_iter();
    let unknown = unknown.filter(|(name, value)| !accepts(&element, name, value)).map(|(name, _)| name);
    let (lacking, missing): (Vec<&str>, Vec<&str>) = unknown.partition(|name| row.optional.contains(name));
    if missing.is_empty() { Ok(lacking) } else { Err(format!("this version lacks {}", missing.join(", "))) }
}

/// Whether an element has a setting and understands its value. Setting it otherwise would panic.
pub fn accepts(element: &gst::Element, name: &str, value: &str) -> bool {
    element.find_property(name).is_some_and(|pspec| gst::glib::Value::deserialize_with_pspec(value, &pspec).is_ok())
}

//! Every decoder and encoder that may be used: rows of tables, in order of preference. Hardware variants are further
//! rows. Which rows are installed is detected by [`super::installed`].

use clipfleet_domain::rendition::{Quality, Rendition};
use gstreamer as gst;

/// The kind of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Audio.
    Audio,
}

/// A decoder of one codec.
#[derive(Debug)]
pub struct Decoder {
    /// The codec's name, for people.
    pub codec: &'static str,
    /// The codec's caps.
    pub caps: &'static str,
    /// The kind of stream.
    pub kind: Kind,
    /// A parser that is always needed before the decoder. Most decoders need none, because demuxers deliver whole
    /// frames; without a parser, H.264 costs 0.5 ms per frame less.
    pub parser: Option<&'static str>,
    /// A parser for streams that the decoder does not accept from the demuxer: H.264 with its parameters in the stream,
    /// as browsers record it, or JPEG pictures that have not been parsed.
    pub(super) fallback_parser: Option<&'static str>,
    /// The decoding element.
    pub element: &'static str,
    /// The Debian package that contains it.
    pub package: &'static str,
}

const LIBAV: &str = "gstreamer1.0-libav";
const GOOD: &str = "gstreamer1.0-plugins-good";
const BASE: &str = "gstreamer1.0-plugins-base";
const BAD: &str = "gstreamer1.0-plugins-bad";

const fn video(codec: &'static str, caps: &'static str, element: &'static str, package: &'static str) -> Decoder {
    Decoder { codec, caps, kind: Kind::Video, parser: None, fallback_parser: None, element, package }
}

const fn audio(codec: &'static str, caps: &'static str, element: &'static str, package: &'static str) -> Decoder {
    Decoder { codec, caps, kind: Kind::Audio, parser: None, fallback_parser: None, element, package }
}

const fn parsed(parser: &'static str, decoder: Decoder) -> Decoder {
    Decoder { parser: Some(parser), ..decoder }
}

const fn or_parsed(parser: &'static str, decoder: Decoder) -> Decoder {
    Decoder { fallback_parser: Some(parser), ..decoder }
}

impl Decoder {
    /// The parser that is needed for a stream with these caps.
    pub fn parser_for(&self, caps: &gst::Caps) -> Option<&'static str> {
        let taken = || gst::ElementFactory::find(self.element).is_some_and(|factory| factory.can_sink_all_caps(caps));
        self.parser.or_else(|| self.fallback_parser.filter(|_| !taken()))
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

/// Decoders of GPUs, for 8-bit 4:2:0 progressive pictures. Those without a parser parse the stream themselves.
pub const GPU_DECODERS: &[Decoder] = &[
    video("H.264", "video/x-h264", "nvh264dec", BAD),
    video("HEVC", "video/x-h265", "nvh265dec", BAD),
    video("VP8", "video/x-vp8", "nvvp8dec", BAD),
    parsed("vp9parse", video("VP9", "video/x-vp9", "nvvp9dec", BAD)),
    parsed("av1parse", video("AV1", "video/x-av1", "nvav1dec", BAD)),
];

/// Crops and scales in the GPU's memory.
pub const GPU_SCALER: &str = "cudaconvertscale";

/// An encoder. Every row takes pictures in the format it names and produces H.264 that an MP4 can contain.
#[derive(Debug)]
pub struct Encoder {
    /// Its name in orders, results and logs, which is also the element's name.
    pub name: &'static str,
    /// The Debian package that contains it.
    pub package: &'static str,
    /// The pixel format of its input.
    pub format: &'static str,
    /// Whether it runs on a GPU.
    pub on_gpu: bool,
    /// Its settings for a rendition. The row is available only if all of them exist, except for the optional ones.
    pub properties: fn(&Rendition) -> Vec<Property>,
    /// Settings that only some GPUs have. They are left out on the others.
    pub optional: &'static [&'static str],
    /// Caps of its output, which fix the profile.
    pub output: &'static str,
    /// A parser between the encoder and the multiplexer.
    pub parser: Option<&'static str>,
}

/// A setting: name and value, as text.
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

/// Decodes the encoder's output for verification. It always runs on the CPU, so that no GPU verifies its own output.
pub const VERIFICATION_DECODER: &str = "avdec_h264";

/// The AAC encoder of libavcodec.
///
/// Measured by `examples/aac_encoders.rs` at 128 kbit/s on synthetic audio of -13 LUFS, GStreamer 1.22 with FFmpeg 5.1:
/// share of the ear's bands (one ERB) in which the coding noise exceeds a simple mask, mean error of the bands' levels,
/// rise of the true peak, CPU time per minute of audio, and kbit/s of the output. Lower is better. `fdkaacenc` (not
/// free) was not installed.
///
/// | | delay | speech | music | clicks |
/// |---|---|---|---|---|
/// | `avenc_aac`, `twoloop` | 1,024 | 49 %, 0.9 dB, +0.3 dB, 2.1 s, 131 | 46 %, 1.3 dB, +1.1 dB, 1.3 s, 139 | 36 %, 1.2 dB, +0.9 dB, 1.3 s, 73 |
/// | `avenc_aac`, `fast` | 1,024 | 37 %, 0.6 dB, +0.1 dB, 0.5 s, 130 | 38 %, 0.9 dB, +1.7 dB, 0.4 s, 133 | 12 %, 0.8 dB, +0.9 dB, 0.7 s, 98 |
/// | `voaacenc` | 1,600 | 41 %, 8.9 dB, +0.1 dB, 0.5 s, 131 | 26 %, 1.8 dB, +0.5 dB, 0.6 s, 130 | 48 %, 1.8 dB, +0.9 dB, 0.5 s, 130 |
///
/// `voaacenc` removes the treble. These figures were measured with mid/side coding forced on every band. That is
/// GStreamer's default, and it spreads audio of one channel over both channels. Without it, error relative to the audio
/// (dB), and largest difference between the channels within 50 ms for input with equal channels (dB):
///
/// | | speech, equal channels | beeps, equal channels | 440 Hz left, 3 kHz right |
/// |---|---|---|---|
/// | `twoloop`, forced | -28.0, 0.00 | -25.5, 0.00 | -3.0 |
/// | `twoloop` | -24.8, 0.10 | -24.9, 0.53 | -29.5 |
/// | `fast`, forced | -32.2, 0.07 | -53.5, 0.00 | -3.0 |
/// | `fast` | -36.2, 0.00 | -48.9, 0.00 | -57.7 |
///
/// Hence `fast` without mid/side coding: it is closer to the input by all figures, keeps equal channels equal, and
/// takes half of the time.
pub const AAC_ENCODER: &str = "avenc_aac";

/// Number of samples that [`AAC_ENCODER`] puts before its input.
pub const AAC_PRIMING: u32 = 1_024;

/// Bits per second of the audio.
const AAC_BITS_PER_SECOND: u32 = 128_000;

/// The settings of [`AAC_ENCODER`]. `aac-ms` is a boolean in GStreamer 1.22, which cannot express libavcodec's own
/// default, mid/side coding by band. In 1.28 it has three values. 0 is off in both versions.
pub fn aac() -> Vec<Property> {
    vec![("bitrate", AAC_BITS_PER_SECOND.to_string()), ("aac-coder", "fast".into()), ("aac-ms", "0".into())]
}

/// Seconds between key frames.
const KEY_FRAME_SECONDS: u32 = 2;

/// Average kbit/s of ordinary content. The cap is twice this value. Rates above 30 frames per second get half as much
/// again.
fn average_kbps(rendition: &Rendition) -> u32 {
    let short_side = match rendition.quality {
        Quality::P720 => 4_000,
        Quality::P1080 | Quality::High => 8_000,
        Quality::P1440 => 14_000,
        Quality::P2160 => 28_000,
    };
    if rendition.fps > 30 { short_side * 3 / 2 } else { short_side }
}

/// Constant quality under a cap. `bitrate` is the cap, and only together with `vbv-buf-capacity`. Its default would
/// limit every picture to 2 Mbit/s. The buffer of 1.5 s leaves room for a scene change and fits the levels of all
/// players.
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
        ("key-int-max", (KEY_FRAME_SECONDS * rendition.fps).to_string()),
    ]
}

/// Constant quality under a cap, as for x264. The average is set to the cap, because otherwise the preset's average
/// would apply.
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
        ("gop-size", (KEY_FRAME_SECONDS * rendition.fps).to_string()),
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
        ("gop-size", (KEY_FRAME_SECONDS * rendition.fps).to_string()),
        ("complexity", "medium".into()),
    ]
}

/// Codecs that are not decoded, by the name of their caps, by their four-character code in MP4, or by their id in
/// Matroska.
const UNSUPPORTED_CODECS: &[(&str, &str)] = &[
    ("AVdh", "DNxHR or DNxHD"),
    ("AVdn", "DNxHD"),
    ("V_MPEGI/ISO/VVC", VVC),
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
    ("video/x-h266", VVC),
    ("video/x-huffyuv", "HuffYUV"),
    ("video/x-indeo", "Indeo"),
    ("video/x-msmpeg", "Microsoft MPEG-4"),
    ("video/x-svq", "Sorenson Video"),
    ("video/x-theora", "Theora"),
    ("video/x-wmv", "Windows Media Video"),
    ("vvc1", VVC),
    ("vvi1", VVC),
];

const VVC: &str = "H.266 (VVC)";

/// The common name of a codec that is not decoded.
pub(super) fn common_name(caps: &gst::CapsRef) -> String {
    let structure = caps.structure(0);
    let name = structure.map_or("unknown", |structure| structure.name().as_str());
    let fourcc = name.rsplit_once("x-gst-fourcc-").map(|(_, fourcc)| fourcc);
    // Matroska's demuxer names what it does not know by the id in the file.
    let id = structure.and_then(|structure| structure.get::<&str>("codec-id").ok());
    let name = fourcc.or(id).unwrap_or(name);
    let known = UNSUPPORTED_CODECS.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| name.to_owned(), |(_, common)| (*common).to_owned())
}

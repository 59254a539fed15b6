//! Known vulnerabilities of what reads users' files, one row each.
//!
//! Sources: GStreamer's security advisories (`gstreamer.freedesktop.org/security`) up to GStreamer-SA-2026-0065, the
//! CVE records of the later rows, and for `debian` the changelogs of Debian 12's packages. A row names the elements
//! that the source describes; vulnerabilities of elements that the media program never has (subtitles, RTP, AVI and
//! many more) have no row, with one exception. To add one, append it, and set [`AS_OF`] to the day on which the sources
//! were read.

/// The day on which the sources were read.
pub(super) const AS_OF: &str = "2026-11-30";

/// Modules of GStreamer, as its plugins name them, and FFmpeg.
pub(super) const CORE: &str = "gstreamer";
pub(super) const BASE: &str = "gst-plugins-base";
pub(super) const GOOD: &str = "gst-plugins-good";
pub(super) const BAD: &str = "gst-plugins-bad";
pub(super) const LIBAV: &str = "gst-libav";
pub(super) const FFMPEG: &str = "ffmpeg";

/// One advisory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Advisory {
    /// CVE ids; the publisher's own id if there is none.
    pub(super) ids: &'static [&'static str],
    /// The module in which it is fixed.
    pub(super) module: &'static str,
    /// Elements through which a file reaches it.
    pub(super) elements: &'static [&'static str],
    /// The first affected version; empty if all earlier ones are.
    pub(super) since: &'static str,
    /// The first version of each series that has the fix, ascending. Later series have it, too. Empty if the sources
    /// name none.
    pub(super) fixed: &'static [&'static str],
    /// Versions of Debian packages that have the fix although the module's version is affected.
    pub(super) debian: &'static [&'static str],
}

const fn row(
    ids: &'static [&'static str],
    module: &'static str,
    elements: &'static [&'static str],
    fixed: &'static [&'static str],
) -> Advisory {
    Advisory { ids, module, elements, since: "", fixed, debian: &[] }
}

const fn since(since: &'static str, row: Advisory) -> Advisory {
    Advisory { since, ..row }
}

const fn debian(debian: &'static [&'static str], row: Advisory) -> Advisory {
    Advisory { debian, ..row }
}

const QTDEMUX: &[&str] = &["qtdemux"];
const MATROSKADEMUX: &[&str] = &["matroskademux"];
/// The parser, and the GPU's decoder, which uses the same library.
const AV1: &[&str] = &["av1parse", "nvav1dec"];
const H264: &[&str] = &["h264parse", "nvh264dec"];
const H265: &[&str] = &["h265parse", "nvh265dec"];
const VP9: &[&str] = &["vp9parse", "nvvp9dec"];

/// Every row.
pub(super) const ADVISORIES: &[Advisory] = &[
    // 2024.
    debian(&["1.22.0-4+deb12u5"], row(&["CVE-2024-0444"], BAD, AV1, &["1.22.9"])),
    debian(&["1.22.0-3+deb12u2"], row(&["CVE-2024-4453"], BASE, &["jpegparse"], &["1.22.12", "1.24.3"])),
    debian(
        &["1.22.0-5+deb12u2"],
        row(
            &[
                "CVE-2024-47537",
                "CVE-2024-47539",
                "CVE-2024-47543",
                "CVE-2024-47544",
                "CVE-2024-47545",
                "CVE-2024-47546",
                "CVE-2024-47596",
                "CVE-2024-47597",
                "CVE-2024-47598",
                "CVE-2024-47606",
            ],
            GOOD,
            QTDEMUX,
            &["1.24.10"],
        ),
    ),
    debian(
        &["1.22.0-5+deb12u2"],
        row(
            &["CVE-2024-47540", "CVE-2024-47601", "CVE-2024-47602", "CVE-2024-47603", "CVE-2024-47834"],
            GOOD,
            MATROSKADEMUX,
            &["1.24.10"],
        ),
    ),
    // The memory allocator; the demuxer above reaches it.
    debian(&["1.22.0-2+deb12u1"], row(&["CVE-2024-47606"], CORE, &["queue"], &["1.24.10"])),
    debian(&["1.22.0-3+deb12u3"], row(&["CVE-2024-47538"], BASE, &["vorbisdec"], &["1.24.10"])),
    debian(&["1.22.0-3+deb12u3"], row(&["CVE-2024-47607"], BASE, &["opusdec"], &["1.24.10"])),
    // ID3v2 tags, which an MP4 may contain.
    debian(&["1.22.0-3+deb12u4"], row(&["CVE-2024-47542"], BASE, QTDEMUX, &["1.24.10"])),
    // 2025.
    debian(&["1.22.0-4+deb12u6"], row(&["CVE-2025-3887"], BAD, H265, &["1.26.1"])),
    debian(&["1.22.0-5+deb12u3"], row(&["CVE-2025-47219"], GOOD, QTDEMUX, &["1.26.2"])),
    debian(&["1.22.0-5+deb12u4"], row(&["CVE-2025-47183"], GOOD, QTDEMUX, &["1.26.2"])),
    // 2026. CVE records name 1.28.2 for CVE-2026-46471, the advisory 1.28.1, which has the fix.
    row(&["CVE-2026-46471"], GOOD, QTDEMUX, &["1.28.1"]),
    debian(&["1.22.0-4+deb12u7"], row(&["CVE-2026-3082"], BAD, &["jpegparse"], &["1.28.1"])),
    row(&["GStreamer-SA-2026-0012"], BAD, H265, &["1.28.1"]),
    // The exception: this element is in a plugin that is loaded. It is taken out of the registry, so it is never found.
    since("1.25.1", row(&["CVE-2026-3081", "CVE-2026-3084", "CVE-2026-3086"], BAD, &["h266parse"], &["1.28.1"])),
    row(&["GStreamer-SA-2026-0013"], BAD, H264, &["1.28.2"]),
    row(&["GStreamer-SA-2026-0014"], BAD, AV1, &["1.28.2"]),
    row(&["CVE-2026-5056"], GOOD, QTDEMUX, &["1.28.2"]),
    row(&["CVE-2026-46469", "CVE-2026-46470", "CVE-2026-46472"], GOOD, QTDEMUX, &["1.28.2"]),
    debian(&["1.22.0-5+deb12u4"], row(&["CVE-2026-39043"], GOOD, MATROSKADEMUX, &["1.28.2"])),
    // GStreamer-SA-2026-0025. The CVE record describes the same defect and names no version.
    row(&["CVE-2026-125041"], GOOD, QTDEMUX, &["1.28.3"]),
    debian(&["1.22.0-4+deb12u8"], row(&["CVE-2026-53702"], BAD, H265, &["1.28.3"])),
    // XMP and ID3v2 tags, which an MP4 may contain.
    row(&["GStreamer-SA-2026-0032", "GStreamer-SA-2026-0033"], BASE, QTDEMUX, &["1.28.4"]),
    debian(&["1.22.0-4+deb12u8"], row(&["CVE-2026-52718"], BAD, AV1, &["1.28.4"])),
    debian(&["1.22.0-4+deb12u8"], row(&["CVE-2026-12892"], BAD, H264, &["1.28.5"])),
    row(&["GStreamer-SA-2026-0053"], BASE, &["opusdec"], &["1.28.5"]),
    row(&["GStreamer-SA-2026-0059"], BAD, VP9, &["1.28.5"]),
    row(&["GStreamer-SA-2026-0065"], GOOD, MATROSKADEMUX, &["1.28.5"]),
    debian(&["1.22.0-5+deb12u4"], row(&["CVE-2026-88914"], GOOD, QTDEMUX, &[])),
    row(&["CVE-2026-121611"], BAD, H265, &[]),
    // Up to 9.0.2, in builds with the library of LCEVC.
    since("7.1", row(&["CVE-2026-125262"], FFMPEG, &["avdec_h264", "avdec_h265"], &[])),
];

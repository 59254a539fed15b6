//! The manifest: a description of the clip and its verification, which is stored beside the clip. Times are
//! milliseconds from the clip's start.

use super::{reference::Agreement, runs::Runs};
use crate::audio::loudness::{Action, Decision};
use clipfleet_domain::audio::NormalizeLoudness;
use serde::Serialize;

/// Incremented when a field changes its meaning or is removed. New fields may be added without.
pub const VERSION: u32 = 1;

/// One clip's manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Number of frames.
    pub frames: u32,
    /// Frames per second, constant.
    pub fps: u32,
    /// Length.
    pub duration_ms: i64,
    /// Pixels across.
    pub width: u32,
    /// Width in pixels.
    pub height: u32,
    /// Height in pixels.
    pub size_bytes: u64,
    /// Video codec with profile and level, as in RFC 6381.
    pub video_codec: String,
    /// Audio codec, as in RFC 6381.
    pub audio_codec: &'static str,
    /// Samples per second.
    pub audio_sample_rate_hz: u32,
    /// Channels.
    pub audio_channels: u32,
    /// Video encoder.
    pub encoder: String,
    /// Why it is not the preferred one; empty if it is.
    pub fallback_reason: String,
    /// The gravest kind of that reason (see `domain/fallback.rs`); empty if there is none.
    pub fallback_kind: &'static str,
    /// Decoder of the source's video.
    pub decoder: String,
    /// Version of the GPU's driver, or `unknown`; empty if no GPU was used.
    pub gpu_driver: String,
    /// Whether the source has audio. Otherwise the clip's audio is silence.
    pub source_has_audio: bool,
    /// The source's tracks.
    pub source_tracks: SourceTracks,
    /// How much later the audio is than the video, at the place with the largest offset; absent if the audio varies too
    /// little.
    pub av_offset_ms: Option<f64>,
    /// How much later the audio ends than the video.
    pub end_difference_ms: f64,
    /// Difference of the decoded frames from the encoder's input, in levels of 0 to 255 over the worst blocks.
    pub picture_difference: PictureDifference,
    /// Comparison with the source itself: decoded pictures before reframing, and decoded audio before downmixing.
    pub source_comparison: SourceComparison,
    /// Properties of the source: `source_frozen`, `source_black`, `source_channels_discrete` (channels without
    /// positions: the first two become left and right). They are not faults of the export.
    pub notes: Vec<&'static str>,
    /// Frozen and black stretches of the encoder's input.
    pub input: Runs,
    /// Frozen and black stretches of the clip.
    pub output: Runs,
    /// Loudness of the clip.
    pub loudness: Loudness,
    /// Loudness normalization; absent if it was not requested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
    /// Time to the source's first picture.
    pub fetch_ms: i64,
    /// Time to decode, reframe and encode.
    pub encode_ms: i64,
    /// Time to verify the result.
    pub verify_ms: i64,
}

/// See [`Manifest::source_tracks`]. Numbers are the file's own: MP4's track ids, Matroska's track numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTracks {
    /// The video track; absent if the file does not number it.
    pub video: Option<u64>,
    /// The audio track; absent if there is none.
    pub audio: Option<u64>,
    /// Number of video tracks in the source.
    pub video_tracks: usize,
    /// Number of audio tracks in the source.
    pub audio_tracks: usize,
}

/// See [`Manifest::picture_difference`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PictureDifference {
    /// Number of frames that were decoded and compared. No other frame refers to the remaining ones.
    pub compared: u32,
    /// Mean over all of them.
    pub mean_levels: f64,
    /// Difference of the frame that differs most.
    pub worst_levels: f64,
    /// Time of that frame.
    pub worst_at_ms: i64,
}

/// See [`Manifest::source_comparison`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceComparison {
    /// Number of frames that were compared with pictures of the source.
    pub frames: u32,
    /// Difference of the frame that differs most, in levels of 0 to 255; absent if levels are not compared (high
    /// dynamic range).
    pub worst_levels: Option<f64>,
    /// Number of frames whose picture differs enough from the previous and the next one.
    pub distinct_frames: u32,
    /// Length of the audio that was compared.
    pub audio_ms: u32,
    /// Mean difference of the right channel's share of the energy, 0 to 1.
    pub balance_difference: f64,
    /// Mean difference of the share of energy that both channels have in common, 0 to 1.
    pub sum_difference: f64,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
}

impl SourceComparison {
    /// The manifest's form of a comparison.
    pub fn of(Agreement { pictures, sides, unreadable }: &Agreement) -> Self {
        Self {
            frames: pictures.frames,
            worst_levels: pictures.worst_levels.map(|levels| rounded(levels.into())),
            distinct_frames: pictures.distinct,
            audio_ms: sides.compared_ms,
            balance_difference: rounded(sides.balance.into()),
            sum_difference: rounded(sides.sum.into()),
            not_compared: unreadable.clone(),
        }
    }
}

/// Loudness according to EBU R 128. Fields are absent for silence.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Loudness {
    /// Integrated loudness.
    pub integrated_lufs: Option<f64>,
    /// True peak.
    pub true_peak_dbtp: Option<f64>,
    /// Largest sample.
    pub sample_peak_dbfs: Option<f64>,
}

/// How the loudness was normalized. The result is in [`Loudness`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Normalization {
    /// Requested loudness.
    pub target_lufs: f64,
    /// Requested peak limit.
    pub limit_dbtp: f64,
    /// Loudness of the source's audio within the clip.
    pub source_lufs: Option<f64>,
    /// Its true peak.
    pub source_dbtp: Option<f64>,
    /// Gain of the whole clip, dB.
    pub gain_db: f64,
    /// The largest attenuation by the limiter, dB; 0 if it did nothing.
    pub limited_db: f64,
    /// Why the audio was not changed: `no_sound` (no track, or none that extends into the clip), `too_short` or
    /// `too_quiet`; empty if it was changed.
    pub left_reason: &'static str,
}

impl Normalization {
    /// The manifest's form of a request and the decision.
    pub fn of(requested: NormalizeLoudness, decision: Decision) -> Self {
        let (gain_db, limited_db, left_reason) = match decision.action {
            Action::Leave(reason) => (0.0, 0.0, reason),
            Action::Adjust { settings, limited_db, .. } => (settings.gain_db, limited_db, ""),
        };
        Self {
            target_lufs: requested.target_lufs.as_db(),
            limit_dbtp: requested.true_peak_dbtp.as_db(),
            source_lufs: decision.source_lufs.map(rounded),
            source_dbtp: decision.source_dbtp.map(rounded),
            gain_db: rounded(gain_db),
            limited_db: rounded(limited_db),
            left_reason,
        }
    }
}

impl Manifest {
    /// The manifest as JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// Rounds a measured number to two decimal places. More would be noise.
pub fn rounded(number: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (number * 100.0).round() / 100.0 + 0.0
}

//! The manifest: what was made and how it was proved, as it is stored beside the clip. Times are milliseconds from the
//! clip's start.

use super::{reference::Agreement, runs::Runs};
use crate::leveling::{Action, Decision};
use clipfleet_domain::audio::NormalizeLoudness;
use serde::Serialize;

/// Grows when a field changes its meaning or goes away; new fields may come without.
pub const VERSION: u32 = 1;

/// One clip's manifest.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Frames.
    pub frames: u32,
    /// Frames per second, constant.
    pub fps: u32,
    /// Length.
    pub duration_ms: i64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Bytes of the clip.
    pub size_bytes: u64,
    /// Codec of the picture with profile and level, as in RFC 6381.
    pub video_codec: String,
    /// Codec of the sound, as in RFC 6381.
    pub audio_codec: &'static str,
    /// Samples per second.
    pub audio_sample_rate_hz: u32,
    /// Channels.
    pub audio_channels: u32,
    /// Encoder of the picture.
    pub encoder: String,
    /// Why it is not the preferred one; empty when it is.
    pub fallback_reason: String,
    /// The gravest kind of that reason (see `domain/fallback.rs`); empty when there is none.
    pub fallback_kind: &'static str,
    /// Decoder of the source's picture.
    pub decoder: String,
    /// Version of the GPU's driver, or `unknown`; empty where no GPU had a part in it.
    pub gpu_driver: String,
    /// Whether the source has sound; otherwise the clip's is silence.
    pub source_has_audio: bool,
    /// Which tracks of the source are used.
    pub source_tracks: SourceTracks,
    /// How much later the sound is than the picture, where that is largest; absent when the sound is too even to say.
    pub av_offset_ms: Option<f64>,
    /// How much later the sound ends than the picture.
    pub end_difference_ms: f64,
    /// Difference of decoded pictures from those that entered the encoder, in levels of 0 to 255 over the worst blocks.
    pub picture_difference: PictureDifference,
    /// What was compared with the source itself: decoded pictures before they were reframed, decoded sound before it
    /// was mixed down.
    pub source_comparison: SourceComparison,
    /// What is known of the source: `source_frozen`, `source_black`, `source_channels_discrete` (its channels do not say where they
    /// belong: the first two are left and right). No fault of the export.
    pub notes: Vec<&'static str>,
    /// Standing and black stretches of the pictures that entered the encoder.
    pub input: Runs,
    /// Those of the pictures that the clip shows.
    pub output: Runs,
    /// How loud the clip is.
    pub loudness: Loudness,
    /// What was done about the loudness; absent where nothing was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalization: Option<Normalization>,
    /// Time to the source's first picture.
    pub fetch_ms: i64,
    /// Time to decode, reframe and encode.
    pub encode_ms: i64,
    /// Time to prove the result.
    pub verify_ms: i64,
}

/// See [`Manifest::source_tracks`]. Numbers are those of the file: MP4's track ids, Matroska's track numbers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceTracks {
    /// The picture track; absent where the file does not number it.
    pub video: Option<u64>,
    /// The sound track; absent where there is none.
    pub audio: Option<u64>,
    /// Picture tracks that the source has.
    pub video_tracks: usize,
    /// Sound tracks that the source has.
    pub audio_tracks: usize,
}

/// See [`Manifest::picture_difference`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PictureDifference {
    /// Pictures that were decoded and compared. The others are such as no picture is built on.
    pub compared: u32,
    /// Over all of them.
    pub mean_levels: f64,
    /// Of the picture that differs most.
    pub worst_levels: f64,
    /// When that is shown.
    pub worst_at_ms: i64,
}

/// See [`Manifest::source_comparison`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceComparison {
    /// Frames that were compared with pictures of the source.
    pub frames: u32,
    /// Difference of the frame that differs most, in levels of 0 to 255; absent where levels are not compared (high
    /// dynamic range).
    pub worst_levels: Option<f64>,
    /// Frames that could be told from the pictures before and behind their own.
    pub distinct_frames: u32,
    /// Audio whose sides were compared.
    pub audio_ms: u32,
    /// Mean difference of the right side's share of the energy, 0 to 1.
    pub balance_difference: f64,
    /// Mean difference of the share that both sides have in common, 0 to 1.
    pub sum_difference: f64,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
}

impl SourceComparison {
    /// What was found.
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

/// Loudness after EBU R 128; a field is absent where silence has none.
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

/// How the clip was brought to its loudness; what came of it is in [`Loudness`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Normalization {
    /// Loudness that was asked for.
    pub target_lufs: f64,
    /// Limit that was asked for.
    pub limit_dbtp: f64,
    /// Loudness of the source's sound within the clip.
    pub source_lufs: Option<f64>,
    /// Its true peak.
    pub source_dbtp: Option<f64>,
    /// Gain of the whole clip, dB.
    pub gain_db: f64,
    /// The most by which the limiter turned it down, dB; 0 where it had nothing to do.
    pub limited_db: f64,
    /// Why the sound was left as it is: `no_sound` (no track, or none that reaches into the clip), `too_short` or
    /// `too_quiet`; empty where it was not.
    pub left_reason: &'static str,
}

impl Normalization {
    /// What was asked for and decided.
    pub fn of(asked: NormalizeLoudness, decision: Decision) -> Self {
        let (gain_db, limited_db, left_reason) = match decision.action {
            Action::Leave(reason) => (0.0, 0.0, reason),
            Action::Level { leveling, limited_db, .. } => (leveling.gain_db, limited_db, ""),
        };
        Self {
            target_lufs: asked.target_lufs.as_db(),
            limit_dbtp: asked.true_peak_dbtp.as_db(),
            source_lufs: decision.source_lufs.map(rounded),
            source_dbtp: decision.source_dbtp.map(rounded),
            gain_db: rounded(gain_db),
            limited_db: rounded(limited_db),
            left_reason,
        }
    }
}

impl Manifest {
    /// As JSON for people and programs.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

/// A measured number, to two places: more would be noise.
pub fn rounded(number: f64) -> f64 {
    // Adding zero turns -0 into 0.
    (number * 100.0).round() / 100.0 + 0.0
}

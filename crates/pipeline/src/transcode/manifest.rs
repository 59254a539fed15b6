//! Assembles the manifest of a clip, and the final message to the worker.

use super::{Job, Made};
use crate::{
    mp4,
    picture::cover::COVER_FILE,
    plan::{OUTPUT_FILE, SAMPLE_RATE},
    source::{probe::Probed, tracks::Tracks},
    verify::{
        Verification,
        manifest::{self, Manifest},
    },
};
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::wire_name::WireName as _;

impl Job<'_> {
    /// The manifest, without the durations, the file's size and codec, and the normalization.
    pub(super) fn manifest(&self, probed: &Probed, made: &Made, verification: &Verification) -> Manifest {
        let expected = made.encoded.plan.expected;
        let Verification { similarity, levels, input, output, .. } = verification.clone();
        let flags = [
            ("source_frozen", !input.frozen.is_empty()),
            ("source_black", !input.black.is_empty()),
            ("source_channels_discrete", made.encoded.samples.channels_are_discrete),
        ];
        let notes = flags.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name).collect();
        let Tracks { video, audio, of_video, of_audio } = probed.tracks;
        let rounded = manifest::rounded;
        let encoding = made.route.encoding(&made.reasons, self.installed);
        Manifest {
            version: manifest::VERSION,
            frames: expected.frames,
            fps: expected.fps,
            duration_ms: expected.duration_ms(),
            width: expected.size.width,
            height: expected.size.height,
            size_bytes: 0,
            video_codec: String::new(),
            audio_codec: "mp4a.40.2",
            audio_sample_rate_hz: SAMPLE_RATE,
            audio_channels: 2,
            encoder: encoding.encoder,
            fallback_reason: encoding.fallback_reason,
            fallback_kind: made.reasons.gravest().map_or("", |kind| kind.name()),
            decoder: encoding.decoder,
            gpu_driver: encoding.gpu_driver,
            source_has_audio: probed.audio.is_some(),
            source_tracks: manifest::SourceTracks { video, audio, video_tracks: of_video, audio_tracks: of_audio },
            av_offset_ms: verification.av_offset_ms.map(rounded),
            end_difference_ms: rounded(verification.end_difference_ms),
            picture_difference: manifest::PictureDifference {
                compared: verification.compared,
                mean_levels: rounded(similarity.mean.into()),
                worst_levels: rounded(similarity.worst.into()),
                worst_at_ms: similarity.worst_frame as i64 * 1_000 / i64::from(expected.fps),
            },
            source_comparison: manifest::SourceComparison::of(&verification.agreement),
            notes,
            input,
            output,
            loudness: manifest::Loudness {
                integrated_lufs: levels.integrated_lufs.map(rounded),
                true_peak_dbtp: levels.true_peak_dbtp.map(rounded),
                sample_peak_dbfs: levels.sample_peak_dbfs.map(rounded),
            },
            normalization: None,
            fetch_ms: 0,
            encode_ms: 0,
            verify_ms: 0,
        }
    }
}

/// The video codec as in RFC 6381: profile, constraints and level.
pub(super) fn video_codec(movie: &mp4::Movie) -> String {
    let [profile, constraints, level] = movie.track(b"vide").map_or([0; 3], |track| track.profile_level);
    format!("avc1.{profile:02x}{constraints:02x}{level:02x}")
}

/// The message that ends a successful transcode.
pub(super) fn finished(manifest: &Manifest) -> TranscodeFinished {
    TranscodeFinished {
        file: OUTPUT_FILE.to_owned(),
        cover: COVER_FILE.to_owned(),
        duration_ms: manifest.duration_ms,
        frames: manifest.frames,
        width: manifest.width,
        height: manifest.height,
        encoder: manifest.encoder.clone(),
        fallback_reason: manifest.fallback_reason.clone(),
        fetch_ms: manifest.fetch_ms,
        encode_ms: manifest.encode_ms,
        verify_ms: manifest.verify_ms,
        manifest: manifest.to_json(),
        decoder: manifest.decoder.clone(),
        gpu_driver: manifest.gpu_driver.clone(),
        fallback_kind: manifest.fallback_kind.to_owned(),
    }
}

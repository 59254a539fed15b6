//! Sources that end within the clip.
//!
//! Up to 100 ms may be missing, because players round durations up ([`END_TOLERANCE_MS`]). If more is missing, the clip
//! fails with `window_beyond_end`, whose message names the real end.

use super::{Encoded, Job};
use crate::{
    elements::FramesReport,
    failure,
    source::{ends, probe::Probed},
    timing::END_TOLERANCE_MS,
};
use clipfleet_domain::{clip::Window, failure::Failure};

/// How much earlier than its header declares an audio track may end. Audio packets are at most 120 ms long, and writers
/// count one more packet than there is.
const AUDIO_END_TOLERANCE_NS: i64 = 500_000_000;

/// Why a source's pictures end within a clip that does not lie beyond the source's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyEnd {
    /// All pictures were decoded. The last one is shown while the audio or the track continues.
    LastPictureHolds,
    /// Pictures are missing.
    Unexplained,
}

impl Job<'_> {
    /// Finds where the source really ends, and why its pictures did not suffice.
    pub(super) fn explain_early_end(&self, probed: &Probed, frames: FramesReport) -> Result<EarlyEnd, Failure> {
        let window = self.order.clip.window;
        let ends = ends::find(self.source, probed)?;
        let last_ms = ends.video_ns.max(ends.audio_ns).max(0) / 1_000_000;
        tracing::info!(?ends, ?frames, "the source's pictures end within the clip");
        if last_ms + END_TOLERANCE_MS < window.end_ms() {
            return Err(self.beyond(probed, window, last_ms));
        }
        // Some demuxers do not stamp pictures. Then the decoder's times are used.
        let all_decoded = frames.last_ns.is_some_and(|decoded| {
            ends.last_picture_ns.is_none_or(|last| decoded + END_TOLERANCE_MS * 1_000_000 >= last)
        });
        Ok(if all_decoded { EarlyEnd::LastPictureHolds } else { EarlyEnd::Unexplained })
    }

    /// A window beyond the end is the request's fault, unless the header declares much more than the source has.
    fn beyond(&self, probed: &Probed, window: Window, end_ms: i64) -> Failure {
        let declared_ms = probed.declared_ns.map_or(0, |length| length / 1_000_000);
        if declared_ms > end_ms + END_TOLERANCE_MS.max(end_ms / 10) {
            return failure::source_truncated(format!(
                "its header declares {declared_ms} ms, but it breaks off at {end_ms} ms"
            ));
        }
        failure::window_beyond_end(window, end_ms)
    }

    /// Checks where pictures and audio ended. A clip may end with a still picture while the audio or the track
    /// continues, but not without a picture. Audio may end before the clip, but not before its track.
    pub(super) fn check_end(&self, probed: &Probed, made: &Encoded) -> Result<(), Failure> {
        let window = self.order.clip.window;
        let is_missing = |ended_ns: i64| ended_ns / 1_000_000 + END_TOLERANCE_MS < window.end_ms();
        if made.frames.ended_ns.is_some_and(is_missing)
            && self.explain_early_end(probed, made.frames)? == EarlyEnd::Unexplained
        {
            return Err(unexplained(made.frames));
        }
        let declared_ns = probed.audio.as_ref().and_then(|audio| audio.end_ns);
        match made.samples.ended_ns.zip(declared_ns) {
            Some((ended, declared)) if is_missing(ended) && ended + AUDIO_END_TOLERANCE_NS < declared => {
                let at_ms = |ns: i64| ns.max(0) / 1_000_000;
                Err(failure::source_audio_ends(at_ms(ended), at_ms(declared)))
            }
            _ => Ok(()),
        }
    }
}

/// The failure for pictures that are missing without a known reason.
pub(super) fn unexplained(frames: FramesReport) -> Failure {
    failure::source_truncated(format!("{} frames at the end of the clip cannot be decoded", frames.completed))
}

//! The request of a worker to its pipeline process.

use crate::{
    Malformed,
    batch::{clip_message, output_message, trusted},
    v1,
};
use clipfleet_domain::{clip::Clip, job::Job, rendition::Rendition};
use std::path::{Path, PathBuf};

/// Bytes of the largest range of a source that one message may request.
pub const MAX_RANGE_BYTES: u64 = 8 << 20;

/// Bytes of the largest message between worker and pipeline: a range and its envelope.
pub const MAX_FRAME_BYTES: usize = MAX_RANGE_BYTES as usize + (1 << 10);

/// The request to make one clip from a source of known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcode {
    /// Size of the source in bytes.
    pub source_size_bytes: u64,
    /// The clip.
    pub clip: Clip,
    /// The form of the result.
    pub rendition: Rendition,
    /// The private, empty directory of the attempt.
    pub directory: PathBuf,
    /// `auto`, or the name of one encoder.
    pub encoder: String,
    /// Why the GPU must not be used, if it must not: it is disabled, or failed in an earlier process of the attempt.
    pub gpu_disabled_reason: Option<String>,
}

/// The request for a job. `gpu_disabled_reason` is why the GPU must not be used; empty if it may be used.
pub fn start(job: &Job, directory: &Path, encoder: &str, gpu_disabled_reason: &str) -> v1::StartTranscode {
    v1::StartTranscode {
        source_size_bytes: job.source.size_bytes,
        clip: Some(clip_message(&job.clip)),
        output: Some(output_message(job.rendition, "")),
        directory: directory.to_string_lossy().into_owned(),
        encoder: encoder.to_owned(),
        gpu_disabled_reason: gpu_disabled_reason.to_owned(),
    }
}

/// Checks a request.
pub fn transcode(message: v1::StartTranscode) -> Result<Transcode, Malformed> {
    let (clip, rendition) = trusted(message.clip.as_ref(), message.output.as_ref())?;
    let encoder = if message.encoder.is_empty() { "auto".to_owned() } else { message.encoder };
    let directory = PathBuf::from(message.directory);
    let gpu_disabled_reason = Some(message.gpu_disabled_reason).filter(|reason| !reason.is_empty());
    let source_size_bytes = message.source_size_bytes;
    Ok(Transcode { source_size_bytes, clip, rendition, directory, encoder, gpu_disabled_reason })
}

//! The interface that makes clips. The implementation in `pipeline.rs` runs a process per clip; a simulation of the
//! fleet has another one.

use crate::blocks::SourceReader;
use async_trait::async_trait;
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{failure::Failure, job::Job, lifecycle::Encoding, progress::Phase};
use std::path::Path;

/// The result of making a clip.
#[derive(Debug)]
pub enum MediaResult {
    /// The clip was made, and is in the directory.
    Finished(TranscodeFinished),
    /// The clip was not made.
    Failed(Failure),
    /// The media process died; with what is known about it.
    Crashed(String),
}

/// Receives progress: the phase, the fraction of it that is done (0 to 1), and how the clip is encoded.
pub type Progress<'a> = &'a (dyn Fn(Phase, f64, Encoding) + Send + Sync);

/// Makes clips.
#[async_trait]
pub trait Media: Send + Sync {
    /// Makes the clip of a job from its source. The clip and its cover become files in the attempt's directory.
    /// Dropping the future stops the work immediately.
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult;
}

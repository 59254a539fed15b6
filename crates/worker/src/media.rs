//! What makes a clip, as an attempt sees it: everything about media behind one method. The real one is a process of its own
//! (`pipeline.rs`); a simulation of the fleet brings another.

use crate::blocks::SourceReader;
use async_trait::async_trait;
use clipfleet_contract::v1::TranscodeFinished;
use clipfleet_domain::{failure::Failure, job::Job, lifecycle::Encoding, progress::Phase};
use std::path::Path;

/// How the making of a clip ended.
#[derive(Debug)]
pub enum MediaResult {
    /// The result lies in the directory.
    Finished(TranscodeFinished),
    /// It cannot be made, or not now.
    Failed(Failure),
    /// What made it died, or hung and was killed; with what is known of it.
    Crashed(String),
}

/// Receives progress: the phase, the part of it that is done (0 to 1), and how the clip is encoded.
pub type Progress<'a> = &'a (dyn Fn(Phase, f64, Encoding) + Send + Sync);

/// Makes clips.
#[async_trait]
pub trait Media: Send + Sync {
    /// Makes a job's clip from its source, leaving file and cover in the attempt's own directory. Dropping the future ends the
    /// work at once.
    async fn make(&self, job: &Job, directory: &Path, source: SourceReader, progress: Progress<'_>) -> MediaResult;
}

//! Jobs as messages of the queue.

use crate::{
    Malformed,
    batch::{clip_message, output_message, trusted},
    v1,
};
use clipfleet_domain::{
    ids::{BatchId, ClipId, OwnerUid, ProjectId},
    job::{BatchContext, Job, PinnedSource},
    source::ObjectUri,
};
use prost::Message as _;

/// Encodes a job as a message.
pub fn encode(job: &Job) -> Vec<u8> {
    let message = v1::ClipJob {
        batch_id: job.batch.id.to_string(),
        clip_id: job.clip.id.to_string(),
        generation: job.generation,
        owner_uid: job.batch.owner.to_string(),
        project_id: job.batch.project.to_string(),
        batch_size: job.batch.size,
        source: Some(v1::Source { uri: job.source.uri.to_string(), generation: job.source.generation }),
        source_size_bytes: job.source.size_bytes,
        clip: Some(clip_message(&job.clip)),
        output: Some(output_message(job.rendition, "")),
        output_uri: job.output.to_string(),
        settings_hash: job.settings_hash.clone(),
        queued_at_ms: job.queued_at_ms,
    };
    message.encode_to_vec()
}

/// Decodes the job of a message.
pub fn decode(bytes: &[u8]) -> Result<Job, Malformed> {
    let message = v1::ClipJob::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    let (clip, rendition) = trusted(message.clip.as_ref(), message.output.as_ref())?;
    let source = message.source.unwrap_or_default();
    Ok(Job {
        batch: context(&message.batch_id, &message.owner_uid, &message.project_id, message.batch_size)?,
        generation: message.generation,
        source: PinnedSource {
            uri: ObjectUri::parse(&source.uri).map_err(Malformed::field("source.uri"))?,
            generation: source.generation,
            size_bytes: message.source_size_bytes,
        },
        clip,
        rendition,
        output: ObjectUri::parse(&message.output_uri).map_err(Malformed::field("outputUri"))?,
        settings_hash: message.settings_hash,
        queued_at_ms: message.queued_at_ms,
    })
}

/// What every version of a job says, however its settings are spelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobHeader {
    /// The batch it belongs to.
    pub batch: BatchContext,
    /// The clip.
    pub clip: ClipId,
    /// The clip's generation.
    pub generation: u32,
    /// When the batch (or the retry) was accepted; Unix time, milliseconds.
    pub queued_at_ms: i64,
}

/// Decodes the header of the job of a message.
pub fn decode_header(bytes: &[u8]) -> Result<JobHeader, Malformed> {
    let message = v1::ClipJob::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    Ok(JobHeader {
        batch: context(&message.batch_id, &message.owner_uid, &message.project_id, message.batch_size)?,
        clip: ClipId::parse(&message.clip_id).map_err(Malformed::field("clipId"))?,
        generation: message.generation,
        queued_at_ms: message.queued_at_ms,
    })
}

pub(crate) fn context(batch: &str, owner: &str, project: &str, size: u32) -> Result<BatchContext, Malformed> {
    Ok(BatchContext {
        id: BatchId::parse(batch).map_err(Malformed::field("batchId"))?,
        owner: OwnerUid::parse(owner).map_err(Malformed::field("ownerUid"))?,
        project: ProjectId::parse(project).map_err(Malformed::field("projectId"))?,
        size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::{
        audio::{Audio, NormalizeLoudness},
        clip::{Clip, Window},
        crop_path::{CropPath, Keyframe},
        percent::MilliPercent,
        reframe::Reframe,
        rendition::{Aspect, Quality, Rendition},
    };

    #[test]
    fn a_job_survives_the_wire() {
        let job = Job {
            batch: context("b1", "u1", "p1", 7).unwrap(),
            generation: 2,
            source: PinnedSource {
                uri: ObjectUri::parse("gs://media/a.mp4").unwrap(),
                generation: 17,
                size_bytes: 1 << 33,
            },
            clip: Clip {
                id: ClipId::parse("c1").unwrap(),
                window: Window::new(12_345, 67_890).unwrap(),
                reframe: Reframe::AutoCenter {
                    position: MilliPercent::parse(33.333, 0, 100).unwrap(),
                    zoom: MilliPercent::whole(120),
                },
                cover_at_ms: Some(1_500),
                audio: Audio { normalize_loudness: Some(NormalizeLoudness::default()) },
            },
            rendition: Rendition { quality: Quality::High, aspect: Aspect::Square, fps: 24 },
            output: ObjectUri::parse("gs://media/out/c1-00.mp4").unwrap(),
            settings_hash: "00".into(),
            queued_at_ms: 1_700_000_000_000,
        };
        assert_eq!(decode(&encode(&job)).unwrap(), job);
        let keyframes = [(0, 0), (1_700, 12_345), (53_545, 100_000)].map(|(at_ms, milli)| Keyframe {
            at_ms,
            position: MilliPercent::parse(f64::from(milli) / 1_000.0, 0, 100).unwrap(),
            zoom: MilliPercent::whole(100),
        });
        let path = CropPath::new(keyframes.into(), job.clip.window.length_ms()).unwrap();
        for reframe in [Reframe::FitBlur, Reframe::CropPath(path)] {
            let audio = Audio::default();
            let job = Job { clip: Clip { reframe, audio, ..job.clip.clone() }, ..job.clone() };
            assert_eq!(decode(&encode(&job)).unwrap(), job);
        }
    }

    #[test]
    fn other_messages_are_malformed() {
        assert!(decode(b"hello").is_err() && decode_header(b"hello").is_err());
        assert!(decode(b"").unwrap_err().to_string().contains("clipId"));
        assert!(decode_header(b"").is_err());
    }
}

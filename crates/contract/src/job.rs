//! Jobs as messages of the queue.

use crate::{
    Malformed,
    batch::{clip_message, output_message, trusted},
    v1,
};
use clipfleet_domain::{
    clip::Clip,
    ids::{BatchId, ClipId, OwnerUid, ProjectId, shorten},
    job::{BatchContext, Job, PinnedSource},
    reframe::Reframe,
    source::ObjectUri,
};
use prost::Message as _;

/// Whether a clip needs a feature.
type Needs = fn(&Clip) -> bool;

/// What a worker must be able to do for a clip, beyond what the first version could. A new setting is a new row. The
/// settings hash would tell as much, but not which setting a worker lacks.
const FEATURES: [(&str, Needs); 4] = [
    ("audio.normalizeLoudness", |clip| clip.audio.normalize_loudness.is_some()),
    ("coverAtMs", |clip| clip.cover_at_ms.is_some()),
    ("reframe.crop_path", |clip| matches!(clip.reframe, Reframe::CropPath(_))),
    ("reframe.fit_blur", |clip| matches!(clip.reframe, Reframe::FitBlur)),
];

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
        features: FEATURES.iter().filter(|(_, needs)| needs(&job.clip)).map(|(name, _)| (*name).to_owned()).collect(),
    };
    message.encode_to_vec()
}

/// Decodes the job of a message.
pub fn decode(bytes: &[u8]) -> Result<Job, Malformed> {
    let message = v1::ClipJob::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    let unknown = |name: &&String| !FEATURES.iter().any(|(known, _)| known == *name);
    if let Some(name) = message.features.iter().find(unknown) {
        return Err(Malformed(format!("the job needs {}, which this version cannot do", shorten(name))));
    }
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
        clip::Window,
        crop_path::{CropPath, Keyframe},
        percent::MilliPercent,
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
    fn a_job_names_what_it_needs_and_a_worker_that_lacks_it_refuses() {
        let request = r#"{"ownerUid":"u1","projectId":"p1","source":{"uri":"gs://media/a.mp4"},
            "clips":[{"clipId":"c1","startMs":0,"endMs":1000,"coverAtMs":5,"audio":{"normalizeLoudness":{}}},
                     {"clipId":"c2","startMs":0,"endMs":1000,"reframe":{"mode":"fit_blur"}},
                     {"clipId":"c3","startMs":0,"endMs":1000}]}"#;
        let access = clipfleet_domain::access::AccessPolicy::of_buckets("media", &[]);
        let batch = crate::batch::from_json(request.as_bytes()).unwrap();
        let batch = crate::batch::check(&batch, &access, "b1").unwrap();
        let source = PinnedSource { uri: batch.source.uri.clone(), generation: 1, size_bytes: 5 };
        let jobs = batch.plan(1).unwrap().into_iter().map(|planned| Job::new(&batch, planned, source.clone(), 0, 0));
        let messages: Vec<_> = jobs.map(|job| v1::ClipJob::decode(&encode(&job)[..]).unwrap()).collect();
        let needs: Vec<Vec<String>> = messages.iter().map(|message| message.features.clone()).collect();
        assert_eq!(needs, [vec!["audio.normalizeLoudness", "coverAtMs"], vec!["reframe.fit_blur"], vec![]]);
        let later = v1::ClipJob { features: vec!["coverAtMs".into(), "captions".into()], ..messages[0].clone() };
        let refused = decode(&later.encode_to_vec()).unwrap_err();
        assert_eq!(refused.0, "the job needs captions, which this version cannot do");
        assert!(decode_header(&later.encode_to_vec()).is_ok(), "it can still be reported as a dead letter");
    }

    #[test]
    fn other_messages_are_malformed() {
        assert!(decode(b"hello").is_err() && decode_header(b"hello").is_err());
        assert!(decode(b"").unwrap_err().to_string().contains("clipId"));
        assert!(decode_header(b"").is_err());
    }
}

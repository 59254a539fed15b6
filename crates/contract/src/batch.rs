//! Requests: parses bytes into a checked [`Batch`], and encodes it as the message that is recorded.

use crate::{Malformed, audio, json, reframe, v1, violations::Violations};
use clipfleet_domain::{
    access::AccessPolicy,
    batch::{Batch, Prefix, check_clip_ids},
    clip::{Clip, Window, check_cover_at},
    crop_path::check_batch_keyframes,
    failure::{Code, Failure, FieldViolation},
    ids::{BatchId, ClipId, OwnerUid, ProjectId},
    limits::{MAX_CLIP_MS, MAX_CLIPS, MAX_REQUEST_BYTES},
    rendition::{Aspect, FRAME_RATES, Quality, Rendition},
    source::{ObjectUri, Source},
    wire_name::WireName as _,
};
use prost::Message as _;
use serde::Deserialize;
use serde_json::Value;

/// Parses a request body in proto-JSON.
pub fn from_json(bytes: &[u8]) -> Result<v1::ExportBatch, Failure> {
    check_length(bytes)?;
    json::parse(bytes)
}

/// Parses a message of the topic: proto-JSON if it looks like a JSON object, otherwise the binary form.
pub fn from_message(bytes: &[u8]) -> Result<v1::ExportBatch, Failure> {
    check_length(bytes)?;
    if json::strip_byte_order_mark(bytes).trim_ascii_start().first() == Some(&b'{') {
        return json::parse(bytes);
    }
    v1::ExportBatch::decode(bytes).map_err(|error| {
        Failure::new(Code::MalformedMessage, format!("the message is neither JSON nor a binary ExportBatch: {error}"))
    })
}

/// What a request that cannot be read says about itself: its ids, as far as they can be read.
pub fn ids_of_malformed(bytes: &[u8]) -> v1::ExportBatch {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Ids {
        #[serde(alias = "batch_id")]
        batch_id: Value,
        #[serde(alias = "owner_uid")]
        owner_uid: Value,
        #[serde(alias = "project_id")]
        project_id: Value,
    }
    let ids: Ids = serde_json::from_slice(json::strip_byte_order_mark(bytes)).unwrap_or_default();
    let text = |value: Value| value.as_str().unwrap_or_default().to_owned();
    v1::ExportBatch {
        batch_id: text(ids.batch_id),
        owner_uid: text(ids.owner_uid),
        project_id: text(ids.project_id),
        ..v1::ExportBatch::default()
    }
}

fn check_length(bytes: &[u8]) -> Result<(), Failure> {
    if bytes.len() <= MAX_REQUEST_BYTES {
        return Ok(());
    }
    let message = format!("the request must have at most {MAX_REQUEST_BYTES} bytes, got {}", bytes.len());
    Err(Failure::new(Code::RequestTooLarge, message))
}

/// Checks a request. `generated_id` becomes the batch's id if the client gave none. The error names all invalid fields.
pub fn check(request: &v1::ExportBatch, policy: &AccessPolicy, generated_id: &str) -> Result<Batch, Failure> {
    let id = if request.batch_id.is_empty() { generated_id } else { &request.batch_id };
    parse(request, id, Some(policy)).map_err(|violations| Failure::invalid(violations.0))
}

/// The batch of a request that was accepted and recorded. Its places were allowed then and are not checked again, so
/// that an accepted batch can be shown and cancelled after the policy has changed. Workers check them before each
/// attempt.
pub fn recorded(request: &v1::ExportBatch) -> Result<Batch, Malformed> {
    parse(request, &request.batch_id, None).map_err(|violations| violations.malformed())
}

fn parse(request: &v1::ExportBatch, id: &str, policy: Option<&AccessPolicy>) -> Result<Batch, Violations> {
    let mut violations = Violations::default();
    let id = violations.check("batchId", BatchId::parse(id));
    let owner = violations.check("ownerUid", OwnerUid::parse(&request.owner_uid));
    let project = violations.check("projectId", ProjectId::parse(&request.project_id));
    // Whose places are checked is unknown while the owner is invalid, which is reported by itself.
    let access = policy.zip(owner.as_ref());
    let source = source(request.source.as_ref(), access, &mut violations);
    let output = request.output.clone().unwrap_or_default();
    let rendition = rendition(&output, "output.", &mut violations);
    let prefix = match (output.prefix.as_str(), access) {
        ("", Some((policy, owner))) => violations.check("output.prefix", policy.default_prefix(owner)),
        ("", None) if policy.is_some() => None,
        (given, access) => violations.check("output.prefix", allowed_prefix(given, access)),
    };
    violations.0.extend(check_clip_ids(request.clips.iter().map(|clip| clip.clip_id.as_str())));
    let keyframes = request.clips.iter().flat_map(|clip| &clip.reframe).map(|reframe| reframe.keyframes.len()).sum();
    violations.check("clips", check_batch_keyframes(keyframes));
    let numbered = request.clips.iter().take(MAX_CLIPS).enumerate();
    let checked: Vec<Option<Clip>> =
        numbered.map(|(index, message)| clip(message, &format!("clips[{index}]."), &mut violations)).collect();
    let clips: Option<Vec<Clip>> = checked.into_iter().collect();
    let parts = (id, owner, project, source, rendition, prefix, clips);
    match parts {
        (Some(id), Some(owner), Some(project), Some(source), Some(rendition), Some(prefix), Some(clips))
            if violations.0.is_empty() =>
        {
            Ok(Batch { id, owner, project, source, rendition, prefix, clips })
        }
        _ => Err(violations),
    }
}

type Access<'a> = Option<(&'a AccessPolicy, &'a OwnerUid)>;

fn allowed_prefix(text: &str, access: Access<'_>) -> Result<Prefix, String> {
    let prefix = Prefix::parse(text)?;
    access.map_or(Ok(()), |(policy, owner)| policy.check_output(owner, prefix.as_uri()))?;
    Ok(prefix)
}

fn allowed_source(text: &str, access: Access<'_>) -> Result<ObjectUri, String> {
    let uri = ObjectUri::parse(text).map_err(|bad| bad.to_string())?;
    access.map_or(Ok(()), |(policy, owner)| policy.check_source(owner, &uri))?;
    Ok(uri)
}

fn source(message: Option<&v1::Source>, access: Access<'_>, violations: &mut Violations) -> Option<Source> {
    let uri = violations.check("source.uri", allowed_source(message.map_or("", |source| &source.uri), access));
    let generation = match message.map_or(0, |source| source.generation) {
        negative @ ..0 => violations.check("source.generation", Err(format!("must not be negative, got {negative}"))),
        0 => Some(None),
        given => Some(Some(given)),
    };
    uri.zip(generation).map(|(uri, generation)| Source { uri, generation })
}

fn rendition(output: &v1::Output, at: &str, violations: &mut Violations) -> Option<Rendition> {
    let default = Rendition::default();
    let quality = match output.quality.as_str() {
        "" => Some(default.quality),
        given => violations.check(format!("{at}quality"), Quality::parse(given)),
    };
    let aspect = match output.aspect.as_str() {
        "" => Some(default.aspect),
        given => violations.check(format!("{at}aspect"), Aspect::parse(given)),
    };
    let fps = match output.fps {
        0 => Some(default.fps),
        given if FRAME_RATES.contains(&given) => Some(given),
        given => {
            let rates = FRAME_RATES.map(|rate| rate.to_string()).join(", ");
            violations.check(format!("{at}fps"), Err(format!("must be one of {rates}, got {given}")))
        }
    };
    let (quality, aspect, fps) = (quality?, aspect?, fps?);
    Some(Rendition { quality, aspect, fps })
}

fn clip(message: &v1::Clip, at: &str, violations: &mut Violations) -> Option<Clip> {
    let id = violations.check(format!("{at}clipId"), ClipId::parse(&message.clip_id));
    let window = Window::new(message.start_ms, message.end_ms)
        .map_err(|bad| violations.0.push(FieldViolation::new(format!("{at}{}", bad.field), bad.reason)))
        .ok();
    let length_ms = window.map_or(MAX_CLIP_MS, Window::length_ms);
    let reframe = reframe::parse(message.reframe.as_ref(), length_ms, &format!("{at}reframe."), violations);
    let cover_at_ms = match message.cover_at_ms {
        Some(at_ms) => violations.check(format!("{at}coverAtMs"), check_cover_at(at_ms, length_ms)).map(Some),
        None => Some(None),
    };
    let audio = audio::parse(message.audio.as_ref(), &format!("{at}audio."), violations);
    Some(Clip { id: id?, window: window?, reframe: reframe?, cover_at_ms: cover_at_ms?, audio: audio? })
}

/// The message of a checked batch, every default filled in. Requests with the same meaning give equal messages.
pub fn to_message(batch: &Batch) -> v1::ExportBatch {
    let source = v1::Source { uri: batch.source.uri.to_string(), generation: batch.source.generation.unwrap_or(0) };
    v1::ExportBatch {
        batch_id: batch.id.to_string(),
        owner_uid: batch.owner.to_string(),
        project_id: batch.project.to_string(),
        source: Some(source),
        output: Some(output_message(batch.rendition, &batch.prefix.as_uri().to_string())),
        clips: batch.clips.iter().map(clip_message).collect(),
    }
}

/// The rendition of a recorded request, and its clips with their lengths in milliseconds.
pub fn recorded_clips(request: &v1::ExportBatch) -> Result<(Rendition, Vec<(ClipId, i64)>), Malformed> {
    let mut violations = Violations::default();
    let rendition = rendition(request.output.as_ref().unwrap_or(&v1::Output::default()), "output.", &mut violations);
    let clips = request.clips.iter().map(|clip| {
        let id = violations.check("clipId", ClipId::parse(&clip.clip_id))?;
        Some((id, (clip.end_ms - clip.start_ms).clamp(0, MAX_CLIP_MS)))
    });
    let clips: Option<Vec<_>> = clips.collect();
    rendition.zip(clips).ok_or_else(|| violations.malformed())
}

pub(crate) fn output_message(rendition: Rendition, prefix: &str) -> v1::Output {
    v1::Output {
        quality: rendition.quality.name().to_owned(),
        aspect: rendition.aspect.name().to_owned(),
        fps: rendition.fps,
        prefix: prefix.to_owned(),
    }
}

pub(crate) fn clip_message(clip: &Clip) -> v1::Clip {
    v1::Clip {
        clip_id: clip.id.to_string(),
        start_ms: clip.window.start_ms(),
        end_ms: clip.window.end_ms(),
        reframe: Some(reframe::message(&clip.reframe)),
        cover_at_ms: clip.cover_at_ms,
        audio: audio::message(&clip.audio),
    }
}

/// The clip and rendition of a message that this fleet wrote itself.
pub(crate) fn trusted(
    clip_part: Option<&v1::Clip>,
    output: Option<&v1::Output>,
) -> Result<(Clip, Rendition), Malformed> {
    let mut violations = Violations::default();
    let clip = clip(clip_part.unwrap_or(&v1::Clip::default()), "clip.", &mut violations);
    let rendition = rendition(output.unwrap_or(&v1::Output::default()), "output.", &mut violations);
    clip.zip(rendition).ok_or_else(|| violations.malformed())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"batchId":"b1","ownerUid":"u1","projectId":"p1","source":{"uri":"gs://media/a.mp4"},
        "clips":[{"clipId":"c1","startMs":12000,"endMs":57000,
                  "reframe":{"mode":"auto_center","position":50,"zoom":100}},
                 {"clipId":"c2","startMs":"1000","endMs":2000,"audio":{"normalizeLoudness":{}}}]}"#;

    fn policy() -> AccessPolicy {
        AccessPolicy::of_buckets("media", &[])
    }

    fn checked(json: &str) -> Result<Batch, Failure> {
        from_json(json.as_bytes()).and_then(|request| check(&request, &policy(), "generated"))
    }

    fn violations(json: &str) -> Vec<String> {
        let failure = checked(json).unwrap_err();
        failure.details.iter().map(|bad| format!("{}: {}", bad.field, bad.reason)).collect()
    }

    #[test]
    fn the_documented_request_is_accepted_and_defaults_are_filled_in() {
        let batch = checked(GOOD).unwrap();
        assert_eq!(batch.rendition, Rendition::default());
        assert_eq!(batch.prefix.as_uri().to_string(), "gs://media/processed-clips/u1/");
        assert_eq!(batch.clips[1].window.start_ms(), 1000);
    }

    #[test]
    fn a_recorded_request_gives_each_clip_and_its_length() {
        let recorded = to_message(&checked(GOOD).unwrap());
        let (rendition, clips) = recorded_clips(&recorded).unwrap();
        let clips: Vec<_> = clips.iter().map(|(id, length_ms)| (id.as_str(), *length_ms)).collect();
        assert_eq!((rendition, clips), (Rendition::default(), vec![("c1", 45_000), ("c2", 1_000)]));
        let mut damaged = recorded;
        damaged.clips[1].clip_id = "no id".into();
        assert!(recorded_clips(&damaged).unwrap_err().to_string().contains("clipId"));
    }

    #[test]
    fn json_and_binary_requests_are_equal_and_survive_a_round_trip() {
        let batch = checked(GOOD).unwrap();
        let message = to_message(&batch);
        let binary = from_message(&message.encode_to_vec()).unwrap();
        let json = from_message(serde_json::to_string(&message).unwrap().as_bytes()).unwrap();
        assert_eq!(binary, json);
        assert_eq!(check(&binary, &policy(), "generated").unwrap(), batch);
    }

    #[test]
    fn a_request_without_an_id_gets_the_generated_one() {
        let batch = checked(&GOOD.replace(r#""batchId":"b1","#, "")).unwrap();
        assert_eq!(batch.id.as_str(), "generated");
    }

    #[test]
    fn malformed_json_is_refused_with_its_position() {
        let failure = checked(r#"{"batchId": "b1", "#).unwrap_err();
        assert_eq!(failure.code, Code::MalformedJson);
        assert!(failure.message.contains("line 1 column 18"), "{}", failure.message);
        assert_eq!(checked(&format!("{GOOD} x")).unwrap_err().code, Code::MalformedJson);
    }

    #[test]
    fn a_field_of_the_wrong_type_or_name_is_named_with_its_value() {
        let wrong_type = violations(&GOOD.replace("12000", r#""soon""#));
        assert!(
            wrong_type[0].starts_with("clips[0].startMs: ") && wrong_type[0].ends_with(r#"got "soon""#),
            "{wrong_type:?}"
        );
        let unknown = violations(&GOOD.replace("startMs\":12000", "start\":12"));
        assert!(unknown[0].contains("clips[0]") && unknown[0].contains("unknown field `start`"), "{unknown:?}");
    }

    #[test]
    fn all_invalid_fields_are_named() {
        let bad = r#"{"ownerUid":"","source":{"uri":"gs://elsewhere/a"},"output":{"quality":"8k","fps":31},
            "clips":[{"clipId":"c1","startMs":5,"endMs":1},{"clipId":"c1","startMs":0,"endMs":9000000,
             "reframe":{"zoom":900},"audio":{"normalizeLoudness":{"targetLufs":14,"truePeakDbtp":-20}}}]}"#;
        let violations = violations(bad);
        for field in [
            "ownerUid",
            "projectId",
            "output.quality",
            "output.fps",
            "clips[0].endMs",
            "clips[1].endMs",
            "clips[1].reframe.zoom",
            "clips[1].audio.normalizeLoudness.targetLufs",
            "clips[1].audio.normalizeLoudness.truePeakDbtp",
        ] {
            let named = violations.iter().any(|line| line.starts_with(&format!("{field}: ")));
            assert!(named, "{field} in {violations:#?}");
        }
    }

    #[test]
    fn too_many_clips_are_counted_and_not_listed() {
        let clips: Vec<String> =
            (0..1001).map(|n| format!(r#"{{"clipId":"c{n}","startMs":0,"endMs":1000}}"#)).collect();
        let body = format!(
            r#"{{"ownerUid":"u","projectId":"p","source":{{"uri":"gs://media/a"}},"clips":[{}]}}"#,
            clips.join(",")
        );
        assert_eq!(violations(&body), ["clips: must have 1 to 1000 clips, got 1001"]);
    }
}

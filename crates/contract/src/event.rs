//! Events as messages of the queue.

use crate::{Malformed, job::context, v1};
use clipfleet_domain::{
    attempt::Attempt,
    cost::Usage,
    failure::{Code, Failure, FieldViolation},
    ids::{AttemptId, ClipId, WorkerId},
    job::{Event, EventKind},
    lifecycle::{ClipEvent, ClipEventKind, CoverRef, Encoding, ManifestRef, Output, Timings},
    limits::{MAX_CLIPS, MAX_DETAILS},
    progress::Phase,
    wire_name::WireName as _,
};
use prost::Message as _;
use v1::progress_event::Kind;

/// Encodes an event as a message.
pub fn encode(event: &Event) -> Vec<u8> {
    let mut message = v1::ProgressEvent {
        batch_id: event.batch.id.to_string(),
        owner_uid: event.batch.owner.to_string(),
        project_id: event.batch.project.to_string(),
        batch_size: event.batch.size,
        ..v1::ProgressEvent::default()
    };
    match &event.kind {
        EventKind::BatchQueued { at_ms, clips } => {
            message.at_ms = *at_ms;
            let clip_ids = clips.iter().map(ToString::to_string).collect();
            message.kind = Some(Kind::BatchQueued(v1::BatchQueued { clip_ids }));
        }
        EventKind::BatchRefused { at_ms, failure } => {
            message.at_ms = *at_ms;
            message.kind = Some(Kind::BatchRefused(v1::BatchRefused { error: Some(error(failure)) }));
        }
        EventKind::Clip { id, event } => {
            message.clip_id = id.to_string();
            message.generation = event.generation;
            message.at_ms = event.at_ms;
            message.attempt = event.attempt.as_ref().map(attempt);
            message.kind = Some(encode_kind(&event.kind));
        }
    }
    message.encode_to_vec()
}

/// Decodes the event of a message.
pub fn decode(bytes: &[u8]) -> Result<Event, Malformed> {
    let message = v1::ProgressEvent::decode(bytes).map_err(|error| Malformed(error.to_string()))?;
    let batch = context(&message.batch_id, &message.owner_uid, &message.project_id, message.batch_size)?;
    let at_ms = message.at_ms;
    let kind = match message.kind.ok_or_else(|| Malformed("has no kind of event".into()))? {
        Kind::BatchQueued(queued) if queued.clip_ids.len() > MAX_CLIPS => {
            return Err(Malformed(format!("has {} clips, more than {MAX_CLIPS}", queued.clip_ids.len())));
        }
        Kind::BatchQueued(queued) => {
            let clips = queued.clip_ids.iter().map(|id| clip_id(id)).collect::<Result<_, _>>()?;
            EventKind::BatchQueued { at_ms, clips }
        }
        Kind::BatchRefused(refused) => {
            EventKind::BatchRefused { at_ms, failure: failure(refused.error.unwrap_or_default()) }
        }
        other => {
            let attempt = message.attempt.map(decode_attempt).transpose()?;
            let kind = bounded(decode_kind(other)?);
            let event = ClipEvent { generation: message.generation, at_ms, attempt, kind };
            EventKind::Clip { id: clip_id(&message.clip_id)?, event }
        }
    };
    Ok(Event { batch, kind })
}

/// A short name of the event, for labels and logs.
pub fn kind_name(event: &Event) -> &'static str {
    match &event.kind {
        EventKind::BatchQueued { .. } => "batch_queued",
        EventKind::BatchRefused { .. } => "batch_refused",
        EventKind::Clip { event, .. } => match event.kind {
            ClipEventKind::Queued => "clip_requeued",
            ClipEventKind::Started => "clip_started",
            ClipEventKind::Progressed { .. } => "clip_progressed",
            ClipEventKind::Completed { .. } => "clip_completed",
            ClipEventKind::Failed(_) => "clip_failed",
            ClipEventKind::Interrupted => "clip_interrupted",
            ClipEventKind::FailedTransiently(_) => "clip_failed_transiently",
            ClipEventKind::Crashed(_) => "clip_crashed",
            ClipEventKind::Cancelled => "clip_cancelled",
        },
    }
}

/// The message of a failure.
pub fn error(failure: &Failure) -> v1::Error {
    let Failure { code, message, retryable, details } = failure.clone().bounded();
    let details = details.into_iter().map(|bad| v1::FieldViolation { field: bad.field, reason: bad.reason });
    v1::Error { code: code.to_string(), message, retryable, details: details.collect() }
}

/// The failure of a message, with each text within its limit: the message may come from another version or a foreign
/// sender.
pub fn failure(error: v1::Error) -> Failure {
    let v1::Error { code, message, retryable, details } = error;
    let details = details.into_iter().take(MAX_DETAILS).map(|bad| FieldViolation::new(bad.field, bad.reason));
    Failure { code: Code::parse(&code), message, retryable, details: details.collect() }.bounded()
}

fn clip_id(text: &str) -> Result<ClipId, Malformed> {
    ClipId::parse(text).map_err(Malformed::field("clipId"))
}

fn attempt(attempt: &Attempt) -> v1::Attempt {
    v1::Attempt {
        id: attempt.id.to_string(),
        number: attempt.number,
        started_at_ms: attempt.started_at_ms,
        worker: attempt.worker.to_string(),
        sequence: attempt.sequence,
    }
}

fn decode_attempt(message: v1::Attempt) -> Result<Attempt, Malformed> {
    Ok(Attempt {
        id: AttemptId::parse(&message.id).map_err(Malformed::field("attempt.id"))?,
        number: message.number,
        started_at_ms: message.started_at_ms,
        worker: WorkerId::parse(&message.worker).map_err(Malformed::field("attempt.worker"))?,
        sequence: message.sequence,
    })
}

/// The same event with every text within its limit. Both sides of the wire do this, because one may run another
/// version.
fn bounded(kind: ClipEventKind) -> ClipEventKind {
    match kind {
        ClipEventKind::Progressed { phase, percent, eta_seconds, encoding } => {
            ClipEventKind::Progressed { phase, percent, eta_seconds, encoding: encoding.bounded() }
        }
        ClipEventKind::Completed { output, encoding } => {
            ClipEventKind::Completed { output: output.bounded(), encoding: encoding.bounded() }
        }
        ClipEventKind::Failed(failure) => ClipEventKind::Failed(failure.bounded()),
        ClipEventKind::FailedTransiently(failure) => ClipEventKind::FailedTransiently(failure.bounded()),
        ClipEventKind::Crashed(failure) => ClipEventKind::Crashed(failure.bounded()),
        ClipEventKind::Queued | ClipEventKind::Started | ClipEventKind::Interrupted | ClipEventKind::Cancelled => kind,
    }
}

fn encode_kind(kind: &ClipEventKind) -> Kind {
    match bounded(kind.clone()) {
        ClipEventKind::Queued => Kind::ClipRequeued(v1::ClipRequeued {}),
        ClipEventKind::Started => Kind::ClipStarted(v1::ClipStarted {}),
        ClipEventKind::Progressed { phase, percent, eta_seconds, encoding } => {
            Kind::ClipProgressed(v1::ClipProgressed {
                phase: phase.name().to_owned(),
                percent: u32::from(percent),
                eta_seconds,
                encoder: encoding.encoder,
                fallback_reason: encoding.fallback_reason,
                decoder: encoding.decoder,
                gpu_driver: encoding.gpu_driver,
            })
        }
        ClipEventKind::Completed { output, encoding } => Kind::ClipCompleted(v1::ClipCompleted {
            output_uri: output.uri,
            output_url: output.url,
            output_size_bytes: output.size_bytes,
            duration_ms: output.duration_ms,
            encoder: encoding.encoder,
            fallback_reason: encoding.fallback_reason,
            reused: output.reused,
            timings: Some(timings(&output.timings)),
            manifest_uri: output.manifest.uri,
            manifest_sha256: output.manifest.sha256,
            cover_uri: output.cover.uri,
            cover_url: output.cover.url,
            decoder: encoding.decoder,
            gpu_driver: encoding.gpu_driver,
            usage: Some(usage(&output.usage)),
        }),
        ClipEventKind::Failed(failure) => Kind::ClipFailed(v1::ClipFailed { error: Some(error(&failure)) }),
        ClipEventKind::Interrupted => Kind::ClipInterrupted(v1::ClipInterrupted {}),
        ClipEventKind::FailedTransiently(failure) => {
            Kind::ClipFailedTransiently(v1::ClipFailedTransiently { error: Some(error(&failure)) })
        }
        ClipEventKind::Crashed(failure) => Kind::ClipCrashed(v1::ClipCrashed { error: Some(error(&failure)) }),
        ClipEventKind::Cancelled => Kind::ClipCancelled(v1::ClipCancelled {}),
    }
}

fn decode_kind(message: Kind) -> Result<ClipEventKind, Malformed> {
    Ok(match message {
        Kind::BatchQueued(_) | Kind::BatchRefused(_) => return Err(Malformed("is about a batch, not a clip".into())),
        Kind::ClipRequeued(_) => ClipEventKind::Queued,
        Kind::ClipStarted(_) => ClipEventKind::Started,
        Kind::ClipProgressed(message) => ClipEventKind::Progressed {
            phase: Phase::parse(&message.phase).map_err(Malformed::field("phase"))?,
            percent: u8::try_from(message.percent).map_err(Malformed::field("percent"))?,
            eta_seconds: message.eta_seconds,
            encoding: Encoding {
                encoder: message.encoder,
                fallback_reason: message.fallback_reason,
                decoder: message.decoder,
                gpu_driver: message.gpu_driver,
            },
        },
        Kind::ClipCompleted(message) => ClipEventKind::Completed {
            output: Output {
                uri: message.output_uri,
                url: message.output_url,
                size_bytes: message.output_size_bytes,
                duration_ms: message.duration_ms,
                reused: message.reused,
                timings: decode_timings(message.timings.unwrap_or_default()),
                usage: decode_usage(message.usage.unwrap_or_default()),
                manifest: ManifestRef { uri: message.manifest_uri, sha256: message.manifest_sha256 },
                cover: CoverRef { uri: message.cover_uri, url: message.cover_url },
            },
            encoding: Encoding {
                encoder: message.encoder,
                fallback_reason: message.fallback_reason,
                decoder: message.decoder,
                gpu_driver: message.gpu_driver,
            },
        },
        Kind::ClipFailed(message) => ClipEventKind::Failed(failure(message.error.unwrap_or_default())),
        Kind::ClipInterrupted(_) => ClipEventKind::Interrupted,
        Kind::ClipFailedTransiently(message) => {
            ClipEventKind::FailedTransiently(failure(message.error.unwrap_or_default()))
        }
        Kind::ClipCrashed(message) => ClipEventKind::Crashed(failure(message.error.unwrap_or_default())),
        Kind::ClipCancelled(_) => ClipEventKind::Cancelled,
    })
}

fn timings(timings: &Timings) -> v1::Timings {
    let Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms } = *timings;
    v1::Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms }
}

fn decode_timings(message: v1::Timings) -> Timings {
    let v1::Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms } = message;
    Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms }
}

fn usage(usage: &Usage) -> v1::Usage {
    let Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd } = *usage;
    v1::Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd }
}

fn decode_usage(message: v1::Usage) -> Usage {
    let v1::Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd } = message;
    Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::limits::MAX_MESSAGE_CHARS;

    fn clip_event(kind: v1::progress_event::Kind) -> Vec<u8> {
        let (batch_id, owner_uid, project_id) = ("b1".into(), "u1".into(), "p1".into());
        let clip_id = "c1".into();
        v1::ProgressEvent {
            batch_id,
            owner_uid,
            project_id,
            batch_size: 1,
            clip_id,
            kind: Some(kind),
            ..v1::ProgressEvent::default()
        }
        .encode_to_vec()
    }

    #[test]
    fn long_texts_of_foreign_or_older_senders_are_cut() {
        let long = "x".repeat(1_500_000);
        let error = v1::Error { code: long.clone(), message: long.clone(), ..v1::Error::default() };
        let failed = Kind::ClipFailed(v1::ClipFailed { error: Some(error) });
        let completed = v1::ClipCompleted {
            output_uri: "gs://b/o".into(),
            output_url: long.clone(),
            fallback_reason: long.clone(),
            gpu_driver: long.clone(),
            ..v1::ClipCompleted::default()
        };
        for kind in [failed, Kind::ClipCompleted(completed)] {
            let event = decode(&clip_event(kind)).unwrap();
            assert!(format!("{event:?}").len() < 3 * MAX_MESSAGE_CHARS, "{event:?}");
            assert!(encode(&event).len() < 2 * MAX_MESSAGE_CHARS);
        }
        let clip_ids = vec!["c1".to_owned(); MAX_CLIPS + 1];
        let queued = clip_event(Kind::BatchQueued(v1::BatchQueued { clip_ids }));
        assert_eq!(decode(&queued).unwrap_err().0, "has 1001 clips, more than 1000");
    }

    #[test]
    fn long_texts_are_cut_before_they_are_sent() {
        let encoding = Encoding { fallback_reason: "x".repeat(1_500_000), ..Encoding::default() };
        let kind = ClipEventKind::Completed { output: Output::default(), encoding };
        let event = ClipEvent { generation: 0, at_ms: 5, attempt: None, kind };
        let kind = EventKind::Clip { id: ClipId::parse("c1").unwrap(), event };
        let event = Event { batch: context("b1", "u1", "p1", 2).unwrap(), kind };
        assert!(encode(&event).len() < 2 * MAX_MESSAGE_CHARS);
    }

    #[test]
    fn every_event_survives_the_wire() {
        let encoding = Encoding {
            encoder: "x264enc".into(),
            fallback_reason: "no NVENC".into(),
            decoder: "nvh264dec".into(),
            gpu_driver: "580.65".into(),
        };
        let clip_kinds = [
            ClipEventKind::Queued,
            ClipEventKind::Started,
            ClipEventKind::Progressed {
                phase: Phase::Uploading,
                percent: 97,
                eta_seconds: Some(0),
                encoding: encoding.clone(),
            },
            ClipEventKind::Completed {
                output: Output {
                    uri: "gs://b/o".into(),
                    size_bytes: 5,
                    reused: true,
                    usage: Usage { slot_ms: 6, bytes_read: 7, bytes_written: 8, cost_micro_usd: 9 },
                    manifest: ManifestRef { uri: "gs://b/m".into(), sha256: "ab".into() },
                    cover: CoverRef { uri: "gs://b/c".into(), url: "https://c".into() },
                    ..Output::default()
                },
                encoding,
            },
            ClipEventKind::Failed(Failure::invalid(vec![FieldViolation::new("a", "b")])),
            ClipEventKind::Interrupted,
            ClipEventKind::FailedTransiently(Failure::new(Code::SourceUnavailable, "no answer")),
            ClipEventKind::Crashed(Failure::new(Code::PipelineCrashed, "signal 11")),
            ClipEventKind::Cancelled,
        ];
        let attempt = Attempt {
            id: AttemptId::parse("a1").unwrap(),
            number: 3,
            started_at_ms: 99,
            worker: WorkerId::parse("w1").unwrap(),
            sequence: 4,
        };
        let clip = |kind| EventKind::Clip {
            id: ClipId::parse("c1").unwrap(),
            event: ClipEvent { generation: 1, at_ms: 5, attempt: Some(attempt.clone()), kind },
        };
        let mut events: Vec<EventKind> = clip_kinds.into_iter().map(clip).collect();
        events.push(EventKind::BatchQueued { at_ms: 1, clips: vec![ClipId::parse("c1").unwrap()] });
        events.push(EventKind::BatchRefused { at_ms: 1, failure: Failure::new(Code::parse("x"), "y") });
        for kind in events {
            let event = Event { batch: context("b1", "u1", "p1", 2).unwrap(), kind };
            assert_eq!(decode(&encode(&event)).unwrap(), event);
        }
    }
}

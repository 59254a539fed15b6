//! Views as documents and back. Names are those of `proto/clipfleet/v1/status.proto`.

use crate::{
    attempt_history,
    values::{
        as_failure, as_instant, as_integer, as_text, expiry, failure_value, instant, integer, maybe, maybe_integer,
        member, text,
    },
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names::{
    ATTEMPT, ATTEMPT_ID, ATTEMPT_STARTED_AT, CRASHES, FOLD, GENERATION, HAS_DEAD_LETTERS, INTERRUPTIONS, LOST_ATTEMPTS,
    PHASE, TRANSIENT_FAILURES, PROGRESS, STATUS, UPDATED_AT, WORKER,
};
use clipfleet_domain::{
    attempt::Attempt,
    cost::Usage,
    failure::Failure,
    history::GenerationEnd,
    ids::{AttemptId, ClipId, WorkerId},
    job::BatchContext,
    lifecycle::{BatchView, ClipView, CoverRef, Encoding, ManifestRef, Output, Timings},
    progress::Phase,
    rendition::{by_name, name_of},
    state::State,
};

/// A clip's document.
pub(crate) fn clip_fields(batch: &BatchContext, clip: &ClipId, view: &ClipView) -> Fields {
    let attempt = view.attempt.as_ref();
    let output = view.output.as_ref();
    let counts = view.stats.counts(attempt.map(|attempt| &attempt.id));
    let fold = Fields::from([
        (attempt_history::ATTEMPTS.into(), attempt_history::stats_value(&view.stats)),
        ("sequence".into(), integer(attempt.map_or(0, |attempt| attempt.sequence as i64))),
        ("batchSize".into(), integer(i64::from(batch.size))),
        ("projectId".into(), text(batch.project.as_str())),
    ]);
    Fields::from([
        ("ownerUid".into(), text(batch.owner.as_str())),
        ("batchId".into(), text(batch.id.as_str())),
        ("clipId".into(), text(clip.as_str())),
        (STATUS.into(), text(name_of(&State::ALL, view.state))),
        (PHASE.into(), text(name_of(&Phase::ALL, view.phase))),
        (PROGRESS.into(), integer(i64::from(view.percent))),
        ("etaSeconds".into(), maybe_integer(view.eta_seconds.map(i64::from))),
        (GENERATION.into(), integer(i64::from(view.generation))),
        (ATTEMPT.into(), integer(attempt.map_or(0, |attempt| i64::from(attempt.number)))),
        (ATTEMPT_ID.into(), text(attempt.map_or("", |attempt| attempt.id.as_str()))),
        (ATTEMPT_STARTED_AT.into(), instant(attempt.map(|attempt| attempt.started_at_ms))),
        (CRASHES.into(), integer(i64::from(counts.crashes))),
        (TRANSIENT_FAILURES.into(), integer(i64::from(counts.transient_failures))),
        (INTERRUPTIONS.into(), integer(i64::from(counts.interruptions))),
        (LOST_ATTEMPTS.into(), integer(i64::from(counts.lost))),
        ("failureCodes".into(), attempt_history::failure_codes_value(&view.stats)),
        ("history".into(), attempt_history::history_value(&view.history)),
        (WORKER.into(), text(attempt.map_or("", |attempt| attempt.worker.as_str()))),
        ("encoder".into(), text(&view.encoding.encoder)),
        ("fallbackReason".into(), text(&view.encoding.fallback_reason)),
        ("decoder".into(), text(&view.encoding.decoder)),
        ("gpuDriver".into(), text(&view.encoding.gpu_driver)),
        ("reused".into(), Value::Bool(output.is_some_and(|output| output.reused))),
        ("outputUri".into(), text(output.map_or("", |output| &output.uri))),
        ("outputUrl".into(), text(output.map_or("", |output| &output.url))),
        ("outputSizeBytes".into(), integer(output.map_or(0, |output| output.size_bytes))),
        ("durationMs".into(), integer(output.map_or(0, |output| output.duration_ms))),
        ("manifestUri".into(), text(output.map_or("", |output| &output.manifest.uri))),
        ("manifestSha256".into(), text(output.map_or("", |output| &output.manifest.sha256))),
        ("coverUri".into(), text(output.map_or("", |output| &output.cover.uri))),
        ("coverUrl".into(), text(output.map_or("", |output| &output.cover.url))),
        ("error".into(), view.failure.as_ref().map_or(Value::Null, failure_value)),
        ("timings".into(), output.map_or(Value::Null, |output| timings_value(&output.timings))),
        ("usage".into(), output.map_or(Value::Null, |output| usage_value(&output.usage))),
        ("createdAt".into(), instant(view.created_at_ms)),
        ("startedAt".into(), instant(view.started_at_ms)),
        (UPDATED_AT.into(), instant(Some(view.updated_at_ms))),
        ("completedAt".into(), instant(view.completed_at_ms)),
        ("expiresAt".into(), expiry(view.created_at_ms)),
        (FOLD.into(), Value::Map(fold)),
    ])
}

/// The view a clip's document was made of; `None` when the document is not one of ours.
pub(crate) fn clip_view(fields: &Fields) -> Option<ClipView> {
    let get = |name: &str| fields.get(name).unwrap_or(&Value::Null);
    let Value::Map(fold) = get(FOLD) else { return None };
    let fold = |name: &str| fold.get(name).unwrap_or(&Value::Null);
    let attempt = AttemptId::parse(as_text(get(ATTEMPT_ID))).ok().and_then(|id| {
        Some(Attempt {
            id,
            number: as_integer(get(ATTEMPT)).try_into().ok()?,
            started_at_ms: as_instant(get(ATTEMPT_STARTED_AT))?,
            worker: WorkerId::parse(as_text(get(WORKER))).ok()?,
            sequence: as_integer(fold("sequence")) as u64,
        })
    });
    let state = by_name(&State::ALL, as_text(get(STATUS))).ok()?;
    Some(ClipView {
        generation: as_integer(get(GENERATION)).try_into().ok()?,
        state,
        phase: by_name(&Phase::ALL, as_text(get(PHASE))).ok()?,
        percent: as_integer(get(PROGRESS)).try_into().ok()?,
        eta_seconds: maybe(get("etaSeconds")).and_then(|value| as_integer(value).try_into().ok()),
        attempt,
        encoding: Encoding {
            encoder: as_text(get("encoder")).to_owned(),
            fallback_reason: as_text(get("fallbackReason")).to_owned(),
            decoder: as_text(get("decoder")).to_owned(),
            gpu_driver: as_text(get("gpuDriver")).to_owned(),
        }
        .bounded(),
        output: (state == State::Completed).then(|| Output {
            uri: as_text(get("outputUri")).to_owned(),
            url: as_text(get("outputUrl")).to_owned(),
            size_bytes: as_integer(get("outputSizeBytes")),
            duration_ms: as_integer(get("durationMs")),
            reused: get("reused") == &Value::Bool(true),
            timings: as_timings(get("timings")),
            usage: as_usage(get("usage")),
            manifest: ManifestRef {
                uri: as_text(get("manifestUri")).to_owned(),
                sha256: as_text(get("manifestSha256")).to_owned(),
            },
            cover: CoverRef { uri: as_text(get("coverUri")).to_owned(), url: as_text(get("coverUrl")).to_owned() },
        }),
        failure: maybe(get("error")).map(as_failure),
        created_at_ms: created_at(fields),
        started_at_ms: as_instant(get("startedAt")),
        updated_at_ms: as_instant(get(UPDATED_AT)).unwrap_or(0),
        completed_at_ms: as_instant(get("completedAt")),
        stats: attempt_history::as_stats(fold(attempt_history::ATTEMPTS)),
        history: attempt_history::as_history(get("history")),
    })
}

/// Field of what is folded on: clips whose own documents the store refuses, each with how it ended.
const GIVEN_UP: &str = "givenUp";

/// A batch's document. `refusal` is set when the batch failed validation and has no clips; `given_up` are the clips
/// whose own documents cannot be written, with their generations.
pub(crate) fn batch_fields<'a>(
    batch: &BatchContext,
    view: &BatchView,
    refusal: Option<&Failure>,
    given_up: impl Iterator<Item = (&'a ClipId, u32, GenerationEnd)>,
) -> Fields {
    let given_up: Fields = given_up
        .map(|(clip, generation, end)| (clip.to_string(), attempt_history::end_value((generation, &end))))
        .collect();
    let fold = (!given_up.is_empty()).then(|| Value::Map(Fields::from([(GIVEN_UP.into(), Value::Map(given_up))])));
    let fields = Fields::from([
        ("ownerUid".into(), text(batch.owner.as_str())),
        ("projectId".into(), text(batch.project.as_str())),
        (STATUS.into(), text(name_of(&State::ALL, view.state))),
        (PROGRESS.into(), integer(i64::from(view.percent))),
        ("totalClips".into(), integer(i64::from(view.total))),
        ("completedClips".into(), integer(i64::from(view.completed))),
        ("failedClips".into(), integer(i64::from(view.failed))),
        ("cancelledClips".into(), integer(i64::from(view.cancelled))),
        ("deadLetteredClips".into(), integer(i64::from(view.dead_lettered))),
        (HAS_DEAD_LETTERS.into(), Value::Bool(view.dead_lettered > 0)),
        ("etaSeconds".into(), maybe_integer(view.eta_seconds.map(i64::from))),
        ("error".into(), refusal.map_or(Value::Null, failure_value)),
        ("createdAt".into(), instant(view.created_at_ms)),
        (UPDATED_AT.into(), instant(Some(view.updated_at_ms))),
        ("completedAt".into(), instant(view.completed_at_ms)),
        ("expiresAt".into(), expiry(view.created_at_ms)),
    ]);
    fields.into_iter().chain(fold.map(|fold| (FOLD.to_owned(), fold))).collect()
}

/// The clips of a batch whose own documents cannot be written, as its document tells them, with their generations.
pub(crate) fn given_up(fields: &Fields) -> impl Iterator<Item = (ClipId, u32, GenerationEnd)> {
    let clips = match fields.get(FOLD).map(|fold| member(fold, GIVEN_UP)) {
        Some(Value::Map(clips)) => clips.iter().collect(),
        _ => Vec::new(),
    };
    clips.into_iter().filter_map(|(clip, value)| {
        let (generation, end) = attempt_history::as_end(value)?;
        Some((ClipId::parse(clip).ok()?, generation, end))
    })
}

/// What moves while clips are at work, and so is written again soon by whoever hears of it.
const MOVING: [&str; 3] = [PROGRESS, "etaSeconds", UPDATED_AT];

/// Whether a batch's document lacks something that its clips' documents tell and that may come from no one any more.
pub(crate) fn is_behind(document: &Fields, view: &BatchView, fields: &Fields) -> bool {
    let matters = |name: &str| view.state.is_terminal() || !MOVING.contains(&name);
    fields.iter().any(|(name, value)| matters(name) && document.get(name) != Some(value))
}

/// The percent that a document shows.
pub(crate) fn percent(fields: &Fields) -> u8 {
    fields.get(PROGRESS).and_then(|value| as_integer(value).try_into().ok()).unwrap_or(0)
}

/// When what the document tells of was created. Unix time, milliseconds.
pub(crate) fn created_at(fields: &Fields) -> Option<i64> {
    fields.get("createdAt").and_then(as_instant)
}

/// Why and when (Unix time, milliseconds) a batch was refused, if its document says it was.
pub(crate) fn refusal(fields: &Fields) -> Option<(Failure, i64)> {
    let failure = fields.get("error").and_then(maybe).map(as_failure)?;
    Some((failure, created_at(fields)?))
}

fn timings_value(timings: &Timings) -> Value {
    let Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms } = *timings;
    let named = [
        ("queuedMs", queued_ms),
        ("fetchMs", fetch_ms),
        ("encodeMs", encode_ms),
        ("verifyMs", verify_ms),
        ("uploadMs", upload_ms),
        ("totalMs", total_ms),
    ];
    Value::Map(named.map(|(name, ms)| (name.to_owned(), integer(ms))).into())
}

fn as_timings(value: &Value) -> Timings {
    let ms = |name| as_integer(member(value, name));
    Timings {
        queued_ms: ms("queuedMs"),
        fetch_ms: ms("fetchMs"),
        encode_ms: ms("encodeMs"),
        verify_ms: ms("verifyMs"),
        upload_ms: ms("uploadMs"),
        total_ms: ms("totalMs"),
    }
}

fn usage_value(usage: &Usage) -> Value {
    let Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd } = *usage;
    let named = [
        ("slotMs", slot_ms),
        ("bytesRead", bytes_read),
        ("bytesWritten", bytes_written),
        ("costMicroUsd", cost_micro_usd),
    ];
    Value::Map(named.map(|(name, number)| (name.to_owned(), integer(number))).into())
}

fn as_usage(value: &Value) -> Usage {
    let number = |name| as_integer(member(value, name));
    Usage {
        slot_ms: number("slotMs"),
        bytes_read: number("bytesRead"),
        bytes_written: number("bytesWritten"),
        cost_micro_usd: number("costMicroUsd"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_domain::{
        failure::FieldViolation,
        ids::{BatchId, OwnerUid, ProjectId},
        attempt_stats::{AttemptOutcome, AttemptEnd},
    };

    /// Bytes of a value as Firestore counts them, names of fields included.
    fn bytes(value: &Value) -> usize {
        match value {
            Value::Null | Value::Bool(_) => 1,
            Value::Integer(_) | Value::Double(_) | Value::Timestamp(_) => 8,
            Value::String(text) => text.len() + 1,
            Value::Array(values) => values.iter().map(bytes).sum(),
            Value::Map(fields) => fields.iter().map(|(name, value)| name.len() + 1 + bytes(value)).sum(),
        }
    }

    #[test]
    fn the_largest_document_that_events_can_make_fits_into_the_store() {
        let long = "\u{1f3ac}".repeat(20_000);
        let details = vec![FieldViolation::new(long.as_str(), long.as_str()); 200];
        let failure = Failure { code: long.clone(), message: long.clone(), retryable: true, details }.bounded();
        let attempt = |number: usize| Attempt {
            id: AttemptId::parse(&format!("{number:0128}")).unwrap(),
            number: u32::MAX,
            started_at_ms: i64::MAX / 2,
            worker: WorkerId::parse(&"w".repeat(128)).unwrap(),
            sequence: u64::MAX,
        };
        let address = "\u{1f3ac}".repeat(2_000);
        let mut view = ClipView {
            attempt: Some(attempt(0)),
            state: State::Completed,
            encoding: Encoding {
                encoder: long.clone(),
                fallback_reason: long.clone(),
                decoder: long.clone(),
                gpu_driver: long.clone(),
            }
            .bounded(),
            output: Some(
                Output {
                    uri: address.clone(),
                    url: address.clone(),
                    manifest: ManifestRef { uri: address.clone(), sha256: long.clone() },
                    cover: CoverRef { uri: address.clone(), url: address },
                    ..Output::default()
                }
                .bounded(),
            ),
            failure: Some(failure.clone()),
            ..ClipView::default()
        };
        for number in 0..1_000 {
            let end = AttemptEnd { outcome: AttemptOutcome::Crashed, code: failure.code.clone() };
            view.stats.record(&attempt(number).id, Some(end));
            view.history.record(number as u32, GenerationEnd { state: State::Failed, at_ms: 1, failure: Some(failure.clone()) });
        }
        let fields = clip_fields(&context(), &ClipId::parse(&"c".repeat(128)).unwrap(), &view);
        let bytes = bytes(&Value::Map(fields));
        assert!((200_000..1_000_000).contains(&bytes), "{bytes} bytes of 1 MiB");
    }

    fn context() -> BatchContext {
        BatchContext {
            id: BatchId::parse("b1").unwrap(),
            owner: OwnerUid::parse("u1").unwrap(),
            project: ProjectId::parse("p1").unwrap(),
            size: 3,
        }
    }

    #[test]
    fn a_view_survives_its_document() {
        let attempt = Attempt {
            id: AttemptId::parse("a1").unwrap(),
            number: 2,
            started_at_ms: 1_234,
            worker: WorkerId::parse("w1").unwrap(),
            sequence: 9,
        };
        let processing = ClipView {
            generation: 1,
            state: State::Processing,
            phase: Phase::Encoding,
            percent: 42,
            eta_seconds: Some(3),
            attempt: Some(attempt),
            encoding: Encoding {
                encoder: "x264enc".into(),
                fallback_reason: "no NVENC".into(),
                decoder: "nvh264dec".into(),
                gpu_driver: "580.65".into(),
            },
            created_at_ms: Some(1_000),
            started_at_ms: Some(1_234),
            updated_at_ms: 2_000,
            ..ClipView::default()
        };
        let output = Output {
            uri: "gs://b/o".into(),
            url: "http://x".into(),
            size_bytes: 7,
            duration_ms: 8,
            reused: true,
            timings: Timings { queued_ms: 1, fetch_ms: 2, encode_ms: 3, verify_ms: 4, upload_ms: 5, total_ms: 6 },
            usage: Usage { slot_ms: 6, bytes_read: 7, bytes_written: 8, cost_micro_usd: 9 },
            manifest: ManifestRef { uri: "gs://b/m".into(), sha256: "ab".into() },
            cover: CoverRef { uri: "gs://b/c".into(), url: "https://c".into() },
        };
        let completed = ClipView {
            state: State::Completed,
            output: Some(output),
            eta_seconds: None,
            completed_at_ms: Some(3_000),
            ..processing.clone()
        };
        let failure = Failure::invalid(vec![FieldViolation::new("a", "b")]);
        let failed = ClipView { state: State::Failed, failure: Some(failure.clone()), ..processing.clone() };
        let mut again = processing.clone();
        let failure_codes =
            [(1, Some((AttemptOutcome::Crashed, "pipeline_crashed"))), (2, Some((AttemptOutcome::Interrupted, ""))), (3, None)];
        for (number, end) in failure_codes {
            let id = AttemptId::parse(&format!("a{number}")).unwrap();
            again.stats.record(&id, end.map(|(outcome, code)| AttemptEnd { outcome, code: code.into() }));
        }
        again.history.record(0, GenerationEnd { state: State::Failed, at_ms: 500, failure: Some(failure) });
        again.history.record(2, GenerationEnd { state: State::Cancelled, at_ms: 700, failure: None });
        let new = ClipView { created_at_ms: Some(0), ..ClipView::default() };
        for view in [new, processing, completed, failed, again] {
            let fields = clip_fields(&context(), &ClipId::parse("c1").unwrap(), &view);
            assert_eq!(clip_view(&fields).unwrap(), view);
        }
    }
}

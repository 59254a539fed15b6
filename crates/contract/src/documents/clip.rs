//! A clip's status document, `exportBatches/{batch}/clips/{clip}`.

use super::{
    ERROR, FOLD, GENERATION, STATUS, as_failure, as_generation_end, expires_at_ms, failure_value, generation_end_value,
    known_json, selected_json,
};
use crate::{names, rfc3339};
use clipfleet_document::{Document, Fields, Value, fields_of};
use clipfleet_domain::{
    attempt::Attempt,
    attempt_stats::{AttemptCounts, AttemptEnd, AttemptOutcome, AttemptStats},
    cost::Usage,
    failure::Code,
    history::History,
    ids::{AttemptId, BatchId, ClipId, OwnerUid, ProjectId, WorkerId},
    job::BatchContext,
    lifecycle::{ClipView, CoverRef, Encoding, ManifestRef, Output, Timings},
    progress::Phase,
    state::State,
    wire_name::WireName as _,
};
use serde_json::{Map, Value as Json, json};

const OWNER_UID: &str = "ownerUid";
const BATCH_ID: &str = "batchId";
const CLIP_ID: &str = "clipId";
const PHASE: &str = "phase";
const PROGRESS: &str = "progress";
const ETA_SECONDS: &str = "etaSeconds";
const ATTEMPT: &str = "attempt";
const ATTEMPT_ID: &str = "attemptId";
const ATTEMPT_STARTED_AT: &str = "attemptStartedAt";
const CRASHES: &str = "crashes";
const TRANSIENT_FAILURES: &str = "transientFailures";
const INTERRUPTIONS: &str = "interruptions";
const LOST_ATTEMPTS: &str = "lostAttempts";
const FAILURE_CODES: &str = "failureCodes";
const HISTORY: &str = "history";
const WORKER: &str = "worker";
const ENCODER: &str = "encoder";
const FALLBACK_REASON: &str = "fallbackReason";
const DECODER: &str = "decoder";
const GPU_DRIVER: &str = "gpuDriver";
const REUSED: &str = "reused";
const OUTPUT_URI: &str = "outputUri";
const OUTPUT_URL: &str = "outputUrl";
const OUTPUT_SIZE_BYTES: &str = "outputSizeBytes";
const DURATION_MS: &str = "durationMs";
const MANIFEST_URI: &str = "manifestUri";
const MANIFEST_SHA256: &str = "manifestSha256";
const COVER_URI: &str = "coverUri";
const COVER_URL: &str = "coverUrl";
const TIMINGS: &str = "timings";
const USAGE: &str = "usage";
const CREATED_AT: &str = "createdAt";
const STARTED_AT: &str = "startedAt";
const UPDATED_AT: &str = "updatedAt";
const COMPLETED_AT: &str = "completedAt";
const EXPIRES_AT: &str = "expiresAt";

/// Of [`FOLD`]: the attempts by id, each with its end.
const ATTEMPTS: &str = "attempts";
/// Of [`FOLD`]: the sequence number of the latest report.
const SEQUENCE: &str = "sequence";
/// Of [`FOLD`]: what else is known of the batch.
const BATCH_SIZE: &str = "batchSize";
const PROJECT_ID: &str = "projectId";
/// Of an attempt in [`ATTEMPTS`].
const OUTCOME: &str = "outcome";
const CODE: &str = "code";

/// What is shown of a dead letter.
const DEAD_LETTER: [&str; 12] = [
    BATCH_ID,
    CLIP_ID,
    GENERATION,
    ERROR,
    ATTEMPT,
    WORKER,
    CRASHES,
    TRANSIENT_FAILURES,
    INTERRUPTIONS,
    LOST_ATTEMPTS,
    FAILURE_CODES,
    COMPLETED_AT,
];

/// What is shown of a clip at work.
const AT_WORK: [&str; 8] = [BATCH_ID, CLIP_ID, PHASE, PROGRESS, ETA_SECONDS, ATTEMPT, ENCODER, ATTEMPT_STARTED_AT];

/// All that a clip's document says.
#[derive(Debug, Clone, PartialEq)]
pub struct ClipDocument {
    /// The batch it belongs to.
    pub batch: BatchContext,
    /// The clip.
    pub clip: ClipId,
    /// What is known of it.
    pub view: ClipView,
}

impl ClipDocument {
    /// Path of the document.
    pub fn path(&self) -> String {
        names::clip_document(&self.batch.id, &self.clip)
    }

    /// The document's fields.
    pub fn to_fields(&self) -> Fields {
        let Self { batch, clip, view } = self;
        let attempt = view.attempt.as_ref();
        let output = view.output.as_ref();
        let counts = view.stats.counts(attempt.map(|attempt| &attempt.id));
        let text_of = |text: fn(&Output) -> &String| Value::text(output.map_or("", |output| text(output)));
        let fold = Value::map([
            (ATTEMPTS, stats_value(&view.stats)),
            (SEQUENCE, Value::unsigned(attempt.map_or(0, |attempt| attempt.sequence))),
            (BATCH_SIZE, Value::integer(batch.size)),
            (PROJECT_ID, Value::text(batch.project.as_str())),
        ]);
        let fields = [
            (OWNER_UID, Value::text(batch.owner.as_str())),
            (BATCH_ID, Value::text(batch.id.as_str())),
            (CLIP_ID, Value::text(clip.as_str())),
            (STATUS, Value::text(view.state.name())),
            (PHASE, Value::text(view.phase.name())),
            (PROGRESS, Value::integer(view.percent)),
            (ETA_SECONDS, Value::optional(view.eta_seconds.map(Value::integer))),
            (GENERATION, Value::integer(view.generation)),
            (ATTEMPT, Value::integer(attempt.map_or(0, |attempt| attempt.number))),
            (ATTEMPT_ID, Value::text(attempt.map_or("", |attempt| attempt.id.as_str()))),
            (ATTEMPT_STARTED_AT, Value::optional_instant(attempt.map(|attempt| attempt.started_at_ms))),
            (CRASHES, Value::integer(counts.crashes)),
            (TRANSIENT_FAILURES, Value::integer(counts.transient_failures)),
            (INTERRUPTIONS, Value::integer(counts.interruptions)),
            (LOST_ATTEMPTS, Value::integer(counts.lost)),
            (FAILURE_CODES, failure_codes_value(&view.stats)),
            (HISTORY, Value::Array(view.history.ends().map(|(n, end)| generation_end_value(n, end)).collect())),
            (WORKER, Value::text(attempt.map_or("", |attempt| attempt.worker.as_str()))),
            (ENCODER, Value::text(&view.encoding.encoder)),
            (FALLBACK_REASON, Value::text(&view.encoding.fallback_reason)),
            (DECODER, Value::text(&view.encoding.decoder)),
            (GPU_DRIVER, Value::text(&view.encoding.gpu_driver)),
            (REUSED, Value::Bool(output.is_some_and(|output| output.reused))),
            (OUTPUT_URI, text_of(|output| &output.uri)),
            (OUTPUT_URL, text_of(|output| &output.url)),
            (OUTPUT_SIZE_BYTES, Value::integer(output.map_or(0, |output| output.size_bytes))),
            (DURATION_MS, Value::integer(output.map_or(0, |output| output.duration_ms))),
            (MANIFEST_URI, text_of(|output| &output.manifest.uri)),
            (MANIFEST_SHA256, text_of(|output| &output.manifest.sha256)),
            (COVER_URI, text_of(|output| &output.cover.uri)),
            (COVER_URL, text_of(|output| &output.cover.url)),
            (ERROR, Value::optional(view.failure.as_ref().map(failure_value))),
            (TIMINGS, Value::optional(output.map(|output| timings_value(&output.timings)))),
            (USAGE, Value::optional(output.map(|output| usage_value(&output.usage)))),
            (CREATED_AT, Value::optional_instant(view.created_at_ms)),
            (STARTED_AT, Value::optional_instant(view.started_at_ms)),
            (UPDATED_AT, Value::instant(view.updated_at_ms)),
            (COMPLETED_AT, Value::optional_instant(view.completed_at_ms)),
            (EXPIRES_AT, Value::optional_instant(view.created_at_ms.map(expires_at_ms))),
            (FOLD, fold),
        ];
        fields_of(fields)
    }

    /// What a document says; `None` when status did not write it.
    pub fn from_document(document: &Document) -> Option<Self> {
        let text = |name| document.field(name).as_text();
        let owned = |name| text(name).unwrap_or_default().to_owned();
        let integer = |name| document.field(name).as_integer().unwrap_or(0);
        let instant = |name| document.field(name).as_instant();
        let fold = document.field(FOLD);
        let attempt = text(ATTEMPT_ID).and_then(|id| AttemptId::parse(id).ok()).and_then(|id| {
            Some(Attempt {
                id,
                number: integer(ATTEMPT).try_into().ok()?,
                started_at_ms: instant(ATTEMPT_STARTED_AT)?,
                worker: WorkerId::parse(text(WORKER)?).ok()?,
                sequence: fold.field(SEQUENCE).as_integer()?.try_into().ok()?,
            })
        });
        let state = State::parse(text(STATUS)?).ok()?;
        let encoding = Encoding {
            encoder: owned(ENCODER),
            fallback_reason: owned(FALLBACK_REASON),
            decoder: owned(DECODER),
            gpu_driver: owned(GPU_DRIVER),
        };
        let output = || Output {
            uri: owned(OUTPUT_URI),
            url: owned(OUTPUT_URL),
            size_bytes: integer(OUTPUT_SIZE_BYTES),
            duration_ms: integer(DURATION_MS),
            reused: document.field(REUSED).is_true(),
            timings: as_timings(document.field(TIMINGS)),
            usage: as_usage(document.field(USAGE)),
            manifest: ManifestRef { uri: owned(MANIFEST_URI), sha256: owned(MANIFEST_SHA256) },
            cover: CoverRef { uri: owned(COVER_URI), url: owned(COVER_URL) },
        };
        let mut history = History::default();
        let ends = document.field(HISTORY).elements().iter().filter_map(as_generation_end);
        ends.for_each(|(generation, end)| history.record(generation, end));
        let view = ClipView {
            generation: integer(GENERATION).try_into().ok()?,
            state,
            phase: Phase::parse(text(PHASE)?).ok()?,
            percent: integer(PROGRESS).try_into().ok()?,
            eta_seconds: document.field(ETA_SECONDS).as_integer().and_then(|seconds| seconds.try_into().ok()),
            attempt,
            encoding: encoding.bounded(),
            output: (state == State::Completed).then(output),
            failure: document.field(ERROR).present().map(as_failure),
            created_at_ms: instant(CREATED_AT),
            started_at_ms: instant(STARTED_AT),
            updated_at_ms: instant(UPDATED_AT).unwrap_or(0),
            completed_at_ms: instant(COMPLETED_AT),
            stats: as_stats(fold.field(ATTEMPTS)),
            history,
        };
        let batch = BatchContext {
            id: BatchId::parse(text(BATCH_ID)?).ok()?,
            owner: OwnerUid::parse(text(OWNER_UID)?).ok()?,
            project: ProjectId::parse(fold.field(PROJECT_ID).as_text()?).ok()?,
            size: fold.field(BATCH_SIZE).as_integer()?.try_into().ok()?,
        };
        Some(Self { batch, clip: ClipId::parse(document.id()).ok()?, view })
    }
}

/// What roles that do not write a clip's document need to know of it. Reads whatever version wrote the document: what
/// it does not say has its default, and a clip without a document is queued.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClipStatus {
    /// Its state; queued while no document says otherwise.
    pub state: State,
    /// 0 at first, one more at each explicit retry.
    pub generation: u32,
    /// The phase of the latest attempt.
    pub phase: Phase,
    /// Percent, 0 to 100.
    pub percent: u8,
    /// The latest attempt of that generation.
    pub latest: Option<LatestAttempt>,
    /// How the attempts of that generation ended; the latest one does not count as lost while it may be active.
    pub counts: AttemptCounts,
    /// Whether it failed because the queue gave its job up.
    pub is_dead_letter: bool,
    /// Last change; Unix time, milliseconds.
    pub updated_at_ms: i64,
}

/// The latest attempt that a document shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatestAttempt {
    /// Which one.
    pub id: AttemptId,
    /// Counts from 1 within the generation.
    pub number: u32,
    /// Unix time, milliseconds.
    pub started_at_ms: i64,
    /// The worker that runs it; `None` if the document does not name one.
    pub worker: Option<WorkerId>,
    /// Whether it has not reported its end.
    pub open: bool,
}

impl ClipStatus {
    /// What a document says.
    pub fn from_document(document: &Document) -> Self {
        let text = |name| document.field(name).as_text();
        let count = |name| document.field(name).as_integer().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
        let state = text(STATUS).and_then(|name| State::parse(name).ok()).unwrap_or_default();
        let phase = text(PHASE).and_then(|name| Phase::parse(name).ok()).unwrap_or_default();
        let id = text(ATTEMPT_ID).and_then(|id| AttemptId::parse(id).ok());
        let latest = id.map(|id| LatestAttempt {
            id,
            number: count(ATTEMPT),
            started_at_ms: document.field(ATTEMPT_STARTED_AT).as_instant().unwrap_or(0),
            worker: text(WORKER).and_then(|worker| WorkerId::parse(worker).ok()),
            open: !matches!(phase, Phase::Queued | Phase::Done),
        });
        let counts = AttemptCounts {
            crashes: count(CRASHES),
            transient_failures: count(TRANSIENT_FAILURES),
            interruptions: count(INTERRUPTIONS),
            lost: count(LOST_ATTEMPTS),
        };
        Self {
            state,
            generation: count(GENERATION),
            phase,
            percent: count(PROGRESS).try_into().unwrap_or(0),
            latest,
            counts,
            is_dead_letter: document.field(ERROR).field(CODE).as_text() == Some(Code::DeadLettered.as_str()),
            updated_at_ms: document.field(UPDATED_AT).as_instant().unwrap_or(0),
        }
    }

    /// The same, when a retry is known to have requested a generation: until the document shows it, the clip is queued
    /// in it.
    #[must_use]
    pub fn at_least(self, generation: u32) -> Self {
        if generation > self.generation { Self { generation, ..Self::default() } } else { self }
    }

    /// What is known of a generation of the clip: nothing while the document shows an earlier one.
    #[must_use]
    pub fn of_generation(self, generation: u32) -> Self {
        if self.generation == generation { self } else { Self { generation, ..Self::default() } }
    }

    /// Whether this generation of the clip still has to be made: it has not ended, and no later one was requested.
    pub fn is_needed(&self, generation: u32) -> bool {
        self.generation < generation || (self.generation == generation && !self.state.is_terminal())
    }

    /// The attempt that may be active, if there is one.
    pub fn active(&self) -> Option<&LatestAttempt> {
        self.latest.as_ref().filter(|latest| latest.open && !self.state.is_terminal())
    }

    /// Whether another attempt at the same generation has started after this one.
    pub fn supersedes(&self, generation: u32, attempt: &Attempt) -> bool {
        let order = |latest: &LatestAttempt| (latest.number, latest.started_at_ms, latest.id.clone());
        let ours = (attempt.number, attempt.started_at_ms, attempt.id.clone());
        let later = |latest: &LatestAttempt| latest.id != attempt.id && order(latest) > ours;
        self.generation == generation && self.latest.as_ref().is_some_and(later)
    }
}

/// A dead letter as the API shows it: a part of its clip's document.
pub fn dead_letter_json(document: &Document) -> Map<String, Json> {
    selected_json(&document.fields, &DEAD_LETTER)
}

/// The URI of a clip's file; `None` unless the clip is completed.
pub fn completed_file(document: &Document) -> Option<&str> {
    let is_completed = document.field(STATUS).as_text() == Some(State::Completed.name());
    is_completed.then(|| document.field(OUTPUT_URI).as_text()).flatten()
}

/// Links to a clip as the API shows them: the URLs of the clip and its cover, and when they expire (Unix time,
/// milliseconds).
pub fn links_json(
    batch: &BatchId,
    clip: &ClipId,
    [output, cover]: [Option<String>; 2],
    expire_at_ms: Option<i64>,
) -> Json {
    json!({
        BATCH_ID: batch.as_str(),
        CLIP_ID: clip.as_str(),
        OUTPUT_URL: output,
        COVER_URL: cover,
        "expireTime": expire_at_ms.map(rfc3339),
    })
}

/// The URI of a clip's cover; `None` if the clip has none.
pub fn cover_file(document: &Document) -> Option<&str> {
    document.field(COVER_URI).as_text().filter(|uri| !uri.is_empty())
}

/// A clip at work as the API shows it: the part of its document that is known.
pub fn at_work_json(document: &Document) -> Map<String, Json> {
    known_json(&document.fields, &AT_WORK)
}

fn stats_value(stats: &AttemptStats) -> Value {
    let end_value = |end: &AttemptEnd| {
        Value::map([
            (OUTCOME, Value::text(end.outcome.name())),
            (CODE, Value::text(end.code.as_ref().map_or("", Code::as_str))),
        ])
    };
    Value::Map(stats.attempts().map(|(id, end)| (id.to_string(), Value::optional(end.map(end_value)))).collect())
}

fn as_stats(value: &Value) -> AttemptStats {
    let mut stats = AttemptStats::default();
    for (id, value) in value.fields() {
        let outcome = value.field(OUTCOME).as_text().and_then(|name| AttemptOutcome::parse(name).ok());
        let code = value.field(CODE).as_text().filter(|text| !text.is_empty()).map(Code::parse);
        if let Ok(id) = AttemptId::parse(id) {
            stats.record(&id, outcome.map(|outcome| AttemptEnd { outcome, code }));
        }
    }
    stats
}

/// The codes of the failed attempts, in the order of their start.
fn failure_codes_value(stats: &AttemptStats) -> Value {
    let codes = stats.attempts().filter_map(|(_, end)| end).filter_map(|end| end.code.as_ref());
    Value::Array(codes.map(|code| Value::text(code.as_str())).collect())
}

const QUEUED_MS: &str = "queuedMs";
const FETCH_MS: &str = "fetchMs";
const ENCODE_MS: &str = "encodeMs";
const VERIFY_MS: &str = "verifyMs";
const UPLOAD_MS: &str = "uploadMs";
const TOTAL_MS: &str = "totalMs";

fn timings_value(timings: &Timings) -> Value {
    let Timings { queued_ms, fetch_ms, encode_ms, verify_ms, upload_ms, total_ms } = *timings;
    Value::map([
        (QUEUED_MS, Value::integer(queued_ms)),
        (FETCH_MS, Value::integer(fetch_ms)),
        (ENCODE_MS, Value::integer(encode_ms)),
        (VERIFY_MS, Value::integer(verify_ms)),
        (UPLOAD_MS, Value::integer(upload_ms)),
        (TOTAL_MS, Value::integer(total_ms)),
    ])
}

fn as_timings(value: &Value) -> Timings {
    let ms = |name| value.field(name).as_integer().unwrap_or(0);
    Timings {
        queued_ms: ms(QUEUED_MS),
        fetch_ms: ms(FETCH_MS),
        encode_ms: ms(ENCODE_MS),
        verify_ms: ms(VERIFY_MS),
        upload_ms: ms(UPLOAD_MS),
        total_ms: ms(TOTAL_MS),
    }
}

const SLOT_MS: &str = "slotMs";
const BYTES_READ: &str = "bytesRead";
const BYTES_WRITTEN: &str = "bytesWritten";
const COST_MICRO_USD: &str = "costMicroUsd";

fn usage_value(usage: &Usage) -> Value {
    let Usage { slot_ms, bytes_read, bytes_written, cost_micro_usd } = *usage;
    Value::map([
        (SLOT_MS, Value::integer(slot_ms)),
        (BYTES_READ, Value::integer(bytes_read)),
        (BYTES_WRITTEN, Value::integer(bytes_written)),
        (COST_MICRO_USD, Value::integer(cost_micro_usd)),
    ])
}

/// What a manifest says of a clip's usage: it is stored before the bytes written are known.
pub fn manifest_usage_json(usage: &Usage) -> Json {
    let Usage { slot_ms, bytes_read, cost_micro_usd, .. } = *usage;
    json!({SLOT_MS: slot_ms, BYTES_READ: bytes_read, COST_MICRO_USD: cost_micro_usd})
}

fn as_usage(value: &Value) -> Usage {
    let number = |name| value.field(name).as_integer().unwrap_or(0);
    Usage {
        slot_ms: number(SLOT_MS),
        bytes_read: number(BYTES_READ),
        bytes_written: number(BYTES_WRITTEN),
        cost_micro_usd: number(COST_MICRO_USD),
    }
}

#[cfg(test)]
mod tests;

//! A batch's status document, `exportBatches/{batch}`.

use super::{
    ERROR, FOLD, STATUS, as_failure, as_generation_end, expires_at_ms, failure_value, generation_end_value, known_json,
};
use crate::{names, v1};
use clipfleet_document::{Document, Fields, Search, Value, fields_of};
use clipfleet_domain::{
    failure::Failure, history::GenerationEnd, ids::ClipId, job::BatchContext, lifecycle::BatchView, state::State,
    wire_name::WireName as _,
};
use serde_json::{Map, Value as Json, json};

const OWNER_UID: &str = "ownerUid";
const PROJECT_ID: &str = "projectId";
const PROGRESS: &str = "progress";
const TOTAL_CLIPS: &str = "totalClips";
const COMPLETED_CLIPS: &str = "completedClips";
const FAILED_CLIPS: &str = "failedClips";
const CANCELLED_CLIPS: &str = "cancelledClips";
const DEAD_LETTERED_CLIPS: &str = "deadLetteredClips";
const HAS_DEAD_LETTERS: &str = "hasDeadLetters";
const ETA_SECONDS: &str = "etaSeconds";
const CREATED_AT: &str = "createdAt";
const UPDATED_AT: &str = "updatedAt";
const COMPLETED_AT: &str = "completedAt";
const EXPIRES_AT: &str = "expiresAt";

/// What the API adds to a batch's document: its id, and its clips' documents.
const BATCH_ID: &str = "batchId";
const CLIPS: &str = "clips";

/// Of [`FOLD`]: the clips whose own documents the store refuses, each with its end.
const GIVEN_UP: &str = "givenUp";

/// What changes while clips are made, and is soon written again by the instance that receives their events.
const CHANGING: [&str; 3] = [PROGRESS, ETA_SECONDS, UPDATED_AT];

/// What is shown of a batch at work.
const AT_WORK: [&str; 10] = [
    OWNER_UID,
    PROJECT_ID,
    STATUS,
    PROGRESS,
    TOTAL_CLIPS,
    COMPLETED_CLIPS,
    FAILED_CLIPS,
    CANCELLED_CLIPS,
    ETA_SECONDS,
    CREATED_AT,
];

/// A clip whose own document the store refuses: its id, its generation and that generation's end.
pub type GivenUp = (ClipId, u32, GenerationEnd);

/// All that a batch's document says.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchDocument {
    /// The batch.
    pub batch: BatchContext,
    /// What its clips add up to.
    pub view: BatchView,
    /// Why it was refused, if it failed validation; then it has no clips.
    pub refusal: Option<Failure>,
    /// The clips whose own documents cannot be written.
    pub given_up: Vec<GivenUp>,
}

impl BatchDocument {
    /// Path of the document.
    pub fn path(&self) -> String {
        names::batch_document(&self.batch.id)
    }

    /// The document's fields.
    pub fn to_fields(&self) -> Fields {
        let Self { batch, view, refusal, given_up } = self;
        let fields = [
            (OWNER_UID, Value::text(batch.owner.as_str())),
            (PROJECT_ID, Value::text(batch.project.as_str())),
            (STATUS, Value::text(view.state.name())),
            (PROGRESS, Value::integer(view.percent)),
            (TOTAL_CLIPS, Value::integer(view.total)),
            (COMPLETED_CLIPS, Value::integer(view.completed)),
            (FAILED_CLIPS, Value::integer(view.failed)),
            (CANCELLED_CLIPS, Value::integer(view.cancelled)),
            (DEAD_LETTERED_CLIPS, Value::integer(view.dead_lettered)),
            (HAS_DEAD_LETTERS, Value::Bool(view.dead_lettered > 0)),
            (ETA_SECONDS, Value::optional(view.eta_seconds.map(Value::integer))),
            (ERROR, Value::optional(refusal.as_ref().map(failure_value))),
            (CREATED_AT, Value::optional_instant(view.created_at_ms)),
            (UPDATED_AT, Value::instant(view.updated_at_ms)),
            (COMPLETED_AT, Value::optional_instant(view.completed_at_ms)),
            (EXPIRES_AT, Value::optional_instant(view.created_at_ms.map(expires_at_ms))),
        ];
        let ends =
            given_up.iter().map(|(clip, generation, end)| (clip.to_string(), generation_end_value(*generation, end)));
        let fold = (!given_up.is_empty()).then(|| (FOLD, Value::map([(GIVEN_UP, Value::Map(ends.collect()))])));
        fields_of(fields.into_iter().chain(fold))
    }

    /// Whether a stored document lacks something that this one says and that may never be reported again.
    pub fn is_behind(&self, stored: &Document) -> bool {
        let matters = |name: &str| self.view.state.is_terminal() || !CHANGING.contains(&name);
        self.to_fields().iter().any(|(name, value)| matters(name) && stored.fields.get(name) != Some(value))
    }
}

/// What a batch's document says that its clips' documents do not. Reads whatever version wrote the document.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BatchStatus {
    /// Its state; queued while no document says otherwise.
    pub state: State,
    /// Percent, 0 to 100.
    pub percent: u8,
    /// When it was created; Unix time, milliseconds.
    pub created_at_ms: Option<i64>,
    /// Why and when (Unix time, milliseconds) it was refused, if it was.
    pub refusal: Option<(Failure, i64)>,
    /// The clips whose own documents cannot be written.
    pub given_up: Vec<GivenUp>,
}

impl BatchStatus {
    /// What a document says.
    pub fn from_document(document: &Document) -> Self {
        let created_at_ms = document.field(CREATED_AT).as_instant();
        let state = document.field(STATUS).as_text().and_then(|name| State::parse(name).ok());
        let given_up = document.field(FOLD).field(GIVEN_UP).fields().filter_map(|(clip, value)| {
            let (generation, end) = as_generation_end(value)?;
            Some((ClipId::parse(clip).ok()?, generation, end))
        });
        Self {
            state: state.unwrap_or_default(),
            percent: document.field(PROGRESS).as_integer().and_then(|percent| percent.try_into().ok()).unwrap_or(0),
            created_at_ms,
            refusal: document.field(ERROR).present().map(as_failure).zip(created_at_ms),
            given_up: given_up.collect(),
        }
    }
}

/// A page of the batches that have dead letters, from the one after `after` on.
pub fn with_dead_letters(after: &str, limit: u32) -> Search<'_> {
    Search { field: HAS_DEAD_LETTERS, value: Value::Bool(true), after, limit }
}

/// A batch at work as the API shows it: the part of its document that is known.
pub fn at_work_json(document: &Document) -> Map<String, Json> {
    known_json(&document.fields, &AT_WORK)
}

/// A batch as the API shows it between its acceptance and its first document.
pub fn queued_json(request: &v1::ExportBatch) -> Json {
    json!({
        BATCH_ID: request.batch_id, OWNER_UID: request.owner_uid, PROJECT_ID: request.project_id,
        STATUS: State::Queued.name(), PROGRESS: 0, TOTAL_CLIPS: request.clips.len(),
        COMPLETED_CLIPS: 0, FAILED_CLIPS: 0, CANCELLED_CLIPS: 0, CLIPS: [],
    })
}

/// A batch at work as the API shows it between its acceptance and its first document.
pub fn queued_at_work_json(request: &v1::ExportBatch) -> Json {
    json!({
        BATCH_ID: request.batch_id, STATUS: State::Queued.name(), TOTAL_CLIPS: request.clips.len(),
    })
}

//! A batch's status document, `exportBatches/{batch}`.

use super::{
    ERROR, FOLD, STATUS, as_failure, as_generation_end, expires_at_ms, failure_value, generation_end_value, known_json,
    public_json, selected_json,
};
use crate::{names, v1};
use clipfleet_document::{Document, Fields, Order, Search, Value, fields_of};
use clipfleet_domain::{
    failure::Failure,
    history::GenerationEnd,
    ids::{ClipId, OwnerUid, ProjectId},
    job::BatchContext,
    lifecycle::BatchView,
    state::State,
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
const CONFLICT: &str = "conflict";

/// Of [`CONFLICT`].
const AT: &str = "at";
const REASON: &str = "reason";

/// What the API adds to a batch's document: its id, its clips' documents, and in lists its source.
const BATCH_ID: &str = "batchId";
const CLIPS: &str = "clips";
const SOURCE_URI: &str = "sourceUri";

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

/// What a list of batches shows of each.
const LISTED: [&str; 13] = [
    OWNER_UID,
    PROJECT_ID,
    STATUS,
    PROGRESS,
    TOTAL_CLIPS,
    COMPLETED_CLIPS,
    FAILED_CLIPS,
    CANCELLED_CLIPS,
    ETA_SECONDS,
    ERROR,
    CREATED_AT,
    UPDATED_AT,
    COMPLETED_AT,
];

/// A request that used the id of a batch for something else. It was ignored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// When it arrived; Unix time, milliseconds.
    pub at_ms: i64,
    /// What is wrong with it.
    pub reason: String,
}

impl Conflict {
    fn to_value(&self) -> Value {
        Value::map([(AT, Value::instant(self.at_ms)), (REASON, Value::text(&self.reason))])
    }

    fn from_value(value: &Value) -> Option<Self> {
        let at_ms = value.field(AT).as_instant()?;
        Some(Self { at_ms, reason: value.field(REASON).as_text()?.to_owned() })
    }
}

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
    /// The latest request that used its id for something else.
    pub conflict: Option<Conflict>,
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
        let Self { batch, view, refusal, conflict, given_up } = self;
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
            (CONFLICT, Value::optional(conflict.as_ref().map(Conflict::to_value))),
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
    /// The latest request that used its id for something else.
    pub conflict: Option<Conflict>,
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
            conflict: Conflict::from_value(document.field(CONFLICT)),
            given_up: given_up.collect(),
        }
    }
}

/// A page of the batches that have dead letters, from the one after `after` on.
pub fn with_dead_letters(after: &str, limit: u32) -> Search<'_> {
    Search::by_id(HAS_DEAD_LETTERS, Value::Bool(true), after, limit)
}

/// Which batches a list shows; those that meet every given condition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BatchFilter {
    /// Batches of this user.
    pub owner: Option<OwnerUid>,
    /// Batches of this project.
    pub project: Option<ProjectId>,
    /// Batches in this state.
    pub state: Option<State>,
}

/// A page of batches, the latest first, from the one after `after` on: when it was created (Unix time, milliseconds),
/// and its id. A batch is found once its document is written.
pub fn latest<'a>(filter: &BatchFilter, after: Option<(i64, &'a str)>, limit: u32) -> Search<'a> {
    let filters = [
        (OWNER_UID, filter.owner.as_ref().map(|owner| Value::text(owner.as_str()))),
        (PROJECT_ID, filter.project.as_ref().map(|project| Value::text(project.as_str()))),
        (STATUS, filter.state.map(|state| Value::text(state.name()))),
    ];
    let filters = filters.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Search { filters, order: Order::LatestFirst { field: CREATED_AT, after }, limit }
}

/// The owner that a document names.
pub fn owner_uid(document: &Document) -> Option<String> {
    document.field(OWNER_UID).as_text().map(str::to_owned)
}

/// When a batch was created, by its document; Unix time, milliseconds.
pub fn created_at_ms(document: &Document) -> Option<i64> {
    document.field(CREATED_AT).as_instant()
}

/// A batch as a list shows it, with the URI of its source if known.
pub fn listed_json(document: &Document, source_uri: Option<&str>) -> Map<String, Json> {
    let mut listed = selected_json(&document.fields, &LISTED);
    listed.insert(BATCH_ID.into(), document.id().into());
    listed.insert(SOURCE_URI.into(), source_uri.into());
    listed
}

/// A batch as the API shows it: its document with its clips' documents, and the URI of its source if known.
pub fn shown_json(document: &Document, source_uri: Option<&str>, clips: &[Document]) -> Json {
    let mut shown = public_json(&document.fields);
    shown.insert(BATCH_ID.into(), document.id().into());
    shown.insert(SOURCE_URI.into(), source_uri.into());
    shown.insert(CLIPS.into(), clips.iter().map(|clip| Json::Object(public_json(&clip.fields))).collect());
    shown.into()
}

/// A batch at work as the API shows it: the part of its document that is known.
pub fn at_work_json(document: &Document) -> Map<String, Json> {
    known_json(&document.fields, &AT_WORK)
}

/// A batch as the API shows it between its acceptance and its first document.
pub fn queued_json(request: &v1::ExportBatch) -> Json {
    json!({
        BATCH_ID: request.batch_id, OWNER_UID: request.owner_uid, PROJECT_ID: request.project_id,
        SOURCE_URI: request.source.as_ref().map(|source| &source.uri),
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

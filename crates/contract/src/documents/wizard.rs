//! Documents of the legacy product: `wizardProcessingJobs/{batch}:{clip}` and the field
//! `clipProcessing.{clip}` of `wizardProjects/{project}`. Their statuses are queued, processing, completed and failed;
//! a cancelled clip has failed there, with that as its reason.

use super::clip::ClipDocument;
use clipfleet_document::{Fields, Value, fields_of};
use clipfleet_domain::{
    ids::{BatchId, ClipId, ProjectId},
    state::State,
    wire_name::WireName as _,
};

const JOB_ID: &str = "jobId";
const PROJECT_ID: &str = "projectId";
const CLIP_ID: &str = "clipId";
const BATCH_ID: &str = "batchId";
const OWNER_UID: &str = "ownerUid";
const STATUS: &str = "status";
const PROGRESS: &str = "progress";
const OUTPUT_URL: &str = "outputUrl";
const ERROR: &str = "error";
const CREATED_AT: &str = "createdAt";
const STARTED_AT: &str = "startedAt";
const UPDATED_AT: &str = "updatedAt";
const COMPLETED_AT: &str = "completedAt";

const CLIP_PROCESSING: &str = "clipProcessing";

/// Path of a job's document, one for each clip of a batch. The colon cannot stand in an id, so no two clips share a
/// path.
pub fn job_path(batch: &BatchId, clip: &ClipId) -> String {
    format!("wizardProcessingJobs/{}", job_id(batch, clip))
}

/// Path of a project's document; it belongs to the product.
pub fn project_path(project: &ProjectId) -> String {
    format!("wizardProjects/{project}")
}

/// All fields of a job.
pub fn job_fields(clip: &ClipDocument) -> Fields {
    let ClipDocument { batch, clip: id, .. } = clip;
    let ids = [
        (JOB_ID, Value::String(job_id(&batch.id, id))),
        (PROJECT_ID, Value::text(batch.project.as_str())),
        (CLIP_ID, Value::text(id.as_str())),
        (BATCH_ID, Value::text(batch.id.as_str())),
        (OWNER_UID, Value::text(batch.owner.as_str())),
    ];
    fields_of(ids.into_iter().chain(progress(clip)))
}

/// The fields `clipProcessing.{clip}.*` of a project, one by one, each by the names that lead to it: others that a page
/// keeps there stay.
pub fn project_fields(clip: &ClipDocument) -> impl Iterator<Item = (Vec<String>, Value)> {
    let ClipDocument { batch, clip: id, .. } = clip;
    let job = (JOB_ID, Value::String(job_id(&batch.id, id)));
    let id = id.to_string();
    std::iter::once(job)
        .chain(progress(clip))
        .map(move |(name, value)| (vec![CLIP_PROCESSING.to_owned(), id.clone(), name.to_owned()], value))
}

fn job_id(batch: &BatchId, clip: &ClipId) -> String {
    format!("{batch}:{clip}")
}

fn progress(clip: &ClipDocument) -> [(&'static str, Value); 8] {
    let view = &clip.view;
    let (state, error) = match view.state {
        State::Cancelled => (State::Failed, Value::text("the export was cancelled")),
        State::Failed => (State::Failed, Value::text(view.failure.as_ref().map_or("", |failure| &failure.message))),
        other => (other, Value::Null),
    };
    let url = view.output.as_ref().map(|output| output.url.as_str()).filter(|url| !url.is_empty());
    [
        (STATUS, Value::text(state.name())),
        (PROGRESS, Value::integer(view.percent)),
        (OUTPUT_URL, Value::optional(url.map(Value::text))),
        (ERROR, error),
        (CREATED_AT, Value::optional_instant(view.created_at_ms)),
        (STARTED_AT, Value::optional_instant(view.started_at_ms)),
        (UPDATED_AT, Value::instant(view.updated_at_ms)),
        (COMPLETED_AT, Value::optional_instant(view.completed_at_ms)),
    ]
}

//! Names and fields of the product that came before. Statuses there are queued, processing, completed and failed; what was cancelled has
//! failed there, with that for a reason.

use crate::values::{as_integer, as_text, integer, maybe, member, text};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names::{STATUS, UPDATED_AT};
use clipfleet_domain::ids::{BatchId, ClipId, ProjectId};

/// A job's document, one for each clip of a batch. The colon cannot stand in an id, so no two clips share a name.
pub(super) fn job_document(batch: &BatchId, clip: &ClipId) -> String {
    format!("wizardProcessingJobs/{}", job_id(batch, clip))
}

fn job_id(batch: &BatchId, clip: &ClipId) -> String {
    format!("{batch}:{clip}")
}

/// A project's document; it belongs to the product.
pub(super) fn project_document(project: &ProjectId) -> String {
    format!("wizardProjects/{project}")
}

/// All fields of a job, from those of the clip's document.
pub(super) fn job_fields(project: &ProjectId, batch: &BatchId, clip: &ClipId, shown: &Fields) -> Fields {
    let ours = [
        ("jobId", text(&job_id(batch, clip))),
        ("projectId", text(project.as_str())),
        ("clipId", text(clip.as_str())),
        ("batchId", text(batch.as_str())),
        ("ownerUid", get(shown, "ownerUid").clone()),
    ];
    ours.into_iter().chain(progress(shown)).map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The fields `clipProcessing.{clip}.*` of a project, one by one: others that a page keeps there stay.
pub(super) fn project_fields(
    batch: &BatchId,
    clip: &ClipId,
    shown: &Fields,
) -> impl Iterator<Item = (Vec<String>, Value)> {
    let job = ("jobId", text(&job_id(batch, clip)));
    let clip = clip.to_string();
    std::iter::once(job)
        .chain(progress(shown))
        .map(move |(name, value)| (vec!["clipProcessing".to_owned(), clip.clone(), name.to_owned()], value))
}

fn progress(shown: &Fields) -> impl Iterator<Item = (&'static str, Value)> {
    let status = as_text(get(shown, STATUS));
    let error = get(shown, "error");
    let error = match status {
        "cancelled" => text("the export was cancelled"),
        "failed" => text(as_text(member(error, "message"))),
        _ => Value::Null,
    };
    let status = match status {
        "cancelled" => "failed",
        other => other,
    };
    let url = maybe(get(shown, "outputUrl")).map_or("", as_text);
    let url = if url.is_empty() { Value::Null } else { text(url) };
    let at = |name| get(shown, name).clone();
    [
        ("status", text(status)),
        ("progress", integer(as_integer(get(shown, "progress")))),
        ("outputUrl", url),
        ("error", error),
        ("createdAt", at("createdAt")),
        ("startedAt", at("startedAt")),
        ("updatedAt", at(UPDATED_AT)),
        ("completedAt", at("completedAt")),
    ]
    .into_iter()
}

fn get<'a>(fields: &'a Fields, name: &str) -> &'a Value {
    fields.get(name).unwrap_or(&Value::Null)
}

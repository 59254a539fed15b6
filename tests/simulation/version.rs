//! Upgrades: workers of an earlier version run beside the current ones. Such a worker loses the settings of a job that
//! it does not know in decoding, so here it receives the job without one. It must not make that clip.

use crate::{clients, mutation::Mutation, process::Process};
use clipfleet_cloud::Message;
use clipfleet_contract::{batch, names, v1};
use prost::Message as _;

/// A message as the worker that receives it decodes it.
pub(crate) fn decoded_by(process: &Process, subscription: &str, message: Message) -> Message {
    let world = &process.world;
    let is_job = subscription == names::CLIP_JOBS_WORKER;
    let Some(mut job) = is_job.then(|| v1::ClipJob::decode(&message.data[..]).ok()).flatten() else { return message };
    let Some(clip) = job.clip.as_mut().filter(|clip| clip.audio.is_some()) else { return message };
    if !world.occurs("a worker of an earlier version received a job", |faults| faults.earlier_version) {
        return message;
    }
    clip.audio = None;
    if world.has(Mutation::NoVersionCheck) {
        job.settings_hash = hash_of(&job);
    }
    Message { data: job.encode_to_vec().into(), ..message }
}

/// The settings hash of what is left of a job.
fn hash_of(job: &v1::ClipJob) -> String {
    let request = v1::ExportBatch {
        batch_id: job.batch_id.clone(),
        owner_uid: job.owner_uid.clone(),
        project_id: job.project_id.clone(),
        source: job.source.clone(),
        clips: job.clip.clone().into_iter().collect(),
        output: job.output.clone(),
    };
    let generation = job.source.as_ref().map_or(0, |source| source.generation);
    let batch = batch::check(&request, &clients::policy(), "").unwrap();
    batch.plan(generation).unwrap().remove(0).settings_hash
}

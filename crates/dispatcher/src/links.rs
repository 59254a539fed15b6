//! `GET /v1/batches/{batch}/clips/{clip}:links`: links to a completed clip and its cover, for now.

use crate::{
    dispatch::Dispatch,
    record,
    refusal::{Refusal, no_such_batch, no_such_clip},
};
use clipfleet_cloud::{ErrorKind, Link, ObjectName};
use clipfleet_contract::{
    documents::clip::{completed_file, cover_file, links_json},
    names,
};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::{BatchId, ClipId},
    source::ObjectUri,
};
use serde_json::Value as Json;

impl Dispatch {
    /// Links to a clip and its cover, as JSON. A revoked link is null, as is that of a clip without a cover.
    pub(crate) async fn links(&self, batch: &BatchId, clip: &ClipId) -> Result<Json, Refusal> {
        let documents = self.cloud.documents.get(&[names::clip_document(batch, clip)]).await?;
        let Some(document) = documents.first().and_then(Option::as_ref) else {
            return Err(self.no_document(batch, clip).await?);
        };
        let output = completed_file(document).and_then(object_name).ok_or_else(|| not_completed(clip))?;
        let output = self.link(&output).await?.ok_or_else(links_disabled)?;
        let cover = match cover_file(document).and_then(object_name) {
            // A cover that was deleted leaves a clip that can be played.
            Some(name) => match self.link(&name).await {
                Err(Refusal::NotFound(_)) => None,
                link => link?,
            },
            None => None,
        };
        let lifetime_ms = output.lifetime.and_then(|lifetime| i64::try_from(lifetime.as_millis()).ok());
        let expire_at_ms = lifetime_ms.map(|lifetime_ms| self.clock.now_ms() + lifetime_ms);
        Ok(links_json(batch, clip, [output.url, cover.and_then(|cover| cover.url)], expire_at_ms))
    }

    async fn link(&self, name: &ObjectName) -> Result<Option<Link>, Refusal> {
        self.links.current(name).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound => {
                let message = format!("{name} was deleted; export the clip again");
                Refusal::NotFound(Failure::new(Code::OutputDeleted, message))
            }
            _ => error.into(),
        })
    }

    /// Why there is no document of a clip.
    async fn no_document(&self, batch: &BatchId, clip: &ClipId) -> Result<Refusal, Refusal> {
        let Some(stored) = record::load(&self.cloud, batch).await? else { return Ok(no_such_batch(batch)) };
        let known = stored.record.request.clips.iter().any(|known| known.clip_id == clip.as_str());
        Ok(if known { not_completed(clip) } else { no_such_clip(batch, clip) })
    }
}

fn object_name(uri: &str) -> Option<ObjectName> {
    let uri = ObjectUri::parse(uri).ok()?;
    Some(ObjectName::new(uri.bucket(), uri.object()))
}

fn not_completed(clip: &ClipId) -> Refusal {
    let message = format!("clip {:?} is not completed, so there is nothing to link to", clip.as_str());
    Refusal::Conflict(Failure::new(Code::ClipNotCompleted, message))
}

fn links_disabled() -> Refusal {
    let message = "this fleet makes no links (CLIPFLEET_OUTPUT_LINKS); read outputUri with your own credentials";
    Refusal::Conflict(Failure::new(Code::LinksDisabled, message))
}

//! Pause and resume: one document with the operators' requests to the whole fleet, which every worker reads.

use crate::{dispatch::Dispatch, refusal::Refusal};
use clipfleet_cloud::{CloudError, Document, Precondition, Write};
use clipfleet_contract::{
    documents::{
        fleet_control::{self, FleetControl},
        leadership::LeadershipDocument,
    },
    rfc3339,
};
use serde_json::{Value as Json, json};

impl Dispatch {
    /// The operators' current request.
    pub async fn fleet_control(&self) -> Result<FleetControl, CloudError> {
        Ok(FleetControl::from_document(self.fleet_document().await?.as_ref()))
    }

    /// What operators request, and the pools that a scaler sizes, for `GET /v1/fleet`.
    pub(crate) async fn show_fleet(&self) -> Result<Json, CloudError> {
        let documents = self.cloud.documents.list(fleet_control::COLLECTION).await?;
        let control = documents.iter().find(|document| document.path == fleet_control::PATH);
        let mut shown = control_json(FleetControl::from_document(control));
        shown["pools"] = documents.iter().filter_map(pool_json).collect();
        Ok(shown)
    }

    pub(crate) async fn fleet_document(&self) -> Result<Option<Document>, CloudError> {
        self.cloud.documents.get_one(fleet_control::PATH.to_owned()).await
    }

    /// Pauses or resumes the fleet. Requesting the current state changes nothing.
    pub async fn set_paused(&self, paused: bool) -> Result<FleetControl, Refusal> {
        let found = self.fleet_document().await?;
        let known = FleetControl::from_document(found.as_ref());
        if known.paused == paused {
            return Ok(known);
        }
        let written = self.write_paused(found, paused).await;
        // Another operator was first, or this write succeeded and its response was lost.
        if written.is_err()
            && let Ok(known) = self.fleet_control().await
            && known.paused == paused
        {
            return Ok(known);
        }
        written
    }

    /// Replaces the document that was read. It fails if the document has changed since: a delayed pause must not undo a
    /// later operator's request.
    pub(crate) async fn write_paused(&self, found: Option<Document>, paused: bool) -> Result<FleetControl, Refusal> {
        let control = FleetControl { paused, changed_at_ms: Some(self.clock.now_ms()) };
        let precondition = found.map_or(Precondition::Absent, |document| Precondition::Unchanged(document.version));
        let write = Write { path: fleet_control::PATH.to_owned(), fields: control.to_fields(), precondition };
        self.cloud.documents.commit(vec![write]).await?;
        tracing::warn!(paused, "fleet control changed");
        Ok(control)
    }
}

/// What operators request, as JSON.
pub(crate) fn control_json(control: FleetControl) -> Json {
    json!({"paused": control.paused, "since": control.changed_at_ms.map(rfc3339)})
}

/// A pool that a scaler sizes: `workers` as last set, and why; `limit` while the platform refuses more.
fn pool_json(document: &Document) -> Option<Json> {
    let pool = LeadershipDocument::pool(document)?;
    let LeadershipDocument { target, reason, limit, renewed_at_ms, .. } = LeadershipDocument::from_document(document);
    Some(json!({
        "pool": pool, "workers": target, "reason": reason, "limit": limit, "seenAt": rfc3339(renewed_at_ms),
    }))
}

//! `GET /v1/batches/{id}`: the status documents as JSON.

use crate::{
    accept::{Dispatch, Refusal, no_such_batch},
    record,
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names;
use clipfleet_domain::ids::BatchId;
use serde_json::{Map, json};
use std::time::{SystemTime, UNIX_EPOCH};

impl Dispatch {
    /// The batch's document with its clips' documents under `clips`. A batch accepted so recently that no document exists
    /// yet is shown as queued.
    pub async fn show(&self, id: &BatchId) -> Result<serde_json::Value, Refusal> {
        let batch_path = names::batch_document(id);
        let clips_path = names::clip_documents(id);
        let batch_paths = [batch_path];
        let (batch, clips) =
            tokio::try_join!(self.cloud.documents.get(&batch_paths), self.cloud.documents.list(&clips_path))?;
        let Some(batch) = batch.into_iter().next().flatten() else { return self.show_recorded(id).await };
        let mut shown = to_json(&batch.fields);
        shown.insert("batchId".into(), json!(id.as_str()));
        shown.insert(
            "clips".into(),
            clips.iter().map(|clip| serde_json::Value::Object(to_json(&clip.fields))).collect(),
        );
        Ok(shown.into())
    }

    async fn show_recorded(&self, id: &BatchId) -> Result<serde_json::Value, Refusal> {
        let stored = record::load(&self.cloud, id).await?.ok_or_else(|| no_such_batch(id))?;
        let request = stored.record.request;
        Ok(json!({
            "batchId": request.batch_id, "ownerUid": request.owner_uid, "projectId": request.project_id,
            "status": "queued", "progress": 0, "totalClips": request.clips.len(),
            "completedClips": 0, "failedClips": 0, "cancelledClips": 0, "clips": [],
        }))
    }
}

pub(crate) fn to_json(fields: &Fields) -> Map<String, serde_json::Value> {
    let public = fields.iter().filter(|(name, _)| *name != names::FOLD);
    public.map(|(name, value)| (name.clone(), value_to_json(value))).collect()
}

fn value_to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => json!(value),
        Value::Integer(value) => json!(value),
        Value::Double(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Timestamp(at) => json!(rfc3339(*at)),
        Value::Array(values) => values.iter().map(value_to_json).collect(),
        Value::Map(fields) => serde_json::Value::Object(to_json(fields)),
    }
}

/// Milliseconds suffice: nothing in a status document is finer.
pub(crate) fn rfc3339(at: SystemTime) -> String {
    let since_epoch = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or(i64::MAX);
    let time = pbjson_types::Timestamp { seconds, nanos: since_epoch.subsec_millis() as i32 * 1_000_000 };
    serde_json::to_value(time).ok().and_then(|text| text.as_str().map(ToOwned::to_owned)).unwrap_or_default()
}

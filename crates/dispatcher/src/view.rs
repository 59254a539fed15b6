//! `GET /v1/batches/{id}`: the status documents as JSON.

use crate::{
    dispatch::Dispatch,
    record,
    refusal::{Refusal, no_such_batch},
};
use clipfleet_contract::{
    documents::{batch, request},
    names,
};
use clipfleet_domain::ids::BatchId;

impl Dispatch {
    /// The batch's document with its clips' documents under `clips`, which are at least as recent. A batch that has no
    /// document yet is shown as queued.
    pub async fn show(&self, id: &BatchId) -> Result<serde_json::Value, Refusal> {
        // The batch is read before its clips, because clips are written before the batch that counts them: a completed
        // batch is shown with completed clips. If both were read at the same time, the clips could be older.
        let stored = self.cloud.documents.get_one(names::batch_document(id)).await?;
        let Some(stored) = stored else { return self.show_recorded(id).await };
        let clips = self.cloud.documents.list(&names::clip_documents(id)).await?;
        let record = self.cloud.documents.get_fields(&[names::request_document(id)], &request::LISTED).await?;
        let source_uri = record.first().and_then(Option::as_ref).and_then(request::source_uri);
        Ok(batch::shown_json(&stored, source_uri, &clips))
    }

    async fn show_recorded(&self, id: &BatchId) -> Result<serde_json::Value, Refusal> {
        let stored = record::load(&self.cloud, id).await?.ok_or_else(|| no_such_batch(id))?;
        Ok(batch::queued_json(&stored.record.request))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use clipfleet_cloud::{
        Amendment, Cloud, CloudError, Document, Documents, Fields, Precondition, Search, Value, Version, Write, memory,
    };
    use clipfleet_domain::access::AccessPolicy;
    use clipfleet_service::clock::Clock;
    use serde_json::json;
    use std::{sync::Arc, time::Duration};

    /// A store whose `get` reads after a second.
    struct Slow(Arc<dyn Documents>);

    #[async_trait]
    impl Documents for Slow {
        async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            self.0.get(paths).await
        }

        async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
            self.0.list(collection).await
        }

        async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
            self.0.find(collection, search).await
        }

        async fn commit(&self, writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
            self.0.commit(writes).await
        }

        async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
            self.0.amend(writes, amendment).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_completed_batch_is_never_shown_with_an_unfinished_clip() {
        let cloud = memory::cloud();
        let write = async |status: &str| {
            let fields: Fields = [("status".to_owned(), Value::String(status.into()))].into();
            let paths = ["exportBatches/b1/clips/c1", "exportBatches/b1"].map(ToOwned::to_owned);
            let writes = paths.map(|path| Write { path, fields: fields.clone(), precondition: Precondition::None });
            cloud.documents.commit(writes.into()).await.unwrap();
        };
        write("processing").await;
        let slow = Cloud { documents: Arc::new(Slow(cloud.documents.clone())), ..cloud.clone() };
        let policy = AccessPolicy::of_buckets("media", &[]);
        let dispatch = Dispatch::new(slow, policy, Clock::starting_at(0));
        let id = BatchId::parse("b1").unwrap();
        let (shown, ()) = tokio::join!(dispatch.show(&id), async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            write("completed").await;
        });
        let shown = shown.unwrap();
        assert_eq!((&shown["status"], &shown["clips"][0]["status"]), (&json!("completed"), &json!("completed")));
    }
}

//! The document store of one process.

use crate::{
    media::{OVERSIZED, UNSTORABLE},
    mutation::Mutation,
    process::{Process, Role},
};
use async_trait::async_trait;
use clipfleet_cloud::{
    Amendment, CloudError, Document, Documents, ErrorKind, Precondition, Search, Value, Version, Write,
};
use clipfleet_contract::names;
use std::sync::Arc;

/// See the module.
pub(crate) struct SimDocuments(pub(crate) Arc<Process>);

impl SimDocuments {
    fn store(&self) -> &dyn Documents {
        &*self.0.world.cloud.documents
    }

    /// Removes the precondition that a mutation removes.
    fn mutate(&self, writes: &mut [Write]) {
        let world = &self.0.world;
        for write in writes {
            let mutation = match write.path.split('/').next().unwrap_or_default() {
                names::REQUESTS => Mutation::NoRequestDedupe,
                names::BATCHES => Mutation::UnconditionalStatusWrites,
                _ => Mutation::UnconditionalLeadership,
            };
            if world.has(mutation) {
                write.precondition = Precondition::None;
            }
        }
    }

    /// Removes the retries from records that were read, if the mutation does so.
    fn forget_retries<'a>(&self, documents: impl Iterator<Item = &'a mut Document>) {
        if self.0.world.has(Mutation::NoCheckForRetries) {
            documents.for_each(|document| drop(document.fields.remove("retried")));
        }
    }
}

/// Whether the store permanently refuses a write: the status document of a clip whose id says so.
fn is_refused(write: &Write) -> bool {
    let has_full_content =
        || write.fields.get("encoder").is_some_and(|encoder| *encoder != Value::String(String::new()));
    write.path.starts_with(names::BATCHES)
        && (write.path.ends_with(UNSTORABLE) || write.path.ends_with(OVERSIZED) && has_full_content())
}

#[async_trait]
impl Documents for SimDocuments {
    async fn get(&self, paths: &[String]) -> Result<Vec<Option<Document>>, CloudError> {
        let effect = async {
            if self.0.role == Role::Worker && self.0.world.has(Mutation::NoCheckForCancellation) {
                return Ok(vec![None; paths.len()]);
            }
            let mut documents = self.store().get(paths).await?;
            if self.0.role == Role::Worker && self.0.world.has(Mutation::NoCheckForLaterAttempts) {
                documents.iter_mut().flatten().for_each(|document| drop(document.fields.remove("attemptId")));
            }
            self.forget_retries(documents.iter_mut().flatten());
            if self.0.role == Role::Worker && self.0.world.has(Mutation::NoPollForPause) {
                documents.iter_mut().flatten().for_each(|document| drop(document.fields.remove("paused")));
            }
            Ok(documents)
        };
        self.0.call("read documents", effect).await
    }

    async fn list(&self, collection: &str) -> Result<Vec<Document>, CloudError> {
        self.0.call("list documents", self.store().list(collection)).await
    }

    async fn find(&self, collection: &str, search: Search<'_>) -> Result<Vec<Document>, CloudError> {
        let effect = async {
            let reconciles = self.0.role == Role::Dispatcher && search.filters.iter().any(|(name, _)| *name == "open");
            if reconciles && self.0.world.has(Mutation::NoScanForOpenBatches) {
                return Ok(Vec::new());
            }
            let mut documents = self.store().find(collection, search).await?;
            self.forget_retries(documents.iter_mut());
            Ok(documents)
        };
        self.0.call("search documents", effect).await
    }

    async fn commit(&self, mut writes: Vec<Write>) -> Result<Vec<Version>, CloudError> {
        self.mutate(&mut writes);
        let process = Arc::clone(&self.0);
        let effect = async move {
            if let Some(refused) = writes.iter().find(|write| is_refused(write)) {
                process.world.count("a document was permanently refused");
                process.world.trace(&process.name, format_args!("write of {} permanently refused", refused.path));
                let transient = process.world.has(Mutation::RefusalsAsTransient);
                let kind = if transient { ErrorKind::Unavailable } else { ErrorKind::Invalid };
                return Err(CloudError::new(kind, format!("write {}: it is too large", refused.path)));
            }
            let versions = process.world.cloud.documents.commit(writes.clone()).await?;
            for write in &writes {
                let shown = |field: &str| write.fields.get(field).map(|value| format!("{value:?}")).unwrap_or_default();
                let (status, progress) = (shown("status"), shown("progress"));
                process.world.trace(&process.name, format_args!("writes {} {status} {progress}", write.path));
            }
            process.world.observe(|checker, counts| checker.written(&process.name, &writes, counts));
            Ok(versions)
        };
        self.0.send("write documents", effect).await
    }

    /// Used by the mirror only, which is disabled here.
    async fn amend(&self, writes: Vec<Write>, amendment: Amendment) -> Result<(), CloudError> {
        let process = Arc::clone(&self.0);
        let effect = async move { process.world.cloud.documents.amend(writes, amendment).await };
        self.0.send("amend a document", effect).await
    }
}

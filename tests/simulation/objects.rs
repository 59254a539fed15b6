//! The object store of one process.

use crate::{
    mutation::Mutation,
    process::{Process, Role},
};
use async_trait::async_trait;
use bytes::Bytes;
use clipfleet_cloud::{Body, CloudError, ErrorKind, Hosts, NewObject, ObjectInfo, ObjectName, Objects};
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};
use tokio::time::Instant;

/// See the module.
pub(crate) struct SimObjects(pub(crate) Arc<Process>);

impl SimObjects {
    fn store(&self) -> &dyn Objects {
        &*self.0.world.cloud.objects
    }
}

#[async_trait]
impl Objects for SimObjects {
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError> {
        let effect = async {
            // Workers stat results only; the dispatcher stats sources.
            if self.0.role == Role::Worker && self.0.world.has(Mutation::NoCheckForResults) {
                return Err(CloudError::new(ErrorKind::NotFound, "stat: nothing is ever found"));
            }
            self.store().stat(name, generation).await
        };
        self.0.call("stat an object", effect).await
    }

    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError> {
        self.0.call("read an object", self.store().read(name, generation, range)).await
    }

    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError> {
        // Read before the request is sent: a request in flight arrives even if its sender and the sender's directory
        // are gone by then.
        let body = body.read().map_err(|error| {
            CloudError::new(ErrorKind::Unavailable, format!("create {name}: its source file: {error}"))
        })?;
        let (process, name, called_at) = (Arc::clone(&self.0), name.clone(), Instant::now());
        let effect = async move {
            let store = &process.world.cloud.objects;
            if process.world.has(Mutation::OverwriteObjects) {
                let _ = store.delete(&name).await;
            }
            let info = store.create(&name, new.clone(), Body::Bytes(body)).await?;
            process.world.trace(&process.name, format_args!("creates {name}"));
            process.world.observe(|checker, _| checker.object_created(&process.name, called_at, &name, &new.metadata));
            Ok(info)
        };
        self.0.send("create an object", effect).await
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError> {
        let (process, name) = (Arc::clone(&self.0), name.clone());
        let effect = async move {
            process.world.cloud.objects.delete(&name).await?;
            process.world.trace(&process.name, format_args!("deletes {name}"));
            process.world.observe(|checker, _| checker.object_deleted(&name));
            Ok(())
        };
        self.0.send("delete an object", effect).await
    }

    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError> {
        self.0.call("change an object's metadata", self.store().set_metadata(name, found, metadata)).await
    }

    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        self.0.call("sign a URL", self.store().signed_url(name, lifetime)).await
    }

    fn hosts(&self) -> &Hosts {
        self.store().hosts()
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        self.store().ensure_bucket(bucket).await
    }
}

//! Objects in buckets, read by range and pinned to a generation, created only if absent.

use crate::CloudError;
use async_trait::async_trait;
use bytes::Bytes;
use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, time::Duration};

/// An object's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The bucket.
    pub bucket: String,
    /// The name within the bucket.
    pub object: String,
}

impl ObjectName {
    /// Names `gs://bucket/object`.
    pub fn new(bucket: impl Into<String>, object: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), object: object.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.object)
    }
}

/// What a store says of an object without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub size: u64,
    /// Changes with every overwrite.
    pub generation: i64,
    /// Media type.
    pub content_type: String,
    /// The writer's labels.
    pub metadata: BTreeMap<String, String>,
}

/// What a writer says of a new object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewObject {
    /// Media type.
    pub content_type: String,
    /// Labels.
    pub metadata: BTreeMap<String, String>,
}

/// Where the bytes of a new object come from.
#[derive(Debug, Clone)]
pub enum Body {
    /// From memory.
    Bytes(Bytes),
    /// From a file, streamed.
    File(PathBuf),
}

/// An object store.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Describes the live object, or the given generation of it. `NotFound` when there is none.
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError>;

    /// Reads bytes of one generation; `range` must lie within the object. `NotFound` when that generation is gone.
    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError>;

    /// Creates the object whole, or not at all; `AlreadyExists` when there is a live one. Content is checksummed both ways.
    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError>;

    /// Removes the live object; `NotFound` when there is none.
    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError>;

    /// A URL with which anyone can download the object for a while (at most 7 days): signed where the store is Google's,
    /// plain where it is a server on this machine.
    async fn download_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError>;

    /// Creates the bucket unless it exists. Meant for servers on this machine; real buckets come from infrastructure code.
    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError>;
}

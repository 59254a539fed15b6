//! Objects in buckets: read by range, pinned to a generation, and created only if absent.

use crate::{CloudError, links::Hosts};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// The bucket and name of an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName {
    /// The bucket.
    pub bucket: String,
    /// The name within the bucket.
    pub object: String,
}

impl ObjectName {
    /// The name of `gs://bucket/object`.
    pub fn new(bucket: impl Into<String>, object: impl Into<String>) -> Self {
        Self { bucket: bucket.into(), object: object.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gs://{}/{}", self.bucket, self.object)
    }
}

/// The metadata of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Length in bytes.
    pub size: u64,
    /// Changes with every overwrite.
    pub generation: i64,
    /// Changes with every change of the metadata of one generation.
    pub metageneration: i64,
    /// Media type.
    pub content_type: String,
    /// The writer's own metadata.
    pub metadata: BTreeMap<String, String>,
}

/// The metadata of a new object.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewObject {
    /// Media type.
    pub content_type: String,
    /// The writer's own metadata.
    pub metadata: BTreeMap<String, String>,
}

/// The source of a new object's bytes.
#[derive(Debug, Clone)]
pub enum Body {
    /// From memory.
    Bytes(Bytes),
    /// From a file, streamed.
    File(PathBuf),
    /// From a file that is open, streamed from its beginning. For files whose names another process can give to
    /// something else.
    Opened(Arc<File>),
}

impl Body {
    /// All bytes, read by the calling thread. For stores in memory: tokio's file reads take real time, which would make
    /// a run under a paused clock irreproducible.
    pub fn read(self) -> io::Result<Bytes> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            Self::File(path) => fs::read(path).map(Bytes::from),
            Self::Opened(file) => {
                let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, 0)?;
                Ok(bytes.into())
            }
        }
    }
}

/// An object store.
#[async_trait]
pub trait Objects: Send + Sync {
    /// The metadata of the live object, or of the given generation. Fails with `NotFound` if there is none.
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError>;

    /// Reads bytes of one generation. `range` must lie within the object. Fails with `NotFound` if that generation is
    /// gone.
    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError>;

    /// Creates the whole object or nothing. Fails with `AlreadyExists` if there is a live one. Both sides verify
    /// checksums.
    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError>;

    /// Deletes the live object. Fails with `NotFound` if there is none.
    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError>;

    /// Replaces the writer's own metadata of the object that was found. Fails with `Conflict` if the object or its
    /// metadata has changed since.
    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError>;

    /// A URL with which anyone can download the object for a while (at most 7 days).
    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError>;

    /// Where browsers find objects.
    fn hosts(&self) -> &Hosts;

    /// Creates the bucket unless it exists. Only for emulators: infrastructure code creates real buckets.
    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError>;
}

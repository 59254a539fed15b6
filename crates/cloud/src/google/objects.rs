//! [`Objects`] on Cloud Storage: data over its HTTP API, everything else over gRPC.

use super::{Target, errors, queue::ignore_existing, retry, signed_urls::SignedUrls};
use crate::{Body, CloudError, ErrorKind, Hosts, NewObject, ObjectInfo, ObjectName, Objects};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use google_cloud_gax::{options::RequestOptionsBuilder as _, retry_policy::RetryPolicyExt as _};
use google_cloud_storage::{
    builder::storage::WriteObject,
    client::{self, StorageControl},
    model::{Bucket, Object},
    model_ext::ReadRange,
    read_resume_policy::{ReadResumePolicyExt as _, Recommended},
    retry_policy::RetryableErrors,
    streaming_source::{Seek, StreamingSource},
};
use google_cloud_wkt::FieldMask;
use std::{collections::BTreeMap, ops::Range, time::Duration};
use tokio::{io::AsyncSeekExt as _, time::timeout};

/// How often an interrupted read is resumed. A resumption costs little, but a connection that breaks more often within
/// one range will not deliver it.
const MAX_RESUMES: u32 = 10;

/// Slowest acceptable upload. A slower one counts as a stalled connection.
const MIN_UPLOAD_BYTES_PER_SECOND: u64 = 1 << 20;

/// Cloud Storage, with the project that owns new buckets.
pub(super) struct Storage {
    project: String,
    data: client::Storage,
    control: StorageControl,
    signed_urls: SignedUrls,
    hosts: Hosts,
}

impl Storage {
    pub(super) async fn connect(project: &str, target: Target) -> Result<Self, CloudError> {
        let Target { emulator, credentials } = target;
        let mut data = client::Storage::builder().with_credentials(credentials.clone());
        let mut control = StorageControl::builder().with_credentials(credentials);
        if let Some(url) = &emulator {
            data = data.with_endpoint(url);
            control = control.with_endpoint(url);
        }
        let policy = || RetryableErrors.with_time_limit(retry::RETRY_LIMIT);
        let failed = |error| errors::build("cloud storage", error);
        Ok(Self {
            project: project.to_owned(),
            data: data
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .with_read_resume_policy(Recommended.with_attempt_limit(MAX_RESUMES))
                .build()
                .await
                .map_err(failed)?,
            control: control
                .with_retry_policy(policy())
                .with_backoff_policy(retry::backoff())
                .with_attempt_timeout(retry::ATTEMPT_TIMEOUT)
                .build()
                .await
                .map_err(failed)?,
            hosts: emulator.as_deref().map_or_else(Hosts::google, Hosts::emulator),
            signed_urls: SignedUrls::new(emulator),
        })
    }
}

#[async_trait]
impl Objects for Storage {
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError> {
        let request = self.control.get_object().set_bucket(bucket(name)).set_object(&name.object);
        let request = request.set_generation(generation.unwrap_or_default());
        request.send().await.map(info).map_err(|error| errors::call(&format!("stat {name}"), error))
    }

    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError> {
        let doing = format!("read bytes {}-{} of {name}#{generation}", range.start, range.end);
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            return Ok(Bytes::new());
        }
        let request = self.data.read_object(bucket(name), &name.object).set_generation(generation);
        let request = request.set_read_range(ReadRange::segment(range.start, length));
        let failed = |error| errors::call(&doing, error);
        let opened = timeout(retry::RETRY_LIMIT, request.send()).await;
        let mut response = opened.map_err(|_| errors::timeout(&doing))?.map_err(failed)?;
        let mut bytes = BytesMut::new();
        while let Some(chunk) =
            timeout(retry::TRANSFER_IDLE_TIMEOUT, response.next()).await.map_err(|_| errors::timeout(&doing))?
        {
            bytes.extend_from_slice(&chunk.map_err(failed)?);
        }
        if bytes.len() as u64 == length {
            return Ok(bytes.freeze());
        }
        Err(CloudError::new(ErrorKind::Invalid, format!("{doing}: it ends {} bytes into them", bytes.len())))
    }

    /// An attempt whose response was lost is repeated and then finds its own object. That fails with `AlreadyExists`
    /// like any other existing object, because the caller has to check and adopt an existing object anyway.
    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError> {
        let doing = format!("create {name}");
        let local = |error: std::io::Error| {
            CloudError::new(ErrorKind::Unavailable, format!("{doing}: its source file: {error}")).because(error)
        };
        let written = match body {
            Body::Bytes(bytes) => {
                let size = bytes.len() as u64;
                send(self.data.write_object(bucket(name), &name.object, bytes), new, size).await
            }
            Body::File(path) => {
                let file = tokio::fs::File::open(path).await.map_err(local)?;
                let size = file.metadata().await.map_err(local)?.len();
                send(self.data.write_object(bucket(name), &name.object, file), new, size).await
            }
            Body::Opened(file) => {
                let mut file = tokio::fs::File::from_std(file.try_clone().map_err(local)?);
                // Both handles have one position, and an earlier attempt may have read.
                file.rewind().await.map_err(local)?;
                let size = file.metadata().await.map_err(local)?.len();
                send(self.data.write_object(bucket(name), &name.object, file), new, size).await
            }
        };
        match written {
            Ok(Ok(object)) => Ok(info(object)),
            Ok(Err(error)) => Err(match errors::call(&doing, error) {
                error if error.kind() == ErrorKind::Conflict => {
                    CloudError::new(ErrorKind::AlreadyExists, format!("{doing}: there is one")).because(error)
                }
                error => error,
            }),
            Err(_elapsed) => Err(errors::timeout(&doing)),
        }
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError> {
        let request = self.control.delete_object().set_bucket(bucket(name)).set_object(&name.object);
        // Repeated after a lost response; at worst, it reports as missing what it has just deleted.
        let request = request.with_idempotency(true);
        request.send().await.map_err(|error| errors::call(&format!("delete {name}"), error))
    }

    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError> {
        let object = Object::new().set_bucket(bucket(name)).set_name(&name.object).set_metadata(metadata);
        let request = self.control.update_object().set_object(object);
        let request = request.set_update_mask(FieldMask::default().set_paths(["metadata"]));
        let request = request
            .set_if_generation_match(found.generation)
            .set_if_metageneration_match(found.metageneration)
            .with_idempotency(true);
        let doing = format!("change the metadata of {name}");
        request.send().await.map(info).map_err(|error| errors::call(&doing, error))
    }

    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        self.signed_urls.create(name, lifetime).await
    }

    fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        let owner = Bucket::new().set_project(format!("projects/{}", self.project));
        let request = self.control.create_bucket().set_parent("projects/_").set_bucket_id(bucket).set_bucket(owner);
        ignore_existing(request.with_idempotency(true).send().await, &format!("create bucket {bucket}"))
    }
}

/// Uploads a new object or nothing. The checksum is computed before the first byte is sent, so that the service refuses
/// a damaged upload; otherwise, the object would have to be deleted. Reading a local file twice is cheap.
async fn send<S>(
    write: WriteObject<S>,
    new: NewObject,
    size: u64,
) -> Result<google_cloud_storage::Result<Object>, tokio::time::error::Elapsed>
where
    S: StreamingSource + Seek + Send + Sync + 'static,
    <S as StreamingSource>::Error: std::error::Error + Send + Sync + 'static,
    <S as Seek>::Error: std::error::Error + Send + Sync + 'static,
{
    let limit = retry::RETRY_LIMIT + Duration::from_secs(size / MIN_UPLOAD_BYTES_PER_SECOND);
    let write = write.set_if_generation_match(0).set_content_type(new.content_type).set_metadata(new.metadata);
    timeout(limit, write.send_unbuffered()).await
}

fn bucket(name: &ObjectName) -> String {
    format!("projects/_/buckets/{}", name.bucket)
}

fn info(object: Object) -> ObjectInfo {
    ObjectInfo {
        size: u64::try_from(object.size).unwrap_or_default(),
        generation: object.generation,
        metageneration: object.metageneration,
        content_type: object.content_type,
        metadata: object.metadata.into_iter().collect(),
    }
}

//! Cloud Storage: buckets, objects with generations and preconditions, simple and resumable uploads, ranged reads.
//!
//! Metadata is in the store, bytes are in files (see [`files`]). No object is ever completely in memory: uploads are
//! hashed and written block by block, and reads send block by block. There are no old versions: an overwritten
//! generation is gone, but a reader that already opened it can read it to the end.
//!
//! The server requires no credentials, but it verifies the signature of a signed URL; see [`signature`].
//!
//! Not supported, and rejected by name: versioning, compose, rewrite and copy, access control, gRPC reads and writes of
//! bytes, and every field, parameter or header that [`unsupported`] does not list.

mod account;
mod adopt;
mod buckets;
mod conditions;
mod download_tokens;
mod error;
mod files;
mod glob;
mod grpc;
mod json;
mod list;
mod multipart;
mod range;
mod rest;
mod resumable;
mod selection;
mod signature;
mod tables;
mod unsupported;
mod update;

pub(crate) use grpc::storage;
pub(crate) use rest::{handle as rest, handle_mounted as mounted_rest};

use crate::{
    clock::{self, Ticker},
    limits,
    store::{Store, StoreError},
};
use account::Account;
use conditions::Conditions;
use error::ApiError;
use files::{Files, Upload, UploadSummary};
use googleapis_tonic_google_storage_v2::google::storage::v2 as gcs;
use parking_lot::Mutex;
use prost::Message;
use resumable::UploadSession;
use std::{collections::HashMap, fs::File, path::Path, sync::Arc};
use tokio::sync::OnceCell;

/// The prefix of bucket names in gRPC.
const BUCKET_PREFIX: &str = "projects/_/buckets/";

/// The running service.
pub(crate) struct Storage {
    store: Store,
    ticker: Arc<Ticker>,
    files: Files,
    sessions: Mutex<HashMap<String, Arc<UploadSession>>>,
    account: OnceCell<Account>,
    /// The URL by which clients reach the port, for example `http://127.0.0.1:8085`. The `Host` header is not
    /// sufficient: the official Rust client sends it without the port.
    base_url: String,
}

/// Why the service could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The files failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// An object to create.
struct NewObject {
    /// The bucket's short name.
    bucket: String,
    /// The metadata from the client: name, type, labels, and checksums to verify.
    resource: gcs::Object,
    /// The preconditions.
    conditions: Conditions,
}

impl Storage {
    /// Creates missing tables and removes orphaned files.
    pub(crate) async fn start(
        store: Store,
        ticker: Arc<Ticker>,
        data: &Path,
        base_url: String,
    ) -> Result<Arc<Self>, OpenError> {
        let generations = store.write(|transaction| {
            tables::buckets_mut(transaction)?;
            tables::generations(&tables::objects_mut(transaction)?)
        });
        let generations = generations.await?;
        generations.iter().for_each(|generation| ticker.raise(u64::try_from(*generation).unwrap_or(0)));
        let files = Files::open(data, &generations.into_iter().collect())?;
        Ok(Arc::new(Self { store, ticker, files, sessions: Mutex::default(), account: OnceCell::new(), base_url }))
    }

    /// Returns an object: the live one, or the given generation if that is the live one.
    async fn get_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        conditions: Conditions,
    ) -> Result<gcs::Object, ApiError> {
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        let found = self.store.read(move |snapshot| find_object(snapshot, &bucket, &name, generation));
        let object = found.await??;
        conditions.check_read(&object)?;
        Ok(object)
    }

    /// Opens the file of an object that passes a check. Blocks.
    fn open_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        check: impl Fn(&gcs::Object) -> Result<(), ApiError>,
    ) -> Result<(gcs::Object, File), ApiError> {
        loop {
            let snapshot = self.store.snapshot()?;
            let object = find_object(&snapshot, bucket, name, generation).map_err(StoreError::from)??;
            check(&object)?;
            match self.files.read(object.generation) {
                Ok(file) => return Ok((object, file)),
                // The object was overwritten or deleted since the snapshot, so the loop tries again. It ends, because
                // each round requires another overwrite.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && self.has_changed(&object)? => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn has_changed(&self, object: &gcs::Object) -> Result<bool, ApiError> {
        let snapshot = self.store.snapshot()?;
        let bucket = object.bucket.trim_start_matches(BUCKET_PREFIX);
        let current =
            find_object(&snapshot, bucket, &object.name, Some(object.generation)).map_err(StoreError::from)?;
        Ok(current.is_err())
    }

    /// Changes an object's metadata; its bytes and its generation remain.
    async fn update_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        conditions: Conditions,
        change: impl FnOnce(&mut gcs::Object) -> Result<(), ApiError> + Send + 'static,
    ) -> Result<gcs::Object, ApiError> {
        let (bucket, name, now) = (bucket.to_owned(), name.to_owned(), clock::timestamp(self.ticker.tick()));
        let updated = self.store.write(move |transaction| {
            let mut objects = tables::objects_mut(transaction)?;
            let current = tables::object(&objects, &bucket, &name)?;
            let current = current.filter(|object| generation.is_none_or(|expected| expected == object.generation));
            let Some(mut object) = current else { return Ok(Err(object_not_found(&bucket, &name))) };
            if let Err(error) = conditions.check_write(Some(&object)).and_then(|()| change(&mut object)) {
                return Ok(Err(error));
            }
            object.metageneration += 1;
            object.etag = format!("{}-{}", object.generation, object.metageneration);
            object.update_time = Some(now);
            objects.insert((bucket.as_str(), name.as_str()), object.encode_to_vec().as_slice())?;
            Ok(Ok(object))
        });
        updated.await?
    }

    /// Deletes an object.
    async fn delete_object(
        &self,
        bucket: &str,
        name: &str,
        generation: Option<i64>,
        conditions: Conditions,
    ) -> Result<(), ApiError> {
        let (bucket, name) = (bucket.to_owned(), name.to_owned());
        let files = self.files.clone();
        let deleted = self.store.write_then(
            move |transaction| {
                let mut objects = tables::objects_mut(transaction)?;
                let current = tables::object(&objects, &bucket, &name)?;
                let current = current.filter(|object| generation.is_none_or(|expected| expected == object.generation));
                if let Err(error) = conditions.check_write(current.as_ref()) {
                    return Ok(Err(error));
                }
                let Some(current) = current else { return Ok(Err(object_not_found(&bucket, &name))) };
                if let Err(error) = check_hold(&current) {
                    return Ok(Err(error));
                }
                objects.remove((bucket.as_str(), name.as_str()))?;
                Ok(Ok(current.generation))
            },
            move |deleted| {
                if let Ok(generation) = deleted {
                    files.remove(*generation);
                }
            },
        );
        deleted.await?.map(|_| ())
    }

    /// Starts to receive bytes.
    async fn receive(self: &Arc<Self>) -> Result<Arc<Mutex<Upload>>, ApiError> {
        let this = Arc::clone(self);
        let upload = tokio::task::spawn_blocking(move || this.files.create(this.ticker.tick())).await??;
        Ok(Arc::new(Mutex::new(upload)))
    }

    /// Checks in advance what [`insert`](Self::insert) checks again, to reject an upload before its bytes are sent.
    async fn check_insert(&self, new: &NewObject) -> Result<(), ApiError> {
        check_object_name(&new.resource.name)?;
        let (bucket, name, conditions) = (new.bucket.clone(), new.resource.name.clone(), new.conditions.clone());
        let checked = self.store.read(move |snapshot| {
            if tables::bucket(&tables::buckets(snapshot)?, &bucket)?.is_none() {
                return Ok(Err(bucket_not_found()));
            }
            let current = tables::object(&tables::objects(snapshot)?, &bucket, &name)?;
            let checked = conditions.check_write(current.as_ref());
            Ok(checked.and_then(|()| current.as_ref().map_or(Ok(()), check_hold)))
        });
        checked.await?
    }

    /// Turns received bytes into an object. Completes even if the caller goes away.
    async fn insert(self: &Arc<Self>, new: NewObject, upload: Arc<Mutex<Upload>>) -> Result<gcs::Object, ApiError> {
        let this = Arc::clone(self);
        tokio::spawn(async move { this.insert_now(new, upload).await }).await?
    }

    async fn insert_now(&self, new: NewObject, upload: Arc<Mutex<Upload>>) -> Result<gcs::Object, ApiError> {
        check_object_name(&new.resource.name)?;
        let generation = i64::try_from(self.ticker.tick()).unwrap_or(i64::MAX);
        let (files, expected) = (self.files.clone(), new.resource.checksums.clone().unwrap_or_default());
        let commit = move || {
            let mut upload = upload.lock();
            let summary = upload.summary();
            verify(&expected, &summary)?;
            files.commit(&mut upload, generation)?;
            Ok::<_, ApiError>(summary)
        };
        let UploadSummary { size, crc32c, md5 } = tokio::task::spawn_blocking(commit).await??;
        let checksums = gcs::ObjectChecksums { crc32c: Some(crc32c), md5_hash: md5 };
        self.insert_file(new, generation, size, Some(checksums)).await
    }

    /// Makes the file of this generation, which is in its place already, an object.
    async fn insert_file(
        &self,
        new: NewObject,
        generation: i64,
        size: u64,
        checksums: Option<gcs::ObjectChecksums>,
    ) -> Result<gcs::Object, ApiError> {
        let mut object = build_object(&new.bucket, new.resource, generation, size, checksums);
        let (bucket, conditions) = (new.bucket, new.conditions);
        let inserted = self.store.write(move |transaction| {
            let Some(found_bucket) = tables::bucket(&tables::buckets_mut(transaction)?, &bucket)? else {
                return Ok(Err(bucket_not_found()));
            };
            if object.storage_class.is_empty() {
                object.storage_class = found_bucket.storage_class;
            }
            let mut objects = tables::objects_mut(transaction)?;
            let current = tables::object(&objects, &bucket, &object.name)?;
            let checked = conditions.check_write(current.as_ref());
            if let Err(error) = checked.and_then(|()| current.as_ref().map_or(Ok(()), check_hold)) {
                return Ok(Err(error));
            }
            objects.insert((bucket.as_str(), object.name.as_str()), object.encode_to_vec().as_slice())?;
            Ok(Ok((object, current.map(|current| current.generation))))
        });
        // If the commit itself fails, the file stays: the commit may or may not be on disk, and the next start finds
        // out.
        let inserted = inserted.await?;
        let superseded = match &inserted {
            Ok((_, replaced)) => *replaced,
            Err(_) => Some(generation),
        };
        if let Some(superseded) = superseded {
            let files = self.files.clone();
            tokio::task::spawn_blocking(move || files.remove(superseded)).await?;
        }
        inserted.map(|(object, _)| object)
    }
}

/// Finds an object. The outer result is the disk's, the inner one the caller's.
fn find_object(
    snapshot: &redb::ReadTransaction,
    bucket: &str,
    name: &str,
    generation: Option<i64>,
) -> Result<Result<gcs::Object, ApiError>, redb::Error> {
    let object = tables::object(&tables::objects(snapshot)?, bucket, name)?;
    let object = object.filter(|object| generation.is_none_or(|expected| expected == object.generation));
    match object {
        Some(object) => Ok(Ok(object)),
        None if tables::bucket(&tables::buckets(snapshot)?, bucket)?.is_none() => Ok(Err(bucket_not_found())),
        None => Ok(Err(object_not_found(bucket, name))),
    }
}

/// Compares the received bytes with the expected checksums.
fn verify(expected: &gcs::ObjectChecksums, summary: &UploadSummary) -> Result<(), ApiError> {
    if let Some(crc32c) = expected.crc32c
        && crc32c != summary.crc32c
    {
        let (expected, found) = (json::crc32c_text(crc32c), json::crc32c_text(summary.crc32c));
        return Err(ApiError::Invalid(format!(
            "Provided CRC32C \"{expected}\" doesn't match calculated CRC32C \"{found}\"."
        )));
    }
    if !expected.md5_hash.is_empty() && expected.md5_hash != summary.md5 {
        return Err(ApiError::Invalid("Provided MD5 hash doesn't match calculated MD5 hash.".into()));
    }
    Ok(())
}

/// The object to store.
fn build_object(
    bucket: &str,
    given: gcs::Object,
    generation: i64,
    size: u64,
    checksums: Option<gcs::ObjectChecksums>,
) -> gcs::Object {
    let now = Some(clock::timestamp(u64::try_from(generation).unwrap_or(0)));
    let or = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
    gcs::Object {
        bucket: format!("{BUCKET_PREFIX}{bucket}"),
        etag: generation.to_string(),
        generation,
        metageneration: 1,
        storage_class: given.storage_class,
        size: i64::try_from(size).unwrap_or(i64::MAX),
        content_type: or(given.content_type, "application/octet-stream"),
        create_time: now,
        update_time: now,
        finalize_time: now,
        update_storage_class_time: now,
        checksums,
        name: given.name,
        content_encoding: given.content_encoding,
        content_disposition: given.content_disposition,
        cache_control: given.cache_control,
        content_language: given.content_language,
        metadata: given.metadata,
        custom_time: given.custom_time,
        temporary_hold: given.temporary_hold,
        event_based_hold: given.event_based_hold,
        ..gcs::Object::default()
    }
}

/// Fails if a hold protects the object from being replaced or deleted.
fn check_hold(object: &gcs::Object) -> Result<(), ApiError> {
    let kind = if object.temporary_hold {
        "Temporary"
    } else if object.event_based_hold == Some(true) {
        "Event-Based"
    } else {
        return Ok(());
    };
    let (bucket, name) = (object.bucket.trim_start_matches(BUCKET_PREFIX), &object.name);
    Err(ApiError::Held(format!(
        "Object '{bucket}/{name}' is under active {kind} hold and cannot be deleted, overwritten or archived until \
         hold is removed."
    )))
}

/// Parses the name of a storage class, in upper or lower case; empty means the default. Classes differ only in price.
fn storage_class(name: &str) -> Result<String, ApiError> {
    const CLASSES: [&str; 8] = [
        "",
        "STANDARD",
        "NEARLINE",
        "COLDLINE",
        "ARCHIVE",
        "MULTI_REGIONAL",
        "REGIONAL",
        "DURABLE_REDUCED_AVAILABILITY",
    ];
    let upper = name.to_ascii_uppercase();
    if CLASSES.contains(&upper.as_str()) {
        Ok(upper)
    } else {
        Err(ApiError::Invalid(format!("Invalid storage class '{name}'.")))
    }
}

fn check_object_name(name: &str) -> Result<(), ApiError> {
    let wellformed = !name.is_empty()
        && name.len() <= limits::MAX_OBJECT_NAME_BYTES
        && !name.contains(['\r', '\n'])
        && ![".", ".."].contains(&name);
    if wellformed { Ok(()) } else { Err(ApiError::Invalid(format!("Invalid object name: '{name}'"))) }
}

fn bucket_not_found() -> ApiError {
    ApiError::NotFound("The specified bucket does not exist.".into())
}

fn object_not_found(bucket: &str, name: &str) -> ApiError {
    ApiError::NotFound(format!("No such object: {bucket}/{name}"))
}

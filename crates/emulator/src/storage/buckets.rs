//! Buckets: create, get, list, and delete when empty.

use super::{
    BUCKET_PREFIX, Storage, bucket_not_found, conditions::Conditions, error::ApiError, gcs, storage_class, tables,
};
use crate::{clock, limits};
use prost::Message;

impl Storage {
    /// Creates a bucket.
    pub(super) async fn create_bucket(&self, name: &str, mut bucket: gcs::Bucket) -> Result<gcs::Bucket, ApiError> {
        check_bucket_name(name)?;
        let now = Some(clock::timestamp(self.ticker.tick()));
        let or = |given: String, default: &str| if given.is_empty() { default.to_owned() } else { given };
        bucket = gcs::Bucket {
            name: format!("{BUCKET_PREFIX}{name}"),
            bucket_id: name.into(),
            project: "projects/_".into(),
            metageneration: 1,
            location: or(bucket.location, "US"),
            location_type: "multi-region".into(),
            storage_class: or(storage_class(&bucket.storage_class)?, "STANDARD"),
            create_time: now,
            update_time: now,
            labels: bucket.labels,
            etag: "CAE=".into(),
            ..gcs::Bucket::default()
        };
        let (name, stored) = (name.to_owned(), bucket.clone());
        let created = self.store.write(move |transaction| {
            let mut table = tables::buckets_mut(transaction)?;
            if tables::bucket(&table, &name)?.is_some() {
                return Ok(Err(ApiError::Conflict(
                    "Your previous request to create the named bucket succeeded and you already own it.".into(),
                )));
            }
            table.insert(name.as_str(), stored.encode_to_vec().as_slice())?;
            Ok(Ok(()))
        });
        created.await??;
        tracing::info!(bucket = bucket.bucket_id, "bucket created");
        Ok(bucket)
    }

    /// Returns a bucket.
    pub(super) async fn get_bucket(&self, name: &str, conditions: &Conditions) -> Result<gcs::Bucket, ApiError> {
        let key = name.to_owned();
        let found = self.store.read(move |snapshot| tables::bucket(&tables::buckets(snapshot)?, &key)).await?;
        let bucket = found.ok_or_else(bucket_not_found)?;
        conditions.check_read(&bucket)?;
        Ok(bucket)
    }

    /// Returns a page of the buckets whose names start with `prefix`, and the token of the next page. A page token is
    /// the last name of the previous page.
    pub(super) async fn list_buckets(
        &self,
        prefix: &str,
        page_size: usize,
        page_token: &str,
    ) -> Result<(Vec<gcs::Bucket>, String), ApiError> {
        let mut buckets = self.store.read(|snapshot| tables::all_buckets(&tables::buckets(snapshot)?)).await?;
        buckets.retain(|bucket| bucket.bucket_id.starts_with(prefix) && bucket.bucket_id.as_str() > page_token);
        let size = if page_size == 0 { limits::MAX_PAGE_SIZE } else { page_size.min(limits::MAX_PAGE_SIZE) };
        let more = buckets.len() > size;
        buckets.truncate(size);
        let next = buckets.last().filter(|_| more).map(|bucket| bucket.bucket_id.clone()).unwrap_or_default();
        Ok((buckets, next))
    }

    /// Deletes an empty bucket.
    pub(super) async fn delete_bucket(&self, name: &str, conditions: Conditions) -> Result<(), ApiError> {
        let name = name.to_owned();
        let deleted = self.store.write(move |transaction| {
            let mut buckets = tables::buckets_mut(transaction)?;
            let Some(bucket) = tables::bucket(&buckets, &name)? else { return Ok(Err(bucket_not_found())) };
            if let Err(error) = conditions.check_write(Some(&bucket)) {
                return Ok(Err(error));
            }
            let objects = tables::objects_mut(transaction)?;
            if tables::objects_from(&objects, &name, "")?.next().is_some() {
                return Ok(Err(ApiError::Conflict("The bucket you tried to delete is not empty.".into())));
            }
            buckets.remove(name.as_str())?;
            Ok(Ok(()))
        });
        deleted.await?
    }
}

fn check_bucket_name(name: &str) -> Result<(), ApiError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // Names with dots may be longer; each part may be as long as a name without dots.
    let max_length = if name.contains('.') { 222 } else { 63 };
    let parts = name.split('.').all(|part| (1..=63).contains(&part.len()));
    let length = (3..=max_length).contains(&name.len());
    if length && parts && name.chars().all(allowed) && name.starts_with(edge) && name.ends_with(edge) {
        Ok(())
    } else {
        Err(ApiError::Invalid(format!("Invalid bucket name: '{name}'")))
    }
}

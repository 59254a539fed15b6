//! Buckets: made, described, listed, deleted when empty.

use super::{BUCKET_PREFIX, Storage, conditions::Conditions, error::Refusal, gcs, no_bucket, storage_class, tables};
use crate::{clock, limits};
use prost::Message;

impl Storage {
    /// Makes a bucket.
    pub(super) async fn create_bucket(&self, name: &str, mut bucket: gcs::Bucket) -> Result<gcs::Bucket, Refusal> {
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
                return Ok(Err(Refusal::Conflict(
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

    /// Describes a bucket.
    pub(super) async fn get_bucket(&self, name: &str, conditions: &Conditions) -> Result<gcs::Bucket, Refusal> {
        let wanted = name.to_owned();
        let found = self.store.read(move |snapshot| tables::bucket(&tables::buckets(snapshot)?, &wanted)).await?;
        let bucket = found.ok_or_else(no_bucket)?;
        conditions.check_read(&bucket)?;
        Ok(bucket)
    }

    /// A page of the buckets whose names begin with `prefix`, and what asks for the next. A page token is the last name of the page
    /// before.
    pub(super) async fn list_buckets(
        &self,
        prefix: &str,
        page_size: usize,
        page_token: &str,
    ) -> Result<(Vec<gcs::Bucket>, String), Refusal> {
        let mut buckets = self.store.read(|snapshot| tables::all_buckets(&tables::buckets(snapshot)?)).await?;
        buckets.retain(|bucket| bucket.bucket_id.starts_with(prefix) && bucket.bucket_id.as_str() > page_token);
        let size = if page_size == 0 { limits::PAGE } else { page_size.min(limits::PAGE) };
        let more = buckets.len() > size;
        buckets.truncate(size);
        let next = buckets.last().filter(|_| more).map(|bucket| bucket.bucket_id.clone()).unwrap_or_default();
        Ok((buckets, next))
    }

    /// Deletes an empty bucket.
    pub(super) async fn delete_bucket(&self, name: &str, conditions: Conditions) -> Result<(), Refusal> {
        let name = name.to_owned();
        let deleted = self.store.write(move |transaction| {
            let mut buckets = tables::buckets_mut(transaction)?;
            let Some(bucket) = tables::bucket(&buckets, &name)? else { return Ok(Err(no_bucket())) };
            if let Err(refusal) = conditions.check_write(Some(&bucket)) {
                return Ok(Err(refusal));
            }
            let objects = tables::objects_mut(transaction)?;
            if tables::objects_from(&objects, &name, "")?.next().is_some() {
                return Ok(Err(Refusal::Conflict("The bucket you tried to delete is not empty.".into())));
            }
            buckets.remove(name.as_str())?;
            Ok(Ok(()))
        });
        deleted.await?
    }
}

fn check_bucket_name(name: &str) -> Result<(), Refusal> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    // Names with dots are longer, each part as long as a name without.
    let longest = if name.contains('.') { 222 } else { 63 };
    let parts = name.split('.').all(|part| (1..=63).contains(&part.len()));
    let length = (3..=longest).contains(&name.len());
    if length && parts && name.chars().all(allowed) && name.starts_with(edge) && name.ends_with(edge) {
        Ok(())
    } else {
        Err(Refusal::Invalid(format!("Invalid bucket name: '{name}'")))
    }
}

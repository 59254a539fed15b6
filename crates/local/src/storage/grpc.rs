//! `google.storage.v2.Storage`, the part about metadata: what the official Rust `StorageControl` client needs. Bytes go over
//! the JSON API.

use super::{BUCKET_PREFIX, Storage, conditions::Conditions, error::Refusal, gcs, list::Listing};
use crate::grpc::{unary, unimplemented};
use axum::{extract::Request, response::Response};
use std::sync::Arc;
use tonic::Status;

/// The conditions of a request about one object.
macro_rules! conditions {
    ($request:expr) => {
        Conditions {
            generation_match: $request.if_generation_match,
            generation_not_match: $request.if_generation_not_match,
            metageneration_match: $request.if_metageneration_match,
            metageneration_not_match: $request.if_metageneration_not_match,
        }
    };
}

/// Answers one method.
pub(crate) async fn storage(service: Arc<Storage>, method: &str, call: Request) -> Response {
    match method {
        "GetObject" => unary(call, |get| async move { get_object(&service, get).await }).await,
        "ListObjects" => unary(call, |list| async move { list_objects(&service, list).await }).await,
        "DeleteObject" => unary(call, |delete| async move { delete_object(&service, delete).await }).await,
        "CreateBucket" => unary(call, |create| async move { create_bucket(&service, create).await }).await,
        "GetBucket" => {
            unary(
                call,
                |get: gcs::GetBucketRequest| async move { Ok(service.get_bucket(bucket_id(&get.name)?).await?) },
            )
            .await
        }
        "ListBuckets" => {
            unary(call, |list: gcs::ListBucketsRequest| async move {
                let prefix = list.prefix.trim_start_matches(BUCKET_PREFIX);
                let size = usize::try_from(list.page_size).unwrap_or(0);
                let (buckets, next_page_token) = service.list_buckets(prefix, size, &list.page_token).await?;
                Ok(gcs::ListBucketsResponse { buckets, next_page_token, ..gcs::ListBucketsResponse::default() })
            })
            .await
        }
        "DeleteBucket" => {
            unary(call, |delete: gcs::DeleteBucketRequest| async move {
                Ok(service.delete_bucket(bucket_id(&delete.name)?).await?)
            })
            .await
        }
        _ => unimplemented(&call),
    }
}

async fn get_object(service: &Storage, get: gcs::GetObjectRequest) -> Result<gcs::Object, Status> {
    let bucket = bucket_id(&get.bucket)?;
    Ok(service.get_object(bucket, &get.object, generation(get.generation), conditions!(get)).await?)
}

async fn delete_object(service: &Storage, delete: gcs::DeleteObjectRequest) -> Result<(), Status> {
    let bucket = bucket_id(&delete.bucket)?;
    Ok(service.delete_object(bucket, &delete.object, generation(delete.generation), conditions!(delete)).await?)
}

async fn list_objects(service: &Storage, list: gcs::ListObjectsRequest) -> Result<gcs::ListObjectsResponse, Status> {
    let listing = Listing {
        prefix: list.prefix,
        delimiter: list.delimiter,
        start: list.lexicographic_start,
        end: list.lexicographic_end,
        include_trailing_delimiter: list.include_trailing_delimiter,
        page_size: usize::try_from(list.page_size).unwrap_or(0),
        page_token: list.page_token,
    };
    let page = service.list_objects(bucket_id(&list.parent)?, listing).await?;
    Ok(gcs::ListObjectsResponse { objects: page.objects, prefixes: page.prefixes, next_page_token: page.next })
}

async fn create_bucket(service: &Storage, create: gcs::CreateBucketRequest) -> Result<gcs::Bucket, Status> {
    Ok(service.create_bucket(&create.bucket_id, create.bucket.unwrap_or_default()).await?)
}

fn bucket_id(name: &str) -> Result<&str, Refusal> {
    let malformed = || Refusal::Invalid(format!("Invalid bucket name '{name}', expected '{BUCKET_PREFIX}NAME'."));
    name.strip_prefix(BUCKET_PREFIX).ok_or_else(malformed)
}

/// 0 is the live generation.
fn generation(asked: i64) -> Option<i64> {
    (asked != 0).then_some(asked)
}

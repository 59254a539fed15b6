//! `google.storage.v2.Storage`, restricted to metadata, for the official Rust `StorageControl` client. Bytes use the
//! JSON API.

use super::{
    BUCKET_PREFIX, Storage,
    conditions::Conditions,
    error::ApiError,
    gcs,
    glob::Glob,
    list::Listing,
    unsupported::{check_bucket_message, check_read_mask, reject},
    update,
};
use crate::grpc::{unary, unimplemented};
use axum::{extract::Request, response::Response};
use std::sync::Arc;
use tonic::Status;

/// The conditions of a request for one object.
macro_rules! object_conditions {
    ($request:expr) => {
        Conditions {
            generation_match: $request.if_generation_match,
            generation_not_match: $request.if_generation_not_match,
            metageneration_match: $request.if_metageneration_match,
            metageneration_not_match: $request.if_metageneration_not_match,
            ..Conditions::default()
        }
    };
}

/// The conditions of a request for one bucket.
macro_rules! bucket_conditions {
    ($request:expr) => {
        Conditions {
            metageneration_match: $request.if_metageneration_match,
            metageneration_not_match: $request.if_metageneration_not_match,
            ..Conditions::default()
        }
    };
}

/// Handles one method.
pub(crate) async fn storage(service: Arc<Storage>, method: &str, call: Request) -> Response {
    match method {
        "GetObject" => unary(call, |get| async move { get_object(&service, get).await }).await,
        "ListObjects" => unary(call, |list| async move { list_objects(&service, list).await }).await,
        "UpdateObject" => unary(call, |update| async move { update_object(&service, update).await }).await,
        "DeleteObject" => unary(call, |delete| async move { delete_object(&service, delete).await }).await,
        "CreateBucket" => unary(call, |create| async move { create_bucket(&service, create).await }).await,
        "GetBucket" => {
            unary(call, |get: gcs::GetBucketRequest| async move {
                check_read_mask(get.read_mask.as_ref())?;
                Ok(service.get_bucket(bucket_id(&get.name)?, &bucket_conditions!(get)).await?)
            })
            .await
        }
        "ListBuckets" => {
            unary(call, |list: gcs::ListBucketsRequest| async move {
                check_read_mask(list.read_mask.as_ref())?;
                let prefix = list.prefix.trim_start_matches(BUCKET_PREFIX);
                let size = usize::try_from(list.page_size).unwrap_or(0);
                let (buckets, next_page_token) = service.list_buckets(prefix, size, &list.page_token).await?;
                Ok(gcs::ListBucketsResponse { buckets, next_page_token, ..gcs::ListBucketsResponse::default() })
            })
            .await
        }
        "DeleteBucket" => {
            unary(call, |delete: gcs::DeleteBucketRequest| async move {
                Ok(service.delete_bucket(bucket_id(&delete.name)?, bucket_conditions!(delete)).await?)
            })
            .await
        }
        _ => unimplemented(&call),
    }
}

async fn get_object(service: &Storage, get: gcs::GetObjectRequest) -> Result<gcs::Object, Status> {
    check_read_mask(get.read_mask.as_ref())?;
    reject(get.soft_deleted == Some(true), "field", "soft_deleted", &true)?;
    reject(!get.restore_token.is_empty(), "field", "restore_token", &get.restore_token)?;
    check_keys(get.common_object_request_params.as_ref())?;
    let bucket = bucket_id(&get.bucket)?;
    Ok(service.get_object(bucket, &get.object, generation(get.generation), object_conditions!(get)).await?)
}

async fn update_object(service: &Storage, request: gcs::UpdateObjectRequest) -> Result<gcs::Object, Status> {
    reject(!request.predefined_acl.is_empty(), "field", "predefined_acl", &request.predefined_acl)?;
    reject(request.override_unlocked_retention, "field", "override_unlocked_retention", &true)?;
    check_keys(request.common_object_request_params.as_ref())?;
    let conditions = object_conditions!(request);
    let given = request.object.ok_or_else(|| ApiError::Invalid("The field 'object' is missing.".into()))?;
    let mask = request.update_mask.unwrap_or_default().paths;
    let (bucket, name, generation) = (bucket_id(&given.bucket)?.to_owned(), given.name.clone(), given.generation);
    let change = move |object: &mut gcs::Object| update::apply(object, &given, &mask);
    Ok(service.update_object(&bucket, &name, self::generation(generation), conditions, change).await?)
}

async fn delete_object(service: &Storage, delete: gcs::DeleteObjectRequest) -> Result<(), Status> {
    check_keys(delete.common_object_request_params.as_ref())?;
    let bucket = bucket_id(&delete.bucket)?;
    Ok(service.delete_object(bucket, &delete.object, generation(delete.generation), object_conditions!(delete)).await?)
}

async fn list_objects(service: &Storage, list: gcs::ListObjectsRequest) -> Result<gcs::ListObjectsResponse, Status> {
    check_read_mask(list.read_mask.as_ref())?;
    // `versions` and `include_folders_as_prefixes` add nothing: every version is the live one, and there are no
    // folders.
    reject(list.soft_deleted, "field", "soft_deleted", &true)?;
    reject(!list.filter.is_empty(), "field", "filter", &list.filter)?;
    reject(
        !list.match_glob.is_empty() && !list.delimiter.is_empty(),
        "field",
        "match_glob with delimiter",
        &list.match_glob,
    )?;
    let glob = Some(list.match_glob).filter(|glob| !glob.is_empty());
    let listing = Listing {
        glob: glob.map(|glob| Glob::parse(&glob)).transpose()?,
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
    let (acl, object_acl) = (&create.predefined_acl, &create.predefined_default_object_acl);
    reject(!acl.is_empty(), "field", "predefined_acl", acl)?;
    reject(!object_acl.is_empty(), "field", "predefined_default_object_acl", object_acl)?;
    reject(create.enable_object_retention, "field", "enable_object_retention", &true)?;
    let bucket = create.bucket.unwrap_or_default();
    check_bucket_message(&bucket)?;
    Ok(service.create_bucket(&create.bucket_id, bucket).await?)
}

/// Objects are not encrypted here, so requests with a customer's key are rejected.
fn check_keys(parameters: Option<&gcs::CommonObjectRequestParams>) -> Result<(), ApiError> {
    let algorithm = parameters.map_or("", |parameters| &parameters.encryption_algorithm);
    let keyed = parameters.is_some_and(|parameters| !parameters.encryption_key_bytes.is_empty());
    reject(keyed || !algorithm.is_empty(), "field", "common_object_request_params.encryption_algorithm", &algorithm)
}

fn bucket_id(name: &str) -> Result<&str, ApiError> {
    let malformed = || ApiError::Invalid(format!("Invalid bucket name '{name}', expected '{BUCKET_PREFIX}NAME'."));
    name.strip_prefix(BUCKET_PREFIX).ok_or_else(malformed)
}

/// 0 means the live generation.
fn generation(requested: i64) -> Option<i64> {
    (requested != 0).then_some(requested)
}

//! Cloud Storage's resources in JSON.

use super::{BUCKET_PREFIX, download_tokens, error::ApiError, gcs, list::Page, storage_class, unsupported};
use crate::{
    json::{self, Object},
    url,
};
use serde_json::Value;

/// A CRC32C in Cloud Storage's format: base64 of the big-endian bytes.
pub(super) fn crc32c_text(crc32c: u32) -> String {
    json::encode_base64(&crc32c.to_be_bytes())
}

/// Parses a CRC32C in that format.
pub(super) fn crc32c_from(text: &str) -> Result<u32, ApiError> {
    let bytes = json::decode_base64(text).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    bytes.map(u32::from_be_bytes).ok_or_else(|| ApiError::Invalid(format!("Invalid CRC32C '{text}'.")))
}

/// Adds the checksums of an `x-goog-hash` header to those that an object must have.
pub(super) fn expect_hash(checksums: &mut gcs::ObjectChecksums, header: &str) -> Result<(), ApiError> {
    for hash in header.split(',') {
        match hash.trim().split_once('=') {
            Some(("crc32c", value)) => checksums.crc32c = Some(crc32c_from(value)?),
            Some(("md5", value)) => {
                let md5 = json::decode_base64(value);
                checksums.md5_hash = md5.ok_or_else(|| ApiError::Invalid(format!("Invalid MD5 '{value}'.")))?;
            }
            _ => return Err(ApiError::Invalid(format!("Invalid x-goog-hash header '{header}'."))),
        }
    }
    Ok(())
}

/// Writes a bucket.
pub(super) fn bucket(bucket: &gcs::Bucket, base_url: &str) -> Value {
    let id = &bucket.bucket_id;
    Object::new()
        .set("kind", "storage#bucket")
        .set("id", id.as_str())
        .set("name", id.as_str())
        .set("selfLink", format!("{base_url}/storage/v1/b/{}", url::encode(id)))
        .set("projectNumber", "0")
        .set("metageneration", bucket.metageneration.to_string())
        .text("location", &bucket.location)
        .text("locationType", &bucket.location_type)
        .text("storageClass", &bucket.storage_class)
        .text("etag", &bucket.etag)
        .optional("timeCreated", bucket.create_time.map(|at| at.to_string()))
        .optional("updated", bucket.update_time.map(|at| at.to_string()))
        .labels("labels", &bucket.labels)
        .build()
}

/// Parses a bucket.
pub(super) fn bucket_from(value: &Value) -> Result<gcs::Bucket, ApiError> {
    unsupported::check_bucket(value)?;
    Ok(gcs::Bucket {
        bucket_id: json::text(value, "name")?,
        location: json::text(value, "location")?,
        storage_class: storage_class(&json::text(value, "storageClass")?)?,
        labels: json::labels(value, "labels")?,
        ..gcs::Bucket::default()
    })
}

/// Writes an object.
pub(super) fn object(object: &gcs::Object, base_url: &str) -> Value {
    let bucket = object.bucket.trim_start_matches(BUCKET_PREFIX);
    let path = format!("storage/v1/b/{}/o/{}", url::encode(bucket), url::encode(&object.name));
    let generation = object.generation;
    let at = |at: Option<prost_types::Timestamp>| at.map(|at| at.to_string());
    let checksums = object.checksums.clone().unwrap_or_default();
    Object::new()
        .set("kind", "storage#object")
        .set("id", format!("{bucket}/{}/{generation}", object.name))
        .set("selfLink", format!("{base_url}/{path}"))
        .set("mediaLink", format!("{base_url}/download/{path}?generation={generation}&alt=media"))
        .set("name", object.name.as_str())
        .set("bucket", bucket)
        .set("generation", generation.to_string())
        .set("metageneration", object.metageneration.to_string())
        .text("contentType", &object.content_type)
        .text("contentEncoding", &object.content_encoding)
        .text("contentDisposition", &object.content_disposition)
        .text("contentLanguage", &object.content_language)
        .text("cacheControl", &object.cache_control)
        .text("storageClass", &object.storage_class)
        .set("size", object.size.to_string())
        .optional("crc32c", checksums.crc32c.map(crc32c_text))
        .text("md5Hash", &json::encode_base64(&checksums.md5_hash))
        .text("etag", &object.etag)
        .optional("timeCreated", at(object.create_time))
        .optional("updated", at(object.update_time))
        .optional("timeFinalized", at(object.finalize_time))
        .optional("timeStorageClassUpdated", at(object.update_storage_class_time))
        .optional("customTime", at(object.custom_time))
        .optional("temporaryHold", object.temporary_hold.then_some(true))
        .optional("eventBasedHold", object.event_based_hold)
        .labels("metadata", &object.metadata)
        .build()
}

/// Writes an object as Firebase Storage does: without links, and with the download tokens apart from the other labels.
pub(super) fn firebase_object(object: &gcs::Object) -> Value {
    let checksums = object.checksums.clone().unwrap_or_default();
    let mut labels = object.metadata.clone();
    labels.remove(download_tokens::LABEL);
    let encoding = Some(object.content_encoding.as_str()).filter(|encoding| !encoding.is_empty());
    Object::new()
        .set("name", object.name.as_str())
        .set("bucket", object.bucket.trim_start_matches(BUCKET_PREFIX))
        .set("generation", object.generation.to_string())
        .set("metageneration", object.metageneration.to_string())
        .text("contentType", &object.content_type)
        .optional("timeCreated", object.create_time.map(|at| at.to_string()))
        .optional("updated", object.update_time.map(|at| at.to_string()))
        .text("storageClass", &object.storage_class)
        .set("size", object.size.to_string())
        .text("md5Hash", &json::encode_base64(&checksums.md5_hash))
        .set("contentEncoding", encoding.unwrap_or("identity"))
        .text("contentDisposition", &object.content_disposition)
        .text("contentLanguage", &object.content_language)
        .text("cacheControl", &object.cache_control)
        .optional("crc32c", checksums.crc32c.map(crc32c_text))
        .text("etag", &object.etag)
        .set("downloadTokens", download_tokens::tokens(object).collect::<Vec<_>>().join(","))
        .labels("metadata", &labels)
        .build()
}

/// Parses the fields of an object that a client may set.
pub(super) fn object_from(value: &Value) -> Result<gcs::Object, ApiError> {
    unsupported::check_object(value)?;
    let crc32c = match json::text(value, "crc32c")? {
        text if text.is_empty() => None,
        text => Some(crc32c_from(&text)?),
    };
    Ok(gcs::Object {
        name: json::text(value, "name")?,
        content_type: json::text(value, "contentType")?,
        content_encoding: json::text(value, "contentEncoding")?,
        content_disposition: json::text(value, "contentDisposition")?,
        content_language: json::text(value, "contentLanguage")?,
        cache_control: json::text(value, "cacheControl")?,
        storage_class: storage_class(&json::text(value, "storageClass")?)?,
        custom_time: json::time(value, "customTime")?,
        temporary_hold: json::flag(value, "temporaryHold")?,
        event_based_hold: json::member(value, "eventBasedHold")
            .map(|_| json::flag(value, "eventBasedHold"))
            .transpose()?,
        metadata: json::labels(value, "metadata")?,
        checksums: Some(gcs::ObjectChecksums { crc32c, md5_hash: json::bytes(value, "md5Hash")? }),
        ..gcs::Object::default()
    })
}

/// Applies a patch to an object: it sets the fields that it names and removes those that are null; the same holds for
/// single labels.
pub(super) fn patch(object: &mut gcs::Object, patch: &Value) -> Result<(), ApiError> {
    let mut fields = patch.clone();
    // Labels are handled one by one below, because null has a meaning there.
    if let Some(fields) = fields.as_object_mut() {
        fields.remove("metadata");
    }
    let given = object_from(&fields)?;
    let named = |name: &str| patch.get(name).is_some();
    if !given.storage_class.is_empty() && given.storage_class != object.storage_class {
        unsupported::reject(true, "object field", "storageClass", &given.storage_class)?;
    }
    for (name, field, value) in [
        ("contentType", &mut object.content_type, given.content_type),
        ("contentEncoding", &mut object.content_encoding, given.content_encoding),
        ("contentDisposition", &mut object.content_disposition, given.content_disposition),
        ("contentLanguage", &mut object.content_language, given.content_language),
        ("cacheControl", &mut object.cache_control, given.cache_control),
    ] {
        if named(name) {
            *field = value;
        }
    }
    if named("customTime") {
        object.custom_time = given.custom_time;
    }
    if named("temporaryHold") {
        object.temporary_hold = given.temporary_hold;
    }
    if named("eventBasedHold") {
        object.event_based_hold = given.event_based_hold;
    }
    match patch.get("metadata") {
        Some(Value::Null) => object.metadata.clear(),
        Some(Value::Object(labels)) => {
            for (label, value) in labels {
                match value {
                    Value::Null => drop(object.metadata.remove(label)),
                    Value::String(text) => drop(object.metadata.insert(label.clone(), text.clone())),
                    other => return Err(ApiError::Invalid(format!("Invalid value for metadata.{label}: {other}."))),
                }
            }
        }
        None => {}
        Some(other) => return Err(ApiError::Invalid(format!("Invalid value for metadata: {other}."))),
    }
    Ok(())
}

/// Writes a page of objects.
pub(super) fn page(page: &Page, base_url: &str) -> Value {
    Object::new()
        .set("kind", "storage#objects")
        .list("items", page.objects.iter().map(|found| object(found, base_url)).collect())
        .list("prefixes", page.prefixes.iter().map(|prefix| prefix.as_str().into()).collect())
        .text("nextPageToken", &page.next)
        .build()
}

/// Writes a list of buckets.
pub(super) fn buckets(buckets: &[gcs::Bucket], next: &str, base_url: &str) -> Value {
    Object::new()
        .set("kind", "storage#buckets")
        .list("items", buckets.iter().map(|found| bucket(found, base_url)).collect())
        .text("nextPageToken", next)
        .build()
}

//! Cloud Storage's XML API for objects, as far as signed URLs need it: read, write in one request, begin a resumable
//! upload, delete.

use super::{
    ApiError, Query, Storage,
    download::{self, MediaRequest},
    no_content, unsupported,
    upload::{self, header_text},
};
use crate::{
    json as fields,
    storage::{
        NewObject,
        conditions::{Conditions, Etags},
        gcs, json, storage_class,
        unsupported::{Api, check_headers},
    },
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use std::sync::Arc;

/// Answers a request to `/BUCKET/OBJECT`.
pub(super) async fn object(
    service: Arc<Storage>,
    bucket: String,
    name: String,
    query: &Query,
    request: Request,
) -> Result<Response, ApiError> {
    if name.is_empty() {
        return Err(unsupported(&request));
    }
    check_headers(request.headers(), Api::Xml)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let read_parameters = ["generation", "response-content-type", "response-content-disposition"];
    query.check(if reads { &read_parameters } else { &read_parameters[..1] }, &[])?;
    match *request.method() {
        Method::GET | Method::HEAD => {
            let media_request = MediaRequest::new(&request, conditions(request.headers())?);
            download::media(service, bucket, name, query, media_request).await
        }
        Method::PUT => {
            let new = new_object(bucket, name, &request)?;
            let upload = upload::receive(&service, request.into_body()).await?;
            let object = service.insert(new, upload).await?;
            let mut response = Response::new(Body::empty());
            download::set_object_headers(&object, response.headers_mut());
            // They describe the object, not this empty response.
            for of_content in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_DISPOSITION] {
                response.headers_mut().remove(of_content);
            }
            Ok(response)
        }
        Method::POST if header_text(&request, header::HeaderName::from_static("x-goog-resumable")) == "start" => {
            let new = new_object(bucket, name, &request)?;
            let mut response = upload::begin_resumable(&service, new, query, None).await?;
            *response.status_mut() = StatusCode::CREATED;
            Ok(response)
        }
        Method::DELETE => {
            let conditions = conditions(request.headers())?;
            service.delete_object(&bucket, &name, query.number("generation")?, conditions).await?;
            Ok(no_content())
        }
        _ => Err(unsupported(&request)),
    }
}

/// Builds a new object from the request's headers.
fn new_object(bucket: String, name: String, request: &Request) -> Result<NewObject, ApiError> {
    let headers = request.headers();
    let text = |name: header::HeaderName| header_text(request, name);
    let mut resource = gcs::Object {
        name,
        content_type: text(header::CONTENT_TYPE),
        content_encoding: text(header::CONTENT_ENCODING),
        content_disposition: text(header::CONTENT_DISPOSITION),
        content_language: text(header::CONTENT_LANGUAGE),
        cache_control: text(header::CACHE_CONTROL),
        storage_class: storage_class(&text(header::HeaderName::from_static("x-goog-storage-class")))?,
        custom_time: custom_time(&text(header::HeaderName::from_static("x-goog-custom-time")))?,
        ..gcs::Object::default()
    };
    for (name, value) in headers {
        if let (Some(label), Ok(value)) = (name.as_str().strip_prefix("x-goog-meta-"), value.to_str()) {
            resource.metadata.insert(label.to_owned(), value.to_owned());
        }
    }
    let md5 = text(header::HeaderName::from_static("content-md5"));
    let hash = text(header::HeaderName::from_static("x-goog-hash"));
    let checksums = resource.checksums.get_or_insert_default();
    if !md5.is_empty() {
        let md5 = fields::decode_base64(&md5).ok_or_else(|| ApiError::Invalid(format!("Invalid MD5 '{md5}'.")))?;
        checksums.md5_hash = md5;
    }
    if !hash.is_empty() {
        json::expect_hash(checksums, &hash)?;
    }
    Ok(NewObject { bucket, resource, conditions: conditions(headers)? })
}

fn custom_time(text: &str) -> Result<Option<prost_types::Timestamp>, ApiError> {
    let malformed = |_| ApiError::Invalid(format!("Invalid x-goog-custom-time '{text}'."));
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(malformed) }
}

/// Preconditions as headers.
fn conditions(headers: &HeaderMap) -> Result<Conditions, ApiError> {
    let number = |name: &str| {
        let value = headers.get(name).map(|value| value.to_str().ok().and_then(|text| text.parse::<i64>().ok()));
        match value {
            Some(None) => Err(ApiError::Invalid(format!("Invalid value for {name}."))),
            found => Ok(found.flatten()),
        }
    };
    Ok(Conditions {
        generation_match: number("x-goog-if-generation-match")?,
        metageneration_match: number("x-goog-if-metageneration-match")?,
        etag_match: Etags::from_headers(headers, header::IF_MATCH),
        etag_not_match: Etags::from_headers(headers, header::IF_NONE_MATCH),
        ..Conditions::default()
    })
}

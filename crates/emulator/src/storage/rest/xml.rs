//! Objects by Cloud Storage's XML API, as far as signed URLs lead there: read, write in one piece, begin a resumable upload, delete.

use super::{
    Query, Refusal, Storage,
    download::{self, Wanted},
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
) -> Result<Response, Refusal> {
    if name.is_empty() {
        return Err(unsupported(&request));
    }
    check_headers(request.headers(), Api::Xml)?;
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let shown = ["generation", "response-content-type", "response-content-disposition"];
    query.check(if reads { &shown } else { &shown[..1] }, &[])?;
    match *request.method() {
        Method::GET | Method::HEAD => {
            let wanted = Wanted::of(&request, conditions(request.headers())?);
            download::media(service, bucket, name, query, wanted).await
        }
        Method::PUT => {
            let new = new_object(bucket, name, &request)?;
            let upload = upload::receive(&service, request.into_body()).await?;
            let object = service.insert(new, upload).await?;
            let mut response = Response::new(Body::empty());
            download::describe(&object, response.headers_mut());
            // They describe the object, not this empty answer.
            for of_content in [header::CONTENT_TYPE, header::CONTENT_ENCODING, header::CONTENT_DISPOSITION] {
                response.headers_mut().remove(of_content);
            }
            Ok(response)
        }
        Method::POST if header_text(&request, header::HeaderName::from_static("x-goog-resumable")) == "start" => {
            let mut response = upload::begun(&service, new_object(bucket, name, &request)?, None).await?;
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

/// What the headers say of a new object.
fn new_object(bucket: String, name: String, request: &Request) -> Result<NewObject, Refusal> {
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
        let md5 = fields::decode_base64(&md5).ok_or_else(|| Refusal::Invalid(format!("Invalid MD5 '{md5}'.")))?;
        checksums.md5_hash = md5;
    }
    if !hash.is_empty() {
        json::expect_hash(checksums, &hash)?;
    }
    Ok(NewObject { bucket, resource, conditions: conditions(headers)? })
}

fn custom_time(text: &str) -> Result<Option<prost_types::Timestamp>, Refusal> {
    let malformed = |_| Refusal::Invalid(format!("Invalid x-goog-custom-time '{text}'."));
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(malformed) }
}

/// Preconditions as headers.
fn conditions(headers: &HeaderMap) -> Result<Conditions, Refusal> {
    let number = |name: &str| {
        let value = headers.get(name).map(|value| value.to_str().ok().and_then(|text| text.parse::<i64>().ok()));
        match value {
            Some(None) => Err(Refusal::Invalid(format!("Invalid value for {name}."))),
            found => Ok(found.flatten()),
        }
    };
    Ok(Conditions {
        generation_match: number("x-goog-if-generation-match")?,
        metageneration_match: number("x-goog-if-metageneration-match")?,
        etag_match: Etags::of(headers, header::IF_MATCH),
        etag_not_match: Etags::of(headers, header::IF_NONE_MATCH),
        ..Conditions::default()
    })
}

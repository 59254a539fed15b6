//! Writes bytes: `uploadType` is media, multipart or resumable.

use super::{
    ApiError, CONDITION_PARAMETERS, Query, Storage, Target, metadata_body, metadata_too_large, no_content, target,
    unsupported,
};
use crate::{
    json as fields, limits,
    storage::{
        NewObject,
        files::{Sink, Upload},
        gcs, json,
        multipart::{Multipart, Piece},
        range::ContentRange,
        resumable::Progress,
    },
    url,
};
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::Response,
};
use futures::StreamExt;
use parking_lot::Mutex;
use std::sync::Arc;

/// Handles a request; `path` is the part below `/upload/storage/v1/b/`.
pub(super) async fn handle(
    service: &Arc<Storage>,
    path: &str,
    query: &Query,
    request: Request,
) -> Result<Response, ApiError> {
    let Target::Objects { bucket } = target(path) else { return Err(unsupported(&request)) };
    query.check(&["uploadType", "upload_id", "name", "contentEncoding"], &CONDITION_PARAMETERS)?;
    let upload_id = query.text("upload_id");
    match (request.method(), query.text("uploadType").as_str()) {
        (&Method::PUT | &Method::POST, _) if !upload_id.is_empty() => resume(service, &upload_id, query, request).await,
        (&Method::DELETE, _) if !upload_id.is_empty() => {
            service.cancel_upload(&upload_id)?;
            // The real service also returns 499 ("client closed request"), a status without a standard name.
            let mut response = no_content();
            *response.status_mut() = StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST);
            Ok(response)
        }
        (&Method::POST, "media") => media(service, bucket, query, request).await,
        (&Method::POST, "multipart") => multipart(service, bucket, query, request).await,
        (&Method::POST, "resumable") => begin(service, bucket, query, request).await,
        _ => Err(unsupported(&request)),
    }
}

/// The body is the object.
async fn media(service: &Arc<Storage>, bucket: String, query: &Query, request: Request) -> Result<Response, ApiError> {
    let mut resource =
        gcs::Object { content_type: header_text(&request, header::CONTENT_TYPE), ..gcs::Object::default() };
    let hash = header_text(&request, header::HeaderName::from_static("x-goog-hash"));
    if !hash.is_empty() {
        json::expect_hash(resource.checksums.get_or_insert_default(), &hash)?;
    }
    let new = new_object(bucket, query, resource)?;
    finish(service, new, query, receive(service, request.into_body()).await?).await
}

/// Receives a body as the bytes of an object.
pub(super) async fn receive(service: &Arc<Storage>, body: Body) -> Result<Arc<Mutex<Upload>>, ApiError> {
    let upload = service.receive().await?;
    let mut sink = Sink::new(Arc::clone(&upload));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        sink.push(chunk.map_err(connection_broken)?).await?;
    }
    sink.flush().await?;
    Ok(upload)
}

/// The body contains metadata, the object, and optionally its checksums.
async fn multipart(
    service: &Arc<Storage>,
    bucket: String,
    query: &Query,
    request: Request,
) -> Result<Response, ApiError> {
    let mut parts = Multipart::new(&header_text(&request, header::CONTENT_TYPE))?;
    let upload = service.receive().await?;
    let mut sink = Sink::new(Arc::clone(&upload));
    let (mut part, mut content_type) = (0, String::new());
    // The first and the third part.
    let (mut metadata, mut trailer) = (Vec::new(), Vec::new());
    let mut ended = false;
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        parts.push(&chunk.map_err(connection_broken)?);
        while let Some(piece) = parts.next()? {
            match (piece, part) {
                (Piece::Part(kind), _) => {
                    part += 1;
                    if part == 2 {
                        content_type = kind.unwrap_or_default();
                    }
                }
                (Piece::Data(data), 1) => append_metadata(&mut metadata, &data)?,
                (Piece::Data(data), 2) => sink.push(data).await?,
                (Piece::Data(data), _) => append_metadata(&mut trailer, &data)?,
                (Piece::End, _) => ended = true,
            }
        }
    }
    sink.flush().await?;
    if !ended || part < 2 {
        return Err(ApiError::Invalid("The multipart body is incomplete.".into()));
    }
    let mut resource = json::object_from(&fields::parse(&metadata)?)?;
    if resource.content_type.is_empty() {
        resource.content_type = content_type;
    }
    let trailing = json::object_from(&fields::parse(&trailer)?)?.checksums.unwrap_or_default();
    let checksums = resource.checksums.get_or_insert_default();
    checksums.crc32c = checksums.crc32c.or(trailing.crc32c);
    if checksums.md5_hash.is_empty() {
        checksums.md5_hash = trailing.md5_hash;
    }
    finish(service, new_object(bucket, query, resource)?, query, upload).await
}

/// The body is metadata; the bytes follow in requests to the `Location`.
async fn begin(service: &Arc<Storage>, bucket: String, query: &Query, request: Request) -> Result<Response, ApiError> {
    let content_type = request.headers().get("x-upload-content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let declared = match header_text(&request, header::HeaderName::from_static("x-upload-content-length")) {
        text if text.is_empty() => None,
        text => {
            Some(text.parse().map_err(|_| ApiError::Invalid(format!("Invalid x-upload-content-length '{text}'.")))?)
        }
    };
    let mut resource = json::object_from(&fields::parse(&metadata_body(request).await?)?)?;
    if resource.content_type.is_empty() {
        resource.content_type = content_type;
    }
    begin_resumable(service, new_object(bucket, query, resource)?, query, declared).await
}

/// Begins an upload and returns the URL for its bytes.
pub(super) async fn begin_resumable(
    service: &Arc<Storage>,
    new: NewObject,
    query: &Query,
    declared: Option<u64>,
) -> Result<Response, ApiError> {
    let path = format!("{}/upload/storage/v1/b/{}/o", query.base_url, url::encode(&new.bucket));
    let id = service.begin_upload(new, declared).await?;
    let location = format!("{path}?uploadType=resumable&upload_id={id}");
    let mut response = Response::new(Body::empty());
    let location = HeaderValue::from_str(&location).map_err(|_| ApiError::Invalid("The bucket has no URL.".into()))?;
    response.headers_mut().insert(header::LOCATION, location);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-guploader-uploadid", id);
    }
    Ok(response)
}

/// Receives bytes for a resumable upload.
async fn resume(service: &Arc<Storage>, id: &str, query: &Query, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let content_range = ContentRange::parse(text("content-range"))?;
    match service.continue_upload(id, content_range, text("x-goog-hash"), body).await? {
        Progress::Finished(object) => query.respond(&json::object(&object, &query.base_url)),
        Progress::Stored(bytes) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            // Without a `Range` header, nothing is stored.
            if let Some(last) = bytes.checked_sub(1)
                && let Ok(range) = HeaderValue::from_str(&format!("bytes=0-{last}"))
            {
                response.headers_mut().insert(header::RANGE, range);
            }
            Ok(response)
        }
    }
}

async fn finish(
    service: &Arc<Storage>,
    new: NewObject,
    query: &Query,
    upload: Arc<Mutex<Upload>>,
) -> Result<Response, ApiError> {
    tracing::debug!(object = new.resource.name, bytes = upload.lock().size(), "object received");
    query.respond(&json::object(&service.insert(new, upload).await?, &query.base_url))
}

/// The name and the encoding come from the query, otherwise from the metadata.
fn new_object(bucket: String, query: &Query, mut resource: gcs::Object) -> Result<NewObject, ApiError> {
    let name = query.text("name");
    if !name.is_empty() {
        resource.name = name;
    }
    let encoding = query.text("contentEncoding");
    if !encoding.is_empty() {
        resource.content_encoding = encoding;
    }
    Ok(NewObject { bucket, resource, conditions: query.conditions()? })
}

fn append_metadata(part: &mut Vec<u8>, data: &[u8]) -> Result<(), ApiError> {
    if part.len() + data.len() > limits::MAX_OBJECT_METADATA_BYTES {
        return Err(metadata_too_large());
    }
    part.extend_from_slice(data);
    Ok(())
}

pub(super) fn header_text(request: &Request, name: header::HeaderName) -> String {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn connection_broken(_: axum::Error) -> ApiError {
    ApiError::Invalid("The connection broke.".into())
}

//! Writing bytes: `uploadType` media, multipart or resumable.

use super::{
    CONDITIONS, Query, Refusal, Storage, Target, no_content, small_body, target, too_much_metadata, unsupported,
};
use crate::{
    json as fields, limits,
    storage::{
        NewObject,
        files::{Sink, Upload},
        gcs, json,
        multipart::{Multipart, Piece},
        range::Carried,
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

/// Answers a request whose path below `/upload/storage/v1/b/` is `path`.
pub(super) async fn handle(
    service: &Arc<Storage>,
    path: &str,
    query: &Query,
    request: Request,
) -> Result<Response, Refusal> {
    let Target::Objects { bucket } = target(path) else { return Err(unsupported(&request)) };
    query.check(&["uploadType", "upload_id", "name", "contentEncoding"], &CONDITIONS)?;
    let upload_id = query.text("upload_id");
    match (request.method(), query.text("uploadType").as_str()) {
        (&Method::PUT | &Method::POST, _) if !upload_id.is_empty() => feed(service, &upload_id, query, request).await,
        (&Method::DELETE, _) if !upload_id.is_empty() => {
            service.cancel_upload(&upload_id)?;
            // The answer of the real service: "client closed request", which has no name of its own.
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
async fn media(service: &Arc<Storage>, bucket: String, query: &Query, request: Request) -> Result<Response, Refusal> {
    let mut resource =
        gcs::Object { content_type: header_text(&request, header::CONTENT_TYPE), ..gcs::Object::default() };
    let hash = header_text(&request, header::HeaderName::from_static("x-goog-hash"));
    if !hash.is_empty() {
        json::expect_hash(resource.checksums.get_or_insert_default(), &hash)?;
    }
    let new = new_object(bucket, query, resource)?;
    finish(service, new, query, receive(service, request.into_body()).await?).await
}

/// Takes a body as the bytes of an object.
pub(super) async fn receive(service: &Arc<Storage>, body: Body) -> Result<Arc<Mutex<Upload>>, Refusal> {
    let upload = service.receive().await?;
    let mut sink = Sink::new(Arc::clone(&upload));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        sink.push(chunk.map_err(broken)?).await?;
    }
    sink.flush().await?;
    Ok(upload)
}

/// The body is metadata, the object, and perhaps its checksums.
async fn multipart(
    service: &Arc<Storage>,
    bucket: String,
    query: &Query,
    request: Request,
) -> Result<Response, Refusal> {
    let mut parts = Multipart::new(&header_text(&request, header::CONTENT_TYPE))?;
    let upload = service.receive().await?;
    let mut sink = Sink::new(Arc::clone(&upload));
    let (mut part, mut content_type) = (0, String::new());
    // What is in the first and the third part.
    let (mut metadata, mut trailer) = (Vec::new(), Vec::new());
    let mut ended = false;
    let mut chunks = request.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        parts.push(&chunk.map_err(broken)?);
        while let Some(piece) = parts.next()? {
            match (piece, part) {
                (Piece::Part(kind), _) => {
                    part += 1;
                    if part == 2 {
                        content_type = kind.unwrap_or_default();
                    }
                }
                (Piece::Data(data), 1) => gather(&mut metadata, &data)?,
                (Piece::Data(data), 2) => sink.push(data).await?,
                (Piece::Data(data), _) => gather(&mut trailer, &data)?,
                (Piece::End, _) => ended = true,
            }
        }
    }
    sink.flush().await?;
    if !ended || part < 2 {
        return Err(Refusal::Invalid("The multipart body is incomplete.".into()));
    }
    let mut resource = json::object_from(&fields::parse(&metadata)?)?;
    if resource.content_type.is_empty() {
        resource.content_type = content_type;
    }
    let promised = json::object_from(&fields::parse(&trailer)?)?.checksums.unwrap_or_default();
    let checksums = resource.checksums.get_or_insert_default();
    checksums.crc32c = checksums.crc32c.or(promised.crc32c);
    if checksums.md5_hash.is_empty() {
        checksums.md5_hash = promised.md5_hash;
    }
    finish(service, new_object(bucket, query, resource)?, query, upload).await
}

/// The body is metadata; the bytes come later, to the `Location`.
async fn begin(service: &Arc<Storage>, bucket: String, query: &Query, request: Request) -> Result<Response, Refusal> {
    let content_type = request.headers().get("x-upload-content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let declared = match header_text(&request, header::HeaderName::from_static("x-upload-content-length")) {
        text if text.is_empty() => None,
        text => Some(text.parse().map_err(|_| Refusal::Invalid(format!("Invalid x-upload-content-length '{text}'.")))?),
    };
    let mut resource = json::object_from(&fields::parse(&small_body(request).await?)?)?;
    if resource.content_type.is_empty() {
        resource.content_type = content_type;
    }
    begun(service, new_object(bucket, query, resource)?, declared).await
}

/// Begins an upload and says where its bytes go.
pub(super) async fn begun(service: &Arc<Storage>, new: NewObject, declared: Option<u64>) -> Result<Response, Refusal> {
    let path = format!("{}/upload/storage/v1/b/{}/o", service.base_url, url::encode(&new.bucket));
    let id = service.begin_upload(new, declared).await?;
    let location = format!("{path}?uploadType=resumable&upload_id={id}");
    let mut response = Response::new(Body::empty());
    let location = HeaderValue::from_str(&location).map_err(|_| Refusal::Invalid("The bucket has no URL.".into()))?;
    response.headers_mut().insert(header::LOCATION, location);
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-guploader-uploadid", id);
    }
    Ok(response)
}

/// Bytes for an upload that was begun.
async fn feed(service: &Arc<Storage>, id: &str, query: &Query, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let carried = Carried::parse(text("content-range"))?;
    match service.continue_upload(id, carried, text("x-goog-hash"), body).await? {
        Progress::Finished(object) => query.answer(&json::object(&object, &service.base_url)),
        Progress::Stored(bytes) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
            // No header means that nothing is stored.
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
) -> Result<Response, Refusal> {
    tracing::debug!(object = new.resource.name, bytes = upload.lock().size(), "object received");
    query.answer(&json::object(&service.insert(new, upload).await?, &service.base_url))
}

/// The name and the encoding come from the query, or else from the metadata.
fn new_object(bucket: String, query: &Query, mut resource: gcs::Object) -> Result<NewObject, Refusal> {
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

fn gather(part: &mut Vec<u8>, data: &[u8]) -> Result<(), Refusal> {
    if part.len() + data.len() > limits::OBJECT_METADATA_BYTES {
        return Err(too_much_metadata());
    }
    part.extend_from_slice(data);
    Ok(())
}

pub(super) fn header_text(request: &Request, name: header::HeaderName) -> String {
    request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
}

fn broken(_: axum::Error) -> Refusal {
    Refusal::Invalid("The connection broke.".into())
}

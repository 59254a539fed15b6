//! Cloud Storage over HTTP: the JSON API is in this file, the XML API (`/BUCKET/OBJECT`), which signed URLs use, in
//! [`xml`], and Firebase Storage's API (`/v0/b/BUCKET/o/OBJECT`) in [`firebase`].

mod download;
mod firebase;
mod upload;
mod xml;

use super::{
    Storage, account,
    conditions::{Conditions, Etags},
    error::ApiError,
    gcs,
    glob::Glob,
    json,
    list::Listing,
    selection::Selection,
    signature::Signature,
    unsupported::{self, Api},
};
use crate::{clock, error::json_response, json as fields, limits, url};
use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode, header, request::Parts},
    response::Response,
};
use download::MediaRequest;
use std::{collections::HashMap, str::FromStr, sync::Arc};

/// The query parameters of a request (the first of repeated ones), and the conditions in its headers.
pub(super) struct Query {
    parameters: HashMap<String, String>,
    etag_match: Option<Etags>,
    etag_not_match: Option<Etags>,
    /// Where the links of the response begin.
    base_url: String,
}

/// The parameters that [`Query::conditions`] reads.
const CONDITION_PARAMETERS: [&str; 4] =
    ["ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"];

impl Query {
    fn parse(request: &Request, base_url: String) -> Self {
        let mut parameters = HashMap::new();
        for (name, value) in url::query(request.uri().query().unwrap_or_default()) {
            parameters.entry(name).or_insert(value);
        }
        let etags = |name| Etags::from_headers(request.headers(), name);
        Self { parameters, etag_match: etags(header::IF_MATCH), etag_not_match: etags(header::IF_NONE_MATCH), base_url }
    }

    /// Rejects parameters that a call does not support. It supports those in `known` and in `conditions`.
    fn check(&self, known: &[&str], conditions: &[&str]) -> Result<(), ApiError> {
        unsupported::check_parameters(self.parameters.iter(), &[known, conditions, &["fields"]].concat())
    }

    /// A JSON response, reduced to the requested fields.
    fn respond(&self, body: &serde_json::Value) -> Result<Response, ApiError> {
        Ok(ok(&Selection::parse(&self.text("fields"))?.apply(body)))
    }

    /// A parameter as text, empty when absent.
    fn text(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
    }

    /// A parameter as a number.
    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, ApiError> {
        let number = self.parameters.get(name).filter(|text| !text.is_empty()).map(|text| text.parse());
        number.transpose().map_err(|_| ApiError::Invalid(format!("Invalid value for {name}.")))
    }

    /// A parameter as a flag, false if absent. The Python client sends `True`.
    fn flag(&self, name: &str) -> Result<bool, ApiError> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "" | "false" | "0" => Ok(false),
            "true" | "1" => Ok(true),
            _ => Err(ApiError::Invalid(format!("Invalid value for {name}."))),
        }
    }

    fn conditions(&self) -> Result<Conditions, ApiError> {
        Ok(Conditions {
            generation_match: self.number("ifGenerationMatch")?,
            generation_not_match: self.number("ifGenerationNotMatch")?,
            metageneration_match: self.number("ifMetagenerationMatch")?,
            metageneration_not_match: self.number("ifMetagenerationNotMatch")?,
            etag_match: self.etag_match.clone(),
            etag_not_match: self.etag_not_match.clone(),
        })
    }
}

/// Answers a request whose path starts with `/storage/v1`, `/upload/storage/v1`, `/download/storage/v1` or `/v0/b`, or
/// is `/BUCKET/OBJECT`.
pub(crate) async fn handle(service: Arc<Storage>, request: Request) -> Response {
    let base_url = service.base_url.clone();
    respond(service, base_url, request).await
}

/// The same behind another server. The links of the response have no host, because only the caller knows the scheme,
/// the host and the port by which it reached that server: proxies may have changed all three.
pub(crate) async fn handle_mounted(service: Arc<Storage>, request: Request) -> Response {
    respond(service, String::new(), request).await
}

async fn respond(service: Arc<Storage>, base_url: String, request: Request) -> Response {
    let query = Query::parse(&request, base_url);
    let path = request.uri().path().to_owned();
    if let Some(path) = path.strip_prefix(firebase::PREFIX) {
        return firebase::handle(service, path, &query, request).await;
    }
    let (parts, body) = request.into_parts();
    if let Err(error) = check_signature(&service, &parts).await {
        return error.xml_response();
    }
    let request = Request::from_parts(parts, body);
    let result = if path == account::PATH && request.method() == Method::GET {
        service.account().await.map(|account| ok(&account.key_file(&query.base_url)))
    } else if let Some(path) = json_path(&path) {
        json_api(service, path, &query, request).await
    } else if let Some((bucket, object)) = path.trim_start_matches('/').split_once('/') {
        let (bucket, object) = (url::decode(bucket), url::decode(object));
        let result = xml::object(service, bucket, object, &query, request).await;
        return result.unwrap_or_else(|error| error.xml_response());
    } else {
        Err(unsupported(&request))
    };
    result.unwrap_or_else(|error| error.response())
}

/// A part of the JSON API, by the prefix of its paths.
enum JsonPath<'a> {
    /// Bytes of a new object, below `/b/`.
    Upload(&'a str),
    /// Bytes of an object, below `/b/`.
    Download(&'a str),
    /// Resources, below `/b`.
    Resources(&'a str),
    /// Unsupported: notifications, keys of users, batches.
    Other,
}

/// The part of the JSON API that a path belongs to; `None` for the XML API. A bucket named `storage` is inaccessible,
/// as in the real service.
fn json_path(path: &str) -> Option<JsonPath<'_>> {
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(path) = below("/upload/storage/v1/b") {
        return Some(JsonPath::Upload(path.trim_start_matches('/')));
    }
    if let Some(path) = below("/download/storage/v1/b") {
        return Some(JsonPath::Download(path.trim_start_matches('/')));
    }
    // The Node client uses `STORAGE_EMULATOR_HOST` as the whole base of its URLs and omits `/storage/v1`. No bucket
    // name has only one letter.
    if let Some(path) = below("/storage/v1/b").or_else(|| below("/b")) {
        return Some(JsonPath::Resources(path.trim_start_matches('/')));
    }
    let others =
        ["/storage/v1", "/upload/storage/v1", "/download/storage/v1", "/batch/storage/v1", "/resumable/upload"];
    others.into_iter().any(|prefix| below(prefix).is_some()).then_some(JsonPath::Other)
}

async fn json_api(
    service: Arc<Storage>,
    path: JsonPath<'_>,
    query: &Query,
    request: Request,
) -> Result<Response, ApiError> {
    unsupported::check_headers(request.headers(), Api::Json)?;
    match path {
        JsonPath::Upload(path) => upload::handle(&service, path, query, request).await,
        JsonPath::Download(path) => match target(path) {
            Target::Object { bucket, object } => {
                let media_request = json_media_request(query, &request)?;
                download::media(service, bucket, object, query, media_request).await
            }
            _ => Err(unsupported(&request)),
        },
        JsonPath::Resources(path) => resources(service, path, query, request).await,
        JsonPath::Other => Err(unsupported(&request)),
    }
}

/// Parses a request for an object's bytes. The entity tag of the response has no quotes, unlike HTTP requires, because
/// Google's has none either.
fn json_media_request(query: &Query, request: &Request) -> Result<MediaRequest, ApiError> {
    // Pages add the last two, which are those of signed URLs, to name the file to save.
    let known = ["generation", "alt", "response-content-type", "response-content-disposition"];
    query.check(&known, &CONDITION_PARAMETERS)?;
    Ok(MediaRequest::new(request, query.conditions()?).with_unquoted_etag())
}

async fn check_signature(service: &Storage, parts: &Parts) -> Result<(), ApiError> {
    match Signature::from_request(parts)? {
        Some(signature) => signature.check(parts, service.account().await?, clock::now_micros()),
        None => Ok(()),
    }
}

/// The resource of a path below `/b/`.
enum Target {
    Bucket(String),
    Objects { bucket: String },
    Object { bucket: String, object: String },
    Unknown,
}

fn target(path: &str) -> Target {
    match path.split_once('/') {
        None => Target::Bucket(url::decode(path)),
        Some((bucket, "o" | "o/")) => Target::Objects { bucket: url::decode(bucket) },
        Some((bucket, rest)) => match rest.strip_prefix("o/") {
            // Slashes in names are encoded, so this is a resource below an object, such as its access control.
            Some(object) if object.contains('/') => Target::Unknown,
            Some(object) => Target::Object { bucket: url::decode(bucket), object: url::decode(object) },
            None => Target::Unknown,
        },
    }
}

/// The parameters of a list of objects.
const LIST_PARAMETERS: [&str; 10] = [
    "prefix",
    "delimiter",
    "startOffset",
    "endOffset",
    "includeTrailingDelimiter",
    "maxResults",
    "pageToken",
    "matchGlob",
    // Every version is the live one, and there are no folders, so these two do not change the list.
    "versions",
    "includeFoldersAsPrefixes",
];

async fn resources(service: Arc<Storage>, path: &str, query: &Query, request: Request) -> Result<Response, ApiError> {
    let base_url = &query.base_url;
    let method = request.method().clone();
    if path.is_empty() {
        return match method {
            Method::GET => {
                // All buckets are always reachable, so there are no partial successes.
                query.check(&["prefix", "maxResults", "pageToken", "returnPartialSuccess"], &[])?;
                let size = query.number("maxResults")?.unwrap_or(0);
                let (prefix, token) = (query.text("prefix"), query.text("pageToken"));
                let (buckets, next) = service.list_buckets(&prefix, size, &token).await?;
                query.respond(&json::buckets(&buckets, &next, base_url))
            }
            Method::POST => {
                query.check(&[], &[])?;
                let new = json::bucket_from(&fields::parse(&metadata_body(request).await?)?)?;
                let name = new.bucket_id.clone();
                query.respond(&json::bucket(&service.create_bucket(&name, new).await?, base_url))
            }
            _ => Err(unsupported(&request)),
        };
    }
    match (method, target(path)) {
        (Method::GET, Target::Bucket(bucket)) => {
            query.check(&[], &CONDITION_PARAMETERS[2..])?;
            query.respond(&json::bucket(&service.get_bucket(&bucket, &query.conditions()?).await?, base_url))
        }
        (Method::DELETE, Target::Bucket(bucket)) => {
            query.check(&[], &CONDITION_PARAMETERS[2..])?;
            service.delete_bucket(&bucket, query.conditions()?).await?;
            Ok(no_content())
        }
        (Method::GET, Target::Objects { bucket }) => {
            query.check(&LIST_PARAMETERS, &[])?;
            let glob = query.text("matchGlob");
            if !glob.is_empty() && !query.text("delimiter").is_empty() {
                unsupported::reject(true, "parameter", "matchGlob with delimiter", &glob)?;
            }
            let listing = Listing {
                glob: Some(glob).filter(|glob| !glob.is_empty()).map(|glob| Glob::parse(&glob)).transpose()?,
                prefix: query.text("prefix"),
                delimiter: query.text("delimiter"),
                start: query.text("startOffset"),
                end: query.text("endOffset"),
                include_trailing_delimiter: query.flag("includeTrailingDelimiter")?,
                page_size: query.number("maxResults")?.unwrap_or(0),
                page_token: query.text("pageToken"),
            };
            query.respond(&json::page(&service.list_objects(&bucket, listing).await?, base_url))
        }
        (Method::GET | Method::HEAD, Target::Object { bucket, object }) if query.text("alt") == "media" => {
            let media_request = json_media_request(query, &request)?;
            download::media(service, bucket, object, query, media_request).await
        }
        (Method::GET, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITION_PARAMETERS)?;
            let conditions = query.conditions()?;
            let found = service.get_object(&bucket, &object, query.number("generation")?, conditions).await?;
            query.respond(&json::object(&found, base_url))
        }
        (Method::PATCH, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITION_PARAMETERS)?;
            let (conditions, generation) = (query.conditions()?, query.number("generation")?);
            let patch = fields::parse(&metadata_body(request).await?)?;
            let change = move |object: &mut gcs::Object| json::patch(object, &patch);
            let updated = service.update_object(&bucket, &object, generation, conditions, change).await?;
            query.respond(&json::object(&updated, base_url))
        }
        (Method::DELETE, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITION_PARAMETERS)?;
            let conditions = query.conditions()?;
            service.delete_object(&bucket, &object, query.number("generation")?, conditions).await?;
            Ok(no_content())
        }
        _ => Err(unsupported(&request)),
    }
}

fn ok(body: &serde_json::Value) -> Response {
    json_response(StatusCode::OK, body)
}

fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

async fn metadata_body(request: Request) -> Result<bytes::Bytes, ApiError> {
    let body = axum::body::to_bytes(request.into_body(), limits::MAX_OBJECT_METADATA_BYTES).await;
    body.map_err(|_| metadata_too_large())
}

fn metadata_too_large() -> ApiError {
    ApiError::Invalid(format!("Metadata part is too large: more than {} bytes.", limits::MAX_OBJECT_METADATA_BYTES))
}

fn unsupported(request: &Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    let slash = if path.contains("/o/") { " A '/' in an object's name is written %2F." } else { "" };
    ApiError::Unsupported(format!("{method} {path} is not part of this local server.{slash}"))
}

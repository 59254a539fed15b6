//! Cloud Storage over HTTP: its JSON API here, its XML API (`/BUCKET/OBJECT`), which is where signed URLs point, in [`xml`].

mod download;
mod upload;
mod xml;

use super::{
    Storage, account,
    conditions::{Conditions, Etags},
    error::Refusal,
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
use download::Wanted;
use std::{collections::HashMap, str::FromStr, sync::Arc};

/// The query parameters of a request, of repeated ones the first, and the conditions of its headers.
pub(super) struct Query {
    parameters: HashMap<String, String>,
    etag_match: Option<Etags>,
    etag_not_match: Option<Etags>,
}

/// The parameters that [`Query::conditions`] reads.
const CONDITIONS: [&str; 4] =
    ["ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch"];

impl Query {
    fn parse(request: &Request) -> Self {
        let mut parameters = HashMap::new();
        for (name, value) in url::query(request.uri().query().unwrap_or_default()) {
            parameters.entry(name).or_insert(value);
        }
        let etags = |name| Etags::of(request.headers(), name);
        Self { parameters, etag_match: etags(header::IF_MATCH), etag_not_match: etags(header::IF_NONE_MATCH) }
    }

    /// Refuses parameters that a call does not heed: those of `known`, and conditions unless it takes none.
    fn check(&self, known: &[&str], conditions: &[&str]) -> Result<(), Refusal> {
        unsupported::check_parameters(self.parameters.iter(), &[known, conditions, &["fields"]].concat())
    }

    /// An answer in JSON, or what the caller wants of it.
    fn answer(&self, body: &serde_json::Value) -> Result<Response, Refusal> {
        Ok(ok(&Selection::parse(&self.text("fields"))?.of(body)))
    }

    /// A parameter as text, empty when absent.
    fn text(&self, name: &str) -> String {
        self.parameters.get(name).cloned().unwrap_or_default()
    }

    /// A parameter as a number.
    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let number = self.parameters.get(name).filter(|text| !text.is_empty()).map(|text| text.parse());
        number.transpose().map_err(|_| Refusal::Invalid(format!("Invalid value for {name}.")))
    }

    /// A parameter as a flag, false when absent. Python's client writes `True`.
    fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name).to_ascii_lowercase().as_str() {
            "" | "false" | "0" => Ok(false),
            "true" | "1" => Ok(true),
            _ => Err(Refusal::Invalid(format!("Invalid value for {name}."))),
        }
    }

    fn conditions(&self) -> Result<Conditions, Refusal> {
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

/// Answers a request whose path begins with `/storage/v1`, `/upload/storage/v1` or `/download/storage/v1`, or is
/// `/BUCKET/OBJECT`.
pub(crate) async fn handle(service: Arc<Storage>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if let Err(refusal) = check_signature(&service, &parts).await {
        return refusal.xml_response();
    }
    let request = Request::from_parts(parts, body);
    let path = request.uri().path().to_owned();
    let query = Query::parse(&request);
    let answer = if path == account::PATH && request.method() == Method::GET {
        service.account().await.map(|account| ok(&account.key_file(&service.base_url)))
    } else if let Some(path) = in_json_api(&path) {
        json_api(service, path, &query, request).await
    } else if let Some((bucket, object)) = path.trim_start_matches('/').split_once('/') {
        let (bucket, object) = (url::decode(bucket), url::decode(object));
        let answer = xml::object(service, bucket, object, &query, request).await;
        return answer.unwrap_or_else(|refusal| refusal.xml_response());
    } else {
        Err(unsupported(&request))
    };
    answer.unwrap_or_else(|refusal| refusal.response())
}

/// A part of the JSON API, by where its paths begin.
enum JsonPath<'a> {
    /// Bytes of a new object, below `/b/`.
    Upload(&'a str),
    /// Bytes of an object, below `/b/`.
    Download(&'a str),
    /// Resources, below `/b`.
    Resources(&'a str),
    /// What this server does not have: notifications, keys of users, batches.
    Other,
}

/// Where a path belongs, unless it is the XML API's. A bucket `storage` is shadowed where the real service shadows it,
/// too.
fn in_json_api(path: &str) -> Option<JsonPath<'_>> {
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(path) = below("/upload/storage/v1/b") {
        return Some(JsonPath::Upload(path.trim_start_matches('/')));
    }
    if let Some(path) = below("/download/storage/v1/b") {
        return Some(JsonPath::Download(path.trim_start_matches('/')));
    }
    // The Node client takes `STORAGE_EMULATOR_HOST` for the whole base of its addresses, and leaves `/storage/v1` out.
    // No bucket can have a name of one letter.
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
) -> Result<Response, Refusal> {
    unsupported::check_headers(request.headers(), Api::Json)?;
    match path {
        JsonPath::Upload(path) => upload::handle(&service, path, query, request).await,
        JsonPath::Download(path) => match target(path) {
            Target::Object { bucket, object } => {
                let wanted = json_wanted(query, &request)?;
                download::media(service, bucket, object, query, wanted).await
            }
            _ => Err(unsupported(&request)),
        },
        JsonPath::Resources(path) => resources(service, path, query, request).await,
        JsonPath::Other => Err(unsupported(&request)),
    }
}

/// What a reader of bytes asks for. The entity tag is that of the resource, without the quotes that HTTP wants, as
/// Google's is.
fn json_wanted(query: &Query, request: &Request) -> Result<Wanted, Refusal> {
    // The last two are those of signed URLs, which a page adds to name the file that it saves.
    let known = ["generation", "alt", "response-content-type", "response-content-disposition"];
    query.check(&known, &CONDITIONS)?;
    Ok(Wanted::of(request, query.conditions()?).with_bare_etag())
}

async fn check_signature(service: &Storage, parts: &Parts) -> Result<(), Refusal> {
    match Signature::of(parts)? {
        Some(signature) => signature.check(parts, service.account().await?, clock::now_micros()),
        None => Ok(()),
    }
}

/// What a path below `/b/` names.
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
            // A slash of a name is encoded, so this is something below an object: its access control, or what can be
            // done.
            Some(object) if object.contains('/') => Target::Unknown,
            Some(object) => Target::Object { bucket: url::decode(bucket), object: url::decode(object) },
            None => Target::Unknown,
        },
    }
}

/// The parameters of a list of objects.
const LIST: [&str; 10] = [
    "prefix",
    "delimiter",
    "startOffset",
    "endOffset",
    "includeTrailingDelimiter",
    "maxResults",
    "pageToken",
    "matchGlob",
    // Every version is the live one, and there are no folders: with them or without, the list is the same.
    "versions",
    "includeFoldersAsPrefixes",
];

async fn resources(service: Arc<Storage>, path: &str, query: &Query, request: Request) -> Result<Response, Refusal> {
    let base_url = service.base_url.clone();
    let method = request.method().clone();
    if path.is_empty() {
        return match method {
            Method::GET => {
                // Nothing is ever out of reach, so there are no partial successes.
                query.check(&["prefix", "maxResults", "pageToken", "returnPartialSuccess"], &[])?;
                let size = query.number("maxResults")?.unwrap_or(0);
                let (prefix, token) = (query.text("prefix"), query.text("pageToken"));
                let (buckets, next) = service.list_buckets(&prefix, size, &token).await?;
                query.answer(&json::buckets(&buckets, &next, &base_url))
            }
            Method::POST => {
                query.check(&[], &[])?;
                let new = json::bucket_from(&fields::parse(&small_body(request).await?)?)?;
                let name = new.bucket_id.clone();
                query.answer(&json::bucket(&service.create_bucket(&name, new).await?, &base_url))
            }
            _ => Err(unsupported(&request)),
        };
    }
    match (method, target(path)) {
        (Method::GET, Target::Bucket(bucket)) => {
            query.check(&[], &CONDITIONS[2..])?;
            query.answer(&json::bucket(&service.get_bucket(&bucket, &query.conditions()?).await?, &base_url))
        }
        (Method::DELETE, Target::Bucket(bucket)) => {
            query.check(&[], &CONDITIONS[2..])?;
            service.delete_bucket(&bucket, query.conditions()?).await?;
            Ok(no_content())
        }
        (Method::GET, Target::Objects { bucket }) => {
            query.check(&LIST, &[])?;
            let glob = query.text("matchGlob");
            if !glob.is_empty() && !query.text("delimiter").is_empty() {
                unsupported::refuse(true, "parameter", "matchGlob with delimiter", &glob)?;
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
            query.answer(&json::page(&service.list_objects(&bucket, listing).await?, &base_url))
        }
        (Method::GET | Method::HEAD, Target::Object { bucket, object }) if query.text("alt") == "media" => {
            let wanted = json_wanted(query, &request)?;
            download::media(service, bucket, object, query, wanted).await
        }
        (Method::GET, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITIONS)?;
            let conditions = query.conditions()?;
            let found = service.get_object(&bucket, &object, query.number("generation")?, conditions).await?;
            query.answer(&json::object(&found, &base_url))
        }
        (Method::PATCH, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITIONS)?;
            let (conditions, generation) = (query.conditions()?, query.number("generation")?);
            let patch = fields::parse(&small_body(request).await?)?;
            let change = move |object: &mut gcs::Object| json::patch(object, &patch);
            let updated = service.update_object(&bucket, &object, generation, conditions, change).await?;
            query.answer(&json::object(&updated, &base_url))
        }
        (Method::DELETE, Target::Object { bucket, object }) => {
            query.check(&["generation"], &CONDITIONS)?;
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

async fn small_body(request: Request) -> Result<bytes::Bytes, Refusal> {
    let body = axum::body::to_bytes(request.into_body(), limits::OBJECT_METADATA_BYTES).await;
    body.map_err(|_| too_much_metadata())
}

fn too_much_metadata() -> Refusal {
    Refusal::Invalid(format!("Metadata part is too large: more than {} bytes.", limits::OBJECT_METADATA_BYTES))
}

fn unsupported(request: &Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    let slash = if path.contains("/o/") { " A '/' in an object's name is written %2F." } else { "" };
    Refusal::Unsupported(format!("{method} {path} is not part of this local server.{slash}"))
}

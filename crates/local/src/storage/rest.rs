//! Cloud Storage over HTTP: its JSON API here, its XML API (`/BUCKET/OBJECT`), which is where signed URLs point, in [`xml`].

mod download;
mod upload;
mod xml;

use super::{Storage, account, conditions::Conditions, error::Refusal, gcs, json, list::Listing, signature::Signature};
use crate::{clock, error::json_response, json as fields, limits, url};
use axum::{
    body::Body,
    extract::Request,
    http::{Method, StatusCode, request::Parts},
    response::Response,
};
use download::Wanted;
use std::{collections::HashMap, str::FromStr, sync::Arc};

/// The query parameters of a request; of repeated ones the first.
pub(super) struct Query(HashMap<String, String>);

impl Query {
    fn parse(request: &Request) -> Self {
        let mut parameters = HashMap::new();
        for (name, value) in url::query(request.uri().query().unwrap_or_default()) {
            parameters.entry(name).or_insert(value);
        }
        Self(parameters)
    }

    /// A parameter as text, empty when absent.
    fn text(&self, name: &str) -> String {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// A parameter as a number.
    fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let number = self.0.get(name).filter(|text| !text.is_empty()).map(|text| text.parse());
        number.transpose().map_err(|_| Refusal::Invalid(format!("Invalid value for {name}.")))
    }

    fn conditions(&self) -> Result<Conditions, Refusal> {
        Ok(Conditions {
            generation_match: self.number("ifGenerationMatch")?,
            generation_not_match: self.number("ifGenerationNotMatch")?,
            metageneration_match: self.number("ifMetagenerationMatch")?,
            metageneration_not_match: self.number("ifMetagenerationNotMatch")?,
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
    } else if let Some(path) = path.strip_prefix("/upload/storage/v1/b/") {
        upload::handle(&service, path, &query, request).await
    } else if let Some(path) = path.strip_prefix("/download/storage/v1/b/") {
        match target(path) {
            Target::Object { bucket, object } => {
                download::media(service, bucket, object, &query, Wanted::of(&request)).await
            }
            _ => Err(unsupported(&request)),
        }
    } else if let Some(path) = path.strip_prefix("/storage/v1/b").or_else(|| short(&path)) {
        resources(service, path.trim_start_matches('/'), &query, request).await
    } else if let Some((bucket, object)) = path.trim_start_matches('/').split_once('/') {
        let (bucket, object) = (url::decode(bucket), url::decode(object));
        let answer = xml::object(service, bucket, object, &query, request).await;
        return answer.unwrap_or_else(|refusal| refusal.xml_response());
    } else {
        Err(unsupported(&request))
    };
    answer.unwrap_or_else(|refusal| refusal.response())
}

/// The Node client takes `STORAGE_EMULATOR_HOST` for the whole base of its addresses, and leaves `/storage/v1` out. No bucket can
/// have a name of one letter.
fn short(path: &str) -> Option<&str> {
    path.strip_prefix("/b").filter(|rest| rest.is_empty() || rest.starts_with('/'))
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
            Some(object) => Target::Object { bucket: url::decode(bucket), object: url::decode(object) },
            None => Target::Unknown,
        },
    }
}

async fn resources(service: Arc<Storage>, path: &str, query: &Query, request: Request) -> Result<Response, Refusal> {
    let base_url = service.base_url.clone();
    let method = request.method().clone();
    if path.is_empty() {
        return match method {
            Method::GET => {
                let size = query.number("maxResults")?.unwrap_or(0);
                let (prefix, token) = (query.text("prefix"), query.text("pageToken"));
                let (buckets, next) = service.list_buckets(&prefix, size, &token).await?;
                Ok(ok(&json::buckets(&buckets, &next, &base_url)))
            }
            Method::POST => {
                let new = json::bucket_from(&fields::parse(&small_body(request).await?)?)?;
                let name = new.bucket_id.clone();
                Ok(ok(&json::bucket(&service.create_bucket(&name, new).await?, &base_url)))
            }
            _ => Err(unsupported(&request)),
        };
    }
    match (method, target(path)) {
        (Method::GET, Target::Bucket(bucket)) => Ok(ok(&json::bucket(&service.get_bucket(&bucket).await?, &base_url))),
        (Method::DELETE, Target::Bucket(bucket)) => {
            service.delete_bucket(&bucket).await?;
            Ok(no_content())
        }
        (Method::GET, Target::Objects { bucket }) => {
            let listing = Listing {
                prefix: query.text("prefix"),
                delimiter: query.text("delimiter"),
                start: query.text("startOffset"),
                end: query.text("endOffset"),
                include_trailing_delimiter: query.text("includeTrailingDelimiter") == "true",
                page_size: query.number("maxResults")?.unwrap_or(0),
                page_token: query.text("pageToken"),
            };
            Ok(ok(&json::page(&service.list_objects(&bucket, listing).await?, &base_url)))
        }
        (Method::GET | Method::HEAD, Target::Object { bucket, object }) if query.text("alt") == "media" => {
            download::media(service, bucket, object, query, Wanted::of(&request)).await
        }
        (Method::GET, Target::Object { bucket, object }) => {
            let conditions = query.conditions()?;
            let found = service.get_object(&bucket, &object, query.number("generation")?, conditions).await?;
            Ok(ok(&json::object(&found, &base_url)))
        }
        (Method::PATCH, Target::Object { bucket, object }) => {
            let (conditions, generation) = (query.conditions()?, query.number("generation")?);
            let patch = fields::parse(&small_body(request).await?)?;
            let change = move |object: &mut gcs::Object| json::patch(object, &patch);
            let updated = service.update_object(&bucket, &object, generation, conditions, change).await?;
            Ok(ok(&json::object(&updated, &base_url)))
        }
        (Method::DELETE, Target::Object { bucket, object }) => {
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
    body.map_err(|_| Refusal::Invalid(format!("The metadata is larger than {} bytes.", limits::OBJECT_METADATA_BYTES)))
}

fn unsupported(request: &Request) -> Refusal {
    let (method, path) = (request.method(), request.uri().path());
    Refusal::Unsupported(format!("{method} {path} is not part of this local server."))
}

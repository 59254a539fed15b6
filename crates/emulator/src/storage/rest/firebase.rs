//! Firebase Storage's API for downloads, `/v0/b/BUCKET/o/OBJECT`: the links that carry a download token, and what the
//! Firebase SDKs call to get one. It has no users and no rules, so every caller may read metadata and change tokens.

use super::{ApiError, CONDITION_PARAMETERS, Query, Storage, Target, download, download::MediaRequest, target};
use crate::storage::{
    conditions::Conditions,
    download_tokens, gcs, json,
    unsupported::{Api, check_headers},
};
use axum::{extract::Request, http::Method, response::Response};
use std::sync::Arc;

/// Where the paths of this API begin. No bucket name has only two letters.
pub(super) const PREFIX: &str = "/v0/b/";

/// Answers a request; `path` is the part below [`PREFIX`].
pub(super) async fn handle(service: Arc<Storage>, path: &str, query: &Query, request: Request) -> Response {
    answer(service, path, query, request).await.unwrap_or_else(|error| error.firebase_response())
}

async fn answer(service: Arc<Storage>, path: &str, query: &Query, request: Request) -> Result<Response, ApiError> {
    check_headers(request.headers(), Api::Json)?;
    let Target::Object { bucket, object } = target(path) else { return Err(unsupported(&request)) };
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let (create, revoke) = (query.text("create_token"), query.text("delete_token"));
    if reads && query.text("alt") == "media" {
        query.check(&["alt", "token", "response-content-type", "response-content-disposition"], &[])?;
        let media_request = MediaRequest::new(&request, query.conditions()?).with_token(query.text("token"));
        return download::media(service, bucket, object, query, media_request).await;
    }
    if reads {
        query.check(&["token"], &CONDITION_PARAMETERS)?;
        let found = with_token(&service, &bucket, &object, query.conditions()?).await?;
        return query.respond(&json::firebase_object(&found));
    }
    if *request.method() != Method::POST || create.is_empty() && revoke.is_empty() {
        return Err(unsupported(&request));
    }
    query.check(&["create_token", "delete_token"], &CONDITION_PARAMETERS)?;
    if !(create.is_empty() || create == "true" && revoke.is_empty()) {
        return Err(ApiError::Invalid(format!(
            "Invalid value for create_token: '{create}', with delete_token '{revoke}'. Set either create_token=true or \
             delete_token=TOKEN."
        )));
    }
    let change = move |object: &mut gcs::Object| {
        if revoke.is_empty() { download_tokens::add(object) } else { download_tokens::revoke(object, &revoke) }
    };
    let changed = service.update_object(&bucket, &object, None, query.conditions()?, change).await?;
    query.respond(&json::firebase_object(&changed))
}

/// Returns an object, after giving it a token if it has none: Firebase Storage does so for objects that were uploaded
/// without one, and the SDK's `getDownloadURL` depends on it.
async fn with_token(
    service: &Storage,
    bucket: &str,
    name: &str,
    conditions: Conditions,
) -> Result<gcs::Object, ApiError> {
    loop {
        let found = service.get_object(bucket, name, None, conditions.clone()).await?;
        if download_tokens::tokens(&found).next().is_some() {
            return Ok(found);
        }
        let unchanged = Conditions {
            generation_match: Some(found.generation),
            metageneration_match: Some(found.metageneration),
            ..Conditions::default()
        };
        match service.update_object(bucket, name, None, unchanged, download_tokens::add).await {
            // Another call changed the object, perhaps by giving it a token. The loop ends, because each round requires
            // another change.
            Err(ApiError::Precondition(_)) => {}
            updated => return updated,
        }
    }
}

fn unsupported(request: &Request) -> ApiError {
    let (method, path) = (request.method(), request.uri().path());
    ApiError::Unsupported(format!(
        "{method} {path} is not part of this local server: its Firebase API serves the metadata, the bytes and the \
         download tokens of one object, whose name is one part of the path, with '/' written as %2F. Upload, list, \
         change and delete objects with Cloud Storage's API, below /storage/v1 and /upload/storage/v1."
    ))
}

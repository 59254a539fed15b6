//! The web page of `crates/console`, as routes beside the dispatcher's API, with what only this program knows: where uploads
//! go, and how many workers it keeps.

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use clipfleet_console::{FILES, INDEX, SETTINGS, content_security_policy};
use serde_json::{Value, json};
use std::sync::Arc;

/// Where results are downloaded from in Google Cloud.
const GOOGLE: &str = "https://storage.googleapis.com";

/// What the page is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConsoleSpec {
    /// host:port of a Storage server on this machine, which takes uploads from browsers. Google's does not without credentials, which
    /// this page has none of: there, sources are named.
    pub(crate) storage: Option<String>,
    /// Where uploads go.
    pub(crate) bucket: String,
    /// Workers that are kept alive here, at most, and the slots of each, where that is known.
    pub(crate) workers: Option<(usize, usize)>,
}

/// The page and its files.
struct Page {
    policy: HeaderValue,
    settings: Value,
}

/// The routes of the page.
pub(crate) fn routes(spec: &ConsoleSpec) -> Router {
    // Google's clients take the variable with and without a scheme.
    let url = |host: &String| if host.contains("://") { host.clone() } else { format!("http://{host}") };
    let storage = spec.storage.as_ref().map(url);
    let policy = content_security_policy(&[storage.as_deref().unwrap_or(GOOGLE)]);
    let settings = json!({
        "storage": storage.map(|url| json!({"url": url, "bucket": spec.bucket})),
        "fleet": spec.workers.map(|(workers, slots)| json!({"workers": workers, "slots": slots})),
        "version": env!("CARGO_PKG_VERSION"),
    });
    // A host is a header's text: it was parsed as an address, or connected to.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let page = Arc::new(Page { policy, settings });
    let (index, file) = (Arc::clone(&page), page);
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/console/") }))
        .route("/console", get(|| async { Redirect::temporary("/console/") }))
        .route("/console/", get(move |headers: HeaderMap| async move { index.answer(INDEX, &headers) }))
        .route(
            "/console/{name}",
            get(move |Path(name): Path<String>, headers: HeaderMap| async move { file.answer(&name, &headers) }),
        )
}

impl Page {
    fn answer(&self, name: &str, asked: &HeaderMap) -> Response {
        if name == SETTINGS {
            return ([(header::CACHE_CONTROL, "no-store")], Json(self.settings.clone())).into_response();
        }
        let Some(file) = FILES.iter().find(|file| file.name == name) else {
            return (StatusCode::NOT_FOUND, format!("there is no {name} here\n")).into_response();
        };
        let tag = file.etag();
        let known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
        let mut response = if known { StatusCode::NOT_MODIFIED.into_response() } else { file.bytes.into_response() };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in FIXED {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// Asked for again each time, answered with 304 as a rule; and nothing of the page is guessed at or told elsewhere.
const FIXED: [(HeaderName, &str); 3] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

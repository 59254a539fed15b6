//! The web console of `crates/console`, as routes next to the dispatcher's API, with settings that only this program
//! has: where uploads are stored, and the number of workers.

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use bytes::Bytes;
use clipfleet_console::{FILES, File, INDEX, SETTINGS, content_security_policy};
use serde_json::{Value, json};
use std::{collections::HashMap, sync::Arc};

/// The origins of links to results in Google Cloud.
const GOOGLE: &str = "https://storage.googleapis.com";
const FIREBASE: &str = "https://firebasestorage.googleapis.com";

/// The settings of the console.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConsoleSpec {
    /// host:port of a Storage server on this machine, which accepts uploads from browsers. Google's server requires
    /// credentials, which the console does not have, so that users give the URI of a source instead.
    pub(crate) storage: Option<String>,
    /// Whether that storage is served at the console's own origin, too, for browsers on other machines.
    pub(crate) same_origin: bool,
    /// The bucket for uploads.
    pub(crate) bucket: String,
    /// The maximum number of workers and the slots of each, if known.
    pub(crate) workers: Option<(usize, usize)>,
}

/// The headers and settings that the console is served with.
struct Page {
    policy: HeaderValue,
    settings: Value,
    files: HashMap<&'static str, Served>,
}

/// A file, compressed once.
struct Served {
    file: &'static File,
    gzip: Option<Bytes>,
}

/// The routes of the console.
pub(crate) fn routes(spec: &ConsoleSpec) -> Router {
    // Google's clients accept the variable with and without a scheme.
    let url = |host: &String| if host.contains("://") { host.clone() } else { format!("http://{host}") };
    let storage = spec.storage.as_ref().map(url);
    let origins = [storage.as_deref().unwrap_or(GOOGLE), FIREBASE];
    let policy = content_security_policy(match (spec.same_origin, &storage) {
        (true, _) => &[],
        (false, Some(_)) => &origins[..1],
        (false, None) => &origins,
    });
    // Links in documents name the storage's own origin, which the page replaces by its own.
    let settings = json!({
        "storage": storage.map(|origin| match spec.same_origin {
            true => json!({"url": "", "origin": origin, "bucket": spec.bucket}),
            false => json!({"url": origin, "bucket": spec.bucket}),
        }),
        "fleet": spec.workers.map(|(workers, slots)| json!({"workers": workers, "slots": slots})),
        "version": env!("CARGO_PKG_VERSION"),
    });
    // The host is valid in a header, because it was parsed as an address or connected to.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"));
    let served = |file: &'static File| (file.name, Served { file, gzip: file.gzip().map(Bytes::from) });
    let page = Arc::new(Page { policy, settings, files: FILES.iter().map(served).collect() });
    let (index, file) = (Arc::clone(&page), page);
    Router::new()
        .route("/", get(|| async { Redirect::temporary("/console/") }))
        .route("/console", get(|| async { Redirect::temporary("/console/") }))
        .route("/console/", get(move |headers: HeaderMap| async move { index.respond(INDEX, &headers) }))
        .route(
            "/console/{name}",
            get(move |Path(name): Path<String>, headers: HeaderMap| async move { file.respond(&name, &headers) }),
        )
}

impl Page {
    fn respond(&self, name: &str, request_headers: &HeaderMap) -> Response {
        if name == SETTINGS {
            return ([(header::CACHE_CONTROL, "no-store")], Json(self.settings.clone())).into_response();
        }
        let Some(Served { file, gzip }) = self.files.get(name) else {
            return (StatusCode::NOT_FOUND, format!("{name} not found\n")).into_response();
        };
        let gzip = gzip.as_ref().filter(|_| accepts_gzip(request_headers));
        let tag = file.etag();
        let unchanged =
            request_headers.get(header::IF_NONE_MATCH).is_some_and(|tags| tags.as_bytes() == tag.as_bytes());
        let mut response = match gzip {
            _ if unchanged => StatusCode::NOT_MODIFIED.into_response(),
            Some(gzip) => ([(header::CONTENT_ENCODING, "gzip")], gzip.clone()).into_response(),
            None => file.bytes.into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(file.content_type));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        for (name, value) in HEADERS {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// Whether the client accepts gzip. A quality of 0 refuses it.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accepted.split(',').any(|coding| match coding.trim().split_once(';') {
        None => coding.trim() == "gzip",
        Some((name, quality)) => name.trim() == "gzip" && !quality.trim().trim_start_matches("q=").starts_with('0'),
    })
}

/// Headers of every file. Browsers revalidate files, and usually receive 304. They neither guess content types nor send
/// referrers.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
];

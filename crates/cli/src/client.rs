//! A client of the dispatcher's HTTP API.

use crate::exit::Failed;
use clipfleet_contract::v1::{BatchAccepted, BatchStatus, ExportBatch};
use reqwest::{Method, Response, StatusCode};
use serde_json::Value;
use std::{fmt::Write as _, time::Duration};

/// The longest wait for one response. Accepting a thousand clips takes about a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A client of one dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// `base` is the address of the server, for example `http://127.0.0.1:8080`; `token` is an identity token, if the
    /// server requires one.
    pub(crate) fn new(base: &str, token: Option<String>) -> Result<Self, Failed> {
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build();
        let http = http.map_err(|error| Failed::because("prepare the HTTP client", error))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, http })
    }

    pub(crate) async fn submit(&self, batch: &ExportBatch) -> Result<BatchAccepted, Failed> {
        let body = serde_json::to_string(batch).map_err(|error| Failed::because("write the request", error))?;
        self.call(Method::POST, "/batches", Some(body)).await.and_then(parse)
    }

    pub(crate) async fn show(&self, batch: &str) -> Result<BatchStatus, Failed> {
        self.show_raw(batch).await.and_then(parse)
    }

    pub(crate) async fn show_raw(&self, batch: &str) -> Result<Value, Failed> {
        self.get(&format!("/batches/{batch}")).await
    }

    /// Cancels or retries clips: `verb` is `cancel` or `retry`. Returns the affected clips.
    pub(crate) async fn act(&self, batch: &str, clip: Option<&str>, verb: &str) -> Result<BatchAccepted, Failed> {
        let clip = clip.map_or(String::new(), |clip| format!("/clips/{clip}"));
        self.post(&format!("/batches/{batch}{clip}:{verb}")).await.and_then(parse)
    }

    /// Sends a GET request to a path of the API.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a POST request without a body to a path of the API.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::POST, path, None).await
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, Failed> {
        let url = format!("{}/v1{path}", self.base);
        let mut request = self.http.request(method, &url).header("content-type", "application/json");
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let unreachable = |error: reqwest::Error| Failed::because(format!("reach {url}"), error.without_url());
        let response = request.body(body.unwrap_or_default()).send().await.map_err(unreachable)?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(unreachable);
        }
        Err(refused(status, response).await)
    }
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> Result<T, Failed> {
    serde_json::from_value(value).map_err(|error| Failed::because("parse the response", error))
}

/// The server's error, with each invalid field on a line of its own.
async fn refused(status: StatusCode, response: Response) -> Failed {
    let body: Value = response.json().await.unwrap_or_default();
    let error = &body["error"];
    let mut text = match error["message"].as_str() {
        Some(message) => format!("refused: {message}"),
        None => format!("refused with status {status}"),
    };
    for bad in error["details"].as_array().into_iter().flatten() {
        let _ = write!(text, "\n  {}: {}", bad["field"].as_str().unwrap_or("?"), bad["reason"].as_str().unwrap_or("?"));
    }
    if status.is_client_error() { Failed::usage(text) } else { Failed::because("export", text) }
}

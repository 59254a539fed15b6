//! A client of the dispatcher's HTTP API.

use crate::exit::{Failed, Status, root_cause};
use clipfleet_contract::v1::{BatchAccepted, BatchStatus, ExportBatch};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{fmt::Write as _, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// The longest wait for one response. Accepting a thousand clips takes about a second.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
    /// The storage that is reached through the fleet's address, if any; asked for once.
    own_storage: Arc<OnceCell<Option<Storage>>>,
}

/// What a server says about itself to the web page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ConsoleSettings {
    /// Where sources are uploaded. `None`: to Google Cloud.
    pub(crate) storage: Option<Storage>,
    /// Whether all of the fleet runs on one machine, on an emulator.
    pub(crate) runs_on_one_machine: bool,
}

/// A Storage server without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Storage {
    /// Its address; empty if it is reached through the fleet's own.
    pub(crate) url: String,
    pub(crate) bucket: String,
    /// If it is reached through the fleet's own address: the one in links.
    #[serde(default)]
    pub(crate) origin: String,
}

impl Client {
    /// `base` is the address of the server, for example `http://127.0.0.1:8080`; `token` is an identity token, if the
    /// server requires one.
    pub(crate) fn new(base: &str, token: Option<String>) -> Result<Self, Failed> {
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        if reqwest::Url::parse(&base).map_or(true, |url| !url.has_host()) {
            return Err(Failed::usage(format!("--server {base:?} is not an address"))
                .hint("give one such as http://127.0.0.1:8080"));
        }
        let http = reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.map_err(|error| Failed::because("prepare the HTTP client", error))?;
        Ok(Self { base: base.trim_end_matches('/').to_owned(), token, http, own_storage: Arc::default() })
    }

    /// The address of the server.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn submit(&self, batch: &ExportBatch) -> Result<BatchAccepted, Failed> {
        let body = serde_json::to_string(batch).map_err(|error| Failed::because("write the request", error))?;
        self.call(Method::POST, "/batches", Some(body)).await.and_then(|value| self.parse(value))
    }

    /// The status of a batch, as text for programs and parsed.
    pub(crate) async fn show(&self, batch: &str) -> Result<(Value, BatchStatus), Failed> {
        let value = self.get(&format!("/batches/{batch}")).await?;
        let status = self.parse(value.clone())?;
        Ok((value, status))
    }

    /// Cancels or retries clips: `verb` is `cancel` or `retry`. Returns the affected clips.
    pub(crate) async fn act(&self, batch: &str, clip: Option<&str>, verb: &str) -> Result<BatchAccepted, Failed> {
        let clip = clip.map_or(String::new(), |clip| format!("/clips/{clip}"));
        self.post(&format!("/batches/{batch}{clip}:{verb}")).await.and_then(|value| self.parse(value))
    }

    /// Sends a GET request to a path of the API.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::GET, path, None).await
    }

    /// Sends a POST request without a body to a path of the API.
    pub(crate) async fn post(&self, path: &str) -> Result<Value, Failed> {
        self.call(Method::POST, path, None).await
    }

    /// What the server says about itself. A server without the web page says nothing.
    pub(crate) async fn console_settings(&self) -> Result<ConsoleSettings, Failed> {
        let request = self.http.get(format!("{}/console/settings.json", self.base)).timeout(CONNECT_TIMEOUT);
        let response = self.authorized(request).send().await.map_err(|error| self.unreachable(&error))?;
        let settings: Value = match response.status().is_success() {
            true => response.json().await.unwrap_or_default(),
            false => Value::Null,
        };
        Ok(ConsoleSettings {
            storage: serde_json::from_value(settings["storage"].clone()).ok(),
            runs_on_one_machine: settings["fleet"].is_object(),
        })
    }

    /// Starts a download from a URL that a status names.
    pub(crate) async fn download(&self, url: &str) -> Result<Response, reqwest::Error> {
        let request = match self.through_the_fleet(url).await {
            Some(url) => self.authorized(self.http.get(url)),
            // The token is nobody else's business.
            None => self.http.get(url),
        };
        request.send().await?.error_for_status()
    }

    /// The URL of a link at the fleet's own address, if its storage is reached through it.
    async fn through_the_fleet(&self, link: &str) -> Option<String> {
        // Only fleets with a token serve their storage so.
        self.token.as_ref()?;
        let asked = self.own_storage.get_or_try_init(|| async {
            let settings = self.console_settings().await?;
            Ok::<_, Failed>(settings.storage.filter(|storage| storage.url.is_empty()))
        });
        let storage = asked.await.ok()?.as_ref()?;
        let path = link.strip_prefix(&storage.origin).filter(|path| path.starts_with('/'))?;
        Some(format!("{}{path}", self.base))
    }

    /// The link to a completed clip, made when it is asked for.
    pub(crate) async fn link(&self, batch: &str, clip: &str) -> Result<String, Failed> {
        let links = self.get(&format!("/batches/{batch}/clips/{clip}:links")).await?;
        let url = links["outputUrl"].as_str().map(str::to_owned);
        url.ok_or_else(|| Failed::new(Status::Refused, format!("the link of clip {clip} was revoked")))
    }

    /// Whether the storage that is reached through the fleet's address has an object.
    pub(crate) async fn has_object(&self, bucket: &str, object: &str) -> Result<bool, Failed> {
        let url = format!("{}/storage/v1/b/{bucket}/o/{}", self.base, percent_encoded(object));
        let response = self.authorized(self.http.get(url).timeout(REQUEST_TIMEOUT)).send().await;
        let response = response.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            status => Err(self.refused(status, response).await),
        }
    }

    /// Uploads a new object to that storage.
    pub(crate) async fn upload(&self, bucket: &str, object: &str, file: tokio::fs::File) -> Result<(), Failed> {
        let query = [("uploadType", "media"), ("name", object), ("ifGenerationMatch", "0")];
        let request = self.http.post(format!("{}/upload/storage/v1/b/{bucket}/o", self.base)).query(&query);
        let request = request.header("content-type", "application/octet-stream").body(file);
        let response = self.authorized(request).send().await.map_err(|error| self.unreachable(&error))?;
        match response.status() {
            // Somebody else was faster, with the same file.
            status if status.is_success() || status == StatusCode::PRECONDITION_FAILED => Ok(()),
            status => Err(self.refused(status, response).await),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<String>) -> Result<Value, Failed> {
        let request = self.http.request(method, format!("{}/v1{path}", self.base)).timeout(REQUEST_TIMEOUT);
        let request = request.header("content-type", "application/json").body(body.unwrap_or_default());
        let response = self.authorized(request).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if status.is_success() {
            return response.json().await.map_err(|error| self.foreign(error.to_string()));
        }
        Err(self.refused(status, response).await)
    }

    fn authorized(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.token {
            // Cloud Run checks the second header if it is there, and then passes the first on with its signature.
            Some(token) => request.bearer_auth(token).header("x-serverless-authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failed {
        let base = &self.base;
        let reason = if error.is_timeout() { "no answer".to_owned() } else { root_cause(error) };
        Failed::new(Status::Unreachable, format!("no fleet at {base} ({reason})"))
            .hint("start one with \"clipfleet up\", or give --server")
    }

    /// Something else listens at the address.
    fn foreign(&self, reason: String) -> Failed {
        Failed::new(Status::Unreachable, format!("{} does not answer like a fleet ({reason})", self.base))
            .hint("correct --server")
    }

    fn parse<T: DeserializeOwned>(&self, value: Value) -> Result<T, Failed> {
        serde_json::from_value(value).map_err(|error| self.foreign(error.to_string()))
    }

    /// The server's error. Several invalid fields have a line each.
    async fn refused(&self, status: StatusCode, response: Response) -> Failed {
        let body: Value = response.json().await.unwrap_or_default();
        let error = &body["error"];
        let Some(message) = error["message"].as_str() else {
            return match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    Failed::new(Status::Refused, format!("{} refuses access ({status})", self.base))
                        .hint("give an identity token: --token \"$(gcloud auth print-identity-token)\"")
                }
                status => self.foreign(status.to_string()),
            };
        };
        let mut text = message.to_owned();
        let details: Vec<&Value> = error["details"].as_array().into_iter().flatten().collect();
        // The message of a single field says it all.
        for bad in details.iter().filter(|_| details.len() > 1) {
            let part = |name: &str| bad[name].as_str().unwrap_or("?");
            let _ = write!(text, "\n  {}: {}", part("field"), part("reason"));
        }
        let kind = if status.is_client_error() { Status::Refused } else { Status::Unreachable };
        Failed::new(kind, text)
    }
}

/// An object's name as one segment of a path.
fn percent_encoded(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_lack_its_scheme_and_nonsense_is_refused() {
        assert_eq!(Client::new("127.0.0.1:8080/", None).unwrap().base(), "http://127.0.0.1:8080");
        let failed = Client::new("http://", None).unwrap_err();
        assert!(failed.text().contains("is not an address"), "{}", failed.text());
    }
}

//! Calls to Firestore: one lazy connection, and for each call the credentials, deadline and retries that an official
//! client would provide.

use super::{Target, errors, retry};
use crate::{CloudError, ErrorKind};
use google_cloud_auth::credentials::{CacheableResource, Credentials};
use googleapis_tonic_google_firestore_v1::google::firestore::v1::firestore_client::FirestoreClient;
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use std::time::Duration;
use tokio::time::timeout;
use tonic::{
    Request, Status,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};

const FIRESTORE_URL: &str = "https://firestore.googleapis.com";

/// Largest accepted response. A document has at most 1 MiB, and a list of a batch's thousand clips less than 2 MiB.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// The generated client over its connection.
pub(super) type Client = FirestoreClient<Channel>;

/// The dependencies of a call.
pub(super) struct Rpc {
    client: Client,
    credentials: Credentials,
    /// Names the database, so that the service can route a call without decoding the message.
    prefix: HeaderValue,
    /// Whether calls act as the owner: an emulator then needs no token and skips its security rules.
    as_owner: bool,
}

impl Rpc {
    pub(super) fn connect(database: &str, target: Target) -> Result<Self, CloudError> {
        let Target { emulator, credentials } = target;
        let url = emulator.as_deref().unwrap_or(FIRESTORE_URL);
        Ok(Self {
            client: FirestoreClient::new(channel(url)?).max_decoding_message_size(MAX_RESPONSE_BYTES),
            credentials,
            prefix: HeaderValue::from_str(database)
                .map_err(|error| malformed(&format!("set up firestore for {database}"), error))?,
            as_owner: emulator.is_some(),
        })
    }

    /// Sends `message` with `call` until it succeeds, fails permanently, or the retry limit is reached. All calls may
    /// be repeated: reads change nothing; a repeated commit either fails its preconditions or writes the same again.
    pub(super) async fn call<M, T, F>(
        &self,
        doing: &str,
        message: M,
        call: impl Fn(Client, Request<M>) -> F,
    ) -> Result<T, CloudError>
    where
        M: Clone,
        F: Future<Output = Result<T, Status>>,
    {
        let attempt = async || {
            let mut request =
                Request::from_parts(self.metadata(doing).await?, tonic::Extensions::default(), message.clone());
            // Lets the service stop when this side no longer waits.
            request.set_timeout(retry::ATTEMPT_TIMEOUT);
            call(self.client.clone(), request).await.map_err(|status| errors::status(doing, status))
        };
        let attempt_with_timeout = || async {
            timeout(retry::ATTEMPT_TIMEOUT, attempt()).await.unwrap_or_else(|_| Err(errors::timeout(doing)))
        };
        retry::with_retries(retry::RETRY_LIMIT, attempt_with_timeout).await
    }

    async fn metadata(&self, doing: &str) -> Result<MetadataMap, CloudError> {
        let mut headers = match self.credentials.headers(http::Extensions::new()).await {
            Ok(CacheableResource::New { data, .. }) => data,
            Ok(CacheableResource::NotModified) => HeaderMap::new(),
            Err(error) => return Err(errors::authentication(doing, error)),
        };
        if self.as_owner {
            headers.insert(http::header::AUTHORIZATION, HeaderValue::from_static("Bearer owner"));
        }
        headers.insert(HeaderName::from_static("google-cloud-resource-prefix"), self.prefix.clone());
        Ok(MetadataMap::from_headers(headers))
    }
}

/// A connection that is made at first use and again after it breaks. Network address translation drops idle connections
/// silently: TCP keepalive prevents that, and pings during a slow call detect a dead connection before the call's
/// deadline.
fn channel(url: &str) -> Result<Channel, CloudError> {
    let doing = format!("set up firestore at {url}");
    let uri: Uri = url.parse().map_err(|error| malformed::<http::uri::InvalidUri>(&doing, error))?;
    let encrypted = uri.scheme_str() == Some("https");
    let mut endpoint = Endpoint::from(uri)
        .connect_timeout(retry::ATTEMPT_TIMEOUT)
        .tcp_keepalive(Some(Duration::from_secs(60)))
        .http2_keep_alive_interval(Duration::from_secs(8))
        .keep_alive_timeout(Duration::from_secs(4));
    if encrypted {
        let roots = ClientTlsConfig::new().with_enabled_roots();
        endpoint = endpoint.tls_config(roots).map_err(|error| malformed(&doing, error))?;
    }
    Ok(endpoint.connect_lazy())
}

fn malformed<E: std::error::Error + Send + Sync + 'static>(doing: &str, error: E) -> CloudError {
    CloudError::new(ErrorKind::Invalid, format!("{doing}: {error}")).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{Router, http::HeaderMap as Headers, routing::post};
    use googleapis_tonic_google_firestore_v1::google::firestore::v1::CommitRequest;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// A service that answers each call with the next of these codes, and the headers of each call.
    async fn service(codes: &[&'static str]) -> (Rpc, Arc<Mutex<Vec<Headers>>>) {
        let calls = Arc::new(Mutex::new(Vec::<Headers>::new()));
        let (seen, codes) = (calls.clone(), codes.to_vec());
        let response = move |headers: Headers| {
            let mut seen = seen.lock();
            seen.push(headers);
            let code = codes[seen.len() - 1];
            std::future::ready([("content-type", "application/grpc"), ("grpc-status", code), ("grpc-message", "why")])
        };
        let router = Router::new().route("/google.firestore.v1.Firestore/Commit", post(response));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let emulator = Some(format!("http://{}", listener.local_addr().unwrap()));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let credentials = google_cloud_auth::credentials::anonymous::Builder::new().build();
        (Rpc::connect("projects/p/databases/(default)", Target { emulator, credentials }).unwrap(), calls)
    }

    async fn commit(rpc: &Rpc) -> CloudError {
        let call = |mut client: Client, request| async move { client.commit(request).await };
        rpc.call("write d", CommitRequest::default(), call).await.unwrap_err()
    }

    #[tokio::test]
    async fn only_transient_errors_are_retried() {
        let (rpc, calls) = service(&["14", "10", "7"]).await;
        let error = commit(&rpc).await;
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Denied, "write d: why"));
        assert_eq!(calls.lock().len(), 3);
    }

    #[tokio::test]
    async fn a_call_names_its_database_and_its_deadline() {
        let (rpc, calls) = service(&["5"]).await;
        assert_eq!(commit(&rpc).await.kind(), ErrorKind::NotFound);
        let headers = calls.lock().remove(0);
        assert_eq!(headers["google-cloud-resource-prefix"], "projects/p/databases/(default)");
        assert_eq!(headers["authorization"], "Bearer owner");
        assert!(headers.contains_key("grpc-timeout"));
    }

    #[tokio::test]
    async fn calls_to_google_are_encrypted() {
        channel(FIRESTORE_URL).expect("certificates to trust: is the package ca-certificates installed?");
        assert_eq!(channel("http://no host").unwrap_err().kind(), ErrorKind::Invalid);
    }
}

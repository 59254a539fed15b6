//! The three traits on Google Cloud, or on any server that speaks its protocols (`clipfleet-emulator`, Google's
//! emulators).
//!
//! Pub/Sub and Cloud Storage use the official clients. Firestore, which has none for Rust, uses a thin client over the
//! published message types. All share one set of credentials and one retry policy.

mod authorization;
mod documents;
mod errors;
mod objects;
mod queue;
mod retry;
mod rpc;
mod signed_urls;
mod subscription;
mod values;
mod worker_pool;

pub use authorization::authorization_headers;
pub use worker_pool::{PoolShape, WorkerPool};

use crate::{Cloud, CloudError};
use google_cloud_auth::credentials::{Builder, Credentials, anonymous};
use std::sync::Arc;

/// The addresses of the services. `None` is Google's own, with the credentials of the environment. An address
/// (`127.0.0.1:8085` or `http://127.0.0.1:8085`) is an emulator, which is called in plaintext and without credentials.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// The Google Cloud project, by id.
    pub project: String,
    /// Pub/Sub.
    pub pubsub: Option<String>,
    /// Firestore.
    pub firestore: Option<String>,
    /// The Firestore database, by id; `None` is `(default)`.
    pub database: Option<String>,
    /// Cloud Storage.
    pub storage: Option<String>,
}

/// Builds the clients. Connections are made at first use, so this succeeds while a service is still starting. It fails
/// if an address is malformed or the environment's credentials cannot be read.
pub async fn connect(endpoints: &Endpoints) -> Result<Cloud, CloudError> {
    let access = Access::new(endpoints)?;
    let project = &endpoints.project;
    let queue = queue::Pubsub::connect(project, access.target(endpoints.pubsub.as_deref())).await?;
    let objects = objects::Storage::connect(project, access.target(endpoints.storage.as_deref())).await?;
    let documents = documents::Firestore::connect(
        project,
        endpoints.database.as_deref(),
        access.target(endpoints.firestore.as_deref()),
    )?;
    Ok(Cloud { queue: Arc::new(queue), objects: Arc::new(objects), documents: Arc::new(documents) })
}

/// The address of a service, and the credentials to use there.
struct Target {
    /// Scheme, host and port of an emulator; `None` for Google's own.
    emulator: Option<String>,
    credentials: Credentials,
}

/// The credentials of this process. They are read once, and only if at least one service is Google's own.
struct Access {
    google: Option<Credentials>,
}

impl Access {
    fn new(endpoints: &Endpoints) -> Result<Self, CloudError> {
        let all_emulated =
            [&endpoints.pubsub, &endpoints.firestore, &endpoints.storage].into_iter().all(Option::is_some);
        if all_emulated {
            return Ok(Self { google: None });
        }
        let google = Builder::default().build().map_err(errors::credentials)?;
        Ok(Self { google: Some(google) })
    }

    /// An emulator gets anonymous credentials: a client without credentials would hang while it searches for them.
    fn target(&self, address: Option<&str>) -> Target {
        match (address, &self.google) {
            (None, Some(google)) => Target { emulator: None, credentials: google.clone() },
            (address, _) => {
                Target { emulator: address.map(emulator_url), credentials: anonymous::Builder::new().build() }
            }
        }
    }
}

/// The URL of an emulator from the conventional `host:port`.
fn emulator_url(address: &str) -> String {
    let address = address.trim_end_matches('/');
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_or_without_scheme_gives_the_same_url() {
        for address in ["127.0.0.1:8085", "http://127.0.0.1:8085", "http://127.0.0.1:8085/"] {
            assert_eq!(emulator_url(address), "http://127.0.0.1:8085");
        }
    }
}

//! The storage of a running fleet: the server names it, unless the usual environment variables do.

use crate::{
    client::Client,
    exit::{Failed, Status},
    roles::cloud,
};
use clipfleet_cloud::{Cloud, google::Endpoints};
use clipfleet_contract::names;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tokio::{net::TcpStream, time::timeout};

/// The longest wait for the metadata server of Google Cloud, which is at most a hop away.
const METADATA_TIMEOUT: Duration = Duration::from_secs(1);

/// A storage, and the bucket for sources.
pub(crate) struct Storage {
    /// `None` if it is reached through the fleet's own address, with the fleet's token.
    pub(crate) cloud: Option<Cloud>,
    pub(crate) bucket: String,
}

/// Connects to the storage of the fleet that a client uses.
pub(crate) async fn of(client: &Client) -> Result<Storage, Failed> {
    let given = variable("STORAGE_EMULATOR_HOST");
    let named = match given {
        Some(_) => None,
        None => client.console_settings().await?.storage,
    };
    let bucket = variable("CLIPFLEET_DEFAULT_BUCKET").or_else(|| named.as_ref().map(|storage| storage.bucket.clone()));
    let bucket = bucket.unwrap_or_else(|| names::LOCAL_BUCKET.to_owned());
    let project = variable("GOOGLE_CLOUD_PROJECT").unwrap_or_else(|| names::LOCAL_PROJECT.to_owned());
    let url = given.or_else(|| named.map(|storage| storage.url));
    if url.as_ref().is_some_and(String::is_empty) {
        return Ok(Storage { cloud: None, bucket });
    }
    let endpoints = match url {
        // Only its storage is used. With all three given, no credentials are looked for.
        Some(host) => cloud::all_at(host, &project),
        None if has_google_credentials().await => Endpoints { project, ..Endpoints::default() },
        None => {
            let text = "cannot reach Google Storage: no credentials";
            return Err(Failed::new(Status::Unreachable, text).hint(
                "run `gcloud auth application-default login`; for a local fleet set STORAGE_EMULATOR_HOST=127.0.0.1:8085",
            ));
        }
    };
    Ok(Storage { cloud: Some(cloud::connect(&endpoints).await?), bucket })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether Google's client will find credentials. It would look for them itself, but for a minute.
pub(crate) async fn has_google_credentials() -> bool {
    let config = variable("CLOUDSDK_CONFIG").map(PathBuf::from);
    let config = config.or_else(|| variable("HOME").map(|home| PathBuf::from(home).join(".config/gcloud")));
    if variable("GOOGLE_APPLICATION_CREDENTIALS").is_some()
        || config.is_some_and(|config| config.join("application_default_credentials.json").exists())
    {
        return true;
    }
    // Google's metadata server: https://cloud.google.com/compute/docs/metadata/querying-metadata
    let connected = match variable("GCE_METADATA_HOST") {
        Some(host) if host.contains(':') => timeout(METADATA_TIMEOUT, TcpStream::connect(host)).await,
        Some(host) => timeout(METADATA_TIMEOUT, TcpStream::connect((host, 80))).await,
        None => timeout(METADATA_TIMEOUT, TcpStream::connect(SocketAddr::from(([169, 254, 169, 254], 80)))).await,
    };
    matches!(connected, Ok(Ok(_)))
}

//! Checks of the servers that a fleet uses, and of a running dispatcher.

use super::finding::Finding;
use crate::{
    client::Client,
    roles::cloud::{self, RoleSettings},
    storage,
};
use clipfleet_cloud::{Cloud, CloudError, ErrorKind, ObjectName, google::Endpoints};
use clipfleet_contract::names;
use std::time::Duration;
use tokio::time::timeout;

/// The longest wait for a response of a server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// An object that nobody has.
const ABSENT: &str = "doctor";

/// Checks that the configured servers respond and have what the fleet needs. If `needed`, servers must be configured.
pub(super) async fn endpoints(settings: &RoleSettings, bucket: &str, needed: bool) -> Vec<Finding> {
    let endpoints = &settings.endpoints;
    let hosts = [&endpoints.pubsub, &endpoints.firestore, &endpoints.storage];
    if hosts.iter().all(|host| host.is_none()) && endpoints.project == names::LOCAL_PROJECT {
        let (what, remedy) = ("no cloud is configured", "set GOOGLE_CLOUD_PROJECT, or the *_EMULATOR_HOST variables");
        return vec![match needed {
            true => Finding::problem(what, remedy),
            false => Finding::passed(format!("{what}: `clipfleet up` and `clipfleet export` use the emulator")),
        }];
    }
    if hosts.iter().any(|host| host.is_none()) && !storage::has_google_credentials().await {
        let remedy = "gcloud auth application-default login, or set the *_EMULATOR_HOST variables";
        return vec![Finding::problem("cloud: no Google credentials", remedy)];
    }
    let cloud = match cloud::connect(endpoints).await {
        Ok(cloud) => cloud,
        Err(failed) => {
            let failed = failed.text();
            let remedy = "log in with application default credentials, or set the *_EMULATOR_HOST variables";
            return vec![Finding::problem(format!("cloud: {failed}"), remedy)];
        }
    };
    let address = |host: &Option<String>, google: &str| host.clone().unwrap_or_else(|| google.to_owned());
    vec![
        documents(&cloud, &address(&endpoints.firestore, "firestore.googleapis.com")).await,
        objects(&cloud, bucket, &address(&endpoints.storage, "storage.googleapis.com")).await,
        queue(&cloud, &address(&endpoints.pubsub, "pubsub.googleapis.com")).await,
    ]
}

/// Whether any service is Google's own, in a project.
pub(super) fn uses_google(endpoints: &Endpoints) -> bool {
    let hosts = [&endpoints.pubsub, &endpoints.firestore, &endpoints.storage];
    endpoints.project != names::LOCAL_PROJECT && hosts.iter().any(|host| host.is_none())
}

/// Looks up an object; a missing one is a valid response.
async fn look_up(cloud: &Cloud, bucket: &str) -> Result<(), CloudError> {
    match cloud.objects.stat(&ObjectName::new(bucket, ABSENT), None).await {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

async fn documents(cloud: &Cloud, address: &str) -> Finding {
    let path = [format!("{}/doctor", names::REQUESTS)];
    finding(
        "read documents",
        address,
        "roles/datastore.user",
        timeout(REQUEST_TIMEOUT, cloud.documents.get(&path)).await,
    )
}

async fn objects(cloud: &Cloud, bucket: &str, address: &str) -> Finding {
    let result = timeout(REQUEST_TIMEOUT, look_up(cloud, bucket)).await;
    finding(&format!("look up objects in {bucket}"), address, "roles/storage.objectViewer on the bucket", result)
}

/// Checks that a dispatcher responds, that the fleet is not paused, and that sources can be uploaded.
pub(super) async fn dispatcher(server: &str, token: Option<String>) -> Vec<Finding> {
    let client = match Client::new(server, token) {
        Ok(client) => client,
        Err(failed) => return vec![Finding::problem(failed.text(), "correct --server")],
    };
    let mut findings = Vec::new();
    match client.get("/fleet").await {
        Ok(fleet) if fleet["paused"] == true => {
            findings.push(Finding::note(format!("the fleet at {server} is paused"), "clipfleet fleet resume"));
        }
        Ok(_) => findings.push(Finding::passed(format!("dispatcher at {server}"))),
        Err(failed) => {
            let remedy = "correct the address; for 401 and 403, give an identity token of an account that may invoke it \
                          (gcloud auth print-identity-token)";
            return vec![Finding::problem(format!("dispatcher: {}", failed.text()), remedy)];
        }
    }
    findings.push(uploads(&client).await);
    findings
}

/// Checks that `clipfleet export FILE --server` can store the file.
async fn uploads(client: &Client) -> Finding {
    let storage = match storage::of(client).await {
        Ok(storage) => storage,
        Err(failed) => {
            let remedy = "gcloud auth application-default login; or export objects that are in storage already";
            return Finding::problem(format!("uploads: {}", failed.text()), remedy);
        }
    };
    let looked_up = timeout(REQUEST_TIMEOUT, async {
        match &storage.cloud {
            Some(cloud) => look_up(cloud, &storage.bucket).await,
            None => client
                .has_object(&storage.bucket, ABSENT)
                .await
                .map(drop)
                .map_err(|failed| CloudError::new(ErrorKind::Denied, failed.text().to_owned())),
        }
    })
    .await;
    let address = format!("gs://{}", storage.bucket);
    finding("uploads", &address, "roles/storage.objectUser on the bucket", looked_up)
}

async fn queue(cloud: &Cloud, address: &str) -> Finding {
    let mut deliveries = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, 1);
    // A stream that stays open without an error is a valid response. A delivery is nacked when it is dropped.
    let result = match timeout(Duration::from_secs(2), deliveries.next()).await {
        Ok(Some(Err(error))) => Ok(Err(error)),
        _ => Ok(Ok(())),
    };
    deliveries.close().await;
    finding(
        &format!("subscribe to {}", names::PROGRESS_EVENTS_STATUS),
        address,
        "roles/pubsub.subscriber on the subscription",
        result,
    )
}

/// The finding of a call. `role` is the IAM role that it requires.
fn finding<T>(
    what: &str,
    address: &str,
    role: &str,
    result: Result<Result<T, CloudError>, tokio::time::error::Elapsed>,
) -> Finding {
    match result {
        Ok(Ok(_)) => Finding::passed(format!("{what} at {address}")),
        Ok(Err(error)) => {
            let remedy = match error.kind() {
                ErrorKind::Denied => format!("grant this account {role}"),
                ErrorKind::NotFound => "create it: `clipfleet up` does this here, infra/ in Google Cloud".to_owned(),
                _ => format!("start the server at {address}, or correct the address"),
            };
            Finding::problem(format!("{what} at {address}: {error}"), remedy)
        }
        Err(_) => Finding::problem(
            format!("{what} at {address}: no answer"),
            format!("start the server at {address}, or correct the address"),
        ),
    }
}

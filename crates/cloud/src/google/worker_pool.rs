//! Reads and sets the number of instances of a Cloud Run worker pool through the Admin API.

use super::{Access, Endpoints, errors, retry};
use crate::{CloudError, ErrorKind};
use google_cloud_gax::{
    error::{Error, rpc::Code},
    options::RequestOptionsBuilder as _,
    retry_policy::NeverRetry,
};
use google_cloud_longrunning::model::Operation;
use google_cloud_run_v2::{
    client::WorkerPools,
    model::{self, WorkerPoolScaling},
};
use google_cloud_wkt::FieldMask;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long an accepted operation is watched: long enough to see that quota is missing, short enough that the next
/// change does not wait until instances have started. Later failures appear only in the service's own logs.
const WATCH_TIMEOUT: Duration = Duration::from_secs(15);

/// Time between two reads of an operation's state.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// One worker pool.
#[derive(Debug, Clone)]
pub struct WorkerPool {
    client: WorkerPools,
    /// `projects/P/locations/L/workerPools/W`.
    name: String,
    watch_timeout: Duration,
}

impl WorkerPool {
    /// A pool by its full name, `projects/P/locations/L/workerPools/W`, with the credentials of the environment. At
    /// another address than Google's, no credentials are used.
    pub async fn connect(name: &str, address: Option<&str>) -> Result<Self, CloudError> {
        check_name(name)?;
        let access = match address {
            // An emulator needs no credentials.
            Some(_) => Access { google: None },
            None => Access::new(&Endpoints::default())?,
        };
        let target = access.target(address);
        // The client never retries a change, but these changes may be repeated, so `with_retries` does it.
        let mut builder = WorkerPools::builder().with_credentials(target.credentials).with_retry_policy(NeverRetry);
        if let Some(url) = target.emulator {
            builder = builder.with_endpoint(url);
        }
        let client = builder.build().await.map_err(|error| errors::build("cloud run", error))?;
        Ok(Self { client, name: name.to_owned(), watch_timeout: WATCH_TIMEOUT })
    }

    /// The last part of the name.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// The number of instances that was set last.
    pub async fn instances(&self) -> Result<u32, CloudError> {
        let doing = format!("read the size of {}", self.name);
        let pool = retry::with_retries(retry::RETRY_LIMIT, || self.get(&doing)).await?;
        let count = pool.scaling.and_then(|scaling| scaling.manual_instance_count).unwrap_or(0);
        u32::try_from(count).map_err(|_| CloudError::new(ErrorKind::Invalid, format!("{doing}: {count} is no size")))
    }

    /// Sets the number of instances, and watches for a while whether the operation fails. No change is sent after
    /// `within` has passed. Fails with `Conflict` if another writer changed the pool meanwhile: read the size and
    /// decide again. Fails with `Quota` if this size is too large.
    pub async fn set_instances(&self, instances: u32, within: Duration) -> Result<(), CloudError> {
        let doing = format!("set the size of {} to {instances}", self.name);
        let request = async {
            let pool = retry::with_retries(within, || self.get(&doing)).await?;
            // If a call took effect and its response was lost, the repeated call fails with a conflict.
            retry::with_retries(within, || self.patch(&doing, instances, &pool.etag)).await
        };
        let operation = timeout(within, request).await.map_err(|_| errors::timeout(&doing))??;
        timeout(self.watch_timeout, self.wait_done(&doing, operation)).await.unwrap_or_else(|_| {
            tracing::info!(pool = self.name, instances, "operation still in progress, no longer watched");
            Ok(())
        })
    }

    async fn get(&self, doing: &str) -> Result<model::WorkerPool, CloudError> {
        let request = self.client.get_worker_pool().set_name(&self.name).with_attempt_timeout(retry::ATTEMPT_TIMEOUT);
        request.send().await.map_err(|error| errors::call(doing, error))
    }

    /// Sends the etag of the pool that was read, so that of two writers the later one is refused.
    async fn patch(&self, doing: &str, instances: u32, etag: &str) -> Result<Operation, CloudError> {
        let instances = i32::try_from(instances)
            .map_err(|_| CloudError::new(ErrorKind::Invalid, format!("{doing}: no pool is as large")))?;
        let pool = model::WorkerPool::new()
            .set_name(&self.name)
            .set_etag(etag)
            .set_scaling(WorkerPoolScaling::new().set_manual_instance_count(instances));
        let mask = FieldMask::default().set_paths(["scaling.manual_instance_count"]);
        let request = self.client.update_worker_pool().set_worker_pool(pool).set_update_mask(mask);
        request.with_attempt_timeout(retry::ATTEMPT_TIMEOUT).send().await.map_err(|error| refused(doing, error))
    }

    /// Waits for the end of an operation, and fails if it failed. An operation that cannot be read (which takes a
    /// permission on the location, not on the pool) has been accepted all the same: the next read of the size tells.
    async fn wait_done(&self, doing: &str, mut operation: Operation) -> Result<(), CloudError> {
        while !operation.done {
            sleep(POLL_INTERVAL).await;
            let read = || async {
                let request = self.client.get_operation().set_name(&operation.name);
                let request = request.with_attempt_timeout(retry::ATTEMPT_TIMEOUT);
                request.send().await.map_err(|error| errors::call(doing, error))
            };
            operation = match retry::with_retries(retry::RETRY_LIMIT, read).await {
                Ok(operation) => operation,
                Err(error) => {
                    tracing::info!(pool = self.name, %error, "operation not watched");
                    return Ok(());
                }
            };
        }
        match operation.error() {
            None => Ok(()),
            Some(status) => {
                let status = google_cloud_gax::error::rpc::Status::from(status.as_ref());
                Err(refused(doing, Error::service(status)))
            }
        }
    }
}

/// A change that the service refused.
fn refused(doing: &str, error: Error) -> CloudError {
    let code = error.status().map(|status| status.code);
    let kind = match (code, error.http_status_code()) {
        _ if names_quota(&error) => Some(ErrorKind::Quota),
        // The pool has another etag, or another change is in progress.
        (Some(Code::Aborted), _) | (_, Some(409)) => Some(ErrorKind::Conflict),
        // The state of the pool or the project forbids the change, which another read of the pool does not alter.
        (Some(Code::FailedPrecondition), _) => Some(ErrorKind::Invalid),
        _ => None,
    };
    let error = errors::call(doing, error);
    match kind {
        Some(kind) => CloudError::new(kind, error.to_string()).because(error),
        None => error,
    }
}

/// Whether an error says that quota or capacity is missing. Cloud Run does not document its code: a quota of the
/// project was reported with RESOURCE_EXHAUSTED, FAILED_PRECONDITION and INVALID_ARGUMENT, always naming the quota. A
/// limit on the rate of calls has the code RESOURCE_EXHAUSTED, too, and is over after a minute.
fn names_quota(error: &Error) -> bool {
    let Some(status) = error.status() else { return false };
    let text = status.message.to_ascii_lowercase();
    let is_rate =
        ["per minute", "per second", "rate limit", "too many requests"].iter().any(|rate| text.contains(rate));
    let codes = [Code::ResourceExhausted, Code::FailedPrecondition, Code::InvalidArgument];
    let names = ["quota", "capacity", "allowable", "resources available", "stockout"];
    codes.contains(&status.code) && !is_rate && names.iter().any(|name| text.contains(name))
}

/// Refuses a string that is not a worker pool's full name.
fn check_name(name: &str) -> Result<(), CloudError> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts[..] {
        ["projects", project, "locations", location, "workerPools", pool]
            if [project, location, pool].iter().all(|part| !part.is_empty()) =>
        {
            Ok(())
        }
        _ => Err(CloudError::new(
            ErrorKind::Invalid,
            format!("address worker pool `{name}`: its name is projects/P/locations/L/workerPools/W"),
        )),
    }
}

mod shape;
#[cfg(test)]
mod tests;

pub use shape::PoolShape;

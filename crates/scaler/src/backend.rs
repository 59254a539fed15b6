//! Starts and stops workers: a Cloud Run worker pool here, local processes in `cli`.

use async_trait::async_trait;
use clipfleet_cloud::{CloudError, google::WorkerPool};
use clipfleet_domain::ids::WorkerId;
use std::{collections::BTreeSet, time::Duration};

/// A pool of workers whose size can be set.
#[async_trait]
pub trait Backend: Send + Sync {
    /// The short name of the pool.
    fn name(&self) -> &str;

    /// Whether a smaller size stops idle workers first, given which ones are busy. Otherwise it may stop any.
    fn ends_idle(&self) -> bool;

    /// The size that was set last.
    async fn count(&self) -> Result<u32, CloudError>;

    /// Sets the size. No change may be sent after `within` has passed: another scaler may lead by then.
    async fn set(&self, count: u32, busy: &BTreeSet<WorkerId>, within: Duration) -> Result<(), CloudError>;
}

/// Cloud Run takes a size and chooses itself which instances stop.
#[async_trait]
impl Backend for WorkerPool {
    fn name(&self) -> &str {
        self.short_name()
    }

    fn ends_idle(&self) -> bool {
        false
    }

    async fn count(&self) -> Result<u32, CloudError> {
        self.instances().await
    }

    async fn set(&self, count: u32, _: &BTreeSet<WorkerId>, within: Duration) -> Result<(), CloudError> {
        self.set_instances(count, within).await
    }
}

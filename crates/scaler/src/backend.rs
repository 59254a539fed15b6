//! Who starts and ends workers: a Cloud Run worker pool here, processes of this machine in `cli`.

use async_trait::async_trait;
use clipfleet_cloud::{CloudError, google::WorkerPool};
use clipfleet_domain::ids::WorkerId;
use std::{collections::BTreeSet, time::Duration};

/// A pool of workers whose number can be set.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Whether it ends idle workers when it is told to have fewer, as far as it is told who is busy. Otherwise it may end any.
    fn ends_idle(&self) -> bool;

    /// The number it was last told to have.
    async fn count(&self) -> Result<u32, CloudError>;

    /// Sets the number. Nothing may have an effect that was not begun `within` that time: the right to set it may be another's then.
    async fn set(&self, count: u32, busy: &BTreeSet<WorkerId>, within: Duration) -> Result<(), CloudError>;
}

/// Cloud Run takes a number and picks who ends.
#[async_trait]
impl Backend for WorkerPool {
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

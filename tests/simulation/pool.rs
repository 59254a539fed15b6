//! The pool of workers whose size the scalers set: its target size, and the access of one process to it.

use crate::{mutation::Mutation, process::Process};
use async_trait::async_trait;
use clipfleet_cloud::{CloudError, ErrorKind};
use clipfleet_domain::ids::WorkerId;
use clipfleet_scaler::Backend;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// The name of the only pool.
pub(crate) const POOL: &str = "sim";

/// The target number of workers. As on Cloud Run, the scaler does not choose which worker ends when the number falls.
pub(crate) struct Pool {
    size: AtomicU32,
    /// The size that the platform shows: the one that was requested last, even if it was refused.
    recorded: AtomicU32,
    changed: Notify,
}

impl Pool {
    pub(crate) fn new(size: u32) -> Self {
        Self { size: AtomicU32::new(size), recorded: AtomicU32::new(size), changed: Notify::new() }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Returns the previous size.
    fn set(&self, size: u32) -> u32 {
        self.recorded.store(size, Ordering::Relaxed);
        let before = self.size.swap(size, Ordering::Relaxed);
        // Waiters are woken in the order of their arrival.
        self.changed.notify_waiters();
        before
    }

    /// Returns when the worker with this number is needed.
    pub(crate) async fn wait_until_needed(&self, index: u32) {
        self.wait_until(|size| index <= size).await;
    }

    /// Returns when the worker with this number is no longer needed.
    pub(crate) async fn wait_until_not_needed(&self, index: u32) {
        self.wait_until(|size| index > size).await;
    }

    async fn wait_until(&self, condition: impl Fn(u32) -> bool) {
        loop {
            let changed = self.changed.notified();
            if condition(self.size()) {
                return;
            }
            changed.await;
        }
    }
}

/// The pool of one scaler.
pub(crate) struct SimPool(pub(crate) Arc<Process>);

#[async_trait]
impl Backend for SimPool {
    fn name(&self) -> &str {
        POOL
    }

    fn ends_idle(&self) -> bool {
        false
    }

    async fn count(&self) -> Result<u32, CloudError> {
        self.0.call("read the pool's size", async { Ok(self.0.world.pool.recorded.load(Ordering::Relaxed)) }).await
    }

    async fn set(&self, count: u32, _: &BTreeSet<WorkerId>, within: Duration) -> Result<(), CloudError> {
        let (process, called_at) = (Arc::clone(&self.0), Instant::now());
        let effect = async move {
            if called_at.elapsed() > within {
                return Err(CloudError::new(ErrorKind::Unavailable, "set the pool's size: not in time"));
            }
            let world = &process.world;
            let (quota, keeps) = {
                let faults = &world.lock().faults;
                (faults.quota, faults.keeps_refused_size)
            };
            if quota.is_some_and(|quota| count > quota) {
                world.count("the pool's size was refused for want of quota");
                world.trace(&process.name, format_args!("may not set the pool to {count}"));
                if keeps {
                    world.pool.recorded.store(count, Ordering::Relaxed);
                }
                let outage = world.has(Mutation::QuotaAsOutage);
                let kind = if outage { ErrorKind::Unavailable } else { ErrorKind::Quota };
                return Err(CloudError::new(kind, "set the pool's size: quota exceeded"));
            }
            world.trace(&process.name, format_args!("sets the pool to {count}"));
            world.observe(|checker, _| checker.pool_set(&process.name));
            let before = world.pool.set(count);
            if count != before {
                world.count(if count > before { "the pool grew" } else { "the pool shrank" });
            }
            Ok(())
        };
        self.0.send("set the pool's size", effect).await
    }
}

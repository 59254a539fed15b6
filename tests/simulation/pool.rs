//! The pool of workers that scalers set the size of: how many there are to be, and how one process reaches it.

use crate::process::Process;
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

/// How many workers there are to be. Who ends when there are to be fewer is not the scaler's to choose, as on Cloud Run.
pub(crate) struct Pool {
    size: AtomicU32,
    changed: Notify,
}

impl Pool {
    pub(crate) fn new(size: u32) -> Self {
        Self { size: AtomicU32::new(size), changed: Notify::new() }
    }

    pub(crate) fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// What it was before.
    fn set(&self, size: u32) -> u32 {
        let before = self.size.swap(size, Ordering::Relaxed);
        // Those who wait are woken in the order they came.
        self.changed.notify_waiters();
        before
    }

    /// Returns when the place of this number is to be filled.
    pub(crate) async fn wants(&self, place: u32) {
        self.until(|size| place <= size).await;
    }

    /// Returns when it is not to be filled any more.
    pub(crate) async fn dismisses(&self, place: u32) {
        self.until(|size| place > size).await;
    }

    async fn until(&self, holds: impl Fn(u32) -> bool) {
        loop {
            let changed = self.changed.notified();
            if holds(self.size()) {
                return;
            }
            changed.await;
        }
    }
}

/// The pool as one scaler sees it.
pub(crate) struct SimPool(pub(crate) Arc<Process>);

#[async_trait]
impl Backend for SimPool {
    fn ends_idle(&self) -> bool {
        false
    }

    async fn count(&self) -> Result<u32, CloudError> {
        self.0.call("read the pool's size", async { Ok(self.0.world.pool.size()) }).await
    }

    async fn set(&self, count: u32, _: &BTreeSet<WorkerId>, within: Duration) -> Result<(), CloudError> {
        let (process, asked) = (Arc::clone(&self.0), Instant::now());
        let effect = async move {
            if asked.elapsed() > within {
                return Err(CloudError::new(ErrorKind::Unavailable, "set the pool's size: not in time"));
            }
            let world = &process.world;
            world.trace(&process.name, format_args!("sets the pool to {count}"));
            world.observe(|ledger, _| ledger.pool_set(&process.name));
            let before = world.pool.set(count);
            if count != before {
                world.count(if count > before { "the pool grew" } else { "the pool shrank" });
            }
            Ok(())
        };
        self.0.send("set the pool's size", effect).await
    }
}

//! A second pool that helps out while the platform refuses the size that the first one needs: CPUs while GPUs are
//! missing. Both lease from the same subscription.

use crate::{backend::Backend, decide::Load, pool_control::PoolControl};
use clipfleet_service::health::Readiness;
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Workers that replace one missing worker: without a GPU, a clip takes about twice as long (`clipfleet plan` has the
/// rates and their sources).
const WORKERS_PER_MISSING_WORKER: u32 = 2;

/// The pool, and how large it may become.
#[derive(Clone)]
pub struct OverflowConfig {
    /// The pool.
    pub backend: Arc<dyn Backend>,
    /// The largest number of its workers.
    pub max: u32,
}

/// The pool as the leader sees it.
pub(crate) struct Overflow {
    config: OverflowConfig,
    pub(crate) pool: PoolControl,
}

impl Overflow {
    pub(crate) fn new(config: &OverflowConfig) -> Self {
        // The fleet works without its help, so its state is no condition of readiness.
        let readable = Readiness::default().condition("overflow pool size");
        Self { config: config.clone(), pool: PoolControl::new(Arc::clone(&config.backend), readable, None) }
    }

    pub(crate) fn name(&self) -> &str {
        self.config.backend.name()
    }

    /// The size that was set last.
    pub(crate) fn size(&mut self) -> u32 {
        self.pool.state().map_or(0, |pool| pool.target)
    }

    /// The present size and the next, if it has to change and may. `missing` is the number of workers that the first
    /// pool lacks. The pool does not shrink before the fleet is idle, because the platform may stop busy workers.
    pub(crate) fn change(&mut self, load: &Load, missing: u32) -> Option<(u32, u32)> {
        let limit = self.pool.limit().map_or(self.config.max, |limit| limit.ceiling().min(self.config.max));
        let correct = self.pool.must_be_corrected();
        let size = self.pool.state()?.target;
        let idle = load.at_work == 0 && (load.waiting == 0 || load.paused);
        let needed = missing.saturating_mul(WORKERS_PER_MISSING_WORKER).min(load.waiting).min(limit);
        let target = if idle { 0 } else { size.max(needed) };
        ((target != size || correct) && self.pool.accepts_change()).then_some((size, target))
    }

    pub(crate) fn set(&mut self, from: u32, target: u32, within: Duration) {
        if let Some(pool) = self.pool.state() {
            pool.target = target;
        }
        self.pool.set_size(from, target, BTreeSet::new(), within);
    }
}

//! Finishes the dispatches of crashed dispatchers: records that were written but not marked as dispatched.

use crate::{
    dispatch::Dispatch,
    record::{self, recorded},
    refusal::Refusal,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Age from which on an unfinished dispatch counts as abandoned, milliseconds. A thousand clips take about a second.
pub(crate) const DISPATCH_TIMEOUT_MS: i64 = 10_000;

/// Time between two scans. With [`DISPATCH_TIMEOUT_MS`], it bounds the delay of a repair.
const SCAN_INTERVAL: Duration = Duration::from_secs(10);

/// Batches per scan. The next scan continues after them.
const MAX_BATCHES_PER_SCAN: u32 = 50;

pub(crate) async fn run(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut after = String::new();
    loop {
        // Told to stop in the middle of a page, it ends there: as after a crash, the next scan does the rest.
        let page = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            page = repair_page(&dispatch, &after) => page,
        };
        match page {
            Ok(next) => after = next,
            Err(refusal) => tracing::warn!(?refusal, "repair postponed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SCAN_INTERVAL) => {}
        }
    }
}

/// Repairs a page of the unfinished batches after `after`. Returns the `after` of the next page, so that batches that
/// can never be repaired do not hide later ones.
pub(crate) async fn repair_page(dispatch: &Dispatch, after: &str) -> Result<String, Refusal> {
    let page = record::unfinished(&dispatch.cloud, after, MAX_BATCHES_PER_SCAN).await?;
    for stored in page.records {
        if dispatch.clock.now_ms() - stored.record.accepted_at_ms < DISPATCH_TIMEOUT_MS {
            continue;
        }
        let id = stored.record.request.batch_id.clone();
        tracing::warn!(batch = id, "finishing an abandoned dispatch");
        // A batch that cannot be repaired (for example because its record is invalid) must not block the others.
        if let Err(refusal) = finish(dispatch, stored).await {
            tracing::error!(batch = id, ?refusal, "failed to dispatch");
        }
    }
    Ok(page.next)
}

async fn finish(dispatch: &Dispatch, stored: record::Stored) -> Result<(), Refusal> {
    let batch = recorded(&stored.record)?;
    dispatch.dispatch(&batch, stored).await
}

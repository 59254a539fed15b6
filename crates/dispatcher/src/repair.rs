//! Finishes what a crashed dispatcher began: records that were written but not marked as dispatched.

use crate::{
    dispatch::Dispatch,
    record::{self, recorded},
    refusal::Refusal,
};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// A dispatch younger than this may still be under way in another process. A thousand clips take about a second.
pub(crate) const GRACE_MS: i64 = 10_000;

/// How often to look. Together with the grace this bounds how long a batch can lie unnoticed.
const EVERY: Duration = Duration::from_secs(10);

/// Batches mended per look; the rest wait for the next one.
const AT_ONCE: u32 = 50;

pub(crate) async fn run(dispatch: Arc<Dispatch>, stop: CancellationToken) {
    let mut after = String::new();
    loop {
        match mend(&dispatch, &after).await {
            Ok(next) => after = next,
            Err(refusal) => tracing::warn!(?refusal, "repair postponed"),
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}

/// Mends a page of the batches that follow one, and says after which the next page begins: batches that can never be
/// mended do not hide those behind them.
pub(crate) async fn mend(dispatch: &Dispatch, after: &str) -> Result<String, Refusal> {
    let page = record::unfinished(&dispatch.cloud, after, AT_ONCE).await?;
    for stored in page.records {
        if dispatch.clock.now_ms() - stored.record.accepted_at_ms < GRACE_MS {
            continue;
        }
        let id = stored.record.request.batch_id.clone();
        tracing::warn!(batch = id, "dispatching a batch that was left unfinished");
        // One batch that cannot be mended (its record is unreadable, say) does not keep the others waiting.
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

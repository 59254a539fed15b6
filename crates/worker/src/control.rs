//! What operators ask of the whole fleet, read every other second as cancellations are.

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::names;
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

const EVERY: Duration = Duration::from_secs(2);

/// The fleet's control document, followed.
pub(crate) struct Control {
    paused: watch::Receiver<bool>,
    following: JoinHandle<()>,
}

impl Control {
    /// Looks once, so that a worker that starts in a pause takes nothing, and then goes on looking.
    pub(crate) async fn follow(cloud: &Cloud) -> Self {
        let first = paused(cloud).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "not known whether the fleet is paused");
            false
        });
        let (tell, paused) = watch::channel(first);
        let following = tokio::spawn(keep_looking(cloud.clone(), tell));
        Self { paused, following }
    }

    /// Whether workers are to take nothing new.
    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Returns when that has changed. Safe to cancel.
    pub(crate) async fn changed(&mut self) {
        if self.paused.changed().await.is_err() {
            // The task never ends by itself; should it panic, what it said last holds.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn keep_looking(cloud: Cloud, tell: watch::Sender<bool>) {
    loop {
        sleep(EVERY).await;
        match paused(&cloud).await {
            Ok(now) => {
                tell.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
            // What was said last holds.
            Err(error) => tracing::debug!(%error, "not known whether the fleet is paused"),
        }
    }
}

async fn paused(cloud: &Cloud) -> Result<bool, CloudError> {
    let document = cloud.documents.get_one(names::CONTROL_DOCUMENT.to_owned()).await?;
    Ok(document.is_some_and(|document| document.is(names::PAUSED)))
}

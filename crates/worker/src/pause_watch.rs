//! Watches what operators request of the whole fleet: the control document is read every other second.

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::documents::fleet_control::{self, FleetControl};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle, time::sleep};

const POLL_INTERVAL: Duration = Duration::from_secs(2);

/// Whether the fleet is paused, as last read.
pub(crate) struct PauseWatch {
    paused: watch::Receiver<bool>,
    polling: JoinHandle<()>,
}

impl PauseWatch {
    /// Reads the document once, so that a worker that starts during a pause leases nothing, then polls it.
    pub(crate) async fn start(cloud: &Cloud) -> Self {
        let first = read_paused(cloud).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "failed to read the fleet control document, assuming that the fleet runs");
            false
        });
        let (sender, paused) = watch::channel(first);
        let polling = tokio::spawn(poll(cloud.clone(), sender));
        Self { paused, polling }
    }

    /// Whether this worker must not lease new jobs.
    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.borrow()
    }

    /// Returns after the next change. Safe to cancel.
    pub(crate) async fn changed(&mut self) {
        if self.paused.changed().await.is_err() {
            // The task never ends by itself; if it panics, what it read last remains in force.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for PauseWatch {
    fn drop(&mut self) {
        self.polling.abort();
    }
}

async fn poll(cloud: Cloud, sender: watch::Sender<bool>) {
    loop {
        sleep(POLL_INTERVAL).await;
        match read_paused(&cloud).await {
            Ok(now) => {
                sender.send_if_modified(|known| std::mem::replace(known, now) != now);
            }
            // What was read last remains in force.
            Err(error) => tracing::debug!(%error, "failed to read the fleet control document"),
        }
    }
}

async fn read_paused(cloud: &Cloud) -> Result<bool, CloudError> {
    let document = cloud.documents.get_one(fleet_control::PATH.to_owned()).await?;
    Ok(FleetControl::from_document(document.as_ref()).paused)
}

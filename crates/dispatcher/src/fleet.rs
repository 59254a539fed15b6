//! Pause and resume: one document that says what operators ask of the whole fleet, read by every worker.

use crate::accept::{Dispatch, Refusal};
use clipfleet_cloud::{CloudError, Fields, Precondition, Value, Write};
use clipfleet_contract::names;
use std::time::{Duration, UNIX_EPOCH};

/// What is asked of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asked {
    /// Workers take nothing new; clips that run end.
    pub paused: bool,
    /// Since when; Unix time, milliseconds. `None` when nothing was ever asked.
    pub since_ms: Option<i64>,
}

impl Dispatch {
    /// What is asked of the fleet.
    pub async fn fleet(&self) -> Result<Asked, CloudError> {
        let documents = self.cloud.documents.get(&[names::CONTROL_DOCUMENT.to_owned()]).await?;
        Ok(documents.first().and_then(Option::as_ref).map_or_else(Asked::default, |document| Asked {
            paused: document.is(names::PAUSED),
            since_ms: document.instant_ms(names::CHANGED_AT),
        }))
    }

    /// Pauses the fleet or lets it go on. Asking for what holds already changes nothing.
    pub async fn set_paused(&self, paused: bool) -> Result<Asked, Refusal> {
        let known = self.fleet().await?;
        if known.paused == paused {
            return Ok(known);
        }
        let now_ms = self.clock.now_ms();
        let changed_at = UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs());
        let fields = Fields::from([
            (names::PAUSED.to_owned(), Value::Bool(paused)),
            (names::CHANGED_AT.to_owned(), Value::Timestamp(changed_at)),
        ]);
        // Two operators at once want the same, or the later one has the last word.
        let write = Write { path: names::CONTROL_DOCUMENT.to_owned(), fields, precondition: Precondition::None };
        self.cloud.documents.commit(vec![write]).await?;
        tracing::warn!(paused, "the fleet was told");
        Ok(Asked { paused, since_ms: Some(now_ms) })
    }
}

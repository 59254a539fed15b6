//! Pause and resume: one document that says what operators ask of the whole fleet, read by every worker.

use crate::accept::{Dispatch, Refusal};
use clipfleet_cloud::{CloudError, Document, Fields, Precondition, Value, Write};
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
        Ok(self.control().await?.as_ref().map(asked).unwrap_or_default())
    }

    pub(crate) async fn control(&self) -> Result<Option<Document>, CloudError> {
        self.cloud.documents.get_one(names::CONTROL_DOCUMENT.to_owned()).await
    }

    /// Pauses the fleet or lets it go on. Asking for what holds already changes nothing.
    pub async fn set_paused(&self, paused: bool) -> Result<Asked, Refusal> {
        let found = self.control().await?;
        let known = found.as_ref().map(asked).unwrap_or_default();
        if known.paused == paused {
            return Ok(known);
        }
        let told = self.tell(found, paused).await;
        // Another said so first, or this one's own word arrived and its answer did not.
        if told.is_err()
            && let Ok(known) = self.fleet().await
            && known.paused == paused
        {
            return Ok(known);
        }
        told
    }

    /// Writes what is asked over what was found. A pause that was held up must not undo the word of an operator who came later: it finds
    /// something else, and who asked it looks again.
    pub(crate) async fn tell(&self, found: Option<Document>, paused: bool) -> Result<Asked, Refusal> {
        let now_ms = self.clock.now_ms();
        let changed_at = UNIX_EPOCH + Duration::from_millis(now_ms.unsigned_abs());
        let fields = Fields::from([
            (names::PAUSED.to_owned(), Value::Bool(paused)),
            (names::CHANGED_AT.to_owned(), Value::Timestamp(changed_at)),
        ]);
        let precondition = found.map_or(Precondition::Absent, |document| Precondition::Unchanged(document.version));
        let write = Write { path: names::CONTROL_DOCUMENT.to_owned(), fields, precondition };
        self.cloud.documents.commit(vec![write]).await?;
        tracing::warn!(paused, "the fleet was told");
        Ok(Asked { paused, since_ms: Some(now_ms) })
    }
}

fn asked(document: &Document) -> Asked {
    Asked { paused: document.is(names::PAUSED), since_ms: document.instant_ms(names::CHANGED_AT) }
}

//! What operators request of the whole fleet, `fleetControl/fleet`. Not for clients.

use clipfleet_document::{Document, Fields, Value, fields_of};

/// Collection of this document, and of the leadership of each pool's scaler.
pub const COLLECTION: &str = "fleetControl";

/// Path of the document.
pub const PATH: &str = "fleetControl/fleet";

const PAUSED: &str = "paused";
const CHANGED_AT: &str = "changedAt";

/// What is requested of the fleet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FleetControl {
    /// Workers lease nothing new; clips at work are finished.
    pub paused: bool,
    /// Since when; Unix time, milliseconds. `None` when nothing was ever requested.
    pub changed_at_ms: Option<i64>,
}

impl FleetControl {
    /// The document's fields.
    pub fn to_fields(&self) -> Fields {
        let changed_at = Value::optional_instant(self.changed_at_ms);
        fields_of([(PAUSED, Value::Bool(self.paused)), (CHANGED_AT, changed_at)])
    }

    /// What a document says; without one, nothing is requested.
    pub fn from_document(document: Option<&Document>) -> Self {
        document.map_or_else(Self::default, |document| Self {
            paused: document.field(PAUSED).is_true(),
            changed_at_ms: document.field(CHANGED_AT).as_instant(),
        })
    }
}

//! Which scaler leads a pool, and what it leaves to the next leader: `fleetControl/scaler-{pool}`. Not for clients.

use super::fleet_control;
use clipfleet_document::{Document, Fields, Value, fields_of};
use std::collections::BTreeMap;

/// What the name of such a document begins with.
const PREFIX: &str = "scaler-";

const LEADER: &str = "leader";
const RESIGNED: &str = "resigned";
const TARGET: &str = "target";
const REASON: &str = "reason";
const LIMIT: &str = "sizeLimit";
const SLOT_SECONDS_PER_CLIP_SECOND: &str = "slotSecondsPerClipSecond";
const RENEWED_AT: &str = "renewedAt";

/// The lease on a pool's leadership.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LeadershipDocument {
    /// The scaler that leads.
    pub leader: String,
    /// Whether it ended its term early.
    pub resigned: bool,
    /// Workers requested.
    pub target: Option<u32>,
    /// Why, for people.
    pub reason: String,
    /// The largest size that the platform is believed to allow, if it refused one a short while ago.
    pub limit: Option<u32>,
    /// Slot-seconds per second of clip that were learned, by quality.
    pub slot_seconds_per_clip_second: BTreeMap<String, f64>,
    /// Last renewal, by the leader's clock; Unix time, milliseconds. For people: no clocks are compared.
    pub renewed_at_ms: i64,
}

impl LeadershipDocument {
    /// Path of the document.
    pub fn path(pool: &str) -> String {
        format!("{}/{PREFIX}{pool}", fleet_control::COLLECTION)
    }

    /// The pool of a document in the collection of the fleet's controls, if it is one of these.
    pub fn pool(document: &Document) -> Option<&str> {
        document.id().strip_prefix(PREFIX)
    }

    /// The document's fields.
    pub fn to_fields(&self) -> Fields {
        let rates = self.slot_seconds_per_clip_second.iter();
        let rates = rates.map(|(quality, rate)| (quality.clone(), Value::Double(*rate))).collect();
        fields_of([
            (LEADER, Value::text(&self.leader)),
            (RESIGNED, Value::Bool(self.resigned)),
            (TARGET, Value::optional(self.target.map(Value::integer))),
            (REASON, Value::text(&self.reason)),
            (LIMIT, Value::optional(self.limit.map(Value::integer))),
            (SLOT_SECONDS_PER_CLIP_SECOND, Value::Map(rates)),
            (RENEWED_AT, Value::instant(self.renewed_at_ms)),
        ])
    }

    /// What a document says, whatever version wrote it.
    pub fn from_document(document: &Document) -> Self {
        let text = |name| document.field(name).as_text().unwrap_or_default().to_owned();
        let rates = document.field(SLOT_SECONDS_PER_CLIP_SECOND).fields();
        Self {
            leader: text(LEADER),
            resigned: document.field(RESIGNED).is_true(),
            target: document.field(TARGET).as_integer().and_then(|target| target.try_into().ok()),
            reason: text(REASON),
            limit: document.field(LIMIT).as_integer().and_then(|limit| limit.try_into().ok()),
            slot_seconds_per_clip_second: rates
                .filter_map(|(quality, rate)| Some((quality.to_owned(), rate.as_double()?)))
                .collect(),
            renewed_at_ms: document.field(RENEWED_AT).as_instant().unwrap_or(0),
        }
    }
}

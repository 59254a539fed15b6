//! The right to set the pool's size: held by one scaler at a time, through a document that it writes again and again.
//!
//! ```text
//!  free, released or silent ──take──▶ held ──renew every 4 s──▶ held
//!                                      │ the document was changed by another, or could not be written for 15 s
//!                                      ▼
//!                                     lost: nothing is written any more
//! ```
//!
//! No clocks are compared. A holder counts its 15 s from before the write that began them; another takes over what it has seen
//! unchanged for longer than that, counted from when it first saw it. So the holder's time is over first, whatever the clocks say. Every write
//! is conditional on the document's last state, and the size is only ever set after one that succeeded, within the time it bought: who has
//! lost the seat without knowing it fails at that write.

use clipfleet_cloud::{Cloud, CloudError, Document, ErrorKind, Fields, Precondition, Value, Version, Write};
use clipfleet_service::clock::Clock;
use std::{
    collections::BTreeMap,
    time::{Duration, UNIX_EPOCH},
};
use tokio::time::{Instant, timeout};

/// How long a write lasts. An outage of documents that is longer stops scaling, and nothing else.
pub(crate) const LASTS: Duration = Duration::from_secs(15);

/// How often it is written: three may fail.
pub(crate) const RENEW: Duration = Duration::from_secs(4);

/// How long others wait: longer than it lasts by more than two clocks drift apart in that time.
const TAKEN_OVER_AFTER: Duration = Duration::from_secs(17);

/// What the document remembers for the next holder, and shows to people.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Note {
    /// Workers asked for.
    pub(crate) target: Option<u32>,
    /// Why.
    pub(crate) reason: &'static str,
    /// Slot-seconds per second of clip that were learned, by quality.
    pub(crate) speed: BTreeMap<String, f64>,
}

/// A scaler's claim to the seat.
pub(crate) struct Seat {
    cloud: Cloud,
    clock: Clock,
    path: String,
    holder: String,
    held: Option<Held>,
    /// What was seen of another's, and since when.
    seen: Option<(Version, Instant)>,
    /// What the holder before left.
    pub(crate) left: Note,
}

struct Held {
    version: Version,
    until: Instant,
}

const HOLDER: &str = "holder";
const RELEASED: &str = "released";
const TARGET: &str = "target";
const REASON: &str = "reason";
const SPEED: &str = "slotSecondsPerClipSecond";
const RENEWED_AT: &str = "renewedAt";

impl Seat {
    pub(crate) fn new(cloud: Cloud, clock: Clock, path: String, holder: String) -> Self {
        Self { cloud, clock, path, holder, held: None, seen: None, left: Note::default() }
    }

    /// How long the seat is held for certain; nothing once it is lost.
    pub(crate) fn lasts(&self) -> Duration {
        self.held.as_ref().map_or(Duration::ZERO, |held| held.until.saturating_duration_since(Instant::now()))
    }

    /// Tries to take the seat. Says whether it is held now.
    pub(crate) async fn take(&mut self) -> Result<bool, CloudError> {
        let found = self.cloud.documents.get_one(self.path.clone()).await?;
        let precondition = match &found {
            None => Precondition::Absent,
            Some(document) => {
                let now = Instant::now();
                let since = match self.seen {
                    Some((version, since)) if version == document.version => since,
                    _ => now,
                };
                self.seen = Some((document.version, since));
                // Ours is a write of which no answer came.
                let ours = document.text(HOLDER) == Some(&self.holder);
                if !ours && !document.is(RELEASED) && now.duration_since(since) < TAKEN_OVER_AFTER {
                    return Ok(false);
                }
                Precondition::Unchanged(document.version)
            }
        };
        let left = found.as_ref().map(note).unwrap_or_default();
        match self.write(&left, precondition, false).await {
            Ok(()) => {
                self.left = left;
                Ok(true)
            }
            // Another was quicker.
            Err(error) if is_lost(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the document again, and so goes on holding. Says whether the seat is held: an error that may pass leaves it held until its time
    /// is over.
    pub(crate) async fn renew(&mut self, note: &Note) -> bool {
        match self.confirm(note).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, lasts_seconds = self.lasts().as_secs(), "the scaler's seat was not renewed");
                self.held.is_some() && !self.lasts().is_zero()
            }
        }
    }

    /// As [`renew`](Self::renew), but only a write that succeeded is good enough: to be called before the size is set.
    pub(crate) async fn confirm(&mut self, note: &Note) -> Result<(), CloudError> {
        let lost = || CloudError::new(ErrorKind::Conflict, "keep the scaler's seat: another has it");
        let (version, left) = match &self.held {
            Some(held) if !self.lasts().is_zero() => (held.version, self.lasts()),
            _ => {
                self.held = None;
                return Err(lost());
            }
        };
        let written = timeout(left, self.write(note, Precondition::Unchanged(version), false)).await;
        match written.unwrap_or_else(|_| {
            Err(CloudError::new(ErrorKind::Unavailable, "keep the scaler's seat: no answer in time"))
        }) {
            Err(error) if is_lost(&error) => {
                self.held = None;
                Err(error)
            }
            other => other,
        }
    }

    /// Lets another take it at once.
    pub(crate) async fn release(&mut self, note: &Note) {
        const LONGEST: Duration = Duration::from_secs(2);
        let Some(held) = self.held.take() else { return };
        // Undone, it is taken over when its time has passed.
        if let Ok(Err(error)) = timeout(LONGEST, self.write(note, Precondition::Unchanged(held.version), true)).await {
            tracing::debug!(%error, "seat not released");
        }
        self.held = None;
    }

    async fn write(&mut self, note: &Note, precondition: Precondition, released: bool) -> Result<(), CloudError> {
        let until = Instant::now() + LASTS;
        let now = UNIX_EPOCH + Duration::from_millis(self.clock.now_ms().unsigned_abs());
        let speed = note.speed.iter().map(|(quality, rate)| (quality.clone(), Value::Double(*rate))).collect();
        let fields = Fields::from([
            (HOLDER.into(), Value::String(self.holder.clone())),
            (RELEASED.into(), Value::Bool(released)),
            (TARGET.into(), note.target.map_or(Value::Null, |target| Value::Integer(i64::from(target)))),
            (REASON.into(), Value::String(note.reason.to_owned())),
            (SPEED.into(), Value::Map(speed)),
            (RENEWED_AT.into(), Value::Timestamp(now)),
        ]);
        let write = Write { path: self.path.clone(), fields, precondition };
        let version = self.cloud.documents.commit(vec![write]).await?.first().copied();
        let version =
            version.ok_or_else(|| CloudError::new(ErrorKind::Unavailable, "read the version of the scaler's seat"))?;
        self.held = Some(Held { version, until });
        Ok(())
    }
}

fn is_lost(error: &CloudError) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::NotFound)
}

fn note(document: &Document) -> Note {
    let speed = match document.fields.get(SPEED) {
        Some(Value::Map(fields)) => fields
            .iter()
            .filter_map(|(quality, rate)| match rate {
                Value::Double(rate) => Some((quality.clone(), *rate)),
                _ => None,
            })
            .collect(),
        _ => BTreeMap::new(),
    };
    let target = document.integer(TARGET).and_then(|target| u32::try_from(target).ok());
    Note { target, reason: "", speed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_cloud::memory;

    fn seats(cloud: &Cloud) -> [Seat; 2] {
        ["one", "two"].map(|holder| {
            Seat::new(cloud.clone(), Clock::starting_at(0), "fleetControl/scaler-test".into(), holder.into())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_holds_and_another_waits_until_it_is_silent() {
        let [mut one, mut two] = seats(&memory::cloud());
        assert!(one.take().await.unwrap());
        let note = Note { target: Some(3), reason: "backlog", speed: [("1080p".to_owned(), 0.14)].into() };
        for _ in 0..20 {
            assert!(one.renew(&note).await && !two.take().await.unwrap());
            tokio::time::sleep(RENEW).await;
        }
        // It is frozen. The other takes over, and knows what it knew.
        // Since it was renewed last.
        let mut waited = RENEW;
        while !two.take().await.unwrap() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            waited += Duration::from_secs(1);
        }
        assert!(waited > LASTS && waited < Duration::from_secs(25), "{waited:?}");
        assert!(one.lasts().is_zero(), "the time of the first was over before");
        assert_eq!((two.left.target, &two.left.speed), (Some(3), &note.speed));
        assert!(!one.renew(&note).await && one.confirm(&note).await.is_err());
        assert!(two.renew(&note).await, "and it did not disturb the second");
    }

    #[tokio::test(start_paused = true)]
    async fn who_lost_the_seat_without_knowing_fails_before_it_sets_anything() {
        let cloud = memory::cloud();
        let [mut one, mut two] = seats(&cloud);
        assert!(one.take().await.unwrap());
        // Someone removes its document's state from under it, while its own time still runs.
        two.seen = None;
        let found = cloud.documents.get(&["fleetControl/scaler-test".to_owned()]).await.unwrap().remove(0).unwrap();
        two.write(&Note::default(), Precondition::Unchanged(found.version), false).await.unwrap();
        assert!(!one.lasts().is_zero());
        assert_eq!(one.confirm(&Note::default()).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(one.lasts().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_released_seat_is_taken_at_once() {
        let [mut one, mut two] = seats(&memory::cloud());
        assert!(one.take().await.unwrap());
        one.release(&Note::default()).await;
        assert!(one.lasts().is_zero());
        assert!(two.take().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_take_at_once_one_does() {
        let cloud = memory::cloud();
        let [mut one, mut two] = seats(&cloud);
        let (first, second) = tokio::join!(one.take(), two.take());
        assert_eq!(u8::from(first.unwrap()) + u8::from(second.unwrap()), 1);
    }
}

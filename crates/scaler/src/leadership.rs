//! Which scaler sets the size of a pool: one leads, the others wait.
//!
//! # Overview
//!
//! A leader is needed because two scalers that decide differently about one pool would undo each other's changes. The
//! right to lead is a lease on one document per pool. There is no election: the scaler that writes the document first
//! leads.
//!
//! # States
//!
//! ```text
//!  no document, resigned or expired ──acquire──▶ leading ──renew every 4 s──▶ leading
//!                                                   │ another scaler wrote the document, or no write for 15 s
//!                                                   ▼
//!                                                  lost: no further writes
//! ```
//!
//! # Trust window
//!
//! A successful write extends leadership by [`TERM`], counted from before the write:
//!
//! ```text
//! trusted until = start of the last successful write + TERM
//! ```
//!
//! A follower takes over a document that it has seen unchanged for [`TAKEOVER_DELAY`], counted from when it first saw
//! that state. Each measures durations on its own clock and no clocks are compared, so the leader's term ends before a
//! follower's wait does.
//!
//! # Failures
//!
//! - A leader that was frozen resumes after the end of its term: it finds that it does not lead any more.
//! - A leader that was replaced without noticing fails at its next write, because each write is conditional on the
//!   document's last state. The size is set only right after a successful write ([`Leadership::confirm`]), within the
//!   term that it began.
//! - While Firestore is down no scaler leads, and the pool keeps its size.
//! - A leader that stops in an orderly way resigns, so that the next one need not wait.

use clipfleet_cloud::{Cloud, CloudError, ErrorKind, Precondition, Version, Write};
use clipfleet_contract::documents::leadership::LeadershipDocument;
use clipfleet_service::clock::Clock;
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, timeout};

/// How long one write lets its writer lead. A longer outage of Firestore stops scaling and nothing else.
pub(crate) const TERM: Duration = Duration::from_secs(15);

/// How often the leader writes: three writes in a row may fail.
pub(crate) const RENEW_INTERVAL: Duration = Duration::from_secs(4);

/// How long a follower waits: longer than [`TERM`] by more than the drift between two clocks in that time.
const TAKEOVER_DELAY: Duration = Duration::from_secs(17);

/// What the document keeps for the next leader and for operators.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LeaderState {
    /// The size that was set last.
    pub(crate) target: Option<u32>,
    /// Why.
    pub(crate) reason: &'static str,
    /// The largest size that the platform is believed to allow, if it refused one a short while ago.
    pub(crate) limit: Option<u32>,
    /// Learned slot-seconds per second of clip, by quality.
    pub(crate) speed: BTreeMap<String, f64>,
}

/// One scaler's lease on a pool's leadership.
pub(crate) struct Leadership {
    cloud: Cloud,
    clock: Clock,
    path: String,
    scaler: String,
    term: Option<Term>,
    /// The version of the document that was seen last, and when it was first seen.
    seen: Option<(Version, Instant)>,
    /// The state that the previous leader wrote.
    pub(crate) previous: LeaderState,
}

struct Term {
    version: Version,
    trusted_until: Instant,
}

impl Leadership {
    pub(crate) fn new(cloud: Cloud, clock: Clock, path: String, scaler: String) -> Self {
        Self { cloud, clock, path, scaler, term: None, seen: None, previous: LeaderState::default() }
    }

    /// How long this scaler certainly leads; zero once leadership is lost.
    pub(crate) fn remaining(&self) -> Duration {
        self.term.as_ref().map_or(Duration::ZERO, |term| term.trusted_until.saturating_duration_since(Instant::now()))
    }

    /// Tries to become the leader. Returns whether this scaler leads now.
    pub(crate) async fn acquire(&mut self) -> Result<bool, CloudError> {
        let found = self.cloud.documents.get_one(self.path.clone()).await?;
        let (previous, precondition) = match &found {
            None => (LeaderState::default(), Precondition::Absent),
            Some(document) => {
                let known = LeadershipDocument::from_document(document);
                let now = Instant::now();
                let since = match self.seen {
                    Some((version, since)) if version == document.version => since,
                    _ => now,
                };
                self.seen = Some((document.version, since));
                // If the document names this scaler, the response to its own write was lost.
                if known.leader != self.scaler && !known.resigned && now.duration_since(since) < TAKEOVER_DELAY {
                    return Ok(false);
                }
                (LeaderState::from_document(known), Precondition::Unchanged(document.version))
            }
        };
        match self.write(&previous, precondition, false).await {
            Ok(()) => {
                self.previous = previous;
                Ok(true)
            }
            // Another scaler wrote first.
            Err(error) if is_lost(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Extends the term. Returns whether this scaler still leads: a transient error ends leadership only once the term
    /// is over.
    pub(crate) async fn renew(&mut self, state: &LeaderState) -> bool {
        match self.confirm(state).await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, remaining_seconds = self.remaining().as_secs(), "leadership not renewed");
                self.term.is_some() && !self.remaining().is_zero()
            }
        }
    }

    /// As [`renew`](Self::renew), but fails unless the write succeeded. Must be called right before the size is set.
    pub(crate) async fn confirm(&mut self, state: &LeaderState) -> Result<(), CloudError> {
        let lost = || CloudError::new(ErrorKind::Conflict, "renew leadership: another scaler leads");
        let (version, remaining) = match &self.term {
            Some(term) if !self.remaining().is_zero() => (term.version, self.remaining()),
            _ => {
                self.term = None;
                return Err(lost());
            }
        };
        let written = timeout(remaining, self.write(state, Precondition::Unchanged(version), false)).await;
        match written
            .unwrap_or_else(|_| Err(CloudError::new(ErrorKind::Unavailable, "renew leadership: no answer in time")))
        {
            Err(error) if is_lost(&error) => {
                self.term = None;
                Err(error)
            }
            other => other,
        }
    }

    /// Ends the term early, so that another scaler can lead at once.
    pub(crate) async fn resign(&mut self, state: &LeaderState) {
        const WRITE_TIMEOUT: Duration = Duration::from_secs(2);
        let Some(term) = self.term.take() else { return };
        // If this fails, another scaler takes over after its usual wait.
        let write = self.write(state, Precondition::Unchanged(term.version), true);
        if let Ok(Err(error)) = timeout(WRITE_TIMEOUT, write).await {
            tracing::debug!(%error, "leadership not resigned");
        }
        self.term = None;
    }

    async fn write(
        &mut self,
        state: &LeaderState,
        precondition: Precondition,
        resigned: bool,
    ) -> Result<(), CloudError> {
        let trusted_until = Instant::now() + TERM;
        let document = LeadershipDocument {
            leader: self.scaler.clone(),
            resigned,
            target: state.target,
            reason: state.reason.to_owned(),
            limit: state.limit,
            slot_seconds_per_clip_second: state.speed.clone(),
            renewed_at_ms: self.clock.now_ms(),
        };
        let write = Write { path: self.path.clone(), fields: document.to_fields(), precondition };
        let version = self.cloud.documents.commit(vec![write]).await?.first().copied();
        let version = version
            .ok_or_else(|| CloudError::new(ErrorKind::Unavailable, "read the version of the leader document"))?;
        self.term = Some(Term { version, trusted_until });
        Ok(())
    }
}

fn is_lost(error: &CloudError) -> bool {
    matches!(error.kind(), ErrorKind::Conflict | ErrorKind::AlreadyExists | ErrorKind::NotFound)
}

impl LeaderState {
    fn from_document(document: LeadershipDocument) -> Self {
        Self {
            target: document.target,
            reason: "",
            limit: document.limit,
            speed: document.slot_seconds_per_clip_second,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_cloud::memory;

    fn scalers(cloud: &Cloud) -> [Leadership; 2] {
        ["one", "two"].map(|scaler| {
            Leadership::new(cloud.clone(), Clock::starting_at(0), "fleetControl/scaler-test".into(), scaler.into())
        })
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_another_waits_until_its_term_is_over() {
        let [mut one, mut two] = scalers(&memory::cloud());
        assert!(one.acquire().await.unwrap());
        let state =
            LeaderState { target: Some(3), reason: "backlog", limit: None, speed: [("1080p".to_owned(), 0.14)].into() };
        for _ in 0..20 {
            assert!(one.renew(&state).await && !two.acquire().await.unwrap());
            tokio::time::sleep(RENEW_INTERVAL).await;
        }
        // The first freezes: the second takes over with its state. The wait is counted from the last renewal.
        let mut waited = RENEW_INTERVAL;
        while !two.acquire().await.unwrap() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            waited += Duration::from_secs(1);
        }
        assert!(waited > TERM && waited < Duration::from_secs(25), "{waited:?}");
        assert!(one.remaining().is_zero(), "the first's term had ended before");
        assert_eq!((two.previous.target, &two.previous.speed), (Some(3), &state.speed));
        assert!(!one.renew(&state).await && one.confirm(&state).await.is_err());
        assert!(two.renew(&state).await, "the first did not disturb the second");
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_was_replaced_without_noticing_fails_before_it_sets_anything() {
        let cloud = memory::cloud();
        let [mut one, mut two] = scalers(&cloud);
        assert!(one.acquire().await.unwrap());
        // Another scaler writes the document while the first's term still runs.
        two.seen = None;
        let found = cloud.documents.get(&["fleetControl/scaler-test".to_owned()]).await.unwrap().remove(0).unwrap();
        two.write(&LeaderState::default(), Precondition::Unchanged(found.version), false).await.unwrap();
        assert!(!one.remaining().is_zero());
        assert_eq!(one.confirm(&LeaderState::default()).await.unwrap_err().kind(), ErrorKind::Conflict);
        assert!(one.remaining().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn leadership_that_was_resigned_is_acquired_at_once() {
        let [mut one, mut two] = scalers(&memory::cloud());
        assert!(one.acquire().await.unwrap());
        one.resign(&LeaderState::default()).await;
        assert!(one.remaining().is_zero());
        assert!(two.acquire().await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_that_acquire_at_once_one_leads() {
        let cloud = memory::cloud();
        let [mut one, mut two] = scalers(&cloud);
        let (first, second) = tokio::join!(one.acquire(), two.acquire());
        assert_eq!(u8::from(first.unwrap()) + u8::from(second.unwrap()), 1);
    }
}

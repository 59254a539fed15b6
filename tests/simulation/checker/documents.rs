//! Checks of documents: compares each write with the previous content and with the published events.

use super::{CheckResult, Checker, ClipKey, Counts, integer, text};
use crate::{media::OVERSIZED, world::count};
use clipfleet_cloud::{Fields, Value, Write};
use clipfleet_contract::{documents::fleet_control, names};
use clipfleet_domain::{lifecycle::ClipEventKind, state::State, wire_name::WireName as _};
use tokio::time::Instant;

impl Checker {
    /// Documents were written in one commit.
    pub(crate) fn written(&mut self, process: &str, writes: &[Write], counts: &mut Counts) -> CheckResult {
        // Clips first: a batch is compared with the state that its clips have after this commit.
        let (batches, others): (Vec<_>, Vec<_>) = writes.iter().partition(|write| write.path.split('/').count() == 2);
        for Write { path, fields, .. } in others.into_iter().chain(batches) {
            let before = self.documents.insert(path.clone(), fields.clone());
            let segments: Vec<&str> = path.split('/').collect();
            match segments[..] {
                [names::BATCHES, batch, "clips", clip] => {
                    self.clip_written(&(batch.to_owned(), clip.to_owned()), before.as_ref(), fields, counts)?;
                }
                [names::BATCHES, batch] => self.batch_written(batch, before.as_ref(), fields)?,
                [names::REQUESTS, batch] => {
                    self.record_retries(batch, fields);
                    check_record(path, before.as_ref(), fields, counts)?;
                }
                _ => self.control_written(process, path, fields, counts),
            }
        }
        Ok(())
    }

    fn clip_written(
        &mut self,
        clip: &ClipKey,
        before: Option<&Fields>,
        fields: &Fields,
        counts: &mut Counts,
    ) -> CheckResult {
        let now = ClipStatus::read(fields)?;
        let was = before.map(ClipStatus::read).transpose()?;
        let names = (was.as_ref().map_or("none", ClipStatus::name), now.name());
        if was.as_ref().is_none_or(|was| (was.state, was.generation) != (now.state, now.generation)) {
            let again = was.as_ref().is_some_and(|was| was.generation < now.generation);
            let why = match again {
                true => " (retried)",
                false if is_refused(fields) => " (document refused)",
                false => "",
            };
            count(counts, &format!("{} -> {}{why}", names.0, names.1));
        }
        if let Some(was) = was {
            let what = format!("the document of {clip:?} went from {was:?} to {now:?}");
            if now.generation < was.generation {
                return Err(format!("{what}: back to an earlier generation"));
            }
            if now.generation == was.generation && now.percent < was.percent {
                return Err(format!("{what}: progress fell"));
            }
            if now.generation == was.generation && was.state.is_terminal() && now.state != was.state {
                return Err(format!("{what}: a terminal state changed"));
            }
        }
        let attempt = text(fields, "attemptId");
        let shown = before.map_or("", |before| text(before, "attemptId"));
        if shown != attempt && !shown.is_empty() {
            count(counts, "a later attempt took over");
            self.superseded.entry(shown.to_owned()).or_insert_with(Instant::now);
        }
        self.check_published(clip, now)?;
        let ended = now.state.is_terminal();
        let until = if ended { Some(now.generation) } else { now.generation.checked_sub(1) };
        if let Some(until) = until
            && self.obsolete.get(clip).is_none_or(|(known, _)| *known < until)
        {
            self.obsolete.insert(clip.clone(), (until, Instant::now()));
        }
        if now.state == State::Completed {
            let uri = text(fields, "outputUri");
            let exists = self.objects.iter().any(|(name, made)| name.to_string() == uri && !made.deleted);
            if !exists {
                return Err(format!("{clip:?} is completed with {uri:?}, which does not exist"));
            }
        }
        Ok(())
    }

    fn batch_written(&mut self, batch: &str, before: Option<&Fields>, fields: &Fields) -> CheckResult {
        let clips = format!("{}/{batch}/clips/", names::BATCHES);
        let clips = self.documents.iter().filter(|(path, _)| path.starts_with(&clips));
        let restarts: i64 = clips.map(|(_, fields)| integer(fields, "generation")).sum();
        let (was, now) = (before.map_or(0, |before| integer(before, "progress")), integer(fields, "progress"));
        // Each restarted clip may lower the progress once. That need not happen immediately: another instance that has
        // not received the restart yet may write first.
        let progress_drops = self.progress_drops.entry(batch.to_owned()).or_default();
        *progress_drops += i64::from(now < was);
        if *progress_drops > restarts {
            return Err(format!("the progress of batch {batch} fell from {was} to {now}, though no clip started over"));
        }
        Ok(())
    }

    /// Records the retries of a record. They stay requested even if a later record lacks them.
    fn record_retries(&mut self, batch: &str, fields: &Fields) {
        let Some(Value::Map(retried)) = fields.get("retried") else { return };
        for (clip, generation) in retried {
            let Value::Integer(generation) = generation else { continue };
            let requested = self.requested.entry((batch.to_owned(), clip.clone())).or_default();
            *requested = (*requested).max(*generation);
        }
    }

    /// The fleet control document or the leadership document was written.
    fn control_written(&mut self, process: &str, path: &str, fields: &Fields, counts: &mut Counts) {
        if path == fleet_control::PATH {
            let paused = fields.get("paused") == Some(&Value::Bool(true));
            count(counts, if paused { "the fleet was paused" } else { "the fleet was resumed" });
            self.paused_since = paused.then(|| self.paused_since.unwrap_or_else(Instant::now));
        } else if self.leader.replace(process.to_owned()).is_some_and(|before| before != process) {
            count(counts, "another scaler became the leader");
        }
    }

    /// The size of the pool was set. Only the last writer of the leadership document may do that.
    pub(crate) fn pool_set(&self, process: &str) -> CheckResult {
        match self.leader.as_deref() {
            Some(holder) if holder == process => Ok(()),
            holder => Err(format!("{process} sets the size of the pool, though {holder:?} leads")),
        }
    }

    /// A document must show only what events reported.
    fn check_published(&self, clip: &ClipKey, now: ClipStatus) -> CheckResult {
        let events = self.events.get(clip).into_iter().flatten().filter(|event| event.generation == now.generation);
        let (mut percent, mut reported) = (0, now.state == State::Queued);
        for event in events {
            reported |= match &event.kind {
                ClipEventKind::Completed { .. } => now.state == State::Completed,
                ClipEventKind::Failed(_) => now.state == State::Failed,
                ClipEventKind::Cancelled => now.state == State::Cancelled,
                ClipEventKind::Queued => false,
                _ => now.state == State::Processing,
            };
            match &event.kind {
                ClipEventKind::Progressed { percent: event_percent, .. } => percent = percent.max(*event_percent),
                ClipEventKind::Completed { .. } => percent = 100,
                _ => {}
            }
        }
        reported |=
            now.state == State::Failed && self.dead_lettered.get(clip).is_some_and(|it| it.contains(&now.generation));
        // Status itself fails the clip where the store refuses its full document.
        reported |= now.state == State::Failed && clip.1.ends_with(OVERSIZED);
        if !reported || now.percent > i64::from(percent) {
            return Err(format!("the document of {clip:?} shows {now:?}, which no event reported"));
        }
        Ok(())
    }
}

/// Whether a clip failed because the store refused its document.
fn is_refused(fields: &Fields) -> bool {
    let Some(Value::Map(error)) = fields.get("error") else { return false };
    text(error, "code") == "document_refused"
}

/// An accepted request must not change: same request, same source, and once dispatched it stays dispatched.
fn check_record(path: &str, before: Option<&Fields>, fields: &Fields, counts: &mut Counts) -> CheckResult {
    let Some(before) = before else { return Ok(()) };
    for field in ["digest", "request", "sourceGeneration", "acceptedAtMs"] {
        if before.get(field) != fields.get(field) {
            return Err(format!("{path}: {field} of an accepted request was changed"));
        }
    }
    if integer(fields, "repairs") > integer(before, "repairs") {
        count(counts, "a stalled batch was repaired");
    }
    if before.get("dispatched") == Some(&Value::Bool(true)) && fields.get("dispatched") != Some(&Value::Bool(true)) {
        return Err(format!("{path}: a dispatched batch became undispatched"));
    }
    Ok(())
}

/// The main fields of a clip's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClipStatus {
    pub(crate) state: State,
    pub(crate) percent: i64,
    pub(crate) generation: u32,
}

impl ClipStatus {
    pub(crate) fn read(fields: &Fields) -> Result<Self, String> {
        let state = State::parse(text(fields, "status")).map_err(|reason| format!("status {reason}"))?;
        let (percent, generation) = (integer(fields, "progress"), integer(fields, "generation"));
        Ok(Self { state, percent, generation: u32::try_from(generation).map_err(|error| error.to_string())? })
    }

    fn name(&self) -> &'static str {
        self.state.name()
    }
}

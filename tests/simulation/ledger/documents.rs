//! What documents must never say: each write is compared with what was written before and with what was published.

use super::{ClipKey, Counts, Ledger, Verdict, integer, text};
use crate::{media::OVERSIZED, world::count};
use clipfleet_cloud::{Fields, Value, Write};
use clipfleet_contract::{documents::fleet_control, names};
use clipfleet_domain::{
    lifecycle::ClipEventKind,
    rendition::{by_name, name_of},
    state::State,
};
use tokio::time::Instant;

impl Ledger {
    /// Documents were written together.
    pub(crate) fn written(&mut self, process: &str, writes: &[Write], counts: &mut Counts) -> Verdict {
        // Clips first: what a batch says is looked at beside what its clips say by then.
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
                    self.retries_noted(batch, fields);
                    record_written(path, before.as_ref(), fields, counts)?;
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
    ) -> Verdict {
        let now = Standing::read(fields)?;
        let was = before.map(Standing::read).transpose()?;
        let names = (was.as_ref().map_or("none", Standing::name), now.name());
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
                return Err(format!("{what}: an end was not the end"));
            }
        }
        let attempt = text(fields, "attemptId");
        let shown = before.map_or("", |before| text(before, "attemptId"));
        if shown != attempt && !shown.is_empty() {
            count(counts, "a later attempt took over");
            self.superseded.entry(shown.to_owned()).or_insert_with(Instant::now);
        }
        self.was_published(clip, now)?;
        let ended = now.state.is_terminal();
        let until = if ended { Some(now.generation) } else { now.generation.checked_sub(1) };
        if let Some(until) = until
            && self.unwanted.get(clip).is_none_or(|(known, _)| *known < until)
        {
            self.unwanted.insert(clip.clone(), (until, Instant::now()));
        }
        if now.state == State::Completed {
            let uri = text(fields, "outputUri");
            let there = self.objects.iter().any(|(name, made)| name.to_string() == uri && !made.gone);
            if !there {
                return Err(format!("{clip:?} is completed with {uri:?}, which is not there"));
            }
        }
        Ok(())
    }

    fn batch_written(&mut self, batch: &str, before: Option<&Fields>, fields: &Fields) -> Verdict {
        let clips = format!("{}/{batch}/clips/", names::BATCHES);
        let clips = self.documents.iter().filter(|(path, _)| path.starts_with(&clips));
        let restarts: i64 = clips.map(|(_, fields)| integer(fields, "generation")).sum();
        let (was, now) = (before.map_or(0, |before| integer(before, "progress")), integer(fields, "progress"));
        // A clip that starts over lets it fall, once. Not always at once: another instance, which has not heard of it yet, may write first.
        let falls = self.falls.entry(batch.to_owned()).or_default();
        *falls += i64::from(now < was);
        if *falls > restarts {
            return Err(format!("the progress of batch {batch} fell from {was} to {now}, though no clip started over"));
        }
        Ok(())
    }

    /// What a record says of retries stays asked for, whatever it says later.
    fn retries_noted(&mut self, batch: &str, fields: &Fields) {
        let Some(Value::Map(retried)) = fields.get("retried") else { return };
        for (clip, generation) in retried {
            let Value::Integer(generation) = generation else { continue };
            let asked = self.asked.entry((batch.to_owned(), clip.clone())).or_default();
            *asked = (*asked).max(*generation);
        }
    }

    /// What operators ask of the fleet, or who sets the size of its pool.
    fn control_written(&mut self, process: &str, path: &str, fields: &Fields, counts: &mut Counts) {
        if path == fleet_control::PATH {
            let paused = fields.get("paused") == Some(&Value::Bool(true));
            count(counts, if paused { "the fleet was paused" } else { "the fleet was let go on" });
            self.paused_since = paused.then(|| self.paused_since.unwrap_or_else(Instant::now));
        } else if self.leader.replace(process.to_owned()).is_some_and(|before| before != process) {
            count(counts, "another scaler became the leader");
        }
    }

    /// The size of the pool was set. Only who wrote the leadership's document last may do that.
    pub(crate) fn pool_set(&self, process: &str) -> Verdict {
        match self.leader.as_deref() {
            Some(holder) if holder == process => Ok(()),
            holder => Err(format!("{process} sets the size of the pool, though {holder:?} leads")),
        }
    }

    /// A document says nothing that nobody said.
    fn was_published(&self, clip: &ClipKey, now: Standing) -> Verdict {
        let events = self.events.get(clip).into_iter().flatten().filter(|event| event.generation == now.generation);
        let (mut percent, mut said) = (0, now.state == State::Queued);
        for event in events {
            said |= match &event.kind {
                ClipEventKind::Completed { .. } => now.state == State::Completed,
                ClipEventKind::Failed(_) => now.state == State::Failed,
                ClipEventKind::Cancelled => now.state == State::Cancelled,
                ClipEventKind::Queued => false,
                _ => now.state == State::Processing,
            };
            match &event.kind {
                ClipEventKind::Progressed { percent: told, .. } => percent = percent.max(*told),
                ClipEventKind::Completed { .. } => percent = 100,
                _ => {}
            }
        }
        said |= now.state == State::Failed && self.set_aside.get(clip).is_some_and(|it| it.contains(&now.generation));
        // Status itself says so where the store refuses what the events come to.
        said |= now.state == State::Failed && clip.1.ends_with(OVERSIZED);
        if !said || now.percent > i64::from(percent) {
            return Err(format!("the document of {clip:?} says {now:?}, which no event says"));
        }
        Ok(())
    }
}

/// Whether a clip failed because its document was refused.
fn is_refused(fields: &Fields) -> bool {
    let Some(Value::Map(error)) = fields.get("error") else { return false };
    text(error, "code") == "document_refused"
}

/// What was accepted stays: same request, same source, and never undispatched.
fn record_written(path: &str, before: Option<&Fields>, fields: &Fields, counts: &mut Counts) -> Verdict {
    let Some(before) = before else { return Ok(()) };
    for field in ["digest", "request", "sourceGeneration", "acceptedAtMs"] {
        if before.get(field) != fields.get(field) {
            return Err(format!("{path}: {field} of an accepted request was changed"));
        }
    }
    if integer(fields, "repairs") > integer(before, "repairs") {
        count(counts, "a silent batch was mended");
    }
    if before.get("dispatched") == Some(&Value::Bool(true)) && fields.get("dispatched") != Some(&Value::Bool(true)) {
        return Err(format!("{path}: a dispatched batch is to be dispatched again"));
    }
    Ok(())
}

/// What people read first in a clip's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    pub(crate) percent: i64,
    pub(crate) generation: u32,
}

impl Standing {
    pub(crate) fn read(fields: &Fields) -> Result<Self, String> {
        let state = by_name(&State::ALL, text(fields, "status")).map_err(|reason| format!("status {reason}"))?;
        let (percent, generation) = (integer(fields, "progress"), integer(fields, "generation"));
        Ok(Self { state, percent, generation: u32::try_from(generation).map_err(|error| error.to_string())? })
    }

    fn name(&self) -> &'static str {
        name_of(&State::ALL, self.state)
    }
}

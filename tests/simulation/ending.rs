//! What must be true once a run is quiet: nothing forgotten, and every document the fold of the events that were published.

use crate::{
    ledger::{ClipKey, Ledger, Standing, integer, text},
    media::{OVERSIZED, UNSTORABLE},
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::Failure,
    lifecycle::{BatchView, ClipEvent, ClipEventKind, ClipView},
    progress::Phase,
    rendition::name_of,
    state::State,
};
use std::time::{SystemTime, UNIX_EPOCH};

impl Ledger {
    /// The first promised batch or clip whose document does not say that it is over.
    pub(crate) fn open(&self) -> Option<String> {
        let over = |path: &str| {
            let fields = self.documents.get(path)?;
            let state = text(fields, "status");
            State::ALL.iter().find(|(_, name)| *name == state).map(|(state, _)| state.is_terminal())
        };
        let clips = self.promised.iter().flat_map(|(batch, clips)| {
            let batch_path = format!("{}/{batch}", names::BATCHES);
            let stored = clips.iter().filter(|clip| !clip.ends_with(UNSTORABLE));
            let paths: Vec<_> = stored.map(|clip| format!("{batch_path}/clips/{clip}")).collect();
            paths.into_iter().chain([batch_path])
        });
        let refused = self.refused.iter().map(|batch| format!("{}/{batch}", names::BATCHES));
        clips.chain(refused).find(|path| over(path) != Some(true)).or_else(|| self.untold())
    }

    /// The first clip of which a generation was asked for that its document has not heard of.
    fn untold(&self) -> Option<String> {
        let stored = self.asked.iter().filter(|((_, clip), _)| !clip.ends_with(UNSTORABLE));
        stored.into_iter().find_map(|((batch, clip), asked)| {
            let path = format!("{}/{batch}/clips/{clip}", names::BATCHES);
            let shown = self.documents.get(&path).map_or(0, |fields| integer(fields, "generation"));
            (shown < *asked).then_some(path)
        })
    }

    /// Compares every document with the events.
    pub(crate) fn documents_are_the_fold(&self) -> Result<(), String> {
        for (batch, clips) in &self.promised {
            let path = format!("{}/{batch}", names::BATCHES);
            let fields = self.documents.get(&path).ok_or_else(|| format!("{path} is not there"))?;
            let mut views = Vec::new();
            for clip in clips {
                let key = (batch.clone(), clip.clone());
                views.push(match clip {
                    _ if clip.ends_with(UNSTORABLE) => told_by_the_batch(&path, fields, clip)?,
                    _ if clip.ends_with(OVERSIZED) => self.told_by_the_document(&key)?,
                    _ => self.fold_of(&key)?,
                });
            }
            let view = BatchView::of(&views, u32::try_from(clips.len()).unwrap_or(u32::MAX));
            let mut lines = batch_lines(&view);
            if clips.iter().any(|clip| clip.ends_with(UNSTORABLE)) {
                // When it was created may have been told of that clip alone.
                lines.retain(|(name, _)| *name != "createdAt");
            }
            differences(&path, &lines, fields)?;
        }
        for batch in &self.refused {
            let path = format!("{}/{batch}", names::BATCHES);
            let fields = self.documents.get(&path).ok_or_else(|| format!("{path} is not there"))?;
            if text(fields, "status") != "failed" {
                return Err(format!("{path}: a refused batch is {}", text(fields, "status")));
            }
        }
        Ok(())
    }

    /// What a document that was refused says in short; how much of the events was lost with that is not looked at.
    fn told_by_the_document(&self, clip: &ClipKey) -> Result<ClipView, String> {
        let path = format!("{}/{}/clips/{}", names::BATCHES, clip.0, clip.1);
        let fields = self.documents.get(&path).ok_or_else(|| format!("{path} is not there"))?;
        Ok(ClipView {
            state: Standing::read(fields)?.state,
            created_at_ms: millis(fields.get("createdAt")),
            updated_at_ms: millis(fields.get("updatedAt")).unwrap_or(0),
            completed_at_ms: millis(fields.get("completedAt")),
            ..ClipView::default()
        })
    }

    /// The view that a clip's document shows, which must be the fold of its events. Where terminal events of one generation contradict
    /// each other the first that was folded counts, and the document says which it was.
    fn fold_of(&self, clip: &ClipKey) -> Result<ClipView, String> {
        let path = format!("{}/{}/clips/{}", names::BATCHES, clip.0, clip.1);
        let fields = self.documents.get(&path).ok_or_else(|| format!("{path} is not there"))?;
        let events = self.events.get(clip).map(Vec::as_slice).unwrap_or_default();
        let set_aside = self.set_aside.get(clip).map(Vec::as_slice).unwrap_or_default();
        let generation =
            events.iter().map(|event| event.generation).chain(set_aside.iter().copied()).max().unwrap_or(0);
        let shown = Standing::read(fields)?;
        if shown.generation != generation {
            return Err(format!("{path} shows generation {}, the events go up to {generation}", shown.generation));
        }
        let ends = |event: &ClipEvent| {
            event.generation == generation
                && matches!(
                    event.kind,
                    ClipEventKind::Completed { .. } | ClipEventKind::Failed(_) | ClipEventKind::Cancelled
                )
        };
        let mut view = ClipView::default();
        events.iter().filter(|event| !ends(event)).for_each(|event| fold_in(&mut view, event));
        let mut ends: Vec<ClipEvent> = events.iter().filter(|event| ends(event)).cloned().collect();
        // Status itself says that a job was set aside, at a time of its own, which only the document tells.
        let told = |field: &str, generation: u32, kind: ClipEventKind| ClipEvent {
            generation,
            at_ms: millis(fields.get(field)).unwrap_or(0),
            attempt: None,
            kind,
        };
        if set_aside.contains(&generation) {
            ends.push(told("completedAt", generation, ClipEventKind::Failed(Failure::dead_lettered(""))));
        }
        if !set_aside.is_empty() {
            // Where that was not what counted, it may still be the earliest that was heard.
            fold_in(&mut view, &told("createdAt", 0, ClipEventKind::Queued));
        }
        let mut why = format!("{path} is {:?}, which is no end that was published", shown.state);
        for (index, end) in ends.iter().enumerate() {
            let mut view = view.clone();
            view.fold(end);
            if view.state != shown.state {
                continue;
            }
            ends.iter().enumerate().filter(|(other, _)| *other != index).for_each(|(_, late)| fold_in(&mut view, late));
            match differences(&path, &clip_lines(&view), fields) {
                Ok(()) => return Ok(view),
                Err(difference) => why = difference,
            }
        }
        Err(why)
    }
}

/// What the document of a batch says of a clip that has none.
fn told_by_the_batch(path: &str, fields: &Fields, clip: &str) -> Result<ClipView, String> {
    let map = |fields: &Fields, name: &str| match fields.get(name) {
        Some(Value::Map(fields)) => Some(fields.clone()),
        _ => None,
    };
    let ending = map(fields, "fold").and_then(|fold| map(&map(&fold, "givenUp")?, clip));
    let ending = ending.ok_or_else(|| format!("{path} does not say how {clip} ended, which has no document"))?;
    let state = State::ALL.iter().find(|(_, name)| *name == text(&ending, "status")).map(|(state, _)| *state);
    let ended_at_ms = millis(ending.get("endedAt"));
    Ok(ClipView {
        state: state.unwrap_or_default(),
        updated_at_ms: ended_at_ms.unwrap_or(0),
        completed_at_ms: ended_at_ms,
        ..ClipView::default()
    })
}

fn fold_in(view: &mut ClipView, event: &ClipEvent) {
    view.fold(event);
}

fn clip_lines(view: &ClipView) -> Vec<(&'static str, Value)> {
    let text = |text: &str| Value::String(text.to_owned());
    let attempt = view.attempt.as_ref();
    let output = view.output.as_ref();
    let counts = view.stats.counts(attempt.map(|attempt| &attempt.id));
    let count = |number: u32| Value::Integer(i64::from(number));
    vec![
        ("status", text(name_of(&State::ALL, view.state))),
        ("phase", text(name_of(&Phase::ALL, view.phase))),
        ("progress", Value::Integer(i64::from(view.percent))),
        ("etaSeconds", view.eta_seconds.map_or(Value::Null, |seconds| Value::Integer(i64::from(seconds)))),
        ("generation", Value::Integer(i64::from(view.generation))),
        ("attemptId", text(attempt.map_or("", |attempt| attempt.id.as_str()))),
        ("crashes", count(counts.crashes)),
        ("transientFailures", count(counts.transient_failures)),
        ("interruptions", count(counts.interruptions)),
        ("lostAttempts", count(counts.lost)),
        ("attempt", Value::Integer(attempt.map_or(0, |attempt| i64::from(attempt.number)))),
        ("worker", text(attempt.map_or("", |attempt| attempt.worker.as_str()))),
        ("encoder", text(&view.encoding.encoder)),
        ("outputUri", text(output.map_or("", |output| &output.uri))),
        ("manifestUri", text(output.map_or("", |output| &output.manifest.uri))),
        ("coverUri", text(output.map_or("", |output| &output.cover.uri))),
        ("reused", Value::Bool(output.is_some_and(|output| output.reused))),
        ("createdAt", time(view.created_at_ms)),
        ("startedAt", time(view.started_at_ms)),
        ("updatedAt", time(Some(view.updated_at_ms))),
        ("completedAt", time(view.completed_at_ms)),
    ]
}

fn batch_lines(view: &BatchView) -> Vec<(&'static str, Value)> {
    let number = |number: u32| Value::Integer(i64::from(number));
    vec![
        ("status", Value::String(name_of(&State::ALL, view.state).to_owned())),
        ("progress", Value::Integer(i64::from(view.percent))),
        ("totalClips", number(view.total)),
        ("completedClips", number(view.completed)),
        ("failedClips", number(view.failed)),
        ("cancelledClips", number(view.cancelled)),
        ("createdAt", time(view.created_at_ms)),
        ("updatedAt", time(Some(view.updated_at_ms))),
        ("completedAt", time(view.completed_at_ms)),
    ]
}

fn differences(path: &str, expected: &[(&str, Value)], fields: &Fields) -> Result<(), String> {
    let different = expected.iter().filter(|(name, value)| fields.get(*name) != Some(value));
    let different: Vec<String> =
        different.map(|(name, value)| format!("{name} is {:?}, the events say {value:?}", fields.get(*name))).collect();
    if different.is_empty() { Ok(()) } else { Err(format!("{path} is not the fold: {}", different.join("; "))) }
}

fn time(unix_ms: Option<i64>) -> Value {
    unix_ms.map_or(Value::Null, |ms| Value::Timestamp(UNIX_EPOCH + std::time::Duration::from_millis(ms.unsigned_abs())))
}

fn millis(value: Option<&Value>) -> Option<i64> {
    let Some(Value::Timestamp(at)) = value else { return None };
    let since: std::time::Duration = SystemTime::duration_since(at, UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}

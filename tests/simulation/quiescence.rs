//! Checks of the end state, once a run is quiescent: no batch is forgotten, and every document is the fold of the
//! published events.

use crate::{
    checker::{Checker, ClipKey, ClipStatus, integer, text},
    media::{OVERSIZED, UNSTORABLE},
};
use clipfleet_cloud::{Fields, Value};
use clipfleet_contract::names;
use clipfleet_domain::{
    failure::Failure,
    lifecycle::{BatchView, ClipEvent, ClipEventKind, ClipView},
    state::State,
    wire_name::WireName as _,
};
use std::time::{SystemTime, UNIX_EPOCH};

impl Checker {
    /// The first accepted batch or clip whose document does not show a terminal state.
    pub(crate) fn find_unfinished(&self) -> Option<String> {
        let is_terminal = |path: &str| {
            let fields = self.documents.get(path)?;
            let state = text(fields, "status");
            State::parse(state).ok().map(State::is_terminal)
        };
        let clips = self.accepted.iter().flat_map(|(batch, clips)| {
            let batch_path = format!("{}/{batch}", names::BATCHES);
            let stored = clips.iter().filter(|clip| !clip.ends_with(UNSTORABLE));
            let paths: Vec<_> = stored.map(|clip| format!("{batch_path}/clips/{clip}")).collect();
            paths.into_iter().chain([batch_path])
        });
        let refused = self.refused.iter().map(|batch| format!("{}/{batch}", names::BATCHES));
        clips.chain(refused).find(|path| is_terminal(path) != Some(true)).or_else(|| self.missed_retry())
    }

    /// The first clip whose document does not show the latest generation that a retry requested.
    fn missed_retry(&self) -> Option<String> {
        let stored = self.requested.iter().filter(|((_, clip), _)| !clip.ends_with(UNSTORABLE));
        stored.into_iter().find_map(|((batch, clip), requested)| {
            let path = format!("{}/{batch}/clips/{clip}", names::BATCHES);
            let shown = self.documents.get(&path).map_or(0, |fields| integer(fields, "generation"));
            (shown < *requested).then_some(path)
        })
    }

    /// Compares every document with the events.
    pub(crate) fn check_documents_match_fold(&self) -> Result<(), String> {
        for (batch, clips) in &self.accepted {
            let path = format!("{}/{batch}", names::BATCHES);
            let fields = self.documents.get(&path).ok_or_else(|| format!("{path} does not exist"))?;
            let mut views = Vec::new();
            for clip in clips {
                let key = (batch.clone(), clip.clone());
                views.push(match clip {
                    _ if clip.ends_with(UNSTORABLE) => view_from_batch(&path, fields, clip)?,
                    _ if clip.ends_with(OVERSIZED) => self.view_from_document(&key)?,
                    _ => self.expected_view(&key)?,
                });
            }
            let view = BatchView::of(&views, u32::try_from(clips.len()).unwrap_or(u32::MAX));
            let mut lines = batch_lines(&view);
            if clips.iter().any(|clip| clip.ends_with(UNSTORABLE)) {
                // That clip alone may have reported when the batch was created.
                lines.retain(|(name, _)| *name != "createdAt");
            }
            differences(&path, &lines, fields)?;
        }
        for batch in &self.refused {
            let path = format!("{}/{batch}", names::BATCHES);
            let fields = self.documents.get(&path).ok_or_else(|| format!("{path} does not exist"))?;
            if text(fields, "status") != "failed" {
                return Err(format!("{path}: a refused batch is {}", text(fields, "status")));
            }
        }
        Ok(())
    }

    /// The view that a minimal document shows, which replaced a refused one. How much of the events it lacks is not
    /// checked.
    fn view_from_document(&self, clip: &ClipKey) -> Result<ClipView, String> {
        let path = format!("{}/{}/clips/{}", names::BATCHES, clip.0, clip.1);
        let fields = self.documents.get(&path).ok_or_else(|| format!("{path} does not exist"))?;
        Ok(ClipView {
            state: ClipStatus::read(fields)?.state,
            created_at_ms: millis(fields.get("createdAt")),
            updated_at_ms: millis(fields.get("updatedAt")).unwrap_or(0),
            completed_at_ms: millis(fields.get("completedAt")),
            ..ClipView::default()
        })
    }

    /// The view that a clip's document shows, which must be the fold of its events. If terminal events of one
    /// generation contradict each other, the first that was folded counts, and the document shows which one that was.
    fn expected_view(&self, clip: &ClipKey) -> Result<ClipView, String> {
        let path = format!("{}/{}/clips/{}", names::BATCHES, clip.0, clip.1);
        let fields = self.documents.get(&path).ok_or_else(|| format!("{path} does not exist"))?;
        let events = self.events.get(clip).map(Vec::as_slice).unwrap_or_default();
        let dead_lettered = self.dead_lettered.get(clip).map(Vec::as_slice).unwrap_or_default();
        let generation =
            events.iter().map(|event| event.generation).chain(dead_lettered.iter().copied()).max().unwrap_or(0);
        let shown = ClipStatus::read(fields)?;
        if shown.generation != generation {
            return Err(format!("{path} shows generation {}, the events go up to {generation}", shown.generation));
        }
        let is_terminal = |event: &ClipEvent| {
            event.generation == generation
                && matches!(
                    event.kind,
                    ClipEventKind::Completed { .. } | ClipEventKind::Failed(_) | ClipEventKind::Cancelled
                )
        };
        let mut view = ClipView::default();
        events.iter().filter(|event| !is_terminal(event)).for_each(|event| fold_in(&mut view, event));
        let mut ends: Vec<ClipEvent> = events.iter().filter(|event| is_terminal(event)).cloned().collect();
        // Status itself creates the event of a dead-lettered job, with a time that only the document shows.
        let status_event = |field: &str, generation: u32, kind: ClipEventKind| ClipEvent {
            generation,
            at_ms: millis(fields.get(field)).unwrap_or(0),
            attempt: None,
            kind,
        };
        if dead_lettered.contains(&generation) {
            ends.push(status_event("completedAt", generation, ClipEventKind::Failed(Failure::dead_lettered(""))));
        }
        if !dead_lettered.is_empty() {
            // Even if another event ended the generation, this event may be the earliest that status received.
            fold_in(&mut view, &status_event("createdAt", 0, ClipEventKind::Queued));
        }
        let mut why = format!("{path} is {:?}, but no such terminal event was published", shown.state);
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

/// The view that a batch's document shows of a clip that has no document.
fn view_from_batch(path: &str, fields: &Fields, clip: &str) -> Result<ClipView, String> {
    let map = |fields: &Fields, name: &str| match fields.get(name) {
        Some(Value::Map(fields)) => Some(fields.clone()),
        _ => None,
    };
    let end = map(fields, "fold").and_then(|fold| map(&map(&fold, "givenUp")?, clip));
    let end = end.ok_or_else(|| format!("{path} does not show how {clip} ended, which has no document"))?;
    let state = State::parse(text(&end, "status")).ok();
    let ended_at_ms = millis(end.get("endedAt"));
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
        ("status", text(view.state.name())),
        ("phase", text(view.phase.name())),
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
        ("status", Value::String(view.state.name().to_owned())),
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
        different.map(|(name, value)| format!("{name} is {:?}, the fold is {value:?}", fields.get(*name))).collect();
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

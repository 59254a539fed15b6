//! Events and documents in, load out.

use super::*;
use clipfleet_domain::{
    attempt::Attempt,
    cost::Usage,
    failure::{Code, Failure},
    ids::{AttemptId, OwnerUid, ProjectId},
    job::BatchContext,
    lifecycle::{ClipEvent, Encoding, Output},
    rendition::Rendition,
};

fn clip_id(id: &str) -> ClipId {
    ClipId::parse(id).unwrap()
}

fn context(batch: &str) -> BatchContext {
    let (owner, project) = (OwnerUid::parse("u1").unwrap(), ProjectId::parse("p1").unwrap());
    BatchContext { id: BatchId::parse(batch).unwrap(), owner, project, size: 3 }
}

fn event(
    clip: &str,
    generation: u32,
    attempt: Option<(&str, u32, &str, u64)>,
    at_ms: i64,
    kind: ClipEventKind,
) -> Event {
    let attempt = attempt.map(|(id, number, worker, sequence)| Attempt {
        id: AttemptId::parse(id).unwrap(),
        number,
        started_at_ms: 1_000,
        worker: WorkerId::parse(worker).unwrap(),
        sequence,
    });
    let event = ClipEvent { generation, at_ms, attempt, kind };
    Event { batch: context("b1"), kind: EventKind::Clip { id: clip_id(clip), event } }
}

fn progressed(percent: u8) -> ClipEventKind {
    ClipEventKind::Progressed { phase: Phase::Encoding, percent, eta_seconds: None, encoding: Encoding::default() }
}

fn completed(slot_ms: i64, reused: bool) -> ClipEventKind {
    let usage = Usage { slot_ms, ..Usage::default() };
    ClipEventKind::Completed { output: Output { usage, reused, ..Output::default() }, encoding: Encoding::default() }
}

fn work() -> Work {
    Work::of(30_000, &Rendition::default())
}

/// Three clips of 30 s, at 0.3 slot-seconds a second: 10 s each.
fn fleet() -> FleetState {
    let mut fleet = FleetState::new(Speed::with_initial_rate(0.3));
    let clips = ["c1", "c2", "c3"].map(|id| (clip_id(id), work()));
    fleet.load_batch(&BatchId::parse("b1").unwrap(), clips.into(), BTreeMap::new(), 0);
    fleet
}

fn summary(fleet: &FleetState, now_ms: i64) -> (u32, u32, u32, f64) {
    let load = fleet.current_load(now_ms);
    (load.waiting, load.at_work, load.busy_workers, load.outstanding_seconds)
}

#[test]
fn a_batch_waits_is_processed_and_ends() {
    let mut fleet = fleet();
    assert_eq!(summary(&fleet, 0), (3, 0, 0, 30.0));
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
    fleet.fold(&event("c2", 0, Some(("a2", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 3_000, progressed(50)), 3_000);
    assert_eq!(summary(&fleet, 3_000), (1, 2, 1, 25.0));
    assert_eq!(fleet.current_load(3_000).at_risk_seconds, 4.0);
    assert_eq!(fleet.busy_workers(3_000).len(), 1);
    for (clip, attempt) in [("c1", "a1"), ("c2", "a2"), ("c3", "a3")] {
        fleet.fold(&event(clip, 0, Some((attempt, 1, "w1", 9)), 6_000, completed(5_000, false)), 6_000);
    }
    let load = fleet.current_load(6_000);
    assert_eq!((load.waiting, load.at_work, load.outstanding_seconds), (0, 0, 0.0));
    assert_eq!((fleet.take_served(), fleet.take_served()), (15.0, 0.0));
    let predicted = fleet.speed().seconds(&work());
    assert!(predicted < 8.0 && predicted > 5.0, "it learned: {predicted}");
}

#[test]
fn a_reused_result_does_not_change_the_predicted_speed() {
    let mut fleet = fleet();
    let before = fleet.speed().clone();
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, completed(40, true)), 1_000);
    assert_eq!((fleet.take_served(), fleet.speed()), (0.04, &before));
}

#[test]
fn duplicate_and_late_events_change_nothing() {
    let mut fleet = fleet();
    let done = event("c1", 0, Some(("a1", 1, "w1", 9)), 6_000, completed(5_000, false));
    fleet.fold(&done, 6_000);
    let (served, speed) = (fleet.take_served(), fleet.speed().clone());
    fleet.fold(&done, 7_000);
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 3_000, progressed(50)), 7_000);
    assert_eq!((served, fleet.take_served(), fleet.speed()), (5.0, 0.0, &speed));
    assert_eq!(summary(&fleet, 7_000).0, 2);
    assert_eq!(fleet.current_load(7_000).busy_workers, 0);
}

#[test]
fn a_silent_worker_is_not_busy_and_its_clip_waits() {
    let mut fleet = fleet();
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, progressed(50)), 1_000);
    assert_eq!(summary(&fleet, 15_999), (2, 1, 1, 25.0));
    assert_eq!(summary(&fleet, 16_000), (3, 0, 0, 30.0));
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 17_000, progressed(60)), 17_000);
    assert_eq!(summary(&fleet, 17_000), (2, 1, 1, 24.0));
}

#[test]
fn a_clip_waits_again_after_its_attempt_was_interrupted_or_crashed() {
    for kind in [ClipEventKind::Interrupted, ClipEventKind::Crashed(Failure::new(Code::PipelineCrashed, "x"))] {
        let mut fleet = fleet();
        fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
        fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 2_000, kind), 2_000);
        assert_eq!(summary(&fleet, 2_000), (3, 0, 0, 30.0));
    }
    let mut fleet = fleet();
    fleet.fold(&event("c1", 0, None, 1_000, ClipEventKind::Cancelled), 1_000);
    fleet.fold(&event("c2", 0, None, 1_000, ClipEventKind::Failed(Failure::new(Code::SourceGone, "x"))), 1_000);
    assert_eq!(summary(&fleet, 1_000), (1, 0, 0, 10.0));
    assert!(fleet.fold(&event("c1", 1, None, 2_000, ClipEventKind::Queued), 2_000), "a retry adds work");
    assert_eq!(summary(&fleet, 2_000), (2, 0, 0, 20.0));
}

#[test]
fn documents_add_what_events_missed_and_never_undo_newer_events() {
    let mut fleet = fleet();
    fleet.fold(&event("c1", 0, Some(("a1", 1, "w1", 5)), 6_000, completed(5_000, false)), 6_000);
    fleet.fold(&event("c2", 0, Some(("a2", 1, "w1", 5)), 6_000, progressed(50)), 6_000);
    let id = BatchId::parse("b1").unwrap();
    let documented = |state| ClipView { state, ..ClipView::default() };
    let views = [("c1", State::Processing), ("c2", State::Queued), ("c3", State::Completed)];
    let views = views.map(|(clip, state)| (clip_id(clip), documented(state))).into();
    let clips = ["c1", "c2", "c3"].map(|id| (clip_id(id), work()));
    fleet.load_batch(&id, clips.into(), views, 7_000);
    assert_eq!(summary(&fleet, 7_000), (0, 1, 1, fleet.speed().seconds(&work()) / 2.0));
}

#[test]
fn ended_batches_are_removed_and_silent_ones_are_stale() {
    let mut fleet = fleet();
    assert_eq!(fleet.stale(59_999, 10), vec![]);
    assert_eq!(fleet.stale(60_000, 10).len(), 1);
    assert_eq!(fleet.stale(60_000, 0), vec![]);
    for clip in ["c1", "c2", "c3"] {
        fleet.fold(&event(clip, 0, None, 60_000, ClipEventKind::Cancelled), 60_000);
    }
    fleet.prune(119_999);
    assert_eq!((fleet.stale(119_999, 10), fleet.len()), (vec![], 1));
    fleet.prune(120_000);
    assert_eq!((fleet.stale(120_000, 10), fleet.len()), (vec![], 0));
}

#[test]
fn a_batch_without_a_record_is_ignored_for_a_while() {
    let mut fleet = FleetState::default();
    let id = BatchId::parse("b1").unwrap();
    assert!(!fleet.knows(&id, 0));
    fleet.ignore(&id, 0);
    assert!(fleet.knows(&id, 59_999) && !fleet.knows(&id, 60_000));
    assert!(!fleet.fold(&event("c1", 0, None, 1, ClipEventKind::Queued), 1));
    assert_eq!(fleet.current_load(1), Load::default());
}

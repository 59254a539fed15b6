//! Events in, loads out.

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
fn board() -> Board {
    let mut board = Board::new(Speed::starting_with(0.3));
    let clips = ["c1", "c2", "c3"].map(|id| (clip_id(id), work()));
    board.take_up(&BatchId::parse("b1").unwrap(), clips.into(), BTreeMap::new(), 0);
    board
}

fn summary(board: &Board, now_ms: i64) -> (u32, u32, u32, f64) {
    let load = board.load(now_ms);
    (load.waiting, load.at_work, load.busy_workers, load.outstanding_seconds)
}

#[test]
fn a_batch_waits_is_worked_at_and_is_over() {
    let mut board = board();
    assert_eq!(summary(&board, 0), (3, 0, 0, 30.0));
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
    board.fold(&event("c2", 0, Some(("a2", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 3_000, progressed(50)), 3_000);
    assert_eq!(summary(&board, 3_000), (1, 2, 1, 25.0));
    assert_eq!(board.load(3_000).at_risk_seconds, 4.0);
    assert_eq!(board.busy(3_000).len(), 1);
    for (clip, attempt) in [("c1", "a1"), ("c2", "a2"), ("c3", "a3")] {
        board.fold(&event(clip, 0, Some((attempt, 1, "w1", 9)), 6_000, completed(5_000, false)), 6_000);
    }
    let load = board.load(6_000);
    assert_eq!((load.waiting, load.at_work, load.outstanding_seconds), (0, 0, 0.0));
    assert_eq!((board.take_served(), board.take_served()), (15.0, 0.0));
    let predicted = board.speed().seconds(&work());
    assert!(predicted < 8.0 && predicted > 5.0, "it learned: {predicted}");
}

#[test]
fn what_was_found_ready_teaches_nothing() {
    let mut board = board();
    let before = board.speed().clone();
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, completed(40, true)), 1_000);
    assert_eq!((board.take_served(), board.speed()), (0.04, &before));
}

#[test]
fn events_that_come_twice_or_late_change_nothing() {
    let mut board = board();
    let done = event("c1", 0, Some(("a1", 1, "w1", 9)), 6_000, completed(5_000, false));
    board.fold(&done, 6_000);
    let (served, speed) = (board.take_served(), board.speed().clone());
    board.fold(&done, 7_000);
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 3_000, progressed(50)), 7_000);
    assert_eq!((served, board.take_served(), board.speed()), (5.0, 0.0, &speed));
    assert_eq!(summary(&board, 7_000).0, 2);
    assert_eq!(board.load(7_000).busy_workers, 0);
}

#[test]
fn a_worker_that_is_silent_is_not_busy_and_its_clip_waits() {
    let mut board = board();
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, progressed(50)), 1_000);
    assert_eq!(summary(&board, 15_999), (2, 1, 1, 25.0));
    assert_eq!(summary(&board, 16_000), (3, 0, 0, 30.0));
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 17_000, progressed(60)), 17_000);
    assert_eq!(summary(&board, 17_000), (2, 1, 1, 24.0));
}

#[test]
fn an_attempt_that_ended_without_a_clip_leaves_it_waiting() {
    for kind in [ClipEventKind::Interrupted, ClipEventKind::Crashed(Failure::new(Code::PipelineCrashed, "x"))] {
        let mut board = board();
        board.fold(&event("c1", 0, Some(("a1", 1, "w1", 1)), 1_000, ClipEventKind::Started), 1_000);
        board.fold(&event("c1", 0, Some(("a1", 1, "w1", 2)), 2_000, kind), 2_000);
        assert_eq!(summary(&board, 2_000), (3, 0, 0, 30.0));
    }
    let mut board = board();
    board.fold(&event("c1", 0, None, 1_000, ClipEventKind::Cancelled), 1_000);
    board.fold(&event("c2", 0, None, 1_000, ClipEventKind::Failed(Failure::new(Code::SourceGone, "x"))), 1_000);
    assert_eq!(summary(&board, 1_000), (1, 0, 0, 10.0));
    assert!(board.fold(&event("c1", 1, None, 2_000, ClipEventKind::Queued), 2_000), "a retry is more to do");
    assert_eq!(summary(&board, 2_000), (2, 0, 0, 20.0));
}

#[test]
fn documents_tell_what_events_did_not_and_never_take_back_what_they_did() {
    let mut board = board();
    board.fold(&event("c1", 0, Some(("a1", 1, "w1", 5)), 6_000, completed(5_000, false)), 6_000);
    board.fold(&event("c2", 0, Some(("a2", 1, "w1", 5)), 6_000, progressed(50)), 6_000);
    let id = BatchId::parse("b1").unwrap();
    let shown = |state| ClipView { state, ..ClipView::default() };
    let views = [("c1", State::Processing), ("c2", State::Queued), ("c3", State::Completed)];
    let views = views.map(|(clip, state)| (clip_id(clip), shown(state))).into();
    let clips = ["c1", "c2", "c3"].map(|id| (clip_id(id), work()));
    board.take_up(&id, clips.into(), views, 7_000);
    assert_eq!(summary(&board, 7_000), (0, 1, 1, board.speed().seconds(&work()) / 2.0));
}

#[test]
fn what_is_over_is_forgotten_and_what_is_silent_is_to_be_read() {
    let mut board = board();
    assert_eq!(board.look(59_999, 10), vec![]);
    assert_eq!(board.look(60_000, 10).len(), 1);
    assert_eq!(board.look(60_000, 0), vec![]);
    for clip in ["c1", "c2", "c3"] {
        board.fold(&event(clip, 0, None, 60_000, ClipEventKind::Cancelled), 60_000);
    }
    assert_eq!((board.look(119_999, 10), board.len()), (vec![], 1));
    assert_eq!((board.look(120_000, 10), board.len()), (vec![], 0));
}

#[test]
fn a_batch_without_a_record_is_left_alone_for_a_while() {
    let mut board = Board::default();
    let id = BatchId::parse("b1").unwrap();
    assert!(!board.knows(&id, 0));
    board.ignore(&id, 0);
    assert!(board.knows(&id, 59_999) && !board.knows(&id, 60_000));
    assert!(!board.fold(&event("c1", 0, None, 1, ClipEventKind::Queued), 1));
    assert_eq!(board.load(1), Load::default());
}

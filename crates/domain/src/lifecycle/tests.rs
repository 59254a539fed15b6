//! Histories of clips, folded in every order of their events.

use super::*;
use crate::ids::{AttemptId, WorkerId};

fn attempt(number: u32, sequence: u64) -> Option<Attempt> {
    Some(Attempt {
        id: AttemptId::parse(&format!("a{number}")).unwrap(),
        number,
        started_at_ms: 1_000 * i64::from(number),
        worker: WorkerId::parse("w").unwrap(),
        sequence,
    })
}

fn event(at_ms: i64, attempt: Option<Attempt>, kind: ClipEventKind) -> ClipEvent {
    ClipEvent { generation: 0, at_ms, attempt, kind }
}

fn progressed(percent: u8) -> ClipEventKind {
    let encoding = Encoding { encoder: format!("encoder {percent}"), ..Encoding::default() };
    ClipEventKind::Progressed { phase: Phase::Encoding, percent, eta_seconds: Some(9), encoding }
}

fn story() -> Vec<ClipEvent> {
    vec![
        event(0, None, ClipEventKind::Queued),
        event(1_000, attempt(1, 0), ClipEventKind::Started),
        event(1_500, attempt(1, 1), progressed(60)),
        event(1_800, attempt(1, 2), ClipEventKind::Crashed(Failure::new(Code::PipelineCrashed, "signal 11"))),
        event(2_000, attempt(2, 0), ClipEventKind::Started),
        event(
            2_200,
            attempt(2, 1),
            ClipEventKind::FailedTransiently(Failure::new(Code::SourceUnavailable, "no answer")),
        ),
        event(2_500, attempt(3, 1), progressed(30)),
        event(
            3_000,
            attempt(3, 2),
            ClipEventKind::Completed {
                output: Output { uri: "gs://b/o".into(), ..Output::default() },
                encoding: Encoding::default(),
            },
        ),
    ]
}

fn fold<'a>(events: impl IntoIterator<Item = &'a ClipEvent>) -> ClipView {
    let mut view = ClipView::default();
    for event in events {
        view.fold(event);
    }
    view
}

/// Every order of `n` events.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(n - 1);
    shorter
        .iter()
        .flat_map(|order| {
            (0..n).map(|at| {
                let mut order = order.clone();
                order.insert(at, n - 1);
                order
            })
        })
        .collect()
}

#[test]
fn the_order_of_events_does_not_matter() {
    let story = story();
    let ended = |attempt, kind| [&story[1..7], &[event(3_000, attempt, kind)]].concat();
    let stories = [
        story.clone(),
        story[..7].to_vec(),
        ended(None, ClipEventKind::Cancelled),
        ended(None, ClipEventKind::Failed(Failure::dead_lettered("100"))),
        ended(attempt(2, 2), ClipEventKind::Failed(Failure::new(Code::SourceGone, "gone"))),
    ];
    for events in stories {
        let expected = fold(&events);
        for order in permutations(events.len()) {
            assert_eq!(fold(order.iter().map(|&i| &events[i])), expected, "{order:?}");
        }
    }
}

#[test]
fn later_progress_of_an_attempt_makes_its_earlier_progress_redundant() {
    let story = story();
    let of = |number, sequence, percent| event(1_600, attempt(number, sequence), progressed(percent));
    let (earlier, later) = (of(1, 3, 20), of(1, 7, 40));
    assert!(later.supersedes(&earlier) && !earlier.supersedes(&later) && !later.supersedes(&later));
    assert!(!of(2, 9, 40).supersedes(&earlier), "the percent of another attempt");
    assert!(!ClipEvent { generation: 1, ..later.clone() }.supersedes(&earlier));
    assert!(
        story
            .iter()
            .filter(|event| !matches!(event.kind, ClipEventKind::Progressed { .. }))
            .all(|other| { !later.supersedes(other) && !other.supersedes(&earlier) })
    );
    let without = fold(story[..2].iter().chain([&later]));
    assert_eq!(fold(story[..2].iter().chain([&earlier, &later])), without);
}

#[test]
fn attempts_are_counted_by_their_ends() {
    let view = fold(&story());
    let counts = view.stats.counts(view.attempt.as_ref().map(|attempt| &attempt.id));
    assert_eq!((counts.crashes, counts.transient_failures, counts.interruptions, counts.lost), (1, 1, 0, 0));
    let mut last = fold(&story()[..4]);
    last.fold(&event(1_900, attempt(2, 1), ClipEventKind::Failed(Failure::new(Code::PipelineCrashed, "again"))));
    assert_eq!(last.stats.counts(None).crashes, 2, "including the one that ended the clip");
    let mut view = fold(&story()[..5]);
    view.fold(&event(2_100, attempt(4, 0), ClipEventKind::Started));
    view.fold(&event(2_300, attempt(5, 0), ClipEventKind::Interrupted));
    let counts = view.stats.counts(view.attempt.as_ref().map(|attempt| &attempt.id));
    assert_eq!((counts.crashes, counts.interruptions, counts.lost), (1, 1, 2), "attempts 2 and 4 reported no end");
}

#[test]
fn a_retried_clip_records_how_it_ended_before_in_whatever_order_events_arrive() {
    let of = |generation, event: ClipEvent| ClipEvent { generation, ..event };
    let failed = Failure::new(Code::SourceGone, "gone");
    let events = [
        event(0, None, ClipEventKind::Queued),
        event(1_500, attempt(1, 1), ClipEventKind::Failed(failed.clone())),
        of(1, event(2_000, None, ClipEventKind::Queued)),
        of(1, event(2_500, attempt(2, 1), progressed(40))),
        of(1, event(3_000, None, ClipEventKind::Cancelled)),
        of(2, event(4_000, None, ClipEventKind::Queued)),
    ];
    let expected = fold(&events);
    let ends: Vec<_> = expected.history.ends().map(|(n, end)| (n, end.state, end.at_ms)).collect();
    assert_eq!(ends, [(0, State::Failed, 1_500), (1, State::Cancelled, 3_000)]);
    assert_eq!(expected.history.ends().next().unwrap().1.failure, Some(failed));
    assert_eq!((expected.stats.attempts().count(), expected.state), (0, State::Queued));
    for order in permutations(events.len()) {
        assert_eq!(fold(order.iter().map(|&i| &events[i])), expected, "{order:?}");
    }
}

#[test]
fn repeating_events_changes_nothing() {
    let story = story();
    let mut view = fold(&story);
    assert!(story.iter().all(|event| !view.fold(event)));
}

#[test]
fn percent_never_falls_when_a_second_attempt_starts_over() {
    let mut view = ClipView::default();
    let mut last = 0;
    for event in story() {
        view.fold(&event);
        assert!(view.percent >= last);
        last = view.percent;
    }
    assert_eq!((view.state, view.percent, view.phase), (State::Completed, 100, Phase::Done));
}

#[test]
fn a_terminal_state_changes_only_by_a_new_generation() {
    let mut view = fold(&story());
    assert!(!view.fold(&event(4_000, None, ClipEventKind::Cancelled)));
    assert!(!view.fold(&event(4_000, attempt(3, 9), ClipEventKind::Failed(Failure::new(Code::SourceGone, "gone")))));
    view.fold(&ClipEvent { generation: 1, ..event(5_000, None, ClipEventKind::Queued) });
    assert_eq!((view.state, view.percent, view.generation, view.created_at_ms), (State::Queued, 0, 1, Some(0)));
    let (earlier, late) = (attempt(1, 9), Failure::new(Code::SourceGone, "gone"));
    assert!(
        !view.fold(&event(1_600, earlier.clone(), progressed(80))),
        "an attempt of the old generation has no effect"
    );
    assert!(!view.fold(&event(1_600, earlier, ClipEventKind::Failed(late))), "not even on the history");
}

#[test]
fn the_status_of_a_batch_is_derived_from_its_clips() {
    let view = |state, percent| ClipView { state, percent, ..ClipView::default() };
    let of = |clips: &[ClipView], total| {
        let batch = BatchView::of(clips, total);
        (batch.state, batch.percent)
    };
    let (queued, half) = (view(State::Queued, 0), view(State::Processing, 50));
    let (done, failed, cancelled) = (view(State::Completed, 100), view(State::Failed, 40), view(State::Cancelled, 0));
    assert_eq!(of(&[], 3), (State::Queued, 0));
    assert_eq!(of(&[queued.clone(), queued.clone()], 2), (State::Queued, 0));
    assert_eq!(of(&[queued, half.clone()], 2), (State::Processing, 25));
    assert_eq!(of(std::slice::from_ref(&done), 2), (State::Processing, 50));
    assert_eq!(of(&[done.clone(), done.clone()], 2), (State::Completed, 100));
    assert_eq!(of(&[done, failed.clone()], 2), (State::Partial, 100));
    assert_eq!(of(&[failed, cancelled.clone()], 2), (State::Failed, 100));
    assert_eq!(of(&[cancelled.clone(), cancelled], 2), (State::Cancelled, 100));
}

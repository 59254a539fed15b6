//! Ten thousand damaged files, and a source that never answers.

use clipfleet_domain::limits::MAX_STALL_SECONDS;
use clipfleet_tests::{
    asked,
    fixtures::directory,
    mutation,
    pipeline_process::{Fate, Order, start},
};
use std::{thread, time::Duration};

/// Files. `CLIPFLEET_DAMAGED` asks for some of them, `1719..1720`, or for as many as `500`.
const FILES: u64 = 10_000;

#[test]
#[ignore = "soak: about 20 minutes on 2 cores"]
fn ten_thousand_damaged_files_end_with_a_code() {
    let directory = directory();
    let seeds = mutation::seeds(directory.path());
    let files = asked::numbers("CLIPFLEET_DAMAGED", 0..FILES);
    let lanes = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let share = (files.end - files.start).div_ceil(lanes);
    let tallies: Vec<_> = thread::scope(|scope| {
        let lane = |lane: u64| {
            let seeds = &seeds;
            let from = files.start + lane * share;
            let to = files.end.min(from + share);
            scope.spawn(move || mutation::endure(seeds, from..to))
        };
        let running: Vec<_> = (0..lanes).map(lane).collect();
        running.into_iter().map(|lane| lane.join().expect("a lane")).collect()
    });
    let broken: Vec<&String> = tallies.iter().flat_map(|tally| &tally.broken).collect();
    tallies.iter().for_each(|tally| println!("{tally}"));
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
#[ignore = "soak: two minutes of waiting"]
fn a_source_that_never_answers_is_given_up() {
    let started = start(&Order::of(0, 1_000), 1 << 20);
    let patience = Duration::from_secs(MAX_STALL_SECONDS + 30);
    let (fate, _, _) = started.endure(patience, |_, _| None);
    match fate {
        Fate::Failed(error) => assert_eq!((error.code.as_str(), error.retryable), ("pipeline_stalled", true)),
        other => panic!("{other:?}"),
    }
}

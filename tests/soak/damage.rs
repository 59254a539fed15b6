//! Ten thousand damaged files, and a source that never answers.

use clipfleet_domain::limits::MAX_STALL_SECONDS;
use clipfleet_tests::{
    fixtures::directory,
    mutation,
    pipeline_process::{Order, ProcessEnd, start},
    settings,
};
use std::{thread, time::Duration};

/// Number of files. `CLIPFLEET_DAMAGED` selects a range, such as `1719..1720`, or the first files, such as `500`.
const FILES: u64 = 10_000;

#[test]
#[ignore = "soak: about 20 minutes on 2 cores"]
fn ten_thousand_damaged_files_end_with_a_code() {
    let directory = directory();
    let seeds = mutation::seeds(directory.path());
    let files = settings::range("CLIPFLEET_DAMAGED", 0..FILES);
    let threads = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
    let share = (files.end - files.start).div_ceil(threads);
    let tallies: Vec<_> = thread::scope(|scope| {
        let start_thread = |index: u64| {
            let seeds = &seeds;
            let from = files.start + index * share;
            let to = files.end.min(from + share);
            scope.spawn(move || mutation::run_all(seeds, from..to))
        };
        let running: Vec<_> = (0..threads).map(start_thread).collect();
        running.into_iter().map(|thread| thread.join().expect("a thread")).collect()
    });
    let violations: Vec<&String> = tallies.iter().flat_map(|tally| &tally.violations).collect();
    tallies.iter().for_each(|tally| println!("{tally}"));
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
#[ignore = "soak: two minutes of waiting"]
fn a_source_that_never_answers_fails_as_stalled() {
    let started = start(&Order::of(0, 1_000), 1 << 20);
    let timeout = Duration::from_secs(MAX_STALL_SECONDS + 30);
    let (end, _, _) = started.serve_with_timeout(timeout, |_, _| None);
    match end {
        ProcessEnd::Failed(error) => assert_eq!((error.code.as_str(), error.retryable), ("pipeline_stalled", true)),
        other => panic!("{other:?}"),
    }
}

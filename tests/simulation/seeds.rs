//! Runs many seeds on all CPUs and collects the results.

use crate::{
    mutation::Mutation,
    run::{RunResult, run},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// A long run prints its progress every this many seeds.
const PROGRESS_INTERVAL: u64 = 5_000;

/// The results of many runs.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) elapsed: Duration,
    /// For each situation that occurred: in how many seeds, and how often.
    pub(crate) reached: BTreeMap<String, (u64, u64)>,
    /// The failed run with the lowest seed.
    pub(crate) failed: Option<RunResult>,
}

/// Runs seeds until all are done, one fails, or the time limit is reached.
#[expect(clippy::disallowed_methods, reason = "the limit is of real time; each seed has a paused one")]
pub(crate) fn run_seeds(seeds: Range<u64>, mutation: Option<Mutation>, timeout: Duration) -> Summary {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let scratch = tempfile::tempdir().expect("a scratch directory");
                while !stop.load(Ordering::Relaxed) && started.elapsed() < timeout {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run(seed, mutation, scratch.path(), false);
                    stop.fetch_or(result.violation.is_some(), Ordering::Relaxed);
                    summary.lock().add(result);
                }
            });
        }
    });
    let mut summary = summary.into_inner();
    summary.elapsed = started.elapsed();
    summary
}

impl Summary {
    fn add(&mut self, result: RunResult) {
        self.seeds += 1;
        if self.seeds.is_multiple_of(PROGRESS_INTERVAL) {
            println!("{} seeds", self.seeds);
        }
        for (what, times) in &result.counts {
            let (seeds, all) = self.reached.entry(what.clone()).or_default();
            *seeds += 1;
            *all += times;
        }
        let lowest = self.failed.as_ref().is_none_or(|failed| result.seed < failed.seed);
        if result.violation.is_some() && lowest {
            self.failed = Some(result);
        }
    }

    /// All situations that occurred, the rarest first.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<_> = self.reached.iter().collect();
        rows.sort_by_key(|(what, (seeds, _))| (*seeds, (*what).clone()));
        let row = |(what, (seeds, times)): (&String, &(u64, u64))| format!("{seeds:>8} {times:>10}  {what}\n");
        let head = format!("{:>8} {:>10}  reached\n", "seeds", "times");
        [head].into_iter().chain(rows.into_iter().map(row)).collect()
    }
}

/// The report of a failed run: the violation, the trace that led to it, and the command that replays it.
pub(crate) fn report(failed: &RunResult) -> String {
    format!(
        "seed {seed} failed: {violation}\n{trace}\n\nseed {seed} failed: {violation}\nreplay: {replay}\n",
        seed = failed.seed,
        replay = format_args!(
            "CLIPFLEET_SIMULATION_SEED={} cargo test --test simulation the_given_seed -- --nocapture",
            failed.seed
        ),
        violation = failed.violation.as_deref().unwrap_or("nothing"),
        trace = failed.trace.join("\n"),
    )
}

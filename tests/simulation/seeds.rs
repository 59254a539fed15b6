//! Many seeds, spread over the CPUs, and what they came to.

use crate::{
    mutation::Mutation,
    run::{Ran, run},
};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

/// After so many seeds a long run shows that it lives.
const SIGN_OF_LIFE: u64 = 5_000;

/// What many runs came to.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) seeds: u64,
    pub(crate) took: Duration,
    /// What happened: in how many seeds, and how often.
    pub(crate) reached: BTreeMap<String, (u64, u64)>,
    /// The red run with the lowest seed.
    pub(crate) red: Option<Ran>,
}

/// Runs seeds until all are done, one is red, or the time is up.
pub(crate) fn run_seeds(seeds: Range<u64>, mutation: Option<Mutation>, longest: Duration) -> Summary {
    let started = Instant::now();
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let scratch = tempfile::tempdir().expect("a scratch directory");
                while !stop.load(Ordering::Relaxed) && started.elapsed() < longest {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let ran = run(seed, mutation, scratch.path(), false);
                    stop.fetch_or(ran.violation.is_some(), Ordering::Relaxed);
                    summary.lock().add(ran);
                }
            });
        }
    });
    let mut summary = summary.into_inner();
    summary.took = started.elapsed();
    summary
}

impl Summary {
    fn add(&mut self, ran: Ran) {
        self.seeds += 1;
        if self.seeds.is_multiple_of(SIGN_OF_LIFE) {
            println!("{} seeds", self.seeds);
        }
        for (what, times) in &ran.counts {
            let (seeds, all) = self.reached.entry(what.clone()).or_default();
            *seeds += 1;
            *all += times;
        }
        let lowest = self.red.as_ref().is_none_or(|red| ran.seed < red.seed);
        if ran.violation.is_some() && lowest {
            self.red = Some(ran);
        }
    }

    /// Everything that was reached, the rarest first.
    pub(crate) fn table(&self) -> String {
        let mut rows: Vec<_> = self.reached.iter().collect();
        rows.sort_by_key(|(what, (seeds, _))| (*seeds, (*what).clone()));
        let row = |(what, (seeds, times)): (&String, &(u64, u64))| format!("{seeds:>8} {times:>10}  {what}\n");
        let head = format!("{:>8} {:>10}  reached\n", "seeds", "times");
        [head].into_iter().chain(rows.into_iter().map(row)).collect()
    }
}

/// What a red run shows: what must not have been, how it came to that, and how to see it again.
pub(crate) fn report(red: &Ran) -> String {
    format!(
        "seed {seed} is red: {violation}\n{trace}\n\nseed {seed} is red: {violation}\nreplay: CLIPFLEET_SIMULATION_SEED={seed} cargo test --test simulation the_given_seed -- --nocapture\n",
        seed = red.seed,
        violation = red.violation.as_deref().unwrap_or("nothing"),
        trace = red.trace.join("\n"),
    )
}

//! The whole fleet, simulated: dispatchers, workers, status and scalers on a cloud in memory and virtual time, everything that happens decided
//! by one seed.
//!
//! ```text
//!  people ──▶ dispatchers ──▶ queue ──▶ workers ──▶ queue ──▶ status ──▶ documents
//!                 │               │          └── pool ◀── scalers ◀─┴───────┤
//!                 └───────────────┴──── each process's own cloud ────────────┘
//!                      refuses, loses answers, delivers twice and late, loses leases, kills its caller
//! ```
//!
//! The roles are the real ones, loops and all; media work is made up (`media.rs`). Each effect on the cloud is looked at as it takes
//! place (`ledger.rs`) and once more when all is quiet (`ending.rs`). A red run names its seed, and the seed repeats it exactly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod documents;
mod ending;
mod holding;
mod last_event;
mod ledger;
mod media;
mod mutation;
mod objects;
mod operators;
mod people;
mod pool;
mod process;
mod queue;
mod run;
mod seeds;
mod supervisor;
mod topology;
mod weather;
mod world;

use clipfleet_tests::asked;
use mutation::Mutation;
use run::run;
use seeds::{report, run_seeds};
use std::{env, ops::Range, time::Duration};

/// Seeds of every test run.
const SEEDS: u64 = 2_000;
/// Seeds of a soak.
const SOAK_SEEDS: u64 = 100_000;
/// The environment's name for a seed to replay.
const SEED: &str = "CLIPFLEET_SIMULATION_SEED";

/// The environment's name for the seeds of a soak, when some were run before.
const SOME_SEEDS: &str = "CLIPFLEET_SIMULATION_SEEDS";

/// What many seeds must reach: a simulation in which these do not happen would prove nothing.
const MUST_REACH: [&str; 37] = [
    "a batch was sent twice at once",
    "a call lost its answer",
    "a call was refused",
    "a call was slow",
    "a delivery came twice",
    "a delivery was held up",
    "a document was refused for good",
    "a job was lost",
    "a job was set aside",
    "a later attempt took over",
    "a lease of clip-jobs-worker was left by the dead",
    "a lease of clip-jobs-worker was lost by the living",
    "a lease of progress-events-status was lost by the living",
    "a lease was lost by the frozen",
    "a process died at a call",
    "a process was frozen",
    "a process was killed",
    "a process was told to stop",
    "a settlement was lost",
    "a silent batch was mended",
    "a worker was dismissed",
    "another scaler became the leader",
    "another request came under a used id",
    "cancelled -> queued (retried)",
    "failed -> queued (retried)",
    "media: crash",
    "media: transient failure",
    "redriven",
    "the fleet was let go on",
    "the fleet was paused",
    "the pool grew",
    "the pool shrank",
    "processing -> cancelled",
    "processing -> completed",
    "processing -> failed",
    "processing -> failed (document refused)",
    "queued -> cancelled",
];

fn green(seeds: Range<u64>, longest: Duration) {
    let summary = run_seeds(seeds.clone(), None, longest);
    if let Some(red) = &summary.red {
        panic!("{}", report(red));
    }
    println!("{} seeds in {:.1} s\n{}", summary.seeds, summary.took.as_secs_f64(), summary.table());
    assert_eq!(summary.seeds, seeds.end - seeds.start, "only so many in {longest:?}");
    let missed: Vec<_> = MUST_REACH.iter().filter(|what| !summary.reached.contains_key(**what)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn every_seed_keeps_every_promise() {
    green(0..SEEDS, Duration::from_secs(600));
}

#[test]
#[ignore = "takes long; part of `make soak`"]
fn a_hundred_thousand_seeds_keep_every_promise() {
    green(asked::numbers(SOME_SEEDS, 0..SOAK_SEEDS), Duration::from_secs(4 * 3_600));
}

#[test]
fn the_given_seed() {
    let Some(seed) = env::var(SEED).ok() else {
        return println!("skipped: {SEED} names no seed to replay");
    };
    let scratch = tempfile::tempdir().unwrap();
    let ran = run(seed.parse().unwrap(), None, scratch.path(), true);
    println!("{}\ndigest {:016x}", ran.trace.join("\n"), ran.digest);
    assert!(ran.violation.is_none(), "{}", ran.violation.unwrap());
}

#[test]
fn a_seed_repeats_exactly() {
    let scratch = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for seed in 0..100 {
        let [first, second] = scratch.each_ref().map(|scratch| run(seed, None, scratch.path(), false));
        assert_eq!(
            first.digest,
            second.digest,
            "seed {seed}: \n{}\n\n{}",
            first.trace.join("\n"),
            second.trace.join("\n")
        );
    }
}

/// The seed at which the simulation notices that a fence is missing.
fn caught(mutation: Mutation) {
    const WITHIN: u64 = 1_000;
    let summary = run_seeds(0..WITHIN, Some(mutation), Duration::from_secs(300));
    let red = summary.red.unwrap_or_else(|| panic!("{mutation:?} went unnoticed in {} seeds", summary.seeds));
    println!("{mutation:?} caught at seed {}: {}", red.seed, red.violation.unwrap_or_default());
}

#[test]
fn objects_that_are_overwritten_is_caught() {
    caught(Mutation::OverwrittenObjects);
}

#[test]
fn a_publication_that_is_not_confirmed_is_caught() {
    caught(Mutation::UnconfirmedPublish);
}

#[test]
fn a_job_settled_before_its_end_is_told_is_caught() {
    caught(Mutation::EarlyAck(clipfleet_contract::names::CLIP_JOBS_WORKER));
}

#[test]
fn an_event_settled_before_it_is_written_is_caught() {
    caught(Mutation::EarlyAck(clipfleet_contract::names::PROGRESS_EVENTS_STATUS));
}

#[test]
fn a_request_settled_before_it_is_recorded_is_caught() {
    caught(Mutation::EarlyAck(clipfleet_contract::names::EXPORT_REQUESTS_DISPATCHER));
}

#[test]
fn a_fold_in_which_the_last_event_wins_is_caught() {
    caught(Mutation::LastEventWins);
}

#[test]
fn a_record_that_is_written_again_is_caught() {
    caught(Mutation::RecordsWithoutDedupe);
}

#[test]
fn a_worker_that_does_not_look_for_results_is_caught() {
    caught(Mutation::NoLookForResults);
}

#[test]
fn a_worker_that_does_not_look_whether_it_is_wanted_is_caught() {
    caught(Mutation::NoLookWhetherWanted);
}

#[test]
fn a_status_that_writes_without_looking_is_caught() {
    caught(Mutation::BlindStatusWrites);
}

#[test]
fn a_document_that_is_refused_for_good_and_tried_for_ever_is_caught() {
    caught(Mutation::RefusalsThatSeemToPass);
}

#[test]
fn a_worker_that_does_not_look_for_a_pause_is_caught() {
    caught(Mutation::NoLookForPause);
}

#[test]
fn a_dispatcher_that_does_not_look_for_open_batches_is_caught() {
    caught(Mutation::NoLookForOpenBatches);
}

#[test]
fn a_record_that_does_not_tell_of_retries_is_caught() {
    caught(Mutation::NoLookForRetries);
}

#[test]
fn leadership_that_anyone_can_take_is_caught() {
    caught(Mutation::LeadershipForEveryone);
}

#[test]
fn a_worker_that_does_not_feel_its_pulse_is_caught() {
    caught(Mutation::NoPulse);
}

#[test]
fn a_worker_that_does_not_look_for_later_attempts_is_caught() {
    caught(Mutation::NoLookForLaterAttempts);
}

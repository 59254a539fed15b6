//! Simulates the whole fleet: dispatchers, workers, status services and scalers run on an in-memory cloud and in
//! virtual time. One seed determines everything that happens.
//!
//! ```text
//!  clients ──▶ dispatchers ──▶ queue ──▶ workers ──▶ queue ──▶ status ──▶ documents
//!                  │               │          └── pool ◀── scalers ◀─┴───────┤
//!                  └───────────────┴── each process's view of the cloud ──────┘
//!          refuses calls, loses answers, delivers twice and late, expires leases, kills the caller
//! ```
//!
//! The roles run their real code, including their loops; only media work is simulated (`media.rs`). Each effect on the
//! cloud is checked when it occurs (`checker.rs`), and the end state is checked once the fleet is quiescent
//! (`quiescence.rs`). A failed run reports its seed, and the seed reproduces the run exactly.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod checker;
mod clients;
mod documents;
mod fault_profile;
mod last_event;
mod leases;
mod media;
mod mutation;
mod objects;
mod operators;
mod pool;
mod process;
mod queue;
mod quiescence;
mod run;
mod seeds;
mod supervisor;
mod topology;
mod version;
mod world;

use clipfleet_tests::settings;
use mutation::Mutation;
use run::run;
use seeds::{report, run_seeds};
use std::{env, ops::Range, time::Duration};

/// Seeds in a normal test run.
const SEEDS: u64 = 2_000;
/// Seeds in a soak test.
const SOAK_SEEDS: u64 = 100_000;
/// The environment variable that names one seed to replay.
const SEED_VARIABLE: &str = "CLIPFLEET_SIMULATION_SEED";

/// The environment variable that selects the seeds of a soak test.
const SOAK_SEEDS_VARIABLE: &str = "CLIPFLEET_SIMULATION_SEEDS";

/// Situations that a run over many seeds must reach. A simulation that never reaches them proves nothing about them.
const REQUIRED_SITUATIONS: [&str; 42] = [
    "a batch was sent twice at once",
    "a call lost its answer",
    "a call was denied",
    "a call was refused",
    "a call was slow",
    "a delivery was delayed",
    "a delivery was duplicated",
    "a document was permanently refused",
    "a job was lost",
    "a job was dead-lettered",
    "a later attempt took over",
    "a lease expired in a frozen process",
    "a lease of clip-jobs-worker expired in a running process",
    "a lease of clip-jobs-worker outlived its process",
    "a lease of progress-events-status expired in a running process",
    "a process died at a call",
    "a process ended because it was denied for too long",
    "a process was frozen",
    "a process was killed",
    "a process was asked to stop",
    "a settlement was lost",
    "a stalled batch was repaired",
    "a stream was denied",
    "a worker of an earlier version received a job",
    "a worker was removed from the pool",
    "another scaler became the leader",
    "another request used the same id",
    "cancelled -> queued (retried)",
    "failed -> queued (retried)",
    "media: crash",
    "media: transient failure",
    "redriven",
    "the fleet was paused",
    "the fleet was resumed",
    "the pool grew",
    "the pool shrank",
    "the pool's size was refused for want of quota",
    "processing -> cancelled",
    "processing -> completed",
    "processing -> failed",
    "processing -> failed (document refused)",
    "queued -> cancelled",
];

fn check_seeds(seeds: Range<u64>, timeout: Duration) {
    let summary = run_seeds(seeds.clone(), None, timeout);
    if let Some(failed) = &summary.failed {
        panic!("{}", report(failed));
    }
    println!("{} seeds in {:.1} s\n{}", summary.seeds, summary.elapsed.as_secs_f64(), summary.table());
    assert_eq!(summary.seeds, seeds.end - seeds.start, "the run hit its time limit of {timeout:?}");
    let missed: Vec<_> = REQUIRED_SITUATIONS.iter().filter(|what| !summary.reached.contains_key(**what)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn no_seed_violates_a_guarantee() {
    check_seeds(0..SEEDS, Duration::from_secs(600));
}

#[test]
#[ignore = "takes long; part of `make soak`"]
fn a_hundred_thousand_seeds_violate_no_guarantee() {
    check_seeds(settings::range(SOAK_SEEDS_VARIABLE, 0..SOAK_SEEDS), Duration::from_secs(4 * 3_600));
}

#[test]
fn the_given_seed() {
    let Some(seed) = env::var(SEED_VARIABLE).ok() else {
        return println!("skipped: {SEED_VARIABLE} names no seed to replay");
    };
    let scratch = tempfile::tempdir().unwrap();
    let result = run(seed.parse().unwrap(), None, scratch.path(), true);
    println!("{}\ndigest {:016x}", result.trace.join("\n"), result.digest);
    assert!(result.violation.is_none(), "{}", result.violation.unwrap());
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

/// Asserts that the simulation detects a mutation, and prints the seed that detects it.
fn assert_detected(mutation: Mutation) {
    const MAX_SEEDS: u64 = 1_000;
    let summary = run_seeds(0..MAX_SEEDS, Some(mutation), Duration::from_secs(300));
    let failed = summary.failed.unwrap_or_else(|| panic!("{mutation:?} was not detected in {} seeds", summary.seeds));
    println!("{mutation:?} detected by seed {}: {}", failed.seed, failed.violation.unwrap_or_default());
}

#[test]
fn overwriting_objects_is_detected() {
    assert_detected(Mutation::OverwriteObjects);
}

#[test]
fn an_unconfirmed_publish_is_detected() {
    assert_detected(Mutation::UnconfirmedPublish);
}

#[test]
fn acking_a_job_before_its_end_is_published_is_detected() {
    assert_detected(Mutation::EarlyAck(clipfleet_contract::names::CLIP_JOBS_WORKER));
}

#[test]
fn acking_an_event_before_it_is_written_is_detected() {
    assert_detected(Mutation::EarlyAck(clipfleet_contract::names::PROGRESS_EVENTS_STATUS));
}

#[test]
fn acking_a_request_before_it_is_recorded_is_detected() {
    assert_detected(Mutation::EarlyAck(clipfleet_contract::names::EXPORT_REQUESTS_DISPATCHER));
}

#[test]
fn a_fold_in_which_the_last_event_wins_is_detected() {
    assert_detected(Mutation::LastEventWins);
}

#[test]
fn a_missing_request_dedupe_is_detected() {
    assert_detected(Mutation::NoRequestDedupe);
}

#[test]
fn a_worker_that_does_not_check_for_results_is_detected() {
    assert_detected(Mutation::NoCheckForResults);
}

#[test]
fn a_worker_that_does_not_check_for_cancellation_is_detected() {
    assert_detected(Mutation::NoCheckForCancellation);
}

#[test]
fn unconditional_status_writes_are_detected() {
    assert_detected(Mutation::UnconditionalStatusWrites);
}

#[test]
fn retrying_a_permanently_refused_document_is_detected() {
    assert_detected(Mutation::RefusalsAsTransient);
}

#[test]
fn a_worker_that_does_not_poll_for_a_pause_is_detected() {
    assert_detected(Mutation::NoPollForPause);
}

#[test]
fn a_dispatcher_that_does_not_scan_for_open_batches_is_detected() {
    assert_detected(Mutation::NoScanForOpenBatches);
}

#[test]
fn a_record_without_its_retries_is_detected() {
    assert_detected(Mutation::NoCheckForRetries);
}

#[test]
fn unconditional_leadership_is_detected() {
    assert_detected(Mutation::UnconditionalLeadership);
}

#[test]
fn a_worker_without_stall_detection_is_detected() {
    assert_detected(Mutation::NoStallDetection);
}

#[test]
fn a_worker_that_does_not_check_for_later_attempts_is_detected() {
    assert_detected(Mutation::NoCheckForLaterAttempts);
}

#[test]
fn a_worker_that_makes_jobs_of_another_version_is_detected() {
    assert_detected(Mutation::NoVersionCheck);
}

#[test]
fn a_scaler_that_does_not_step_down_at_a_quota_is_detected() {
    assert_detected(Mutation::QuotaAsOutage);
}

//! The scaler's guarantees, in the model.

use super::*;
use crate::{Policy, Schedule};

/// An L4 with the assumptions of deploy/scaling.md.
pub(crate) fn l4(seed: u64) -> Fleet {
    Fleet { slots: 2, cold_start_seconds: 30.0, rate: 0.144, seed }
}

fn policy() -> Policy {
    Policy { max: 20, slots: 2, ..Policy::default() }
}

fn in_band(policy: Policy) -> InBand {
    InBand::new(policy, 0)
}

#[test]
fn a_burst_of_200_clips_from_zero_gets_its_first_call_within_a_second() {
    let burst = Demand::burst(200, 45.0);
    let ours = run(&l4(1), &burst, &mut in_band(policy()));
    assert!(ours.first_call_seconds.unwrap() <= 1.0, "{ours:?}");
    assert_eq!((ours.waits_seconds.len(), ours.batches_seconds.len(), ours.interrupted), (200, 1, 0));
    let theirs = run(&l4(1), &burst, &mut Crema::new(2.0, 20, 0));
    let waited = theirs.first_call_seconds.unwrap();
    assert!((120.0..=195.0).contains(&waited), "its metric is delayed: {waited}");
    assert!(ours.batches_seconds[0] < theirs.batches_seconds[0]);
}

#[test]
fn on_a_mixed_day_little_time_is_idle_and_little_work_is_lost() {
    for seed in 1..=3 {
        let day = Demand::mixed_day(1.0, seed);
        let ours = run(&l4(seed), &day, &mut in_band(policy()));
        println!("{}", table(&[("ours", &ours)]));
        assert_eq!(ours.waits_seconds.len(), day.clips());
        assert!(ours.lost_work() <= 0.01, "seed {seed}: {} of the work was lost", ours.lost_work());
        assert!(ours.idle() <= 0.10, "seed {seed}: {} of the time was idle", ours.idle());
        assert!(ours.most_instances <= 20);
    }
}

#[test]
fn every_slot_second_is_accounted_for() {
    let day = Demand::mixed_day(0.2, 9);
    let mut careless = Policy { scale_down_delay_seconds: 0.0, max_lost_work: 1.0, max_scale_down: 20, ..policy() };
    careless.idle_seconds = 0.0;
    let report = run(&l4(9), &day, &mut in_band(careless));
    assert!(report.lost_seconds > 0.0 && report.interrupted > 0, "a careless policy loses work: {report:?}");
    assert_eq!(report.batches_seconds.len(), day.batches.len(), "but no clip");
    assert!(report.useful_seconds + report.lost_seconds <= report.ready_seconds + 1e-6);
    assert!(report.ready_seconds <= report.billed_seconds * 2.0);
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let day = || run(&l4(4), &Demand::mixed_day(0.1, 4), &mut in_band(policy()));
    assert_eq!(day(), day());
}

#[test]
fn a_minimum_of_one_worker_avoids_the_cold_start() {
    let warm = Policy { min_schedule: "mon-sun 00:00-24:00=1".parse::<Schedule>().unwrap(), ..policy() };
    let small = Demand::burst(2, 45.0);
    let cold = run(&l4(1), &small, &mut in_band(policy()));
    let warm = run(&l4(1), &small, &mut in_band(warm));
    assert!(cold.waits_seconds[0] > 20.0, "{:?}", cold.waits_seconds);
    assert_eq!(warm.waits_seconds, [0.0, 0.0]);
}

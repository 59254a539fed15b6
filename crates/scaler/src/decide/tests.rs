//! Single decisions, and properties of all decisions.

use super::*;

fn policy() -> Policy {
    Policy {
        slots: 2,
        backlog_target_seconds: 60.0,
        min: 0,
        max: 20,
        min_schedule: Schedule::default(),
        max_scale_up: 20,
        max_scale_down: 2,
        scale_down_delay_seconds: 20.0,
        idle_seconds: 60.0,
        max_lost_work: 0.005,
    }
}

fn load(waiting: u32, at_work: u32, busy_workers: u32, outstanding_seconds: f64) -> Load {
    Load {
        waiting,
        at_work,
        busy_workers,
        outstanding_seconds,
        at_risk_seconds: f64::from(at_work) * 3.0,
        paused: false,
    }
}

fn pool(target: u32) -> Pool {
    Pool { target, ..Pool::default() }
}

fn decided(load: &Load, pool: &Pool, now_ms: i64) -> (u32, Reason) {
    let decision = decide(load, pool, &policy(), now_ms);
    (decision.target, decision.reason)
}

#[test]
fn the_backlog_is_worked_off_within_the_target_time() {
    // 200 clips of 8 s on two slots each, in 60 s: 13.3 workers.
    assert_eq!(decided(&load(200, 0, 0, 1_600.0), &pool(0), 0), (14, Reason::Backlog));
    assert_eq!(decided(&load(2_000, 0, 0, 16_000.0), &pool(0), 0), (20, Reason::Quota));
    // One clip of an hour can use one slot only; five can use three workers.
    assert_eq!(decided(&load(1, 0, 0, 3_000.0), &pool(0), 0), (1, Reason::Backlog));
    assert_eq!(decided(&load(5, 0, 0, 15_000.0), &pool(0), 0), (3, Reason::Backlog));
    assert_eq!(decided(&load(1, 0, 0, 0.0), &pool(0), 0), (1, Reason::Backlog), "it needs a worker all the same");
    assert_eq!(decided(&load(0, 0, 0, 0.0), &pool(0), 0), (0, Reason::Enough));
}

#[test]
fn scaling_up_is_bounded_per_decision() {
    let policy = Policy { max_scale_up: 5, ..policy() };
    let decision = decide(&load(200, 0, 0, 1_600.0), &pool(3), &policy, 0);
    assert_eq!((decision.target, decision.reason, decision.desired), (8, Reason::ScaleUpLimit, 14));
}

#[test]
fn the_target_never_falls_below_the_busy_workers() {
    // Ten workers finish a batch: each has one slot-second left, and one worker could do it all in time.
    let tail = load(0, 10, 10, 10.0);
    let waited = Pool { excess_since_ms: Some(0), allowance_seconds: 1e9, ..pool(10) };
    assert_eq!(decided(&tail, &waited, 3_600_000), (10, Reason::Enough));
}

#[test]
fn excess_workers_are_removed_after_the_delay_as_far_as_the_loss_is_allowed() {
    let tail = load(0, 4, 4, 10.0);
    let aged = |allowance_seconds| Pool { excess_since_ms: Some(0), allowance_seconds, ..pool(10) };
    assert_eq!(decided(&tail, &aged(100.0), 19_999), (10, Reason::ScaleDownDelayed));
    // Twelve slot-seconds are at risk, and four of ten workers are busy.
    assert_eq!(decided(&tail, &aged(100.0), 20_000), (8, Reason::ExcessCapacity));
    assert_eq!(decided(&tail, &aged(1.3), 20_000), (9, Reason::ExcessCapacity));
    assert_eq!(decided(&tail, &aged(1.0), 20_000), (10, Reason::WouldLoseWork));
    let chosen = Pool { ends_idle: true, ..aged(0.0) };
    assert_eq!(decided(&tail, &chosen, 20_000), (8, Reason::ExcessCapacity), "stopping idle workers loses nothing");
    let loss = decide(&tail, &aged(100.0), &policy(), 20_000).loss_seconds;
    assert!((loss - 2.4).abs() < 1e-9, "{loss}");
}

#[test]
fn an_idle_fleet_shrinks_to_the_minimum() {
    let aged = Pool { excess_since_ms: Some(0), ..pool(10) };
    assert_eq!(decided(&Load::default(), &aged, 59_999), (10, Reason::ScaleDownDelayed));
    assert_eq!(decided(&Load::default(), &aged, 60_000), (0, Reason::Idle));
    let policy = Policy { min: 1, min_schedule: "mon-sun 00:00-24:00=3".parse().unwrap(), ..policy() };
    let decision = decide(&Load::default(), &aged, &policy, 60_000);
    assert_eq!((decision.target, decision.reason), (3, Reason::Idle));
    assert_eq!(decide(&Load::default(), &pool(0), &policy, 0).reason, Reason::Minimum);
}

#[test]
fn waiting_clips_of_a_paused_fleet_need_no_workers() {
    let paused = Load { paused: true, ..load(50, 0, 0, 400.0) };
    assert_eq!(decided(&paused, &pool(0), 0), (0, Reason::Enough));
    let aged = Pool { excess_since_ms: Some(0), ..pool(4) };
    assert_eq!(decided(&paused, &aged, 60_000), (0, Reason::Idle));
    let end = Load { paused: true, ..load(50, 2, 1, 400.0) };
    assert_eq!(decided(&end, &pool(1), 0), (1, Reason::Enough));
}

#[test]
fn the_scale_down_delay_restarts_when_the_workers_are_needed_again() {
    let mut pool = pool(4);
    let (quiet, loud) = (load(0, 2, 1, 5.0), load(40, 2, 1, 400.0));
    let policy = policy();
    let mut step = |load: &Load, now_ms| {
        let decision = decide(load, &pool, &policy, now_ms);
        pool.track_excess(&decision, now_ms);
        (decision.reason, pool.excess_since_ms)
    };
    assert_eq!(step(&quiet, 1_000), (Reason::ScaleDownDelayed, Some(1_000)));
    assert_eq!(step(&quiet, 9_000), (Reason::ScaleDownDelayed, Some(1_000)));
    assert_eq!(step(&loud, 10_000), (Reason::Enough, None));
    assert_eq!(step(&quiet, 11_000), (Reason::ScaleDownDelayed, Some(11_000)));
}

#[test]
fn no_load_exceeds_the_quota_or_stops_busy_workers() {
    fastrand::seed(7);
    for round in 0..20_000 {
        let at_work = fastrand::u32(0..60);
        let load = Load {
            waiting: fastrand::u32(0..500),
            at_work,
            outstanding_seconds: fastrand::f64() * 1e5,
            busy_workers: if at_work == 0 { 0 } else { fastrand::u32(1..=at_work.min(20)) },
            at_risk_seconds: fastrand::f64() * 500.0,
            paused: fastrand::u8(0..10) == 0,
        };
        let pool = Pool {
            target: fastrand::u32(0..=20),
            ends_idle: fastrand::bool(),
            excess_since_ms: fastrand::bool().then(|| -fastrand::i64(0..100_000)),
            allowance_seconds: fastrand::f64() * 100.0,
        };
        let decision = decide(&load, &pool, &policy(), 0);
        assert!(decision.target <= 20, "{round}: {load:?} {pool:?} {decision:?}");
        assert!(decision.target >= load.busy_workers.min(pool.target), "{round}: {load:?} {pool:?} {decision:?}");
        assert!(decision.loss_seconds <= pool.allowance_seconds, "{round}: {load:?} {pool:?} {decision:?}");
        assert!(load.paused || decision.target > 0 || load.waiting == 0, "{round}: clips wait without a worker");
    }
}

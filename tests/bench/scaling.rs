//! The scaler and Google's autoscaler for worker pools, on the same simulated days in virtual time.

use clipfleet_scaler::{
    Policy,
    model::{Crema, Demand, Fleet, InBand, run, table},
};

/// An L4 that encodes two clips at the same time, 45 s of 1080p30 in 7.5 s each, with a cold start of half a minute.
const L4: Fleet = Fleet { slots: 2, cold_start_seconds: 30.0, rate: 0.144, seed: 1 };
const MAX: u32 = 20;

/// Prints the comparison.
pub(crate) fn figures() {
    let demands = [
        ("200 clips of 45 s at once, from zero; one hour", Demand::burst(200, 45.0)),
        ("a mixed day", Demand::mixed_day(1.0, 1)),
        ("a day with a third of that", Demand::mixed_day(0.3, 1)),
    ];
    println!(
        "scaler, simulated: L4 with 2 slots, cold start 30 s, at most {MAX} instances (from zero, 30 s of `wait` are \
         the cold start)"
    );
    for (name, demand) in demands {
        let ours = run(&L4, &demand, &mut InBand::new(Policy { max: MAX, ..Policy::default() }, 0));
        let short_target = Policy { max: MAX, backlog_target_seconds: 60.0, ..Policy::default() };
        let quick = run(&L4, &demand, &mut InBand::new(short_target, 0));
        let [per_slot, per_minute] = [2.0, 15.0].map(|value| run(&L4, &demand, &mut Crema::new(value, MAX, 0)));
        println!("{name}: {} clips in {} batches", demand.clips(), demand.batches.len());
        let rows = [
            ("this scaler, backlog target 120 s", &ours),
            ("this scaler, backlog target 60 s", &quick),
            ("CREMA, a worker for 2 messages", &per_slot),
            ("CREMA, a worker for 15 messages", &per_minute),
        ];
        println!("{}", table(&rows));
    }
}

//! The batches that a fleet has to process, and when they arrive.

/// Batches over a period.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// In the order of arrival.
    pub batches: Vec<Batch>,
    /// Length of the period, milliseconds.
    pub length_ms: i64,
}

/// One Export All.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// Time of arrival, milliseconds since the start.
    pub at_ms: i64,
    /// Length of each clip, milliseconds.
    pub lengths_ms: Vec<i64>,
}

const HOUR_MS: i64 = 3_600_000;

/// Batches in each hour of a mixed day, from midnight: a night, a working day, and a busier evening.
const BATCHES_PER_HOUR: [f64; 24] = [
    20.0, 12.0, 10.0, 10.0, 10.0, 12.0, 25.0, 50.0, 90.0, 140.0, 160.0, 150.0, 130.0, 150.0, 170.0, 180.0, 200.0,
    240.0, 260.0, 260.0, 220.0, 160.0, 90.0, 40.0,
];

impl Demand {
    /// One batch after a minute and a half without any, over one hour.
    pub fn burst(clips: usize, clip_seconds: f64) -> Self {
        let batch = Batch { at_ms: 90_437, lengths_ms: vec![(clip_seconds * 1_000.0) as i64; clips] };
        Self { batches: vec![batch], length_ms: HOUR_MS }
    }

    /// Equal batches that arrive at random, at a mean rate, for some hours.
    pub fn steady(hours: u32, batches_per_hour: f64, clips: usize, clip_seconds: f64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let lengths_ms = vec![(clip_seconds * 1_000.0) as i64; clips];
        let mut batches = Vec::new();
        let length_ms = i64::from(hours) * HOUR_MS;
        poisson_arrivals(&mut random, 0, length_ms, batches_per_hour, |_, at_ms| {
            batches.push(Batch { at_ms, lengths_ms: lengths_ms.clone() });
        });
        Self { batches, length_ms }
    }

    /// A day with batches of all sizes: most have 4 to 20 clips, a quarter up to 60, one in twenty up to 200. Most
    /// clips have 15 to 60 s, one in ten up to two minutes. `scale` multiplies the number of batches.
    pub fn mixed_day(scale: f64, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut batches = Vec::new();
        for (hour, per_hour) in (0..).zip(BATCHES_PER_HOUR) {
            poisson_arrivals(&mut random, hour * HOUR_MS, HOUR_MS, per_hour * scale, |random, at_ms| {
                let clips = match random.u32(0..100) {
                    0..70 => random.usize(4..=20),
                    70..95 => random.usize(20..=60),
                    _ => random.usize(100..=200),
                };
                let length = |random: &mut fastrand::Rng| match random.u32(0..10) {
                    0 => random.i64(60_000..=120_000),
                    _ => random.i64(15_000..=60_000),
                };
                let lengths_ms = (0..clips).map(|_| length(random)).collect();
                batches.push(Batch { at_ms, lengths_ms });
            });
        }
        Self { batches, length_ms: 24 * HOUR_MS }
    }

    /// Clips of all batches.
    pub fn clips(&self) -> usize {
        self.batches.iter().map(|batch| batch.lengths_ms.len()).sum()
    }
}

/// Calls `event` for events that occur independently of one another, at a mean rate.
fn poisson_arrivals(
    random: &mut fastrand::Rng,
    start_ms: i64,
    length_ms: i64,
    per_hour: f64,
    mut event: impl FnMut(&mut fastrand::Rng, i64),
) {
    let mut at_ms = 0.0;
    loop {
        at_ms += -(1.0 - random.f64()).ln() / per_hour.max(1e-9) * HOUR_MS as f64;
        if at_ms >= length_ms as f64 {
            return;
        }
        event(random, start_ms + at_ms as i64);
    }
}

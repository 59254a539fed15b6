//! The bounds of histograms, the same in `/metrics` and in what a collector receives.

/// Of seconds: from the latency of the emulator's Pub/Sub to the wait in a queue that grew over night.
pub(crate) const SECONDS: [f64; 18] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0,
    43_200.0,
];

/// Of rates, for example frames: from an overloaded CPU to an otherwise idle GPU.
pub(crate) const PER_SECOND: [f64; 10] = [5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 240.0, 480.0, 960.0, 1_920.0];

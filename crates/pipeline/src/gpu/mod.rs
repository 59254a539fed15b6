//! The GPU: its driver, what its elements log, its self-test, and its acceptance test.

pub mod acceptance;
pub mod check;
pub mod driver;
pub mod driver_log;
pub mod sandbox_check;
pub mod selftest;

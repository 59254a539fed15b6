//! Tests that take too long for every change: thousands of damaged files, a two-hour source, hour-long and very large
//! clips, a thousand clips. All are bounded in number and time and use this machine only. `make soak` runs them.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]

mod alarm;
mod damage;
mod endurance;
mod memory;
mod reading;

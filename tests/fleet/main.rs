//! Tests of the whole fleet as a user runs it: `clipfleet up` and `clipfleet export` as processes, over HTTP, Pub/Sub,
//! Firestore and Storage.

#![allow(clippy::disallowed_methods, reason = "it runs in real time")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod chaos;
mod cli;
mod commands;
mod console;
mod control;
mod durability;
mod export;
mod export_command;
mod from_python;
mod interrupts;
mod mirror;
mod permissions;
mod poison;
mod quotas;
mod refusals;
mod scaling;
mod serve;
mod sharing;
mod traces;
mod usage;

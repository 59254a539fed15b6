//! Commands that use a running fleet.

pub(crate) mod batch;
pub(crate) mod control;
pub(crate) mod dead_letters;
mod download;
pub(crate) mod ready;
pub(crate) mod server;

//! A fleet on this machine: its roles in one process, its workers, and its data.

pub(crate) mod clean;
pub(crate) mod data;
pub(crate) mod emulator;
pub(crate) mod env;
pub(crate) mod fleet;
mod logs;
pub(crate) mod port;
pub(crate) mod running;
mod topology;
pub(crate) mod up;
pub(crate) mod workers;

//! A fleet on this machine: its roles in one process, its workers, and its data.

pub(crate) mod emulator;
pub(crate) mod fleet;
mod topology;
pub(crate) mod up;
pub(crate) mod workers;

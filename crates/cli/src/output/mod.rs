//! What people see of a batch in a terminal.

pub(crate) mod progress;

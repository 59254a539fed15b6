//! What people and programs see: numbers, colours, progress, tables, JSON.

mod frame;
pub(crate) mod progress;
mod screen;
pub(crate) mod style;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod view;

use serde_json::Value;
use std::{fmt::Display, io::Write as _};

/// Prints a line to the standard output. If its reader has gone (`| head`), the program ends like any other filter.
pub(crate) fn line(text: impl Display) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    if written.is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
        std::process::exit(0);
    }
}

/// Prints a value as JSON for people and programs.
pub(crate) fn json(value: &Value) {
    line(format_args!("{value:#}"));
}

//! Opening a page or a folder with the desktop's own program.

use std::process::{Command, Stdio};

/// Opens a URL or a folder. On a machine without a desktop nothing happens.
pub(crate) fn open(target: &str) {
    let program = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let opener =
        Command::new(program).arg(target).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    if let Err(error) = opener {
        eprintln!("{target} cannot be opened here: {program}: {error}");
    }
}

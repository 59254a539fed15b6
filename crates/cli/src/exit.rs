//! Exit statuses: 0 for success, 1 for a failure, 2 for invalid usage or a refused request, 64 for invalid settings.

use clipfleet_service::settings::{BadSettings, EXIT_BAD_SETTINGS};
use std::{fmt, fmt::Display, process::ExitCode};

/// The exit status of invalid usage, and of a request that the server refused.
pub(crate) const USAGE: u8 = 2;

/// Why the program failed, and its exit status.
#[derive(Debug)]
pub(crate) struct Failed {
    text: String,
    status: u8,
}

impl Failed {
    /// An operation failed; `doing` reads after "failed to".
    pub(crate) fn because(doing: impl Display, error: impl Display) -> Self {
        Self { text: format!("failed to {doing}: {error}"), status: 1 }
    }

    /// A failure with a message of its own.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: 1 }
    }

    /// The arguments or the request are invalid.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self { text: text.into(), status: USAGE }
    }
}

impl Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl From<BadSettings> for Failed {
    fn from(bad: BadSettings) -> Self {
        Self { text: bad.to_string(), status: EXIT_BAD_SETTINGS }
    }
}

/// Prints the failure to the standard error.
pub(crate) fn report(failed: Failed) -> ExitCode {
    eprintln!("clipfleet: {failed}");
    ExitCode::from(failed.status)
}

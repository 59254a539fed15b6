//! How the program ends: 0 all well, 1 something failed, 2 used wrongly, 64 settings that cannot be used.

use clipfleet_service::settings::{BadSettings, EXIT_BAD_SETTINGS};
use std::{fmt, fmt::Display, process::ExitCode};

/// Used wrongly: the request itself cannot be right.
pub(crate) const USAGE: u8 = 2;

/// Why the program ends badly, in words, with its exit status.
#[derive(Debug)]
pub(crate) struct Failed {
    text: String,
    status: u8,
}

impl Failed {
    /// Something did not work; `doing` reads after "failed to".
    pub(crate) fn because(doing: impl Display, error: impl Display) -> Self {
        Self { text: format!("failed to {doing}: {error}"), status: 1 }
    }

    /// The user asked for something that cannot be.
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

/// Says why, on standard error.
pub(crate) fn report(failed: Failed) -> ExitCode {
    eprintln!("clipfleet: {failed}");
    ExitCode::from(failed.status)
}

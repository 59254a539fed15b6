//! How a command ends: its exit status, and the message for a failure with its remedy.

use crate::output::style;
use clipfleet_service::settings::{BadSettings, EXIT_BAD_SETTINGS};
use std::{error::Error, fmt::Display, process::ExitCode};

/// The exit statuses, for the help and the manual page.
pub(crate) const HELP: &str = "\
Exit status:
    0  success
    1  clips failed, a check failed, or this machine failed (disk, network)
    2  usage: wrong arguments, or a file that would be overwritten
    3  the server refused the request
    4  the server cannot be reached
   64  invalid settings (commands that take settings, such as `up` and the roles)
  130  interrupted";

/// The statuses of failures, in the order of [`HELP`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Status {
    Failed = 1,
    Usage = 2,
    Refused = 3,
    Unreachable = 4,
    BadSettings = EXIT_BAD_SETTINGS,
    Interrupted = 130,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a command failed, and what the user can do about it.
#[derive(Debug)]
pub(crate) struct Failed {
    text: String,
    hint: Option<String>,
    status: Status,
}

impl Failed {
    /// An operation failed; `doing` reads after "failed to".
    pub(crate) fn because(doing: impl Display, error: impl Display) -> Self {
        Self::new(Status::Failed, format!("failed to {doing}: {error}"))
    }

    /// A failure with a message of its own.
    pub(crate) fn new(status: Status, text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None, status }
    }

    /// The arguments or the request are invalid.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::new(Status::Usage, text)
    }

    /// The user interrupted the command, whose message says what remains.
    pub(crate) fn interrupted(text: impl Into<String>) -> Self {
        Self::new(Status::Interrupted, text)
    }

    /// The same failure with its remedy.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What went wrong, without the remedy.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Prints the failure to the standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let (error, hint) = (style::stderr(style::ERROR), style::stderr(style::HINT));
        let text = without_numbers(&self.text);
        match self.status {
            // Not an error: the user asked for it.
            Status::Interrupted => eprintln!("{text}"),
            _ => eprintln!("{error}error:{error:#} {text}"),
        }
        if let Some(text) = &self.hint {
            eprintln!("{hint}hint:{hint:#} {text}");
        }
        self.status.into()
    }
}

impl From<BadSettings> for Failed {
    fn from(bad: BadSettings) -> Self {
        Self::new(Status::BadSettings, bad.to_string())
    }
}

/// The innermost cause of an error, which names the refused connection or the missing file.
pub(crate) fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = without_numbers(&cause.to_string());
    let mut characters = text.chars();
    characters.next().map_or(String::new(), |first| first.to_lowercase().chain(characters).collect())
}

/// A text without the numbers of the operating system's errors, as in "Connection refused (os error 111)".
fn without_numbers(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_errors_are_left_out() {
        assert_eq!(without_numbers("a: No such file (os error 2), b"), "a: No such file, b");
        assert_eq!(without_numbers("nothing"), "nothing");
        let error = std::io::Error::from_raw_os_error(111);
        assert_eq!(root_cause(&error), "connection refused");
    }
}

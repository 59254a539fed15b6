//! Settings: each is a flag and an environment variable, read once at start. All invalid settings are reported
//! together.

use clap::{Arg, ArgMatches, Command};
use std::{fmt, str::FromStr};

/// Exit status of a process with invalid settings (`EX_USAGE` of sysexits).
pub const EXIT_BAD_SETTINGS: u8 = 64;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag without its dashes, for example `slots`.
    pub flag: &'static str,
    /// Environment variable, for example `CLIPFLEET_SLOTS`.
    pub env: &'static str,
    /// What stands for its value in `--help`, for example `N`.
    pub value: &'static str,
    /// Value if neither is given; empty for "not set".
    pub default: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
}

/// Adds settings to a command line, all as strings; [`Reader`] validates them.
#[must_use]
pub fn declare(command: Command, settings: &[&'static [Setting]]) -> Command {
    settings.iter().copied().flatten().fold(command, |command, setting| {
        let arg =
            Arg::new(setting.flag).long(setting.flag).env(setting.env).value_name(setting.value).help(setting.help);
        command.arg(arg.default_value(setting.default).hide_default_value(setting.default.is_empty()))
    })
}

/// Adds settings that few users change: `--help` lists them, `-h` does not.
#[must_use]
pub fn declare_advanced(command: Command, settings: &[&'static [Setting]]) -> Command {
    let names: Vec<&str> = settings.iter().copied().flatten().map(|setting| setting.flag).collect();
    let command = declare(command, settings);
    names.into_iter().fold(command, |command, name| command.mut_arg(name, |arg| arg.hide_short_help(true)))
}

/// Takes validated values from a parsed command line and collects the errors.
pub struct Reader<'a> {
    matches: &'a ArgMatches,
    problems: Vec<String>,
    effective: Vec<(&'static str, String)>,
}

/// All invalid settings, one per line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSettings(pub Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(f, "1 invalid setting:")?,
            number => write!(f, "{number} invalid settings:")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for BadSettings {}

impl<'a> Reader<'a> {
    /// A reader of a command line to which [`declare`] added the settings.
    pub fn new(matches: &'a ArgMatches) -> Self {
        Self { matches, problems: Vec::new(), effective: Vec::new() }
    }

    /// Parses the value of a setting. The parser's error follows the setting's name in the report.
    pub fn take<T>(&mut self, setting: &Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.matches.get_one::<String>(setting.flag).map_or("", String::as_str);
        self.effective.push((setting.env, text.to_owned()));
        let parsed = parse(text);
        parsed.map_err(|reason| self.problems.push(format!("{} (--{}) {reason}", setting.env, setting.flag))).ok()
    }

    /// The same for a secret, which is not printed.
    pub fn take_secret<T>(&mut self, setting: &Setting, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let parsed = self.take(setting, parse);
        if let Some((_, value)) = self.effective.last_mut().filter(|(_, value)| !value.is_empty()) {
            "***".clone_into(value);
        }
        parsed
    }

    /// The effective value of every setting read so far, as `NAME=value`, in the order of reading.
    pub fn effective(&self) -> Vec<String> {
        self.effective.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    /// Returns what was built from the values, or all errors.
    pub fn finish<T>(self, built: Option<T>) -> Result<T, BadSettings> {
        match built {
            Some(built) if self.problems.is_empty() => Ok(built),
            _ => Err(BadSettings(self.problems)),
        }
    }
}

/// Parses a number within bounds.
pub fn number<T: FromStr + PartialOrd + fmt::Display>(low: T, high: T) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| match text.trim().parse::<T>() {
        Ok(number) if (&low..=&high).contains(&&number) => Ok(number),
        _ => Err(format!("must be a number from {low} to {high}, got {text:?}")),
    }
}

/// Parses any type that implements `FromStr`, for example an address.
pub fn parsed<T: FromStr>(what: &'static str) -> impl FnOnce(&str) -> Result<T, String> {
    move |text| text.trim().parse().map_err(|_| format!("must be {what}, got {text:?}"))
}

/// A string; `None` if it is empty.
pub fn optional(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// A string that must not be empty.
pub fn required(text: &str) -> Result<String, String> {
    optional(text)?.ok_or_else(|| "must be set".to_owned())
}

/// A comma-separated list without empty parts.
pub fn list(text: &str) -> Result<Vec<String>, String> {
    Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: Setting = Setting { flag: "slots", env: "TEST_ONLY_SLOTS", value: "N", default: "2", help: "" };
    const LISTEN: Setting =
        Setting { flag: "listen", env: "TEST_ONLY_LISTEN", value: "ADDRESS", default: "", help: "" };

    fn read(args: &[&str]) -> Result<(u32, std::net::SocketAddr), BadSettings> {
        let command = declare(Command::new("test").no_binary_name(true), &[&[SLOTS, LISTEN]]);
        let matches = command.get_matches_from(args);
        let mut reader = Reader::new(&matches);
        let slots = reader.take(&SLOTS, number(1, 8));
        let listen = reader.take(&LISTEN, parsed("an address such as 127.0.0.1:8080"));
        reader.finish(slots.zip(listen))
    }

    #[test]
    fn flags_override_defaults() {
        assert_eq!(read(&["--listen", "127.0.0.1:1"]).unwrap().0, 2);
        assert_eq!(read(&["--listen", "127.0.0.1:1", "--slots", "3"]).unwrap().0, 3);
    }

    #[test]
    fn all_bad_settings_are_reported_together_by_name() {
        let error = read(&["--slots", "900"]).unwrap_err().to_string();
        assert!(error.contains("TEST_ONLY_SLOTS (--slots) must be a number from 1 to 8, got \"900\""), "{error}");
        assert!(error.contains("TEST_ONLY_LISTEN"), "{error}");
    }
}

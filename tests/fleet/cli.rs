//! Runs the `clipfleet` program as a user does, with a cache directory of its own.

use clipfleet_tests::fleet::program;
use std::{
    path::Path,
    process::{Command, Output},
};

/// The program with these arguments, in this directory.
pub(crate) fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program());
    command.args(arguments).current_dir(directory).env("XDG_CACHE_HOME", directory.join("cache"));
    command.env_remove("CLIPFLEET_SERVER").env_remove("CLIPFLEET_DATA");
    command
}

/// Runs the program and waits for it.
pub(crate) fn clipfleet(directory: &Path, arguments: &[&str]) -> Output {
    command(directory, arguments).output().unwrap()
}

/// Both streams of a run.
pub(crate) fn output_of(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]].iter().map(|bytes| String::from_utf8_lossy(bytes)).collect()
}

/// What a run printed for programs.
pub(crate) fn json_of(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", output_of(output)))
}

//! `clipfleet clean`: removes the data of the fleet on this machine.

use super::{data, running::RunningFleet};
use crate::{
    exit::Failed,
    output::{self, text},
};
use clap::{ArgMatches, Args, FromArgMatches as _};
use serde_json::json;
use std::{
    fs,
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `clipfleet clean`.
#[derive(Debug, Args)]
pub(crate) struct CleanArgs {
    /// Directory of all data [default: clipfleet in your cache directory]
    #[arg(long, env = "CLIPFLEET_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = CleanArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let directory = data::given(args.data.as_deref())?;
    let (name, report) = (data::show(&directory), |bytes: u64| {
        if args.json {
            output::json(&json!({"directory": directory, "freedBytes": bytes}));
        }
    });
    if !directory.exists() {
        report(0);
        if !args.json {
            output::line(format_args!("Nothing to remove: {name} does not exist."));
        }
        return Ok(ExitCode::SUCCESS);
    }
    check(&directory)?;
    let failed = |error: io::Error| Failed::because(format!("remove {name}"), error);
    let bytes = data::freed_by_removal(&directory).map_err(failed)?;
    if !args.yes && !confirmed(&name, bytes)? {
        return Err(Failed::interrupted("Nothing was removed."));
    }
    fs::remove_dir_all(&directory).map_err(failed)?;
    report(bytes);
    if !args.json {
        output::line(format_args!("Removed {name} ({} freed). Exported clips stay where they are.", text::size(bytes)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses a directory that a fleet uses, and one that is no fleet's.
fn check(directory: &Path) -> Result<(), Failed> {
    let name = data::show(directory);
    if let Some(fleet) = RunningFleet::on(directory) {
        let text = format!("a fleet runs on {name} (process {})", fleet.pid);
        return Err(Failed::usage(text).hint("stop it first: press Ctrl-C where `clipfleet up` runs"));
    }
    if clipfleet_emulator::is_in_use(directory) {
        return Err(Failed::usage(format!("{name} is in use")).hint("wait for the export, or interrupt it"));
    }
    let ours = ["state.redb", "objects", "export.json", "logs"].iter().any(|name| directory.join(name).exists());
    let empty = fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if ours || empty {
        return Ok(());
    }
    Err(Failed::usage(format!("{name} does not look like the data of a fleet; nothing was removed")))
}

fn confirmed(name: &str, bytes: u64) -> Result<bool, Failed> {
    if !io::stdin().is_terminal() {
        return Err(
            Failed::usage(format!("{name} ({}) is not removed without an answer", text::size(bytes))).hint("add --yes")
        );
    }
    eprint!("Remove {name} ({})? Stored results and unfinished exports are lost. [y/N] ", text::size(bytes));
    let _ = io::stderr().flush();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(|error| Failed::because("read the answer", error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

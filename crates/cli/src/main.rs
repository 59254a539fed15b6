//! The `clipfleet` program: the whole fleet on this machine (`up`, `export`), clients of a running one (`batch`,
//! `fleet`, `dead-letters`), each role of a real one (`dispatcher`, `worker`, `status`, `scaler`), what a fleet would cost (`plan`), and a check of what works here (`doctor`).
//!
//! It decides nothing about clips: it reads settings, starts roles, and shows what the fleet says.

mod batch;
mod client;
mod cloud;
mod console;
mod doctor;
mod emulator;
mod exit;
mod export;
mod fleet;
mod operate;
mod plan;
mod price;
mod progress;
mod ready;
mod roles;
mod scaling;
mod source;
mod topology;
mod up;
mod workers;

use clap::{Args, Command};
use clipfleet_service::trace;
use std::process::ExitCode;

fn command() -> Command {
    Command::new("clipfleet")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Exports every clip of a long video to vertical shorts at once")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            export::ExportArgs::augment_args(Command::new("export"))
                .about("Export clips of a video; starts a fleet for it unless a server is named"),
        )
        .subcommand(up::command())
        .subcommand(
            batch::BatchArgs::augment_args(Command::new("batch"))
                .about("Show, watch, cancel or retry a batch on a running fleet"),
        )
        .subcommand(
            operate::FleetArgs::augment_args(Command::new("fleet"))
                .about("Pause a running fleet, let it go on, or say which"),
        )
        .subcommand(
            operate::DeadLetterArgs::augment_args(Command::new("dead-letters"))
                .about("List, show or redrive clips that the queue gave up"),
        )
        .subcommand(doctor::command())
        .subcommand(ready::command())
        .subcommand(emulator::command())
        .subcommand(plan::command())
        .subcommands(roles::commands())
}

fn main() -> ExitCode {
    let matches = command().get_matches();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::report(exit::Failed::because("start the runtime", error)),
    };
    let ended = runtime.block_on(async {
        let ended = match matches.subcommand() {
            Some(("export", matches)) => export::run(matches).await,
            Some(("up", matches)) => up::run(matches).await,
            Some(("batch", matches)) => batch::run(matches).await,
            Some(("fleet", matches)) => operate::fleet(matches).await,
            Some(("dead-letters", matches)) => operate::dead_letters(matches).await,
            Some(("doctor", matches)) => doctor::run(matches).await,
            Some(("ready", matches)) => ready::run(matches).await,
            Some(("emulator", matches)) => emulator::run(matches).await,
            Some(("plan", matches)) => plan::run(matches),
            Some((role, matches)) => roles::run(role, matches).await,
            None => Ok(ExitCode::SUCCESS),
        };
        trace::end().await;
        ended
    });
    ended.unwrap_or_else(exit::report)
}

//! The `clipfleet` program: a fleet on this machine (`up`, `export`), clients of a running fleet (`batch`, `fleet`,
//! `dead-letters`), the roles of a deployed fleet (`dispatcher`, `worker`, `status`, `scaler`), a cost estimate
//! (`plan`), and a check of this machine (`doctor`).
//!
//! The program contains no rules about clips: it reads settings, starts roles, and shows what the fleet reports.

mod client;
mod doctor;
mod exit;
mod export;
mod local;
mod operate;
mod output;
mod plan;
mod roles;

use clap::{Args, Command};
use clipfleet_service::trace;
use std::process::ExitCode;

fn command() -> Command {
    Command::new("clipfleet")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Turn one video into all its shorts")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            export::ExportArgs::augment_args(Command::new("export"))
                .about("Export clips of a video, on a temporary fleet or on a running one"),
        )
        .subcommand(local::up::command())
        .subcommand(
            operate::batch::BatchArgs::augment_args(Command::new("batch"))
                .about("Show, watch, cancel or retry a batch on a running fleet"),
        )
        .subcommand(operate::FleetArgs::augment_args(Command::new("fleet")).about("Pause, resume or inspect a fleet"))
        .subcommand(
            operate::DeadLetterArgs::augment_args(Command::new("dead-letters")).about("Inspect and retry dead letters"),
        )
        .subcommand(doctor::command())
        .subcommand(operate::ready::command())
        .subcommand(local::emulator::command())
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
            Some(("up", matches)) => local::up::run(matches).await,
            Some(("batch", matches)) => operate::batch::run(matches).await,
            Some(("fleet", matches)) => operate::fleet(matches).await,
            Some(("dead-letters", matches)) => operate::dead_letters(matches).await,
            Some(("doctor", matches)) => doctor::run(matches).await,
            Some(("ready", matches)) => operate::ready::run(matches).await,
            Some(("emulator", matches)) => local::emulator::run(matches).await,
            Some(("plan", matches)) => plan::run(matches),
            Some((role, matches)) => roles::run(role, matches).await,
            None => Ok(ExitCode::SUCCESS),
        };
        trace::end().await;
        ended
    });
    ended.unwrap_or_else(exit::report)
}

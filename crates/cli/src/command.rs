//! All commands, and which code runs each.

use crate::{
    doctor, documentation,
    exit::{self, Failed},
    export,
    interrupt::until_interrupted,
    local::{self, clean, emulator, up},
    operate::{batch, control, dead_letters, ready},
    output::style,
    plan, roles,
};
use clap::{ArgMatches, Args, Command};
use std::{fmt::Write as _, process::ExitCode};

/// The version, with the commit if it is known.
const VERSION: &str = match option_env!("CLIPFLEET_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// The commands in the order of the help, by what they are for.
fn groups() -> [(&'static str, Vec<Command>); 3] {
    let export = export::ExportArgs::augment_args(Command::new("export"))
        .about("Export clips of a video")
        .long_about("Export clips of a video, on a fleet that runs as long as needed or on a running one")
        .after_help(export::EXAMPLES)
        .after_long_help(format!("{}\n\n{}", export::EXAMPLES, exit::HELP));
    let batch = batch::BatchArgs::augment_args(Command::new("batch"))
        .about("List, show, watch, download, cancel or retry batches");
    let fleet = control::FleetArgs::augment_args(Command::new("fleet")).about("Pause, resume or inspect a fleet");
    let dead_letters = dead_letters::DeadLetterArgs::augment_args(Command::new("dead-letters"))
        .about("Inspect and retry dead letters");
    let env = local::env::EnvArgs::augment_args(Command::new("env"))
        .about("Print the variables that let other programs use a fleet")
        .after_help("Example:\n  eval \"$(clipfleet env)\"");
    let clean =
        clean::CleanArgs::augment_args(Command::new("clean")).about("Remove the data of the fleet on this machine");
    let mut roles = roles::commands();
    roles.extend([emulator::command(), ready::command()]);
    [
        ("Make clips", vec![export, batch]),
        (
            "Operate",
            vec![
                up::command(),
                env,
                clean,
                doctor::command(),
                fleet,
                dead_letters,
                plan::command(),
                documentation::completions_command(),
                documentation::man_command(),
            ],
        ),
        ("Roles of a deployment", roles),
    ]
}

/// The program.
pub(crate) fn program() -> Command {
    let groups = groups();
    let template = template(&groups);
    let commands = groups.into_iter().flat_map(|(_, commands)| commands);
    Command::new("clipfleet")
        .version(VERSION)
        .about("Turn one video into all its shorts")
        .styles(style::HELP)
        .max_term_width(100)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(commands.map(|command| command.max_term_width(100).styles(style::HELP)))
        .help_template(template)
        .after_help(
            "Run `clipfleet help COMMAND` for more, and `clipfleet COMMAND -h` for the options that people use most.",
        )
        .after_long_help(exit::HELP)
}

/// The help of the program, with its commands in groups.
fn template(groups: &[(&'static str, Vec<Command>)]) -> String {
    let (header, literal) = (style::HELP.get_header(), style::HELP.get_literal());
    let mut text = "{about}\n\n{usage-heading} {usage}\n".to_owned();
    for (name, commands) in groups {
        let _ = write!(text, "\n{header}{name}:{header:#}\n");
        for command in commands {
            let about = command.get_about().map_or(String::new(), ToString::to_string);
            let _ = writeln!(text, "  {literal}{:<13}{literal:#} {about}", command.get_name());
        }
    }
    text + &format!("\n{header}Options:{header:#}\n{{options}}{{after-help}}")
}

/// Runs the command that the arguments name.
pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    match matches.subcommand() {
        Some(("export", matches)) => export::run(matches).await,
        Some(("batch", matches)) => until_interrupted(batch::run(matches)).await,
        Some(("up", matches)) => up::run(matches).await,
        Some(("env", matches)) => until_interrupted(local::env::run(matches)).await,
        Some(("clean", matches)) => clean::run(matches),
        Some(("doctor", matches)) => until_interrupted(doctor::run(matches)).await,
        Some(("fleet", matches)) => until_interrupted(control::run(matches)).await,
        Some(("dead-letters", matches)) => until_interrupted(dead_letters::run(matches)).await,
        Some(("plan", matches)) => plan::run(matches),
        Some(("completions", matches)) => documentation::completions(matches, program()),
        Some(("man", matches)) => documentation::man(matches, program()),
        Some(("emulator", matches)) => emulator::run(matches).await,
        Some(("ready", matches)) => until_interrupted(ready::run(matches)).await,
        Some((role, matches)) => roles::run(role, matches).await,
        None => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        program().debug_assert();
    }

    #[test]
    fn every_argument_says_what_it_is_for() {
        fn check(command: &Command) {
            for argument in command.get_arguments() {
                let name = format!("{} {}", command.get_name(), argument.get_id());
                assert!(argument.get_help().is_some(), "{name} has no help");
                let values = argument.get_value_names().unwrap_or_default();
                assert!(values.iter().all(|value| value.as_str() != "VALUE"), "{name} has no name for its value");
            }
            command.get_subcommands().for_each(check);
        }
        check(&program());
    }

    #[test]
    fn every_command_is_in_the_help() {
        let mut program = program();
        let help = program.render_help().to_string();
        for command in program.get_subcommands().filter(|command| command.get_name() != "help") {
            assert!(help.contains(&format!("  {} ", command.get_name())), "{help}");
        }
        assert!(help.contains("Make clips:") && !help.contains("[default: ]"), "{help}");
    }
}

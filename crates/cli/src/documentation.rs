//! `clipfleet completions` and `clipfleet man`: made from the same commands as `--help`.

use crate::exit::Failed;
use clap::{Arg, ArgMatches, Command, value_parser};
use clap_complete::Shell;
use clap_mangen::Man;
use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// The command that prints completions.
pub(crate) fn completions_command() -> Command {
    Command::new("completions")
        .about("Print completions for a shell")
        .arg(Arg::new("shell").value_name("SHELL").required(true).value_parser(value_parser!(Shell)).help("The shell"))
        .after_help(
            "Examples:\n  clipfleet completions bash > ~/.local/share/bash-completion/completions/clipfleet\n  \
             clipfleet completions zsh > ~/.zfunc/_clipfleet\n  \
             clipfleet completions fish > ~/.config/fish/completions/clipfleet.fish",
        )
}

/// The command that makes manual pages.
pub(crate) fn man_command() -> Command {
    let directory = Arg::new("directory").value_name("DIR").value_parser(value_parser!(PathBuf));
    Command::new("man")
        .about("Print the manual page, or write those of all commands")
        .arg(directory.help("Write one page per command to this directory"))
        .after_help("Examples:\n  clipfleet man | man -l -\n  clipfleet man ~/.local/share/man/man1")
}

/// Prints the completions of `program`.
pub(crate) fn completions(matches: &ArgMatches, mut program: Command) -> Result<ExitCode, Failed> {
    let mut script = Vec::new();
    if let Some(shell) = matches.get_one::<Shell>("shell").copied() {
        clap_complete::generate(shell, &mut program, "clipfleet", &mut script);
    }
    print(&script)
}

/// Prints the page of `program`, or writes the pages of all commands.
pub(crate) fn man(matches: &ArgMatches, mut program: Command) -> Result<ExitCode, Failed> {
    program.build();
    let failed = |error: io::Error| Failed::because("make the manual pages", error);
    let Some(directory) = matches.get_one::<PathBuf>("directory") else {
        return print(&page(&program).map_err(failed)?);
    };
    fs::create_dir_all(directory).map_err(failed)?;
    write_pages(&program, directory).map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

fn write_pages(command: &Command, directory: &Path) -> io::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write(directory.join(format!("{name}.1")), page(command)?)?;
    let parts = command.get_subcommands().filter(|part| part.get_name() != "help" && !part.is_hide_set());
    parts.into_iter().try_for_each(|part| write_pages(part, directory))
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}

fn print(bytes: &[u8]) -> Result<ExitCode, Failed> {
    match io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failed::because("print", error)),
        _ => Ok(ExitCode::SUCCESS),
    }
}

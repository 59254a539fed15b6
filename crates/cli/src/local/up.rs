//! `clipfleet up`: runs a fleet on this machine until it is told to stop.

use super::{
    data::{self, DATA},
    fleet::{Fleet, FleetSpec},
    logs,
    running::RunningFleet,
};
use crate::{
    desktop,
    exit::Failed,
    interrupt,
    output::{self, style, text},
    roles::{
        self, LEGACY_MIRROR,
        access::{self, OUTPUT_LINKS},
        cloud::{self, TELEMETRY, Telemetry},
        print_config, print_config_arg,
        scaling::{self, LOCAL},
        settings::{self, SLOTS},
        token::{SharedToken, TOKEN_VARIABLE},
    },
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clipfleet_service::settings::{Reader, Setting, declare, declare_advanced, parsed};
use std::{process::ExitCode, time::Duration};
use tokio::time::Instant;

const LISTEN: Setting = Setting {
    flag: "listen",
    env: "CLIPFLEET_LISTEN",
    value: "ADDRESS",
    default: "127.0.0.1:8080",
    help: "Address of the web page and the HTTP API; port 0 picks a free one",
};
/// The address of the emulator.
pub(crate) const EMULATOR: Setting = Setting {
    flag: "emulator",
    env: "CLIPFLEET_EMULATOR",
    value: "ADDRESS",
    default: "127.0.0.1:8085",
    help: "Address of the emulator of Pub/Sub, Firestore and Storage",
};
const TOKEN: Setting = Setting {
    flag: "token",
    env: TOKEN_VARIABLE,
    value: "TOKEN",
    default: "",
    help: "Token that every request must contain, for a fleet that several people use",
};
const WORKERS: Setting = Setting {
    flag: "workers",
    env: "CLIPFLEET_WORKERS",
    value: "N",
    default: "1",
    help: "Worker processes: a number, or a range such as 0..4, in which the fleet scales itself",
};

pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let command = Command::new("up")
        .about("Run a fleet on this machine, without a cloud account")
        .arg(flag("open", "Open the web page in your browser"))
        .arg(flag("verbose", "Show the logs here instead of writing them to the data directory").short('v'))
        .arg(print_config_arg());
    let command = declare(command, &[&[DATA, LISTEN, TOKEN, WORKERS, SLOTS]]);
    let command = command.mut_arg(TOKEN.flag, |token| token.hide_env_values(true));
    declare_advanced(command, &[&[EMULATOR, LEGACY_MIRROR, OUTPUT_LINKS], LOCAL, TELEMETRY]).after_help(
        "Examples:\n  clipfleet up --open                  start, and open the web page\n  \
         clipfleet up --workers 0..4          start workers when there is work\n  \
         clipfleet up --listen 0.0.0.0:8080 --token \"$(openssl rand -hex 16)\"   for a team\n  \
         eval \"$(clipfleet env)\"              let Google's clients use this fleet",
    )
}

fn read(matches: &ArgMatches) -> Result<Option<(FleetSpec, Telemetry)>, Failed> {
    let mut reader = Reader::new(matches);
    let data = reader.take(&DATA, data::directory);
    let listen = reader.take(&LISTEN, parsed("an address such as 127.0.0.1:8080"));
    let emulator = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let workers = reader.take(&WORKERS, worker_range);
    let slots = settings::slots(&mut reader);
    let times = scaling::local_times(&mut reader);
    let status = roles::status_config(&mut reader);
    let links = access::links(&mut reader);
    let token = reader.take_secret(&TOKEN, SharedToken::parse);
    let telemetry = cloud::telemetry(&mut reader);
    let built = (|| {
        let telemetry = telemetry?;
        let spec = FleetSpec {
            data: data?,
            listen: listen?,
            emulator: emulator?,
            workers: workers?,
            slots: slots?,
            times: times?,
            status: status?,
            telemetry: telemetry.environment(),
            links: links?,
            token: token?,
            verbose: matches.get_flag("verbose"),
        };
        Some((spec, telemetry))
    })();
    print_config(matches, reader, built)
}

/// Parses a number such as `3`, or an inclusive range such as `0..4`.
fn worker_range(text: &str) -> Result<(usize, usize), String> {
    const MAX: usize = 256;
    let invalid = || format!("must be a number from 0 to {MAX}, or a range such as 0..4, got {text:?}");
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number <= MAX).ok_or_else(invalid);
    match text.split_once("..") {
        None => number(text).map(|number| (number, number)),
        Some((min, max)) => match (number(min)?, number(max.trim_start_matches('='))?) {
            (min, max) if min <= max => Ok((min, max)),
            _ => Err(invalid()),
        },
    }
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let Some((spec, telemetry)) = read(matches)? else { return Ok(ExitCode::SUCCESS) };
    let started = Instant::now();
    if spec.verbose {
        telemetry.start("up");
    } else {
        let path = data::logs(&spec.data).join("fleet.log");
        let log = logs::open(&path).map_err(|error| Failed::because(format!("write {}", path.display()), error))?;
        telemetry.start_to(log, "up");
    }
    let stop = interrupt::token()?;
    let Some(mut fleet) = interrupt::unless_stopped(&stop, Fleet::start(spec.clone())).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    fleet.start_workers();
    let running = RunningFleet::new(fleet.api, &fleet.endpoints);
    running.note(&spec.data).map_err(|error| Failed::because("note the fleet's addresses", error))?;
    let page = format!("http://{}", fleet.api);
    output::line(banner(&spec, &page, started.elapsed()));
    if matches.get_flag("open") {
        desktop::open(&page);
    }
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failed = fleet.failed() => Some(failed),
    };
    RunningFleet::forget(&spec.data);
    if failed.is_none() {
        output::line("Stopping. Clips in progress are handed back; Ctrl-C again ends at once.");
    }
    fleet.stop().await;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

/// What people need to know about a fleet that has started, last after everything else.
fn banner(spec: &FleetSpec, page: &str, took: Duration) -> String {
    let (bold, dim) = (style::stdout(style::BOLD), style::stdout(style::DIM));
    let workers = match spec.workers {
        (min, max) if min == max => text::plural(max, "worker"),
        (min, max) => format!("{min} to {}", text::plural(max, "worker")),
    };
    let logs = if spec.verbose { String::new() } else { format!("; logs in {}", data::show(&data::logs(&spec.data))) };
    let environment = match data::directory("").is_ok_and(|default| default == spec.data) {
        true => "clipfleet env".to_owned(),
        false => format!("clipfleet env --data {}", spec.data.display()),
    };
    let warning = match (&spec.token, spec.listen.ip().is_loopback()) {
        (None, false) => format!(
            "Everyone who reaches {} can use this fleet and see its videos; set --token to prevent that.\n",
            spec.listen
        ),
        _ => String::new(),
    };
    format!(
        "{warning}Ready in {:.1} s: {workers}, {} each\n  \
         Open  {bold}{page}{bold:#}\n  \
         API   {page}/v1\n  \
         Data  {}{logs}\n\
         {dim}For your own clients: eval \"$({environment})\"\n\
         Ctrl-C stops; unfinished clips resume on the next start.{dim:#}",
        took.as_secs_f64(),
        text::plural(spec.slots, "slot"),
        data::show(&spec.data),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_a_range() {
        assert_eq!(worker_range("3"), Ok((3, 3)));
        assert_eq!(worker_range("0..4"), Ok((0, 4)));
        for invalid in ["4..0", "257", "0..", "x", "", "1..2..3"] {
            assert!(worker_range(invalid).unwrap_err().contains(&format!("{invalid:?}")), "{invalid}");
        }
    }
}

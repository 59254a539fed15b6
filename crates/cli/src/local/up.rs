//! `clipfleet up`: runs a fleet on this machine until it is told to stop.

use crate::{
    exit::Failed,
    local::fleet::{Fleet, FleetSpec},
    roles::cloud::{self, TELEMETRY, Telemetry},
    roles::scaling::{self, LOCAL},
    roles::settings::{self, SLOTS},
    roles::{self, LEGACY_MIRROR},
};
use clap::{ArgMatches, Command};
use clipfleet_service::{
    settings::{Reader, Setting, declare, parsed},
    shutdown,
};
use std::{path::PathBuf, process::ExitCode};

/// The directory of all persistent data.
pub(crate) const DATA: Setting =
    Setting { flag: "data", env: "CLIPFLEET_DATA", default: ".clipfleet", help: "Directory of all persistent data" };
const LISTEN: Setting = Setting {
    flag: "listen",
    env: "CLIPFLEET_LISTEN",
    default: "127.0.0.1:8080",
    help: "Address of the HTTP API and the web console",
};
/// The address of the emulator.
pub(crate) const EMULATOR: Setting = Setting {
    flag: "emulator",
    env: "CLIPFLEET_EMULATOR",
    default: "127.0.0.1:8085",
    help: "Address of the emulator of Pub/Sub, Firestore and Storage",
};
const WORKERS: Setting = Setting {
    flag: "workers",
    env: "CLIPFLEET_WORKERS",
    default: "1",
    help: "Worker processes: a number, or a range such as 0..4, in which the fleet scales itself",
};

pub(crate) fn command() -> Command {
    let command = Command::new("up").about("Run a fleet on this machine, without a cloud account");
    declare(command, &[&[DATA, LISTEN, EMULATOR, WORKERS, SLOTS, LEGACY_MIRROR], LOCAL, TELEMETRY])
}

fn read(matches: &ArgMatches) -> Result<(FleetSpec, Telemetry), Failed> {
    let mut reader = Reader::new(matches);
    let data = reader.take(&DATA, |text| Ok(PathBuf::from(text)));
    let listen = reader.take(&LISTEN, parsed("an address such as 127.0.0.1:8080"));
    let emulator = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let workers = reader.take(&WORKERS, worker_range);
    let slots = settings::slots(&mut reader);
    let times = scaling::local_times(&mut reader);
    let status = roles::status_config(&mut reader);
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
            quiet: false,
        };
        Some((spec, telemetry))
    })();
    Ok(reader.finish(built)?)
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
    let (spec, telemetry) = read(matches)?;
    telemetry.start("up");
    let stop = shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))?;
    let (workers, slots, data) = (spec.workers, spec.slots, spec.data.clone());
    let mut fleet = Fleet::start(spec).await?;
    let workers = match workers {
        (min, max) if min == max => min.to_string(),
        (min, max) => format!("{min} to {max}"),
    };
    println!("clipfleet is up: {workers} workers with {slots} slots each; data in {}", data.display());
    println!("  console    http://{}/", fleet.api);
    println!("  API        http://{}/v1/batches", fleet.api);
    for (name, value) in cloud::environment(&fleet.endpoints) {
        println!("  export {name}={value}");
    }
    println!("Stop with Ctrl-C. Unfinished clips resume on the next start.");
    let failed = tokio::select! {
        () = stop.cancelled() => None,
        failed = fleet.failed() => Some(failed),
    };
    fleet.stop().await;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
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

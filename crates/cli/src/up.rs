//! `clipfleet up`: the fleet, until it is told to stop.

use crate::{
    cloud::{self, TELEMETRY, Telemetry},
    exit::Failed,
    fleet::{Fleet, FleetSpec},
    roles::{self, LEGACY_MIRROR, SLOTS},
    scaling::{self, LOCAL},
};
use clap::{ArgMatches, Command};
use clipfleet_service::{
    settings::{Reader, Setting, declare, number, parsed},
    shutdown,
};
use std::{path::PathBuf, process::ExitCode};

/// Where everything durable lies.
pub(crate) const DATA: Setting =
    Setting { flag: "data", env: "CLIPFLEET_DATA", default: ".clipfleet", help: "directory of everything durable" };
const LISTEN: Setting = Setting {
    flag: "listen",
    env: "CLIPFLEET_LISTEN",
    default: "127.0.0.1:8080",
    help: "address of the HTTP API and the console",
};
/// Where the emulator listens.
pub(crate) const EMULATOR: Setting = Setting {
    flag: "emulator",
    env: "CLIPFLEET_EMULATOR",
    default: "127.0.0.1:8085",
    help: "address of the emulator of Pub/Sub, Firestore and Storage",
};
const WORKERS: Setting = Setting {
    flag: "workers",
    env: "CLIPFLEET_WORKERS",
    default: "1",
    help: "worker processes: a number, or the least and the most, such as 0..4, between which it scales itself",
};

pub(crate) fn command() -> Command {
    let command = Command::new("up").about("Run the whole fleet on this machine, with no cloud account");
    declare(command, &[&[DATA, LISTEN, EMULATOR, WORKERS, SLOTS, LEGACY_MIRROR], LOCAL, TELEMETRY])
}

fn read(matches: &ArgMatches) -> Result<(FleetSpec, Telemetry), Failed> {
    let mut reader = Reader::new(matches);
    let data = reader.take(&DATA, |text| Ok(PathBuf::from(text)));
    let listen = reader.take(&LISTEN, parsed("an address such as 127.0.0.1:8080"));
    let emulator = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let workers = reader.take(&WORKERS, worker_range);
    let slots = reader.take(&SLOTS, number(1, 64));
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

/// `3`, or `0..4`: the least and the most, both included.
fn worker_range(text: &str) -> Result<(usize, usize), String> {
    const MOST: usize = 256;
    let wrong = || format!("must be a number from 0 to {MOST}, or two such as 0..4, got {text:?}");
    let number = |text: &str| text.trim().parse().ok().filter(|number| *number <= MOST).ok_or_else(wrong);
    match text.split_once("..") {
        None => number(text).map(|number| (number, number)),
        Some((least, most)) => match (number(least)?, number(most.trim_start_matches('='))?) {
            (least, most) if least <= most => Ok((least, most)),
            _ => Err(wrong()),
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
        (least, most) if least == most => least.to_string(),
        (least, most) => format!("{least} to {most}"),
    };
    println!("clipfleet is up: {workers} workers with {slots} slots each; data in {}", data.display());
    println!("  console    http://{}/", fleet.api);
    println!("  API        http://{}/v1/batches", fleet.api);
    for (name, value) in cloud::environment(&fleet.endpoints) {
        println!("  export {name}={value}");
    }
    println!("Stop with Ctrl-C; unfinished clips go on at the next start.");
    let broken = tokio::select! {
        () = stop.cancelled() => None,
        broken = fleet.broken() => Some(broken),
    };
    fleet.stop().await;
    broken.map_or(Ok(ExitCode::SUCCESS), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_a_number_or_a_range() {
        assert_eq!(worker_range("3"), Ok((3, 3)));
        assert_eq!(worker_range("0..4"), Ok((0, 4)));
        for wrong in ["4..0", "257", "0..", "x", "", "1..2..3"] {
            assert!(worker_range(wrong).unwrap_err().contains(&format!("{wrong:?}")), "{wrong}");
        }
    }
}

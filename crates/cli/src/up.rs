//! `clipfleet up`: the fleet, until it is told to stop.

use crate::{
    cloud::{self, LOG_FORMAT},
    exit::Failed,
    fleet::{Fleet, FleetSpec},
    roles::SLOTS,
};
use clap::{ArgMatches, Command};
use clipfleet_service::{
    settings::{Reader, Setting, declare, number, parsed},
    shutdown,
    telemetry::{LogFormat, log_format, start_logging},
};
use std::{path::PathBuf, process::ExitCode};

const DATA: Setting =
    Setting { flag: "data", env: "CLIPFLEET_DATA", default: ".clipfleet", help: "directory of everything durable" };
const LISTEN: Setting = Setting {
    flag: "listen",
    env: "CLIPFLEET_LISTEN",
    default: "127.0.0.1:8080",
    help: "address of the HTTP API and the console",
};
const EMULATOR: Setting = Setting {
    flag: "emulator",
    env: "CLIPFLEET_EMULATOR",
    default: "127.0.0.1:8085",
    help: "address of the embedded Pub/Sub, Firestore and Storage servers",
};
const WORKERS: Setting = Setting { flag: "workers", env: "CLIPFLEET_WORKERS", default: "1", help: "worker processes" };

pub(crate) fn command() -> Command {
    let command = Command::new("up").about("Run the whole fleet on this machine, with no cloud account");
    declare(command, &[&[DATA, LISTEN, EMULATOR, WORKERS, SLOTS, LOG_FORMAT]])
}

fn read(matches: &ArgMatches) -> Result<(FleetSpec, LogFormat), Failed> {
    let mut reader = Reader::new(matches);
    let data = reader.take(&DATA, |text| Ok(PathBuf::from(text)));
    let listen = reader.take(&LISTEN, parsed("an address such as 127.0.0.1:8080"));
    let emulator = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let workers = reader.take(&WORKERS, number(0, 256));
    let slots = reader.take(&SLOTS, number(1, 64));
    let format = reader.take(&LOG_FORMAT, log_format);
    let built = (|| {
        let spec = FleetSpec {
            data: data?,
            listen: listen?,
            emulator: emulator?,
            workers: workers?,
            slots: slots?,
            quiet: false,
        };
        Some((spec, format?))
    })();
    Ok(reader.finish(built)?)
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let (spec, format) = read(matches)?;
    start_logging(format, "info");
    let stop = shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))?;
    let (workers, slots, data) = (spec.workers, spec.slots, spec.data.clone());
    let mut fleet = Fleet::start(spec).await?;
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

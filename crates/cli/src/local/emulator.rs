//! `clipfleet emulator`: the emulator with the topics, subscriptions and the bucket of a fleet, for roles that run
//! elsewhere, for example in containers. `clipfleet up` runs it in its own process.

use crate::{
    exit::Failed,
    local::topology,
    local::up::{DATA, EMULATOR},
    roles::cloud,
};
use clap::{ArgMatches, Command};
use clipfleet_emulator::{Config, Emulator};
use clipfleet_service::{
    health::{self, Readiness},
    settings::{Reader, declare, parsed},
    shutdown,
};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

pub(crate) fn command() -> Command {
    let about = "Run only the emulator of Pub/Sub, Firestore and Storage, with the topics and the bucket of a fleet";
    declare(Command::new("emulator").about(about), &[&[DATA, EMULATOR], cloud::PROCESS])
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let data = reader.take(&DATA, |text| Ok(PathBuf::from(text)));
    let listen = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let process = cloud::process(&mut reader);
    let ((data, listen), process) = reader.finish(data.zip(listen).zip(process))?;

    process.telemetry.start("emulator");
    let stop = shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))?;
    let listener = health::bind(process.listen).await.map_err(|error| Failed::because("start", error))?;
    let emulator = Emulator::start(Config { data, listen }).await;
    let emulator = emulator.map_err(|error| Failed::because("start the emulator", error))?;
    topology::ensure(&cloud::connect(&cloud::local_endpoints(emulator.address())).await?, true).await?;
    let readiness = Readiness::default();
    readiness.ready(json!({"address": emulator.address().to_string()}));
    let served = health::serve(listener, health::routes(readiness), stop).await;
    emulator.stop().await;
    served.map(|()| ExitCode::SUCCESS).map_err(|error| Failed::because("serve health checks", error))
}

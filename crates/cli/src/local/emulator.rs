//! `clipfleet emulator`: the emulator with the topics, subscriptions and the bucket of a fleet, for roles that run
//! elsewhere, for example in containers. `clipfleet up` runs it in its own process.

use super::{
    data::{self, DATA},
    fleet::start_emulator,
    topology,
    up::EMULATOR,
};
use crate::{
    exit::Failed,
    interrupt,
    roles::{
        cloud::{self, TELEMETRY},
        print_config, print_config_arg,
    },
};
use clap::{ArgMatches, Command};
use clipfleet_service::{
    health::{self, Readiness},
    settings::{Reader, declare, declare_advanced, parsed},
};
use serde_json::json;
use std::process::ExitCode;

pub(crate) fn command() -> Command {
    let command = Command::new("emulator")
        .about("Run only the emulator of Pub/Sub, Firestore and Storage")
        .long_about(
            "Run only the emulator of Pub/Sub, Firestore and Storage, with the topics and the bucket of a fleet",
        )
        .arg(print_config_arg());
    let command = declare(command, &[&[DATA, EMULATOR], cloud::LISTENER]);
    declare_advanced(command, &[TELEMETRY])
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let directory = reader.take(&DATA, data::directory);
    let listen = reader.take(&EMULATOR, parsed("an address such as 127.0.0.1:8085"));
    let process = cloud::process(&mut reader);
    let built = print_config(matches, reader, directory.zip(listen).zip(process))?;
    let Some(((directory, listen), process)) = built else { return Ok(ExitCode::SUCCESS) };

    process.telemetry.start("emulator");
    let stop = interrupt::token()?;
    let listener = health::bind(process.listen).await.map_err(|error| Failed::because("start", error))?;
    let Some(emulator) = interrupt::unless_stopped(&stop, start_emulator(&directory, listen)).await? else {
        return Ok(ExitCode::SUCCESS);
    };
    topology::ensure(&cloud::connect(&cloud::local_endpoints(emulator.address())).await?, true).await?;
    let readiness = Readiness::default();
    readiness.ready(json!({"address": emulator.address().to_string()}));
    let served = health::serve(listener, health::routes(readiness), stop).await;
    emulator.stop().await;
    served.map(|()| ExitCode::SUCCESS).map_err(|error| Failed::because("serve health checks", error))
}

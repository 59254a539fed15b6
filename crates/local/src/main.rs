//! The servers of `clipfleet-local` as a process of their own, for trying other clients against them:
//! `clipfleet-local DATA_FOLDER [ADDRESS]`. Prints the address once it listens; ends on SIGINT or SIGTERM.

use clipfleet_local::{Config, LocalCloud};
use std::{net::SocketAddr, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (data, listen) = (arguments.next(), arguments.next().unwrap_or_else(|| "127.0.0.1:8085".into()));
    let (Some(data), Ok(listen)) = (data, listen.parse::<SocketAddr>()) else {
        eprintln!("usage: clipfleet-local DATA_FOLDER [ADDRESS, for example 127.0.0.1:8085]");
        return ExitCode::from(2);
    };
    let cloud = match LocalCloud::start(Config { data: data.into(), listen }).await {
        Ok(cloud) => cloud,
        Err(error) => {
            eprintln!("failed to {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("http://{}", cloud.address());
    let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("failed to listen for signals");
        return ExitCode::FAILURE;
    };
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    cloud.stop().await;
    ExitCode::SUCCESS
}

//! The servers of `clipfleet-emulator` as a process of their own, for trying other clients against them.

use clap::Parser;
use clipfleet_emulator::{Config, Emulator};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Pub/Sub, Firestore and Cloud Storage on this machine. Prints its address once it listens; ends on SIGINT or SIGTERM.
#[derive(Parser)]
#[command(name = "clipfleet-emulator", version)]
struct Arguments {
    /// Folder for what is stored; made when it is not there
    data: PathBuf,
    /// Address to listen at; port 0 takes a free one
    #[arg(default_value = "127.0.0.1:8085")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { data, listen } = Arguments::parse();
    let cloud = match Emulator::start(Config { data, listen }).await {
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

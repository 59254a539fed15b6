//! `clipfleet-emulator`: the emulator as a standalone process, for trying other clients against it.

use clap::Parser;
use clipfleet_emulator::{Config, Emulator};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// Emulator of Pub/Sub, Firestore and Cloud Storage. Prints its address when it is ready; stops on SIGINT or SIGTERM.
#[derive(Parser)]
#[command(name = "clipfleet-emulator", version)]
struct Arguments {
    /// Data folder; created if missing
    data: PathBuf,
    /// Address to listen on; port 0 picks a free port
    #[arg(default_value = "127.0.0.1:8085")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { data, listen } = Arguments::parse();
    let emulator = match Emulator::start(Config { data, listen }).await {
        Ok(emulator) => emulator,
        Err(error) => {
            eprintln!("failed to {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("http://{}", emulator.address());
    let (Ok(mut interrupted), Ok(mut terminated)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        eprintln!("failed to listen for signals");
        return ExitCode::FAILURE;
    };
    tokio::select! {
        _ = interrupted.recv() => {}
        _ = terminated.recv() => {}
    }
    emulator.stop().await;
    ExitCode::SUCCESS
}

//! Commands that end when they are interrupted, whatever they are waiting for.

use crate::exit::Failed;
use clipfleet_service::shutdown;
use std::process::ExitCode;
use tokio_util::sync::CancellationToken;

/// A token that SIGINT and SIGTERM cancel. The second signal ends the process at once.
pub(crate) fn token() -> Result<CancellationToken, Failed> {
    shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))
}

/// Runs a command that leaves nothing unfinished, until it ends or is interrupted.
pub(crate) async fn until_interrupted(
    command: impl Future<Output = Result<ExitCode, Failed>>,
) -> Result<ExitCode, Failed> {
    let stop = token()?;
    tokio::select! {
        ended = command => ended,
        () = stop.cancelled() => Err(Failed::interrupted("Interrupted.")),
    }
}

/// Runs the start of a service, until it ends or is interrupted, which gives `None`.
pub(crate) async fn unless_stopped<T>(
    stop: &CancellationToken,
    start: impl Future<Output = Result<T, Failed>>,
) -> Result<Option<T>, Failed> {
    tokio::select! {
        started = start => started.map(Some),
        () = stop.cancelled() => Ok(None),
    }
}

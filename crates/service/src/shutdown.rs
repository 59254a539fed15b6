//! An orderly end: the first SIGTERM or SIGINT asks for it, a second one forces it.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a forced end, as a shell reports SIGINT.
const EXIT_FORCED: i32 = 130;

/// A token that is cancelled by the first SIGTERM or SIGINT. The second one exits at once.
pub fn on_signal() -> std::io::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let token = stop.clone();
    tokio::spawn(async move {
        let name = either(&mut terminate, &mut interrupt).await;
        tracing::info!(signal = name, "stopping");
        token.cancel();
        either(&mut terminate, &mut interrupt).await;
        std::process::exit(EXIT_FORCED);
    });
    Ok(stop)
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

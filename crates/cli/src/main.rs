//! The `clipfleet` program: exports clips (`export`, `batch`), runs a fleet on this machine (`up`), operates a running
//! one (`fleet`, `dead-letters`, `doctor`), and runs the roles of a deployed one (`serve`, `dispatcher`, `worker`,
//! `status`, `scaler`).
//!
//! The program contains no rules about clips: it reads settings, starts roles, and shows what the fleet reports.

mod client;
mod command;
mod desktop;
mod doctor;
mod documentation;
mod download;
mod exit;
mod export;
mod interrupt;
mod local;
mod operate;
mod output;
mod plan;
mod quota;
mod roles;
mod storage;

use clipfleet_service::trace;
use exit::Failed;
use std::process::ExitCode;

fn main() -> ExitCode {
    let matches = command::program().get_matches();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failed::because("start the runtime", error).report(),
    };
    let ended = runtime.block_on(async {
        let ended = command::run(&matches).await;
        trace::end().await;
        ended
    });
    // A thread that waits for a server that does not answer must not delay the end.
    runtime.shutdown_background();
    ended.unwrap_or_else(|failed| failed.report())
}

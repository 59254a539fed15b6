//! `clipfleet ready`: checks whether a role is ready. Container health checks use it, so that images need no other
//! program for that.

use crate::{exit::Failed, roles::cloud::PORT};
use clap::{Arg, ArgMatches, Command};
use clipfleet_service::settings::{Reader, declare, required};
use std::{process::ExitCode, time::Duration};

/// The longest wait for a response. A healthy role responds immediately.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn command() -> Command {
    let url = Arg::new("url").value_name("URL").help("URL to check [default: http://127.0.0.1:PORT/ready]");
    declare(
        Command::new("ready").about("Check a role's readiness; exits with 1 if it is not ready").arg(url),
        &[&[PORT]],
    )
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let url = match matches.get_one::<String>("url") {
        Some(url) => url.clone(),
        None => {
            let mut reader = Reader::new(matches);
            let port = reader.take(&PORT, required);
            format!("http://127.0.0.1:{}/ready", reader.finish(port)?)
        }
    };
    let failed = |error: &dyn std::fmt::Display| Failed::new(format!("{url} is not ready: {error}"));
    let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().map_err(|error| failed(&error))?;
    let answer = http.get(&url).send().await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| failed(&error))?;
    if !status.is_success() {
        return Err(failed(&format_args!("{status} {text}")));
    }
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

//! `clipfleet ready`: asks a role whether it can do its work, as health checks of containers do; an image needs no other program for it.

use crate::{cloud::PORT, exit::Failed};
use clap::{Arg, ArgMatches, Command};
use clipfleet_service::settings::{Reader, declare, required};
use std::{process::ExitCode, time::Duration};

/// A role answers at once or is not well.
const PATIENCE: Duration = Duration::from_secs(3);

pub(crate) fn command() -> Command {
    let url = Arg::new("url").value_name("URL").help("what to ask [default: http://127.0.0.1:PORT/ready]");
    declare(
        Command::new("ready").about("Ask a role whether it can do its work; exits with 1 if not").arg(url),
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
    let failed = |error: &dyn std::fmt::Display| Failed::because(format_args!("find {url} ready"), error);
    let http = reqwest::Client::builder().timeout(PATIENCE).build().map_err(|error| failed(&error))?;
    let answer = http.get(&url).send().await.map_err(|error| failed(&error))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|error| failed(&error))?;
    if !status.is_success() {
        return Err(failed(&format_args!("{status} {text}")));
    }
    println!("{text}");
    Ok(ExitCode::SUCCESS)
}

//! `clipfleet ready`: checks whether a role is ready. Container health checks use it, so that images need no other
//! program for that.

use crate::{
    exit::{Failed, Status, root_cause},
    output,
    roles::cloud::PORT,
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clipfleet_service::settings::{Reader, declare, optional};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};

/// The longest wait for a response. A healthy role responds immediately.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

pub(crate) fn command() -> Command {
    let url = Arg::new("url").value_name("URL").help("URL to check [default: http://127.0.0.1:PORT/ready]");
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue).help("Print JSON, also if it is not ready");
    let command = Command::new("ready").about("Check a role's readiness");
    declare(command.arg(url).arg(json), &[&[PORT]])
        .after_help("Exits with 1 if the role is not ready or does not answer, as container health checks expect.")
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let url = match matches.get_one::<String>("url") {
        Some(url) => url.clone(),
        None => {
            let mut reader = Reader::new(matches);
            let port = reader.take(&PORT, optional);
            let port = reader.finish(port)?.ok_or_else(|| {
                Failed::usage("no role is named").hint("give its URL, or its port: clipfleet ready --port 8080")
            })?;
            format!("http://127.0.0.1:{port}/ready")
        }
    };
    let state = ask(&url).await;
    if matches.get_flag("json") {
        let state = match &state {
            Ok(text) => serde_json::from_str(text).unwrap_or_else(|_| json!({"ready": true})),
            Err(reason) => json!({"ready": false, "reason": reason}),
        };
        output::json(&state);
        return Ok(if state["ready"] == true { ExitCode::SUCCESS } else { Status::Failed.into() });
    }
    output::line(state.map_err(|reason| Failed::new(Status::Failed, format!("{url} is not ready: {reason}")))?);
    Ok(ExitCode::SUCCESS)
}

/// The answer of a role that is ready, or why it is not.
async fn ask(url: &str) -> Result<String, String> {
    let failed = |error: reqwest::Error| if error.is_timeout() { "no answer".to_owned() } else { root_cause(&error) };
    let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().map_err(failed)?;
    let answer = http.get(url).send().await.map_err(failed)?;
    let status = answer.status();
    let text = answer.text().await.map_err(failed)?;
    if status.is_success() {
        return Ok(text);
    }
    let body: Value = serde_json::from_str(&text).unwrap_or_default();
    Err(body["reason"].as_str().map_or_else(|| status.to_string(), ToOwned::to_owned))
}

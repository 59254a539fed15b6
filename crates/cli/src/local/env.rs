//! `clipfleet env`: the variables that let other programs, such as Google's clients, use a running fleet.

use super::{data, running::RunningFleet};
use crate::{
    client::Client,
    exit::{Failed, Status},
    output,
    roles::cloud,
};
use clap::{ArgMatches, Args, FromArgMatches as _};
use clipfleet_contract::names;
use serde_json::{Map, json};
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `clipfleet env`.
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// Ask this fleet instead of reading the data directory
    #[arg(long, env = "CLIPFLEET_SERVER", value_name = "URL")]
    server: Option<String>,
    /// Identity token, if the server requires one
    #[arg(long, env = "CLIPFLEET_TOKEN", hide_env_values = true, value_name = "TOKEN", hide_short_help = true)]
    token: Option<String>,
    /// Directory of all data [default: clipfleet in your cache directory]
    #[arg(long, env = "CLIPFLEET_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
    /// Print JSON instead of `export` lines
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = EnvArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let variables = match &args.server {
        Some(server) => of_server(server, args.token.clone()).await?,
        None => {
            let data = data::given(args.data.as_deref())?;
            let fleet = RunningFleet::on(&data).ok_or_else(|| {
                Failed::new(Status::Unreachable, format!("no fleet runs on {}", data::show(&data)))
                    .hint("start one with \"clipfleet up\", or give --server or --data")
            })?;
            variables(format!("http://{}", fleet.api), &fleet)
        }
    };
    if args.json {
        let object: Map<_, _> = variables.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        output::json(&object.into());
    } else {
        variables.iter().for_each(|(name, value)| output::line(format_args!("export {name}={value}")));
    }
    Ok(ExitCode::SUCCESS)
}

fn variables(server: String, fleet: &RunningFleet) -> Vec<(&'static str, String)> {
    let mut variables = cloud::environment(&fleet.endpoints());
    variables.push(("CLIPFLEET_SERVER", server));
    variables
}

/// A fleet on one machine has all three services in one emulator.
async fn of_server(server: &str, token: Option<String>) -> Result<Vec<(&'static str, String)>, Failed> {
    let client = Client::new(server, token)?;
    let settings = client.console_settings().await?;
    let storage = settings.storage.filter(|_| settings.runs_on_one_machine).ok_or_else(|| {
        Failed::usage(format!("the fleet at {} does not run on an emulator, so it needs no variables", client.base()))
    })?;
    let url = if storage.url.is_empty() { storage.origin } else { storage.url };
    let host = url.split("://").last().unwrap_or_default().to_owned();
    let endpoints = cloud::all_at(host, names::LOCAL_PROJECT);
    let mut variables = cloud::environment(&endpoints);
    variables.push(("CLIPFLEET_SERVER", client.base().to_owned()));
    Ok(variables)
}

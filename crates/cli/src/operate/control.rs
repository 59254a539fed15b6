//! `clipfleet fleet`: pauses, resumes and inspects a fleet.

use super::server::Server;
use crate::{
    exit::Failed,
    output::{self, text},
};
use clap::{ArgMatches, Args, FromArgMatches as _, Subcommand};
use serde_json::Value;
use std::process::ExitCode;

/// Arguments of `clipfleet fleet`.
#[derive(Debug, Args)]
pub(crate) struct FleetArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: FleetVerb,
}

#[derive(Debug, Subcommand)]
enum FleetVerb {
    /// Pause the fleet. Running clips finish; new ones wait
    Pause,
    /// Resume the fleet
    Resume,
    /// Show whether the fleet is paused, and what it is working on
    Show,
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let FleetArgs { server, verb } =
        FleetArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = server.client()?;
    let mut control = match verb {
        FleetVerb::Pause => client.post("/fleet:pause").await?,
        FleetVerb::Resume => client.post("/fleet:resume").await?,
        FleetVerb::Show => client.get("/fleet").await?,
    };
    let work = match verb {
        FleetVerb::Show => client.get("/fleet/work").await?,
        _ => Value::Null,
    };
    if server.json {
        if !work.is_null() {
            control["work"] = work;
        }
        output::json(&control);
        return Ok(ExitCode::SUCCESS);
    }
    output::line(state(&control));
    if !work.is_null() {
        output::line(load(&work));
    }
    control["pools"].as_array().into_iter().flatten().for_each(|shown| output::line(pool(shown)));
    Ok(ExitCode::SUCCESS)
}

/// "pool clipfleet-worker-gpu: 2 workers (backlog); at most 2 are granted".
fn pool(pool: &Value) -> String {
    let workers = pool["workers"].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    let reason = pool["reason"].as_str().filter(|reason| !reason.is_empty());
    let reason = reason.map_or(String::new(), |reason| format!(" ({reason})"));
    let limit = pool["limit"].as_u64().map_or(String::new(), |limit| format!("; at most {limit} are granted"));
    let name = pool["pool"].as_str().unwrap_or("?");
    format!("pool {name}: {}{reason}{limit}", text::plural(workers, "worker"))
}

fn state(control: &Value) -> String {
    let since = control["since"].as_str().map_or(String::new(), |since| format!(" since {since}"));
    match control["paused"] == true {
        true => format!("paused{since}; running clips finish, new ones wait"),
        false => format!("running{since}"),
    }
}

/// "2 clips in progress on 1 worker, 7 queued".
fn load(work: &Value) -> String {
    let number = |name: &str| work[name].as_u64().and_then(|number| usize::try_from(number).ok()).unwrap_or(0);
    let (running, queued) = (number("processingClips"), number("queuedClips"));
    if running == 0 && queued == 0 {
        return "idle".to_owned();
    }
    let on = match work["workers"].as_array().map_or(0, Vec::len) {
        0 => String::new(),
        count => format!(" on {}", text::plural(count, "worker")),
    };
    format!("{} in progress{on}, {queued} queued", text::plural(running, "clip"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pool_is_shown_with_what_the_platform_refuses() {
        let shown = json!({"pool": "clipfleet-worker-gpu", "workers": 2, "reason": "backlog", "limit": 2});
        assert_eq!(pool(&shown), "pool clipfleet-worker-gpu: 2 workers (backlog); at most 2 are granted");
        let idle = json!({"pool": "local", "workers": 1, "reason": "", "limit": null});
        assert_eq!(pool(&idle), "pool local: 1 worker");
    }
}

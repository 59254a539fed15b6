//! `clipfleet fleet` and `clipfleet dead-letters`: operations on a running fleet.

pub(crate) mod batch;
pub(crate) mod ready;

use crate::{client::Client, exit::Failed};
use clap::{ArgMatches, Args, FromArgMatches as _, Subcommand};
use serde_json::Value;
use std::process::ExitCode;

/// The fleet to use.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address of the fleet's API.
    #[arg(long, env = "CLIPFLEET_SERVER", default_value = "http://127.0.0.1:8080", global = true)]
    server: String,
    /// Identity token, if the server requires one.
    #[arg(long, env = "CLIPFLEET_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

impl Server {
    pub(crate) fn client(self) -> Result<Client, Failed> {
        Client::new(&self.server, self.token)
    }
}

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
    /// Pause the fleet. Running clips finish; new ones wait.
    Pause,
    /// Resume the fleet.
    Resume,
    /// Show whether the fleet is paused.
    Show,
}

/// Arguments of `clipfleet dead-letters`.
#[derive(Debug, Args)]
pub(crate) struct DeadLetterArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: DeadLetterVerb,
}

#[derive(Debug, Subcommand)]
enum DeadLetterVerb {
    /// List dead letters, one line per clip.
    List,
    /// Show the dead letters of a batch, or of one clip, as JSON.
    Show { batch: String, clip: Option<String> },
    /// Retry all dead letters, those of a batch, or one clip.
    Redrive { batch: Option<String>, clip: Option<String> },
}

pub(crate) async fn fleet(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = FleetArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = args.server.client()?;
    let control = match args.verb {
        FleetVerb::Pause => client.post("/fleet:pause").await?,
        FleetVerb::Resume => client.post("/fleet:resume").await?,
        FleetVerb::Show => client.get("/fleet").await?,
    };
    let since = control["since"].as_str().map_or(String::new(), |since| format!(" since {since}"));
    println!("{}{since}", if control["paused"] == true { "paused" } else { "running" });
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn dead_letters(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = DeadLetterArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = args.server.client()?;
    match args.verb {
        DeadLetterVerb::List => {
            let mut after = String::new();
            while let Some(next) = page(&client, &after, |letter| println!("{}", line(letter))).await? {
                after = next;
            }
        }
        DeadLetterVerb::Show { batch, clip } => {
            let of_batch = client.get(&format!("/dead-letters/{batch}")).await?;
            let letters = of_batch["deadLetters"].as_array().into_iter().flatten();
            let chosen = letters.filter(|letter| clip.as_ref().is_none_or(|clip| letter["clipId"] == **clip));
            let chosen: Vec<&Value> = chosen.collect();
            println!("{}", serde_json::to_string_pretty(&chosen).unwrap_or_default());
        }
        DeadLetterVerb::Redrive { batch: Some(batch), clip } => redrive(&client, &batch, clip.as_deref()).await?,
        DeadLetterVerb::Redrive { batch: None, .. } => redrive_all(&client).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Reads one page. Returns where the next one begins.
async fn page(client: &Client, after: &str, mut each: impl FnMut(&Value)) -> Result<Option<String>, Failed> {
    let page = client.get(&format!("/dead-letters?after={after}")).await?;
    page["deadLetters"].as_array().into_iter().flatten().for_each(&mut each);
    Ok(page["next"].as_str().map(ToOwned::to_owned))
}

fn line(letter: &Value) -> String {
    let text = |name: &str| letter[name].as_str().unwrap_or("-");
    let failure_codes =
        letter["failureCodes"].as_array().map(|codes| codes.iter().filter_map(Value::as_str).collect::<Vec<_>>());
    let failure_codes = failure_codes.filter(|codes| !codes.is_empty()).map_or("-".to_owned(), |codes| codes.join(","));
    let message = letter["error"]["message"].as_str().unwrap_or("-");
    format!("{}  {}  {}  failures: {failure_codes}  {message}", text("batchId"), text("clipId"), text("completedAt"))
}

/// Redrives batch by batch, only forward, so that a batch whose documents still show dead letters is not redriven
/// twice.
async fn redrive_all(client: &Client) -> Result<(), Failed> {
    let (mut after, mut more) = (String::new(), true);
    while more {
        let mut batches: Vec<String> = Vec::new();
        let next = page(client, &after, |letter| {
            if let Some(batch) =
                letter["batchId"].as_str().filter(|batch| batches.last().is_none_or(|last| last != batch))
            {
                batches.push(batch.to_owned());
            }
        });
        let next = next.await?;
        for batch in &batches {
            redrive(client, batch, None).await?;
        }
        more = next.is_some();
        after = next.unwrap_or_default();
    }
    Ok(())
}

async fn redrive(client: &Client, batch: &str, clip: Option<&str>) -> Result<(), Failed> {
    let clip = clip.map_or(String::new(), |clip| format!("/clips/{clip}"));
    let affected = client.post(&format!("/dead-letters/{batch}{clip}:redrive")).await?;
    let clips: Vec<&str> =
        affected["clips"].as_array().into_iter().flatten().filter_map(|clip| clip["clipId"].as_str()).collect();
    println!("redrive {batch}: {} clips{}{}", clips.len(), if clips.is_empty() { "" } else { ": " }, clips.join(", "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_dead_letter_is_one_line_with_its_reason() {
        let letter = json!({
            "batchId": "b1", "clipId": "c1", "completedAt": "2026-11-24T12:00:00Z",
            "failureCodes": ["source_unavailable", "pipeline_crashed"], "error": {"message": "given up"},
        });
        let expected = "b1  c1  2026-11-24T12:00:00Z  failures: source_unavailable,pipeline_crashed  given up";
        assert_eq!(line(&letter), expected);
        assert_eq!(line(&json!({})), "-  -  -  failures: -  -");
    }
}

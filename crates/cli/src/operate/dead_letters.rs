//! `clipfleet dead-letters`: clips that the queue gave up.

use super::server::{Server, batch_id, clip_id};
use crate::{
    client::Client,
    exit::Failed,
    output::{self, text},
};
use clap::{ArgMatches, Args, FromArgMatches as _, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

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
    /// List dead letters, one line per clip
    List,
    /// Show the dead letters of a batch, or of one clip, as JSON
    Show {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
        /// Name of one of its clips
        #[arg(value_parser = clip_id)]
        clip: Option<String>,
    },
    /// Retry all dead letters, those of a batch, or one clip
    Redrive {
        /// Id of a batch
        #[arg(value_parser = batch_id)]
        batch: Option<String>,
        /// Name of one of its clips
        #[arg(value_parser = clip_id)]
        clip: Option<String>,
    },
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let DeadLetterArgs { server, verb } =
        DeadLetterArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = server.client()?;
    match verb {
        DeadLetterVerb::List => list(&client, server.json).await?,
        DeadLetterVerb::Show { batch, clip } => {
            let of_batch = client.get(&format!("/dead-letters/{batch}")).await?;
            let letters = of_batch["deadLetters"].as_array().into_iter().flatten();
            let chosen: Vec<&Value> =
                letters.filter(|letter| clip.as_ref().is_none_or(|clip| letter["clipId"] == **clip)).collect();
            output::json(&json!(chosen));
        }
        DeadLetterVerb::Redrive { batch, clip } => {
            let redriven = match batch {
                Some(batch) => vec![redrive(&client, &batch, clip.as_deref()).await?],
                None => redrive_all(&client).await?,
            };
            report(&redriven, server.json);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(client: &Client, json: bool) -> Result<(), Failed> {
    let mut letters: Vec<Value> = Vec::new();
    let (mut after, mut any) = (String::new(), false);
    loop {
        let (page, next) = page(client, &after).await?;
        any |= !page.is_empty();
        match json {
            true => letters.extend(page),
            false => page.iter().for_each(|letter| output::line(line(letter))),
        }
        match next {
            Some(next) => after = next,
            None => break,
        }
    }
    if json {
        output::json(&json!({"deadLetters": letters}));
    } else if !any {
        output::line("No dead letters.");
    }
    Ok(())
}

/// Reads one page. Returns where the next one begins, too.
async fn page(client: &Client, after: &str) -> Result<(Vec<Value>, Option<String>), Failed> {
    let page = client.get(&format!("/dead-letters?after={after}")).await?;
    let letters = page["deadLetters"].as_array().cloned().unwrap_or_default();
    Ok((letters, page["next"].as_str().map(ToOwned::to_owned)))
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
async fn redrive_all(client: &Client) -> Result<Vec<Value>, Failed> {
    let (mut redriven, mut after) = (Vec::new(), String::new());
    loop {
        let (letters, next) = page(client, &after).await?;
        let mut batches: Vec<&str> = letters.iter().filter_map(|letter| letter["batchId"].as_str()).collect();
        batches.dedup();
        for batch in batches {
            redriven.push(redrive(client, batch, None).await?);
        }
        match next {
            Some(next) => after = next,
            None => return Ok(redriven),
        }
    }
}

async fn redrive(client: &Client, batch: &str, clip: Option<&str>) -> Result<Value, Failed> {
    let clip = clip.map_or(String::new(), |clip| format!("/clips/{clip}"));
    client.post(&format!("/dead-letters/{batch}{clip}:redrive")).await
}

fn report(redriven: &[Value], json: bool) {
    if json {
        return output::json(&json!({"batches": redriven}));
    }
    if redriven.iter().all(|batch| batch["clips"].as_array().is_none_or(Vec::is_empty)) {
        return output::line("No dead letters.");
    }
    for batch in redriven {
        let clips = batch["clips"].as_array().into_iter().flatten();
        let clips: Vec<&str> = clips.filter_map(|clip| clip["clipId"].as_str()).collect();
        let (count, id) = (text::plural(clips.len(), "clip"), batch["batchId"].as_str().unwrap_or("-"));
        output::line(format_args!("Retrying {count} of {id}: {}", clips.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

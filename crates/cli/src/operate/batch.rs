//! `clipfleet batch`: lists, shows, watches, downloads, cancels and retries batches of a running fleet.

use super::{
    download,
    server::{Server, batch_id, clip_id},
};
use crate::{
    client::Client,
    exit::{Failed, Status},
    export::table_of,
    output::{
        self,
        progress::{Mode, Progress},
        table::{Align, table},
        text, view,
    },
};
use clap::{ArgMatches, Args, FromArgMatches as _, Subcommand};
use clipfleet_contract::v1::BatchAccepted;
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode, time::Duration};

/// The interval between two updates of the progress.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Batches that the server returns at once.
const PAGE_SIZE: usize = 100;

/// Arguments of `clipfleet batch`.
#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    #[command(flatten)]
    server: Server,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List batches, newest first
    List {
        /// Only batches with this status
        #[arg(long, value_name = "STATUS",
              value_parser = ["queued", "processing", "completed", "partial", "failed", "cancelled"])]
        status: Option<String>,
        /// Only batches of this owner
        #[arg(long, value_name = "UID")]
        owner: Option<String>,
        /// Only batches of this project
        #[arg(long, value_name = "PROJECT")]
        project: Option<String>,
        /// At most this many batches
        #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Print a batch as JSON
    Show {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
    },
    /// Show the progress of a batch until it ends
    Watch {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
        /// Print every change as a JSON object
        #[arg(long, conflicts_with = "json")]
        json_lines: bool,
    },
    /// Download the completed clips of a batch
    Download {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
        /// Name of one of its clips
        #[arg(value_parser = clip_id)]
        clip: Option<String>,
        /// Directory for the clips
        #[arg(short, long, value_name = "DIR", default_value = "clips")]
        out: PathBuf,
        /// Overwrite files that exist
        #[arg(short, long)]
        force: bool,
    },
    /// Cancel a batch or one clip
    Cancel {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
        /// Name of one of its clips
        #[arg(value_parser = clip_id)]
        clip: Option<String>,
    },
    /// Retry the failed and cancelled clips of a batch, or one clip
    Retry {
        /// Id of the batch
        #[arg(value_parser = batch_id)]
        batch: String,
        /// Name of one of its clips
        #[arg(value_parser = clip_id)]
        clip: Option<String>,
    },
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let BatchArgs { server, verb } =
        BatchArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = server.client()?;
    match verb {
        Verb::List { status, owner, project, limit } => {
            let filters = [("status", status), ("ownerUid", owner), ("projectId", project)];
            list(&client, filters, limit as usize, server.json).await
        }
        Verb::Show { batch } => {
            output::json(&client.show(&batch).await?.0);
            Ok(ExitCode::SUCCESS)
        }
        Verb::Watch { batch, json_lines } => {
            let mode = match (server.json, json_lines) {
                (_, true) => Mode::JsonLines,
                (true, _) => Mode::Silent,
                _ => Mode::Text,
            };
            watch(&client, &batch, mode, server.json).await
        }
        Verb::Download { batch, clip, out, force } => {
            download::run(&client, &batch, clip.as_deref(), &out, force, server.json).await
        }
        Verb::Cancel { batch, clip } => {
            let affected = client.act(&batch, clip.as_deref(), "cancel").await?;
            let nothing = "Nothing to cancel: every clip has ended.";
            Ok(report(&affected, server.json, "Cancelled", nothing))
        }
        Verb::Retry { batch, clip } => {
            let affected = client.act(&batch, clip.as_deref(), "retry").await?;
            let nothing = "Nothing to retry: no clip failed or was cancelled.";
            Ok(report(&affected, server.json, "Retrying", nothing))
        }
    }
}

fn report(affected: &BatchAccepted, json: bool, verb: &str, nothing: &str) -> ExitCode {
    let clips: Vec<&str> = affected.clips.iter().map(|clip| clip.clip_id.as_str()).collect();
    if json {
        output::json(&json!({"batchId": affected.batch_id, "clips": clips}));
    } else if clips.is_empty() {
        output::line(nothing);
    } else {
        output::line(format_args!("{verb} {}: {}", text::plural(clips.len(), "clip"), clips.join(", ")));
    }
    ExitCode::SUCCESS
}

async fn watch(client: &Client, batch: &str, mode: Mode, json: bool) -> Result<ExitCode, Failed> {
    let mut progress = Progress::new(mode);
    let (raw, status) = loop {
        let (raw, status) = client.show(batch).await?;
        progress.show(&view::clips(&status, |_| None));
        if view::is_terminal(&status.status) {
            break (raw, status);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    };
    progress.finish(&raw);
    if json {
        output::json(&raw);
    } else if mode == Mode::Text {
        let url = |id: &str| {
            let clip = status.clips.iter().find(|clip| clip.clip_id == id);
            clip.map_or(String::new(), |clip| clip.output_url.clone())
        };
        output::line(table_of(&status, &view::clips(&status, |_| None), url));
    }
    Ok(if status.status == "completed" { ExitCode::SUCCESS } else { Status::Failed.into() })
}

async fn list(
    client: &Client,
    filters: [(&str, Option<String>); 3],
    limit: usize,
    json: bool,
) -> Result<ExitCode, Failed> {
    let filter: String = filters
        .iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name, value)))
        .map(|(name, value)| format!("&{name}={}", encode(value)))
        .collect();
    let (mut batches, mut token): (Vec<Value>, String) = (Vec::new(), String::new());
    while batches.len() < limit {
        let size = (limit - batches.len()).min(PAGE_SIZE);
        let page = client.get(&format!("/batches?pageSize={size}{filter}&pageToken={}", encode(&token))).await?;
        batches.extend(page["batches"].as_array().cloned().unwrap_or_default());
        match page["nextPageToken"].as_str().filter(|token| !token.is_empty()) {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    batches.truncate(limit);
    if json {
        output::json(&json!({"batches": batches}));
    } else if batches.is_empty() {
        output::line("No batches.");
    } else {
        let header = [
            ("batch", Align::Left),
            ("status", Align::Left),
            ("done", Align::Right),
            ("created", Align::Left),
            ("source", Align::Left),
        ];
        output::line(table(header, &batches.iter().map(row).collect::<Vec<_>>()));
    }
    Ok(ExitCode::SUCCESS)
}

fn row(batch: &Value) -> [String; 5] {
    let text = |name: &str| batch[name].as_str().unwrap_or("-").to_owned();
    let number = |name: &str| batch[name].as_u64().unwrap_or(0);
    let status = match batch["status"].as_str() {
        Some("processing") => format!("processing, {} %", number("progress")),
        _ => text("status"),
    };
    // To the second, without what RFC 3339 adds for programs.
    let created = text("createdAt").chars().take(19).collect::<String>().replace('T', " ");
    [
        text("batchId"),
        status,
        format!("{} of {}", number("completedClips"), number("totalClips")),
        created,
        text("sourceUri"),
    ]
}

/// A value in a query: ids and page tokens need no more than this.
fn encode(value: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_one_row() {
        let batch = json!({
            "batchId": "b1", "status": "processing", "progress": 42, "totalClips": 5, "completedClips": 2,
            "createdAt": "2026-11-24T12:00:00.123Z", "sourceUri": "gs://b/talk.mp4",
        });
        assert_eq!(row(&batch), ["b1", "processing, 42 %", "2 of 5", "2026-11-24 12:00:00", "gs://b/talk.mp4"]);
    }

    #[test]
    fn a_page_token_is_safe_in_a_query() {
        assert_eq!(encode("a/b=+é"), "a%2Fb%3D%2B%C3%A9");
    }
}

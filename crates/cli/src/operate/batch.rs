//! `clipfleet batch`: shows, watches, cancels and retries a batch on a running fleet.

use crate::{
    client::Client,
    exit::Failed,
    operate::Server,
    output::progress::{Bars, is_terminal, table},
};
use clap::{ArgMatches, Args, FromArgMatches as _, Subcommand};
use std::{process::ExitCode, time::Duration};

/// The interval between two updates of the progress bars.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

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
    /// Print the batch as JSON.
    Show { batch: String },
    /// Show the progress of the batch until it ends.
    Watch { batch: String },
    /// Cancel all clips of the batch, or one clip.
    Cancel { batch: String, clip: Option<String> },
    /// Retry all failed and cancelled clips of the batch, or one clip.
    Retry { batch: String, clip: Option<String> },
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = BatchArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let client = args.server.client()?;
    match args.verb {
        Verb::Show { batch } => {
            let shown = client.show_raw(&batch).await?;
            println!("{}", serde_json::to_string_pretty(&shown).unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Verb::Watch { batch } => watch(&client, &batch).await,
        Verb::Cancel { batch, clip } => act(&client, &batch, clip.as_deref(), "cancel").await,
        Verb::Retry { batch, clip } => act(&client, &batch, clip.as_deref(), "retry").await,
    }
}

async fn act(client: &Client, batch: &str, clip: Option<&str>, verb: &str) -> Result<ExitCode, Failed> {
    let affected = client.act(batch, clip, verb).await?;
    let clips: Vec<&str> = affected.clips.iter().map(|clip| clip.clip_id.as_str()).collect();
    println!("{verb}: {} clips{}{}", clips.len(), if clips.is_empty() { "" } else { ": " }, clips.join(", "));
    Ok(ExitCode::SUCCESS)
}

async fn watch(client: &Client, batch: &str) -> Result<ExitCode, Failed> {
    let mut status = client.show(batch).await?;
    let mut bars = Bars::new(status.clips.iter().map(|clip| clip.clip_id.as_str()), true);
    while !is_terminal(&status.status) {
        bars.show(&status);
        tokio::time::sleep(POLL_INTERVAL).await;
        status = client.show(batch).await?;
    }
    bars.show(&status);
    print!("{}", table(&status, |clip| clip.output_url.clone()));
    Ok(if status.status == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

//! The fleet that a command uses.

use crate::{client::Client, exit::Failed};
use clap::Args;
use clipfleet_domain::ids::{BatchId, ClipId};

/// The fleet to use.
#[derive(Debug, Args)]
pub(crate) struct Server {
    /// Address of the fleet's API
    #[arg(long, env = "CLIPFLEET_SERVER", default_value = "http://127.0.0.1:8080", value_name = "URL", global = true)]
    server: String,
    /// Identity token, if the server requires one
    #[arg(
        long,
        env = "CLIPFLEET_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        global = true,
        hide_short_help = true
    )]
    token: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

impl Server {
    pub(crate) fn client(&self) -> Result<Client, Failed> {
        Client::new(&self.server, self.token.clone())
    }
}

/// Checks the id of a batch.
pub(crate) fn batch_id(text: &str) -> Result<String, String> {
    BatchId::parse(text).map(|id| id.to_string()).map_err(|bad| format!("an id {bad}"))
}

/// Checks the id of a clip.
pub(crate) fn clip_id(text: &str) -> Result<String, String> {
    ClipId::parse(text).map(|id| id.to_string()).map_err(|bad| format!("a clip's name {bad}"))
}

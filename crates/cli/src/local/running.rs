//! The fleet that runs on a data directory: `clipfleet up` notes its addresses there, for `clipfleet env` and for an
//! export that finds the directory in use.

use super::data;
use crate::roles::cloud;
use clipfleet_cloud::google::Endpoints;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

/// The longest wait for a connection to this machine.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);

/// The addresses of a running fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunningFleet {
    pub(crate) api: SocketAddr,
    /// host:port of the emulator.
    pub(crate) emulator: String,
    pub(crate) project: String,
    pub(crate) pid: u32,
}

impl RunningFleet {
    pub(crate) fn new(api: SocketAddr, endpoints: &Endpoints) -> Self {
        let emulator = endpoints.storage.clone().unwrap_or_default();
        Self { api, emulator, project: endpoints.project.clone(), pid: std::process::id() }
    }

    /// The fleet that runs on this directory, if there is one.
    pub(crate) fn on(data: &Path) -> Option<Self> {
        let noted: Self = serde_json::from_slice(&fs::read(file(data)).ok()?).ok()?;
        // The note outlives a fleet that was killed.
        TcpStream::connect_timeout(&noted.api, CONNECT_TIMEOUT).ok().map(|_| noted)
    }

    pub(crate) fn note(&self, data: &Path) -> io::Result<()> {
        data::write(&file(data), serde_json::to_string_pretty(self)?.as_bytes())
    }

    pub(crate) fn forget(data: &Path) {
        // A note that stays is recognized as outdated.
        let _ = fs::remove_file(file(data));
    }

    pub(crate) fn endpoints(&self) -> Endpoints {
        cloud::all_at(self.emulator.clone(), &self.project)
    }
}

fn file(data: &Path) -> PathBuf {
    data.join("fleet.json")
}

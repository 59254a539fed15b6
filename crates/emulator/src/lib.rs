//! Pub/Sub, Firestore and Cloud Storage on this machine: three servers on one port (HTTP/1.1 and h2c), durable in a data
//! folder, spoken to by Google's own unmodified clients. No account, no network, no second process.
//!
//! ```text
//!   one port ── server ──┬── pubsub    ── queue (state machine) ─┐
//!                        ├── firestore ── write, query           ├── store ── one redb file, group commit
//!                        └── storage   ── files                  ┘
//! ```
//! What a client was told is stored is on disk: every answer waits for a synced commit. Killing the process at any instant
//! loses nothing that was confirmed.
//!
//! It knows nothing of clips, batches or workers; nothing of credentials, which it neither asks for nor looks at; and nothing
//! of Google's network. All caps are in `limits`.

mod clock;
mod connection;
mod error;
mod faults;
mod firestore;
mod grpc;
mod json;
mod limits;
mod pubsub;
mod server;
mod storage;
mod store;
mod unread;
mod url;

use clock::Ticker;
use connection::{Connections, Link};
use faults::Faults;
use firestore::Firestore;
use pubsub::PubSub;
use server::Services;
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use storage::{OpenError, Storage};
use store::{Store, StoreError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Where the servers keep their data and where they listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder; made if need be. One process at a time.
    pub data: PathBuf,
    /// The address; a loopback one, see [`Emulator::start_exposed`] for others. Port 0 takes any free port.
    pub listen: SocketAddr,
}

/// Running servers. Dropping this lets them run until the runtime ends; [`stop`](Self::stop) ends them in order.
pub struct Emulator {
    address: SocketAddr,
    store: Store,
    stop: CancellationToken,
    cut: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Why the servers could not start. The texts follow "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address can be reached from other machines, and nobody asked for that.
    #[error("listen on {0}: not a loopback address, and these servers trust every caller")]
    NotLoopback(SocketAddr),
    /// Another process has the folder.
    #[error("open {}: another process uses this data folder", .0.display())]
    InUse(PathBuf),
    /// The folder cannot be made, read or written, or holds something else.
    #[error("open {}: {reason}", folder.display())]
    Data {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be had.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Emulator {
    /// Opens the data folder and serves it on a loopback address.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(config: Config) -> Result<Emulator, StartError> {
        if !config.listen.ip().is_loopback() {
            return Err(StartError::NotLoopback(config.listen));
        }
        Self::launch(config, None).await
    }

    /// As [`start`](Self::start), on an address that other machines can reach; whoever reaches it may do everything, and web
    /// pages of any origin may call. `base_url` is how callers reach it, for example `http://cloud:8085`; resumable uploads
    /// are sent there.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start_exposed(config: Config, base_url: &str) -> Result<Emulator, StartError> {
        Self::launch(config, Some(base_url.trim_end_matches('/').to_owned())).await
    }

    /// The address the servers listen on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends streams with `UNAVAILABLE`, lets requests in progress finish for a moment (3 s), closes the data folder.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut serving = self.serving;
        if tokio::time::timeout(limits::STOP_GRACE, &mut serving).await.is_err() {
            self.cut.cancel();
            serving.abort();
        }
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!(address = %self.address, "local cloud stopped");
    }

    async fn launch(config: Config, base_url: Option<String>) -> Result<Emulator, StartError> {
        let Config { data, listen } = config;
        // The folder first: who loses the race for it should not take the port from the winner.
        let store = open(&data).await?;
        let bad_data = |reason: String| StartError::Data { folder: data.clone(), reason };
        let refused = |source| StartError::Listen { address: listen, source };
        let (listener, address) = Connections::bind(listen).await.map_err(refused)?;

        let any_origin = base_url.is_some();
        let base_url = base_url.unwrap_or_else(|| format!("http://{address}"));
        let ticker = Arc::new(Ticker::default());
        let (stop, cut) = (CancellationToken::new(), CancellationToken::new());
        let stored = |error: StoreError| bad_data(error.to_string());
        let storage = Storage::start(store.clone(), Arc::clone(&ticker), &data, base_url).await;
        let storage = storage.map_err(|error: OpenError| bad_data(error.to_string()))?;
        let firestore = Firestore::start(store.clone(), Arc::clone(&ticker), stop.clone()).await.map_err(stored)?;
        let faults = Arc::new(Faults::default());
        let pubsub = PubSub::start(store.clone(), ticker, Arc::clone(&faults), stop.clone()).await.map_err(stored)?;
        let services = Services { pubsub, firestore, storage, faults, cut: cut.clone(), any_origin };
        let make_service = server::router(services).into_make_service_with_connect_info::<Link>();
        let server = axum::serve(listener, make_service);
        let serving = tokio::spawn(server.with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
        tracing::info!(%address, data = %data.display(), "local cloud started");
        Ok(Emulator { address, store, stop, cut, serving })
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Opens the database in the folder; it is also the folder's lock.
async fn open(folder: &Path) -> Result<Store, StartError> {
    let path = folder.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        let bad = |reason: String| StartError::Data { folder: path.clone(), reason };
        std::fs::create_dir_all(&path).map_err(|error| bad(error.to_string()))?;
        match Store::open(&path.join("state.redb")) {
            // The file's own entry in the folder must survive a power cut, too.
            Ok(store) => match std::fs::File::open(&path).and_then(|folder| folder.sync_all()) {
                Ok(()) => Ok(store),
                Err(error) => Err(bad(error.to_string())),
            },
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(StartError::InUse(path)),
            Err(error) => Err(bad(error.to_string())),
        }
    });
    match opening.await {
        Ok(opened) => opened,
        Err(error) => Err(StartError::Data { folder: folder.to_owned(), reason: error.to_string() }),
    }
}

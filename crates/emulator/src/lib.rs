//! An emulator of Pub/Sub, Firestore and Cloud Storage: three servers on one port (HTTP/1.1 and h2c), durable in a data
//! folder, for Google's own unmodified clients. It needs no account, no network and no second process.
//!
//! ```text
//!   one port ── server ──┬── pubsub    ── queue (state machine) ─┐
//!                        ├── firestore ── write, query           ├── store ── one redb file, group commit
//!                        └── storage   ── files                  ┘
//! ```
//! Every response that confirms a write waits for a commit that is synced to disk. Killing the process at any instant
//! loses nothing that was confirmed.
//!
//! This crate does not know clips, batches or workers. It neither requires nor reads credentials, and it never contacts
//! Google. `limits` holds all caps.

#![allow(clippy::disallowed_methods, reason = "it runs in real time, on real sockets")]

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
use connection::{ConnectionHandle, Connections};
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

/// The database in a data folder.
const DATABASE: &str = "state.redb";

/// Where the servers keep their data and where they listen.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder; created if missing. Only one process at a time can use it.
    pub data: PathBuf,
    /// The address to listen on. It must be a loopback address; see [`Emulator::start_exposed`] for others. Port 0
    /// picks any free port.
    pub listen: SocketAddr,
}

/// Running servers. They run until the runtime ends, even if this value is dropped; [`stop`](Self::stop) shuts them
/// down in order.
pub struct Emulator {
    address: SocketAddr,
    store: Store,
    storage: Arc<Storage>,
    stop: CancellationToken,
    abort: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

/// Why the servers could not start. Each text follows "failed to".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Other machines can reach the address, and the caller did not ask for that.
    #[error("listen on {0}: not a loopback address, and these servers trust every caller")]
    NotLoopback(SocketAddr),
    /// Another process uses the folder.
    #[error("open {}: another process uses this data folder", .0.display())]
    InUse(PathBuf),
    /// The folder cannot be created, read or written, or holds something else.
    #[error("open {}: {reason}", folder.display())]
    Data {
        /// The data folder.
        folder: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The address cannot be bound.
    #[error("listen on {address}: {source}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The operating system's error.
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

    /// Like [`start`](Self::start), but on an address that other machines can reach. Everyone who can reach it has full
    /// access, and web pages of any origin may call. `base_url` is the URL by which callers reach the server, for
    /// example `http://cloud:8085`; it is the base of resumable upload URLs.
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

    /// Makes a file of this machine an object without copying or reading it, if the data folder's file system can, by
    /// a reflink or a hard link. Returns false if it cannot; the file must then be uploaded. Nobody may change the file
    /// in place while the object is in use. The object has no checksums.
    ///
    /// # Errors
    /// If the object exists already, the bucket does not, or the disk fails.
    pub async fn adopt(&self, bucket: &str, name: &str, file: &Path) -> std::io::Result<bool> {
        self.storage.adopt(bucket, name, file).await
    }

    /// The routes of Cloud Storage, for a server that has another origin: `/storage/v1/...`, `/upload/storage/v1/...`,
    /// `/download/storage/v1/...` (JSON API) and `/v0/b/...` (Firebase's downloads). They answer as the port does, with
    /// two differences: links in responses, such as the `Location` of a resumable upload, are relative to the host that
    /// the caller requested, and fault rules do not apply. They check neither credentials nor the `Origin`, which is
    /// the task of the server that merges them into its own routes. Stop that server before [`stop`](Self::stop); later
    /// requests get 503.
    pub fn storage_routes(&self) -> axum::Router {
        server::storage_routes(Arc::clone(&self.storage), self.abort.clone())
    }

    /// Ends streams with `UNAVAILABLE`, gives requests in progress 3 s to finish, and closes the data folder.
    pub async fn stop(self) {
        self.stop.cancel();
        let mut serving = self.serving;
        let ended = tokio::time::timeout(limits::STOP_GRACE_PERIOD, &mut serving).await.is_ok();
        // This also ends requests in progress that arrived through `storage_routes`.
        self.abort.cancel();
        if !ended {
            serving.abort();
        }
        let store = self.store;
        let _ = tokio::task::spawn_blocking(move || store.close()).await;
        tracing::info!(address = %self.address, "emulator stopped");
    }

    async fn launch(config: Config, base_url: Option<String>) -> Result<Emulator, StartError> {
        let Config { data, listen } = config;
        // The folder comes first: a process that cannot lock the folder must not take the port from the one that did.
        let store = open(&data).await?;
        let invalid_data = |reason: String| StartError::Data { folder: data.clone(), reason };
        let listen_failed = |source| StartError::Listen { address: listen, source };
        let (listener, address) = Connections::bind(listen).await.map_err(listen_failed)?;

        let any_origin = base_url.is_some();
        let base_url = base_url.unwrap_or_else(|| format!("http://{address}"));
        let ticker = Arc::new(Ticker::default());
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let store_failed = |error: StoreError| invalid_data(error.to_string());
        let storage = Storage::start(store.clone(), Arc::clone(&ticker), &data, base_url).await;
        let storage = storage.map_err(|error: OpenError| invalid_data(error.to_string()))?;
        let firestore =
            Firestore::start(store.clone(), Arc::clone(&ticker), stop.clone()).await.map_err(store_failed)?;
        let faults = Arc::new(Faults::default());
        let pubsub =
            PubSub::start(store.clone(), ticker, Arc::clone(&faults), stop.clone()).await.map_err(store_failed)?;
        let services =
            Services { pubsub, firestore, storage: Arc::clone(&storage), faults, abort: abort.clone(), any_origin };
        let make_service = server::router(services).into_make_service_with_connect_info::<ConnectionHandle>();
        let server = axum::serve(listener, make_service);
        let serving = tokio::spawn(server.with_graceful_shutdown(stop.clone().cancelled_owned()).into_future());
        tracing::info!(%address, data = %data.display(), "emulator started");
        Ok(Emulator { address, store, storage, stop, abort, serving })
    }
}

impl fmt::Debug for Emulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Emulator").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Whether another process uses this data folder.
pub fn is_in_use(folder: &Path) -> bool {
    let locked = std::fs::File::open(folder.join(DATABASE)).map(|file| file.try_lock());
    matches!(locked, Ok(Err(std::fs::TryLockError::WouldBlock)))
}

/// Opens the database in the folder. Its lock also locks the folder.
async fn open(folder: &Path) -> Result<Store, StartError> {
    let path = folder.to_owned();
    let opening = tokio::task::spawn_blocking(move || {
        let invalid = |reason: String| StartError::Data { folder: path.clone(), reason };
        std::fs::create_dir_all(&path).map_err(|error| invalid(error.to_string()))?;
        match Store::open(&path.join(DATABASE)) {
            // The file's entry in the folder must survive a power cut, too.
            Ok(store) => match std::fs::File::open(&path).and_then(|folder| folder.sync_all()) {
                Ok(()) => Ok(store),
                Err(error) => Err(invalid(error.to_string())),
            },
            Err(redb::DatabaseError::DatabaseAlreadyOpen) => Err(StartError::InUse(path)),
            Err(error) => Err(invalid(error.to_string())),
        }
    });
    match opening.await {
        Ok(opened) => opened,
        Err(error) => Err(StartError::Data { folder: folder.to_owned(), reason: error.to_string() }),
    }
}

//! Dispatcher, status service and scaler in one process: the control plane of a small fleet, and of one on this
//! machine.

use super::{
    access::{self, ACCESS, API, ApiSettings},
    console, console_arg, ended, page, print_config, start, status_config,
};
use crate::{
    exit::Failed,
    roles::{
        CONSOLE, LEGACY_MIRROR,
        cloud::{self, BUCKETS, ROLE},
        scaling::{self, POLICY, SCALER, until_workers_fail},
        token::SharedToken,
    },
};
use axum::Router;
use clap::{ArgMatches, Command};
use clipfleet_cloud::Cloud;
use clipfleet_dispatcher::{Api, Dispatch};
use clipfleet_scaler::Backend;
use clipfleet_service::{
    clock::Clock,
    role::{Role, run_all},
    settings::{Reader, declare},
};
use std::{io, process::ExitCode, sync::Arc};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The roles that one process runs.
pub(crate) struct ControlPlane {
    pub(crate) dispatch: Dispatch,
    pub(crate) api: Api,
    /// Routes beside the dispatcher's, such as the web console.
    pub(crate) page: Router,
    /// What every request must contain, if it is not checked otherwise.
    pub(crate) token: Option<SharedToken>,
    pub(crate) status: clipfleet_status::Config,
    pub(crate) scaler: Option<(clipfleet_scaler::Config, Arc<dyn Backend>)>,
}

impl ControlPlane {
    /// Runs until told to stop, or until a role ends with an error.
    pub(crate) async fn run(self, listener: TcpListener, cloud: Cloud, stop: CancellationToken) -> io::Result<()> {
        let Self { dispatch, api, page, token, status, scaler } = self;
        let address = listener.local_addr()?;
        tracing::info!(listen = %address, scaler = scaler.is_some(), "dispatcher and status service listen");
        let dispatch = Arc::new(dispatch);
        let routes = clipfleet_dispatcher::routes(Arc::clone(&dispatch), api).merge(page);
        let routes = match token {
            Some(token) => token.protect(routes),
            None => routes,
        };
        let dispatching = {
            let dispatch = Arc::clone(&dispatch);
            move |readiness, stop| clipfleet_dispatcher::run_background(dispatch, readiness, stop)
        };
        let folding = {
            let cloud = cloud.clone();
            move |readiness, stop| clipfleet_status::fold(status, cloud, Clock::system(), readiness, stop)
        };
        let mut roles = vec![
            Role::new("dispatcher", clipfleet_dispatcher::METRICS, dispatching),
            Role::new("status", clipfleet_status::METRICS, folding),
        ];
        if let Some((config, backend)) = scaler {
            roles.push(Role::new("scaler", clipfleet_scaler::METRICS, move |readiness, stop| {
                clipfleet_scaler::scale(config, cloud, Clock::system(), backend, readiness, stop)
            }));
        }
        run_all(roles, listener, routes, stop).await
    }
}

pub(super) fn command(role: impl Fn(&'static str, &'static str, &'static str) -> Command) -> Command {
    let command = role(
        "serve",
        "Run dispatcher, status service and scaler in one process",
        "Run dispatcher, status service and scaler in one process: the control plane of a small fleet. Without a pool \
         to scale (--scaler-pool), it runs no scaler",
    );
    console_arg(declare(command, &[ROLE, BUCKETS, ACCESS, API, &[CONSOLE, LEGACY_MIRROR], SCALER, POLICY])).after_help(
        "Example:\n  clipfleet serve --project P --default-bucket P-clips --port 8080 \\\n    \
         --scaler-pool projects/P/locations/europe-west4/workerPools/clipfleet-worker-gpu",
    )
}

pub(super) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, api) = (cloud::role(&mut reader), access::api(&mut reader));
    let (console, status) = (console(&mut reader), status_config(&mut reader));
    let scaler = scaling::optional_settings(&mut reader);
    let built = role.zip(api).zip(console.zip(status)).zip(scaler);
    let Some((((role, settings), (console, status)), scaler)) = print_config(matches, reader, built)? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some((stop, listener, cloud)) = start("serve", &role).await? else { return Ok(ExitCode::SUCCESS) };
    let ApiSettings { buckets, access, links, api } = settings;
    let page = page(console, &role, &buckets.default);
    let dispatch = Dispatch::new(cloud.clone(), access, Clock::system()).with_links(links);
    let (scaler, workers) = match scaler {
        Some(settings) => {
            let scaler = scaling::connect(settings, &role).await?;
            (Some((scaler.config, scaler.backend)), scaler.workers)
        }
        None => {
            tracing::info!("no pool is configured, so the number of workers is not set (--scaler-pool)");
            (None, None)
        }
    };
    let control_plane = ControlPlane { dispatch, api, page, token: None, status, scaler };
    let running = async { ended(control_plane.run(listener, cloud, stop).await, "run the control plane") };
    until_workers_fail(workers, running).await
}

//! `clipfleet export`: exports clips of a video, on a fleet of its own or on a running one.
//!
//! ```text
//!  args ──▶ plan ──▶ source ──▶ submit ──▶ follow ──▶ report
//!          (checks) (no copy)              (bars, downloads)
//! ```

mod args;
mod clips;
pub(crate) mod files;
mod follow;
mod plan;
mod report;
mod resume;
mod source;
mod timecode;

pub(crate) use args::{EXAMPLES, ExportArgs};
pub(crate) use report::table_of;

use crate::{
    client::Client,
    desktop,
    exit::{Failed, Status},
    interrupt,
    local::{
        data,
        fleet::{Fleet, FleetSpec},
        running::RunningFleet,
    },
    output::{
        self,
        progress::{Mode, Progress},
        text, view,
    },
    storage,
};
use clap::{ArgMatches, FromArgMatches as _};
use clipfleet_contract::names;
use clipfleet_service::{
    telemetry::{LogFormat, start_logging},
    trace::Traces,
};
use files::Written;
use follow::{Ended, Export};
use plan::Plan;
use resume::Unfinished;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::ExitCode,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// The longest wait until an earlier export is cancelled.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = ExportArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let data = data::given(args.data.as_deref())?;
    let level = if args.verbose { "info" } else { "error" };
    start_logging(LogFormat::Text, level, "clipfleet-export", &Traces::default());
    let stop = interrupt::token()?;

    let running = if args.server.is_none() { RunningFleet::on(&data) } else { None };
    let server = args.server.clone().or_else(|| running.map(|fleet| format!("http://{}", fleet.api)));
    let plan = match args.resume {
        true => resumed(&args, server.as_deref(), &data)?,
        false => Plan::new(&args, server.is_none())?,
    };
    if !args.force {
        files::check_conflicts(&plan.files, &Written::load(&data))?;
    }
    if args.dry_run {
        return Ok(dry_run(&args, &plan));
    }

    let mut progress = Progress::new(mode(&args));
    let on = server.as_ref().map_or(String::new(), |server| format!(" on {server}"));
    progress.note(&format!("Clipfleet  {}{on}", plan.title()));
    let export = Export::new(plan, data, progress);
    match server {
        Some(server) => on_server(&args, &server, export, &stop).await,
        None => on_own_fleet(&args, export, &stop).await,
    }
}

fn mode(args: &ExportArgs) -> Mode {
    match args.json_lines {
        true => Mode::JsonLines,
        false if args.json || args.quiet => Mode::Silent,
        false => Mode::Text,
    }
}

/// The interrupted export of a data directory.
fn resumed(args: &ExportArgs, server: Option<&str>, data: &Path) -> Result<Plan, Failed> {
    if args.server.is_some() {
        return Err(Failed::usage("--resume is for exports on this machine; a server finishes its batches by itself")
            .hint("clipfleet batch list"));
    }
    let unfinished = Unfinished::load(data)
        .ok_or_else(|| Failed::usage(format!("there is no interrupted export in {}", data::show(data))))?;
    if let Some(server) = server {
        return Err(Failed::usage(format!("the fleet at {server} is finishing {} already", unfinished.name()))
            .hint(format!("clipfleet batch watch {}", unfinished.batch())));
    }
    unfinished.plan()
}

fn dry_run(args: &ExportArgs, plan: &Plan) -> ExitCode {
    if args.json || args.json_lines {
        output::json(
            &json!({"request": plan.request, "files": plan.files.iter().map(|file| &file.path).collect::<Vec<_>>()}),
        );
    } else {
        output::line(plan.title());
        output::line(plan.table());
        output::line("Nothing was made (--dry-run).");
    }
    ExitCode::SUCCESS
}

/// Exports on a fleet that runs only as long as this process.
async fn on_own_fleet(args: &ExportArgs, mut export: Export, stop: &CancellationToken) -> Result<ExitCode, Failed> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let workers = usize::from(args.workers);
    let spec = FleetSpec {
        data: export.data.clone(),
        listen: any,
        emulator: any,
        workers: (workers, workers),
        slots: usize::from(args.slots),
        times: (0.0, 0.0),
        status: clipfleet_status::Config::default(),
        telemetry: Vec::new(),
        links: None,
        token: None,
        verbose: args.verbose,
    };
    let earlier = Unfinished::load(&export.data).filter(|_| !args.resume);
    export.progress.phase("starting", None);
    let Some(mut fleet) = interrupt::unless_stopped(stop, Fleet::start(spec)).await? else {
        return Err(Failed::interrupted("Interrupted before anything was begun."));
    };
    let client = Client::new(&fleet.api.to_string(), None)?;
    let begun = interrupt::unless_stopped(stop, async {
        if let Some(earlier) = earlier {
            set_aside(&client, &earlier, &mut export.progress).await?;
        }
        Unfinished::of(&export.plan).save(&export.data)?;
        if let Some(source) = export.plan.source.clone() {
            let (cloud, emulator, directory) = (&fleet.cloud, fleet.emulator(), export.data.clone());
            let uri = source.place(cloud, emulator, names::LOCAL_BUCKET, &directory, &mut export.progress).await?;
            export.plan.request.source.get_or_insert_default().uri = uri;
        }
        export.submit(&client, args.resume).await
    });
    let ended = match begun.await {
        Err(failed) => Err(failed),
        Ok(None) => Ok(None),
        Ok(Some(())) => {
            fleet.start_workers();
            let cloud = fleet.cloud.clone();
            tokio::select! {
                ended = export.follow(&client, Some(&cloud)) => ended.map(Some),
                failed = fleet.failed() => Err(failed),
                () = stop.cancelled() => Ok(None),
            }
        }
    };
    let ended = match ended {
        Ok(Some(ended)) => {
            Unfinished::forget(&export.data);
            Ok(finish(args, export, ended))
        }
        Ok(None) => {
            let text = interrupted(&export);
            // What was drawn disappears.
            drop(export);
            Err(Failed::interrupted(text))
        }
        Err(failed) => {
            if !export.is_submitted {
                // Nothing was begun that could be resumed.
                Unfinished::forget(&export.data);
            }
            Err(failed)
        }
    };
    fleet.stop().await;
    ended
}

/// Cancels what remains of an earlier interrupted export, so that its clips do not come first.
async fn set_aside(client: &Client, earlier: &Unfinished, progress: &mut Progress) -> Result<(), Failed> {
    // It may have been interrupted before its batch was submitted.
    let Ok(cancelled) = client.act(earlier.batch(), None, "cancel").await else { return Ok(()) };
    if cancelled.clips.is_empty() {
        return Ok(());
    }
    let clips = text::plural(cancelled.clips.len(), "clip");
    progress.note(&format!("Cancelled what was left of the interrupted export of {} ({clips}).", earlier.name()));
    let begun = Instant::now();
    while begun.elapsed() < CANCEL_TIMEOUT {
        let (_, status) = client.show(earlier.batch()).await?;
        if view::is_terminal(&status.status) {
            break;
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Exports on a running fleet.
async fn on_server(
    args: &ExportArgs,
    server: &str,
    mut export: Export,
    stop: &CancellationToken,
) -> Result<ExitCode, Failed> {
    let client = Client::new(server, args.token.clone())?;
    let work = async {
        let mut cloud = None;
        if let Some(source) = export.plan.source.clone() {
            let storage = storage::of(&client).await?;
            let uri = source.upload(&client, &storage, &mut export.progress).await?;
            export.plan.request.source.get_or_insert_default().uri = uri;
            cloud = storage.cloud;
        }
        export.submit(&client, false).await?;
        export.follow(&client, cloud.as_ref()).await
    };
    match interrupt::unless_stopped(stop, work).await? {
        Some(ended) => Ok(finish(args, export, ended)),
        None => {
            let (done, batch) = (export.done_text(), export.batch().to_owned());
            let text = match export.is_submitted {
                false => "Interrupted before the clips were submitted.".to_owned(),
                true => format!(
                    "Interrupted. {done}. Batch {batch} continues on the server.\n\
                     Follow: clipfleet batch watch {batch}. Download: clipfleet batch download {batch}. \
                     Cancel: clipfleet batch cancel {batch}"
                ),
            };
            drop(export);
            Err(Failed::interrupted(text))
        }
    }
}

/// What an interrupted export on an own fleet leaves, and what to do with it.
fn interrupted(export: &Export) -> String {
    let option = match data::directory("").is_ok_and(|default| default == export.data) {
        true => String::new(),
        false => format!(" --data {}", export.data.display()),
    };
    format!(
        "Interrupted. {}.\nResume: clipfleet export --resume{option}. Discard: clipfleet clean{option}",
        export.done_text()
    )
}

/// Prints the result, and returns the exit status.
fn finish(args: &ExportArgs, export: Export, ended: Ended) -> ExitCode {
    let Ended { raw, status, clips, elapsed } = ended;
    let Export { plan, progress, .. } = export;
    let raw = report::with_paths(raw, &plan.files);
    progress.finish(&raw);
    if args.json {
        output::json(&raw);
    } else if !args.json_lines && !args.quiet {
        let path = |clip: &str| {
            let file = plan.files.iter().find(|file| file.clip == clip);
            file.map_or(String::new(), |file| file.path.display().to_string())
        };
        output::line(table_of(&status, &clips, path));
        eprintln!("{}", report::summary(&clips, &plan.out, elapsed));
    }
    if args.open {
        desktop::open(&plan.out.display().to_string());
    }
    if status.status == "completed" { ExitCode::SUCCESS } else { Status::Failed.into() }
}

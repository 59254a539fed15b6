//! The roles of a real fleet, one process each.

use crate::{
    cloud::{self, BUCKETS, ROLE, RoleSettings},
    console::{self, ConsoleSpec},
    exit::Failed,
    price::{self, COST},
    scaling::{self, POLICY, SCALER},
};
use clap::{ArgAction, ArgMatches, Command, arg};
use clipfleet_domain::{cost::SlotPrice, ids::WorkerId};
use clipfleet_service::{
    health,
    settings::{Reader, Setting, declare, number, parsed, required},
    shutdown,
};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{path::PathBuf, process::ExitCode};

/// Clips per worker.
pub(crate) const SLOTS: Setting =
    Setting { flag: "slots", env: "CLIPFLEET_SLOTS", default: "2", help: "clips per worker at once" };
const PIPELINE: Setting = Setting {
    flag: "pipeline",
    env: "CLIPFLEET_PIPELINE",
    default: "",
    help: "the media program [default: clipfleet-pipeline beside this program]",
};
const ENCODER: Setting =
    Setting { flag: "encoder", env: "CLIPFLEET_ENCODER", default: "auto", help: "auto, or the name of one encoder" };
/// Whether clips are made on GPUs.
pub(crate) const GPU: Setting = Setting {
    flag: "gpu-enabled",
    env: "GPU_ENABLED",
    default: "auto",
    help: "GPUs: auto (one that passes its test), true (nothing else will do) or false",
};
pub(crate) const SCRATCH: Setting = Setting {
    flag: "scratch",
    env: "CLIPFLEET_SCRATCH",
    default: "",
    help: "directory for attempts [default: clipfleet-scratch in the system's temporary directory]",
};
const CACHE: Setting =
    Setting { flag: "cache-mib", env: "CLIPFLEET_CACHE_MIB", default: "128", help: "memory for source blocks, MiB" };

/// Whether the documents of the product that came before are kept up to date, too.
pub(crate) const LEGACY_MIRROR: Setting = Setting {
    flag: "legacy-mirror",
    env: "CLIPFLEET_LEGACY_MIRROR",
    default: "false",
    help: "true: keep wizardProcessingJobs/* and clipProcessing of wizardProjects/* up to date, too",
};

/// A value of [`LEGACY_MIRROR`].
pub(crate) fn status_config(reader: &mut Reader<'_>) -> Option<clipfleet_status::Config> {
    let legacy_mirror = reader.take(&LEGACY_MIRROR, parsed("true or false"))?;
    Some(clipfleet_status::Config { legacy_mirror })
}

const CONSOLE: Setting = Setting {
    flag: "console",
    env: "CLIPFLEET_CONSOLE",
    default: "false",
    help: "serve the web page beside the HTTP API: true or false; whoever reaches it may do what the API may",
};

/// Settings of the worker role alone.
pub(crate) const WORKER: &[Setting] = &[SLOTS, PIPELINE, GPU, ENCODER, SCRATCH, CACHE];

/// Name of the flag that names a worker; whoever starts several knows by it who is busy.
pub(crate) const WORKER_ID: &str = "worker-id";

/// Name of the flag that ties a worker's life to its parent's.
pub(crate) const DIE_WITH_PARENT: &str = "die-with-parent";

pub(crate) fn commands() -> Vec<Command> {
    let print = || arg!(--"print-config" "Print the effective settings and end").action(ArgAction::SetTrue);
    let role = |name: &'static str, about: &'static str| Command::new(name).about(about).arg(print());
    vec![
        declare(role("dispatcher", "Run the dispatcher: takes batches, fans them out"), &[ROLE, BUCKETS, &[CONSOLE]])
            .mut_arg(CONSOLE.flag, |console| console.num_args(0..=1).default_missing_value("true")),
        declare(role("worker", "Run a worker: makes clips"), &[ROLE, WORKER, COST])
            .arg(
                clap::Arg::new(DIE_WITH_PARENT)
                    .long(DIE_WITH_PARENT)
                    .value_name("PID")
                    .value_parser(clap::value_parser!(u32))
                    .help("Stop when the process that started this one, PID, ends"),
            )
            .arg(
                clap::Arg::new(WORKER_ID)
                    .long(WORKER_ID)
                    .value_name("ID")
                    .hide(true)
                    .help("Its identity, new at each start"),
            ),
        declare(role("scaler", "Run the scaler: sets how many workers there are"), &[ROLE, SCALER, POLICY]),
        declare(role("status", "Run the status service: folds events into documents"), &[ROLE, &[LEGACY_MIRROR]]),
    ]
}

pub(crate) async fn run(role: &str, matches: &ArgMatches) -> Result<ExitCode, Failed> {
    match role {
        "dispatcher" => dispatcher(matches).await,
        "worker" => worker(matches).await,
        "scaler" => scaler(matches).await,
        _ => status(matches).await,
    }
}

/// Prints the effective settings if that was asked for.
fn printed(matches: &ArgMatches, reader: &Reader<'_>) -> bool {
    let asked = matches.get_flag("print-config");
    if asked {
        reader.effective().iter().for_each(|line| println!("{line}"));
    }
    asked
}

async fn dispatcher(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, buckets) = (cloud::role(&mut reader), cloud::buckets(&mut reader));
    let console = reader.take(&CONSOLE, parsed("true or false"));
    if printed(matches, &reader) {
        return Ok(ExitCode::SUCCESS);
    }
    let ((role, buckets), console) = reader.finish(role.zip(buckets).zip(console))?;
    let (stop, listener, cloud) = start("dispatcher", &role).await?;
    let page = match console {
        true => {
            let (storage, bucket) = (role.endpoints.storage.clone(), buckets.default_bucket.clone());
            console::routes(&ConsoleSpec { storage, bucket, workers: None })
        }
        false => axum::Router::new(),
    };
    ended(clipfleet_dispatcher::run(buckets, listener, page, cloud, stop).await, "run the dispatcher")
}

async fn status(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, config) = (cloud::role(&mut reader), status_config(&mut reader));
    if printed(matches, &reader) {
        return Ok(ExitCode::SUCCESS);
    }
    let (role, config) = reader.finish(role.zip(config))?;
    let (stop, listener, cloud) = start("status", &role).await?;
    ended(clipfleet_status::run(config, listener, cloud, stop).await, "run the status service")
}

async fn scaler(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, settings) = (cloud::role(&mut reader), scaling::settings(&mut reader));
    if printed(matches, &reader) {
        return Ok(ExitCode::SUCCESS);
    }
    let (role, settings) = reader.finish(role.zip(settings))?;
    let (stop, listener, cloud) = start("scaler", &role).await?;
    scaling::run(settings, &role, listener, cloud, stop).await.map(|()| ExitCode::SUCCESS)
}

async fn worker(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, config) = (cloud::role(&mut reader), worker_config(&mut reader));
    if printed(matches, &reader) {
        return Ok(ExitCode::SUCCESS);
    }
    let (role, mut config) = reader.finish(role.zip(config))?;
    if let Some(id) = matches.get_one::<String>(WORKER_ID) {
        let id = WorkerId::parse(id).map_err(|reason| Failed::usage(format!("--{WORKER_ID} {reason}")))?;
        config.id = Some(id);
    }
    if let Some(parent) = matches.get_one::<u32>(DIE_WITH_PARENT) {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| Failed::because("follow the parent process", error))?;
        // No signal comes for a parent that ended before it was asked for.
        is_our_parent(*parent)?;
    }
    let (stop, listener, cloud) = start("worker", &role).await?;
    ended(clipfleet_worker::run(config, listener, cloud, stop).await, "run the worker")
}

/// Whether the process that started this one lives: an orphan has another parent.
fn is_our_parent(pid: u32) -> Result<(), Failed> {
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get().unsigned_abs());
    match parent == pid {
        true => Ok(()),
        false => Err(Failed::because("follow the parent process", format!("{pid} has ended, the parent is {parent}"))),
    }
}

/// Reads [`WORKER`].
fn worker_config(reader: &mut Reader<'_>) -> Option<clipfleet_worker::Config> {
    let slots = reader.take(&SLOTS, number(1_usize, 64));
    let pipeline = reader.take(&PIPELINE, |text| if text.is_empty() { beside_us() } else { Ok(PathBuf::from(text)) });
    let gpu = reader.take(&GPU, gpu_mode);
    let encoder = reader.take(&ENCODER, required);
    let scratch = scratch(reader);
    let cache_mib = reader.take(&CACHE, number(16_u64, 65_536));
    let cost = price::cost(reader);
    let slots = slots?;
    let (prices, machine) = cost?;
    Some(clipfleet_worker::Config {
        id: None,
        slots,
        pipeline: pipeline?,
        gpu: gpu?,
        encoder: encoder?,
        scratch: scratch?,
        cache_mib: cache_mib?,
        price: SlotPrice::of(&machine, &prices, slots),
    })
}

/// Reads [`SCRATCH`].
pub(crate) fn scratch(reader: &mut Reader<'_>) -> Option<PathBuf> {
    reader.take(&SCRATCH, |text| {
        Ok(if text.is_empty() { std::env::temp_dir().join("clipfleet-scratch") } else { PathBuf::from(text) })
    })
}

/// A value of [`GPU`].
pub(crate) fn gpu_mode(text: &str) -> Result<clipfleet_worker::GpuMode, String> {
    text.parse().map_err(|reason| format!("{reason}, got {text:?}"))
}

/// The media program installed with this one.
pub(crate) fn beside_us() -> Result<PathBuf, String> {
    let us =
        std::env::current_exe().map_err(|error| format!("must be set: this program's place is unknown: {error}"))?;
    let beside = us.with_file_name("clipfleet-pipeline");
    if beside.exists() { Ok(beside) } else { Err(format!("must be set: there is no {}", beside.display())) }
}

async fn start(
    name: &str,
    role: &RoleSettings,
) -> Result<(tokio_util::sync::CancellationToken, tokio::net::TcpListener, clipfleet_cloud::Cloud), Failed> {
    role.telemetry.start(name);
    let stop = shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))?;
    let listener = health::bind(role.listen).await.map_err(|error| Failed::because("start", error))?;
    Ok((stop, listener, cloud::connect(&role.endpoints).await?))
}

fn ended(result: std::io::Result<()>, doing: &str) -> Result<ExitCode, Failed> {
    result.map(|()| ExitCode::SUCCESS).map_err(|error| Failed::because(doing, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_parent_from_one_that_has_ended() {
        let parent = std::os::unix::process::parent_id();
        assert!(is_our_parent(parent).is_ok());
        let ended = is_our_parent(std::process::id()).unwrap_err().to_string();
        assert!(ended.contains(&format!("the parent is {parent}")), "{ended}");
    }

    #[test]
    fn a_worker_is_told_its_parents_number() {
        let worker = || commands().into_iter().find(|command| command.get_name() == "worker").unwrap();
        let matches = worker().try_get_matches_from(["worker", "--die-with-parent=42"]).unwrap();
        assert_eq!(matches.get_one::<u32>(DIE_WITH_PARENT), Some(&42));
        assert!(worker().try_get_matches_from(["worker", "--die-with-parent"]).is_err());
    }
}

//! The roles of a deployed fleet: one process each, or `serve` for all but the workers.

pub(crate) mod access;
pub(crate) mod cloud;
pub(crate) mod console;
pub(crate) mod price;
pub(crate) mod scaling;
pub(crate) mod serve;
pub(crate) mod settings;
pub(crate) mod token;

use crate::{
    exit::Failed,
    interrupt, output,
    roles::{
        access::{ACCESS, API, ApiSettings},
        cloud::{BUCKETS, ROLE, RoleSettings, TELEMETRY},
        console::ConsoleSpec,
        price::COST,
        scaling::{POLICY, SCALER},
        settings::{DIE_WITH_PARENT, SCRATCH, SLOTS, WORKER_ID, scratch, slots},
    },
    storage,
};
use clap::{Arg, ArgAction, ArgMatches, Command, arg};
use clipfleet_cloud::{Cloud, google::Endpoints};
use clipfleet_dispatcher::Dispatch;
use clipfleet_domain::{cost::SlotPrice, ids::WorkerId};
use clipfleet_service::{
    clock::Clock,
    health,
    settings::{Reader, Setting, declare, declare_advanced, number, parsed, required},
};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};
use std::{path::PathBuf, process::ExitCode};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PIPELINE: Setting = Setting {
    flag: "pipeline",
    env: "CLIPFLEET_PIPELINE",
    value: "PROGRAM",
    default: "",
    help: "The media program [default: clipfleet-pipeline next to this program, or where its package installs it]",
};
const ENCODER: Setting = Setting {
    flag: "encoder",
    env: "CLIPFLEET_ENCODER",
    value: "NAME",
    default: "auto",
    help: "Encoder: auto, or the name of one",
};
/// Whether clips are made on a GPU.
pub(crate) const GPU: Setting = Setting {
    flag: "gpu-enabled",
    env: "GPU_ENABLED",
    value: "WHEN",
    default: "auto",
    help: "Use of GPUs: auto (if one passes its test), true (required) or false",
};
const SANDBOX: Setting = Setting {
    flag: "sandbox",
    env: "CLIPFLEET_SANDBOX",
    value: "WHEN",
    default: "auto",
    help: "Sandbox of media processes: auto (as far as the kernel allows), required or off",
};
const CACHE: Setting = Setting {
    flag: "cache-mib",
    env: "CLIPFLEET_CACHE_MIB",
    value: "MIB",
    default: "128",
    help: "Memory for source blocks, MiB",
};

/// Whether the documents of the legacy product are kept up to date, too.
pub(crate) const LEGACY_MIRROR: Setting = Setting {
    flag: "legacy-mirror",
    env: "CLIPFLEET_LEGACY_MIRROR",
    value: "BOOL",
    default: "false",
    help: "Update the legacy documents wizardProcessingJobs/* and wizardProjects/*, too: true or false",
};

/// Reads [`LEGACY_MIRROR`].
pub(crate) fn status_config(reader: &mut Reader<'_>) -> Option<clipfleet_status::Config> {
    let legacy_mirror = reader.take(&LEGACY_MIRROR, parsed("true or false"))?;
    Some(clipfleet_status::Config { legacy_mirror })
}

const CONSOLE: Setting = Setting {
    flag: "console",
    env: "CLIPFLEET_CONSOLE",
    value: "BOOL",
    default: "false",
    help: "Serve the web console with the HTTP API: true or false. Its users have the same access as users of the API",
};

/// Settings of the worker role alone.
pub(crate) const WORKER: &[Setting] = &[SLOTS, PIPELINE, GPU, SANDBOX, ENCODER, SCRATCH, CACHE];

pub(crate) fn commands() -> Vec<Command> {
    let role = |name: &'static str, about: &'static str, long: &'static str| {
        declare_advanced(Command::new(name).about(about).long_about(long).arg(print_config_arg()), &[TELEMETRY])
    };
    vec![
        serve::command(role),
        console_arg(declare(
            role(
                "dispatcher",
                "Run a dispatcher",
                "Run a dispatcher, which accepts batches and dispatches their clips",
            ),
            &[ROLE, BUCKETS, ACCESS, API, &[CONSOLE]],
        )),
        declare(role("worker", "Run a worker", "Run a worker, which makes clips"), &[ROLE, WORKER, ACCESS, COST])
            .arg(
                clap::Arg::new(DIE_WITH_PARENT)
                    .long(DIE_WITH_PARENT)
                    .value_name("PID")
                    .value_parser(clap::value_parser!(u32))
                    .help("Stop when the parent process, PID, ends"),
            )
            .arg(
                clap::Arg::new(WORKER_ID)
                    .long(WORKER_ID)
                    .value_name("ID")
                    .hide(true)
                    .help("Identity of the worker; must be new at each start"),
            ),
        declare(
            role("scaler", "Run a scaler", "Run a scaler, which sets the number of workers"),
            &[ROLE, SCALER, POLICY],
        ),
        declare(
            role("status", "Run a status service", "Run a status service, which writes status documents"),
            &[ROLE, &[LEGACY_MIRROR]],
        ),
    ]
}

/// Lets `--console` stand alone.
fn console_arg(command: Command) -> Command {
    command.mut_arg(CONSOLE.flag, |console| console.num_args(0..=1).default_missing_value("true"))
}

pub(crate) async fn run(role: &str, matches: &ArgMatches) -> Result<ExitCode, Failed> {
    match role {
        "serve" => serve::run(matches).await,
        "dispatcher" => dispatcher(matches).await,
        "worker" => worker(matches).await,
        "scaler" => scaler(matches).await,
        _ => status(matches).await,
    }
}

/// The flag of [`print_config`].
pub(crate) fn print_config_arg() -> Arg {
    arg!(--"print-config" "Print the effective settings and exit").action(ArgAction::SetTrue).hide_short_help(true)
}

/// Returns what was built from the settings, or `None` after printing them, if that was requested. Settings that
/// cannot be used are an error either way.
pub(crate) fn print_config<T>(matches: &ArgMatches, reader: Reader<'_>, built: Option<T>) -> Result<Option<T>, Failed> {
    let effective = reader.effective();
    let built = reader.finish(built)?;
    if !matches.get_flag("print-config") {
        return Ok(Some(built));
    }
    effective.iter().for_each(output::line);
    Ok(None)
}

/// Reads [`CONSOLE`].
fn console(reader: &mut Reader<'_>) -> Option<bool> {
    reader.take(&CONSOLE, parsed("true or false"))
}

/// The web console, if it is enabled.
fn page(enabled: bool, role: &RoleSettings, bucket: &str) -> axum::Router {
    if !enabled {
        return axum::Router::new();
    }
    let (storage, bucket) = (role.endpoints.storage.clone(), bucket.to_owned());
    console::routes(&ConsoleSpec { storage, bucket, ..ConsoleSpec::default() })
}

async fn dispatcher(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, api) = (cloud::role(&mut reader), access::api(&mut reader));
    let console = console(&mut reader);
    let Some(((role, settings), console)) = print_config(matches, reader, role.zip(api).zip(console))? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some((stop, listener, cloud)) = start("dispatcher", &role).await? else { return Ok(ExitCode::SUCCESS) };
    let ApiSettings { buckets, access, links, api } = settings;
    let page = page(console, &role, &buckets.default);
    let dispatch = Dispatch::new(cloud, access, Clock::system()).with_links(links);
    ended(clipfleet_dispatcher::run(dispatch, api, listener, page, stop).await, "run the dispatcher")
}

async fn status(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, config) = (cloud::role(&mut reader), status_config(&mut reader));
    let Some((role, config)) = print_config(matches, reader, role.zip(config))? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some((stop, listener, cloud)) = start("status", &role).await? else { return Ok(ExitCode::SUCCESS) };
    ended(clipfleet_status::run(config, listener, cloud, stop).await, "run the status service")
}

async fn scaler(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, settings) = (cloud::role(&mut reader), scaling::settings(&mut reader));
    let Some((role, settings)) = print_config(matches, reader, role.zip(settings))? else {
        return Ok(ExitCode::SUCCESS);
    };
    let Some((stop, listener, cloud)) = start("scaler", &role).await? else { return Ok(ExitCode::SUCCESS) };
    let scaling::Connected { config, backend, workers } = scaling::connect(settings, &role).await?;
    let running =
        async { ended(clipfleet_scaler::run(config, listener, cloud, backend, stop).await, "run the scaler") };
    scaling::until_workers_fail(workers, running).await
}

async fn worker(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (role, config) = (cloud::role(&mut reader), worker_config(&mut reader));
    let Some((role, mut config)) = print_config(matches, reader, role.zip(config))? else {
        return Ok(ExitCode::SUCCESS);
    };
    if let Some(id) = matches.get_one::<String>(WORKER_ID) {
        let id = WorkerId::parse(id).map_err(|reason| Failed::usage(format!("--{WORKER_ID} {reason}")))?;
        config.id = Some(id);
    }
    if let Some(parent) = matches.get_one::<u32>(DIE_WITH_PARENT) {
        set_parent_process_death_signal(Some(Signal::TERM))
            .map_err(|error| Failed::because("follow the parent process", error))?;
        // If the parent has already ended, no signal follows.
        check_parent(*parent)?;
    }
    let Some((stop, listener, cloud)) = start("worker", &role).await? else { return Ok(ExitCode::SUCCESS) };
    ended(clipfleet_worker::run(config, listener, cloud, stop).await, "run the worker")
}

/// Checks that the parent process still runs: the parent of an orphan is another process.
fn check_parent(pid: u32) -> Result<(), Failed> {
    let parent = getppid().map_or(0, |parent| parent.as_raw_nonzero().get().unsigned_abs());
    match parent == pid {
        true => Ok(()),
        false => Err(Failed::because("follow the parent process", format!("{pid} has ended, the parent is {parent}"))),
    }
}

/// Reads [`WORKER`].
fn worker_config(reader: &mut Reader<'_>) -> Option<clipfleet_worker::Config> {
    let slots = slots(reader);
    let pipeline =
        reader.take(&PIPELINE, |text| if text.is_empty() { installed_pipeline() } else { Ok(PathBuf::from(text)) });
    let gpu = reader.take(&GPU, gpu_mode);
    let sandbox = reader.take(&SANDBOX, |text: &str| -> Result<clipfleet_worker::SandboxMode, String> {
        text.parse().map_err(|reason| format!("{reason}, got {text:?}"))
    });
    let encoder = reader.take(&ENCODER, required);
    let scratch = scratch(reader);
    let cache_mib = reader.take(&CACHE, number(16_u64, 65_536));
    let access = access::worker(reader);
    let cost = price::cost(reader);
    let slots = slots?;
    let (prices, instance) = cost?;
    let (access, links) = access?;
    Some(clipfleet_worker::Config {
        id: None,
        slots,
        pipeline: pipeline?,
        gpu: gpu?,
        sandbox: sandbox?,
        encoder: encoder?,
        scratch: scratch?,
        cache_mib: cache_mib?,
        price: SlotPrice::of(&instance, &prices, slots),
        links,
        access,
    })
}

/// Parses a value of [`GPU`].
pub(crate) fn gpu_mode(text: &str) -> Result<clipfleet_worker::GpuMode, String> {
    text.parse().map_err(|reason| format!("{reason}, got {text:?}"))
}

/// The media program: in the directory of this program, or where the Debian package installs it.
pub(crate) fn installed_pipeline() -> Result<PathBuf, String> {
    const PACKAGED: &str = "../libexec/clipfleet/clipfleet-pipeline";
    let program = std::env::current_exe();
    let program = program.map_err(|error| format!("must be set: the path of this program is unknown: {error}"))?;
    let beside = program.with_file_name("clipfleet-pipeline");
    let packaged = program.with_file_name(PACKAGED);
    let found = [&beside, &packaged].into_iter().find(|path| path.exists());
    found.cloned().ok_or_else(|| format!("must be set: {} does not exist", beside.display()))
}

/// Connects a role; `None` if it was told to stop meanwhile.
async fn start(name: &str, role: &RoleSettings) -> Result<Option<(CancellationToken, TcpListener, Cloud)>, Failed> {
    role.telemetry.start(name);
    let stop = interrupt::token()?;
    let listener = health::bind(role.listen).await.map_err(|error| Failed::because("start", error))?;
    let Endpoints { pubsub, firestore, storage, .. } = &role.endpoints;
    if [pubsub, firestore, storage].into_iter().any(Option::is_none) {
        tokio::spawn(warn_without_credentials());
    }
    let connected = interrupt::unless_stopped(&stop, cloud::connect(&role.endpoints)).await?;
    Ok(connected.map(|cloud| (stop, listener, cloud)))
}

/// Google's client looks for credentials for a minute before it says that there are none.
async fn warn_without_credentials() {
    if !storage::has_google_credentials().await {
        tracing::warn!(
            "no Google credentials were found; for a fleet without Google Cloud set PUBSUB_EMULATOR_HOST, \
             FIRESTORE_EMULATOR_HOST and STORAGE_EMULATOR_HOST"
        );
    }
}

fn ended(result: std::io::Result<()>, doing: &str) -> Result<ExitCode, Failed> {
    result.map(|()| ExitCode::SUCCESS).map_err(|error| Failed::because(doing, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_distinguishes_its_parent_from_one_that_has_ended() {
        let parent = std::os::unix::process::parent_id();
        assert!(check_parent(parent).is_ok());
        let ended = check_parent(std::process::id()).unwrap_err().text().to_owned();
        assert!(ended.contains(&format!("the parent is {parent}")), "{ended}");
    }

    #[test]
    fn a_worker_requires_the_id_of_its_parent() {
        let worker = || commands().into_iter().find(|command| command.get_name() == "worker").unwrap();
        let matches = worker().try_get_matches_from(["worker", "--die-with-parent=42"]).unwrap();
        assert_eq!(matches.get_one::<u32>(DIE_WITH_PARENT), Some(&42));
        assert!(worker().try_get_matches_from(["worker", "--die-with-parent"]).is_err());
    }
}

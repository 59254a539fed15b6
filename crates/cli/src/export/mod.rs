//! `clipfleet export`: exports clips of a video file, with one progress bar per clip.

mod source;

use crate::{
    client::Client,
    exit::Failed,
    local::fleet::{Fleet, FleetSpec},
    output::progress::{Bars, is_terminal, table},
    roles::cloud,
};
use clap::{ArgMatches, Args, FromArgMatches as _};
use clipfleet_cloud::{Cloud, google::Endpoints};
use clipfleet_contract::{
    batch, names,
    v1::{BatchStatus, Clip, ClipStatus, ExportBatch, Output, Source},
};
use clipfleet_service::{
    shutdown,
    telemetry::{LogFormat, start_logging},
    trace::Traces,
};
use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The interval between two updates of the progress bars.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Arguments of `clipfleet export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The video: a file, or gs://bucket/object. Not needed if --request names it.
    source: Option<String>,
    /// A clip as START-END in seconds, for example 12.5-57, or NAME=START-END (repeatable).
    /// Times are those that players show.
    #[arg(long = "clip", value_name = "START-END", value_parser = parse_clip)]
    clips: Vec<Clip>,
    /// Quality: 720p, 1080p, 1440p, 2160p, or high (1080p at a higher bitrate) [default: 1080p]
    #[arg(long, default_value = "", hide_default_value = true)]
    quality: String,
    /// Aspect ratio: 9:16, 1:1, 4:5 or 16:9 [default: 9:16]
    #[arg(long, default_value = "", hide_default_value = true)]
    aspect: String,
    /// Directory for the results: one file per clip, named after it.
    #[arg(long, value_name = "DIR", default_value = "clips")]
    out: PathBuf,
    /// A request as JSON (the body of POST /v1/batches). The arguments above override its fields.
    #[arg(long, value_name = "FILE.json")]
    request: Option<PathBuf>,
    /// Use a running fleet instead of starting one, for example http://127.0.0.1:8080.
    #[arg(long, env = "CLIPFLEET_SERVER")]
    server: Option<String>,
    /// Identity token, if the server requires one.
    #[arg(long, env = "CLIPFLEET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Print the final status as JSON instead of progress bars and a table.
    #[arg(long)]
    json: bool,
    /// Data directory of the temporary fleet.
    #[arg(long, env = "CLIPFLEET_DATA", default_value = ".clipfleet")]
    data: PathBuf,
    /// Worker processes of the temporary fleet.
    #[arg(long, env = "CLIPFLEET_WORKERS", default_value_t = 1)]
    workers: usize,
    /// Clips per worker at once on the temporary fleet.
    #[arg(long, env = "CLIPFLEET_SLOTS", default_value_t = 2)]
    slots: usize,
}

/// Parses `[NAME=]START-END`, seconds with up to three decimals.
fn parse_clip(text: &str) -> Result<Clip, String> {
    let (name, window) = text.split_once('=').unwrap_or(("", text));
    let (start, end) = window.split_once('-').ok_or("give START-END in seconds, for example 12.5-57")?;
    let ms = |text: &str| match text.trim().parse::<f64>() {
        Ok(seconds) if seconds.is_finite() && seconds.abs() < 1e9 => Ok((seconds * 1_000.0).round() as i64),
        _ => Err(format!("{text:?} is not a time in seconds")),
    };
    Ok(Clip {
        clip_id: name.to_owned(),
        start_ms: ms(start)?,
        end_ms: ms(end)?,
        reframe: None,
        cover_at_ms: None,
        audio: None,
    })
}

/// The request by the arguments. Its source may be a file on this machine.
fn request(args: &ExportArgs) -> Result<ExportBatch, Failed> {
    let mut request = match &args.request {
        Some(path) => {
            let bytes = std::fs::read(path)
                .map_err(|error| Failed::usage(format!("cannot read the request {}: {error}", path.display())))?;
            batch::from_json(&bytes)
                .map_err(|failure| Failed::usage(format!("the request {}: {}", path.display(), failure.message)))?
        }
        None => ExportBatch::default(),
    };
    if let Some(uri) = &args.source {
        request.source = Some(Source { uri: uri.clone(), generation: 0 });
    }
    if request.source.as_ref().is_none_or(|source| source.uri.is_empty()) {
        return Err(Failed::usage("name the source: clipfleet export VIDEO --clip START-END"));
    }
    if !args.clips.is_empty() {
        request.clips.clone_from(&args.clips);
    }
    for (index, clip) in request.clips.iter_mut().enumerate().filter(|(_, clip)| clip.clip_id.is_empty()) {
        clip.clip_id = format!("clip-{}", index + 1);
    }
    if request.clips.is_empty() {
        return Err(Failed::usage("name at least one clip: --clip START-END, in seconds"));
    }
    let output = request.output.get_or_insert_with(Output::default);
    override_with(&mut output.quality, &args.quality);
    override_with(&mut output.aspect, &args.aspect);
    let defaults = [
        (&mut request.batch_id, format!("cli-{}", Uuid::now_v7().simple())),
        (&mut request.owner_uid, "local".to_owned()),
        (&mut request.project_id, "cli".to_owned()),
    ];
    for (field, default) in defaults {
        if field.is_empty() {
            *field = default;
        }
    }
    Ok(request)
}

fn override_with(field: &mut String, argument: &str) {
    if !argument.is_empty() {
        argument.clone_into(field);
    }
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let args = ExportArgs::from_arg_matches(matches).map_err(|error| Failed::usage(error.to_string()))?;
    let request = request(&args)?;
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failed::because(format!("create {}", args.out.display()), error))?;
    start_logging(LogFormat::Text, "error", "clipfleet-export", &Traces::default());
    let stop = shutdown::on_signal().map_err(|error| Failed::because("listen for signals", error))?;
    match &args.server {
        Some(server) => {
            let client = Client::new(server, args.token.clone())?;
            let cloud = cloud::connect(&endpoints_of_environment()).await?;
            export(&args, request, &client, &cloud, &stop).await
        }
        None => {
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let (data, workers, slots) = (args.data.clone(), args.workers.max(1), args.slots.max(1));
            let (workers, times) = ((workers, workers), (0.0, 0.0));
            let spec = FleetSpec {
                data,
                listen: any,
                emulator: any,
                workers,
                slots,
                times,
                status: clipfleet_status::Config::default(),
                telemetry: Vec::new(),
                quiet: true,
            };
            let mut fleet = Fleet::start(spec).await?;
            let client = Client::new(&fleet.api.to_string(), None)?;
            let cloud = fleet.cloud.clone();
            let ended = tokio::select! {
                ended = export(&args, request, &client, &cloud, &stop) => ended,
                failed = fleet.failed() => Err(failed),
            };
            fleet.stop().await;
            ended
        }
    }
}

/// The endpoints of a server: an emulator if the usual variables name one, otherwise Google Cloud.
fn endpoints_of_environment() -> Endpoints {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    Endpoints {
        project: variable("GOOGLE_CLOUD_PROJECT").unwrap_or_else(|| names::LOCAL_PROJECT.to_owned()),
        pubsub: variable("PUBSUB_EMULATOR_HOST"),
        firestore: variable("FIRESTORE_EMULATOR_HOST"),
        storage: variable("STORAGE_EMULATOR_HOST"),
    }
}

async fn export(
    args: &ExportArgs,
    mut request: ExportBatch,
    client: &Client,
    cloud: &Cloud,
    stop: &CancellationToken,
) -> Result<ExitCode, Failed> {
    let bars = Bars::new(request.clips.iter().map(|clip| clip.clip_id.as_str()), !args.json);
    if let Some(source) = request.source.as_mut().filter(|source| !source.uri.starts_with("gs://")) {
        let bucket = std::env::var("CLIPFLEET_DEFAULT_BUCKET").unwrap_or_else(|_| names::LOCAL_BUCKET.to_owned());
        source.uri = source::upload(cloud, &bucket, Path::new(&source.uri)).await?;
    }
    let accepted = client.submit(&request).await?;
    let mut status = tokio::select! {
        status = follow(client, cloud, &accepted.batch_id, args, bars) => status?,
        () = stop.cancelled() => {
            return Err(Failed::new(interrupted(args, &accepted.batch_id)));
        }
    };
    // The documents are ordered by id. The table has the order of the request.
    let requested: Vec<&str> = accepted.clips.iter().map(|clip| clip.clip_id.as_str()).collect();
    status.clips.sort_by_key(|clip| requested.iter().position(|id| *id == clip.clip_id));
    if args.json {
        let raw = client.show_raw(&accepted.batch_id).await?;
        println!("{}", serde_json::to_string_pretty(&raw).unwrap_or_default());
    } else {
        print!("{}", table(&status, |clip| file_of(args, clip).display().to_string()));
    }
    Ok(if status.status == "completed" { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The message for an interrupted export. A temporary fleet stops with this process.
fn interrupted(args: &ExportArgs, batch: &str) -> String {
    match &args.server {
        Some(_) => format!("interrupted; batch {batch} continues on the server"),
        None => {
            "interrupted; the fleet was stopped. Run the same command again to reuse finished clips and make the rest"
                .to_owned()
        }
    }
}

/// Shows progress and downloads each clip as soon as it is completed, until all clips have ended.
async fn follow(
    client: &Client,
    cloud: &Cloud,
    batch: &str,
    args: &ExportArgs,
    mut bars: Bars,
) -> Result<BatchStatus, Failed> {
    let mut downloaded = HashSet::new();
    loop {
        let status = client.show(batch).await?;
        bars.show(&status);
        for clip in status.clips.iter().filter(|clip| clip.status == "completed") {
            if downloaded.insert(clip.clip_id.clone()) {
                source::download(cloud, &clip.output_uri, &file_of(args, clip)).await?;
            }
        }
        if is_terminal(&status.status) {
            return Ok(status);
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

fn file_of(args: &ExportArgs, clip: &ClipStatus) -> PathBuf {
    args.out.join(format!("{}.mp4", clip.clip_id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_batch_on_a_server_continues_after_an_interruption() {
        let args = |more: &[&str]| {
            let command = ExportArgs::augment_args(clap::Command::new("export"));
            let words = ["export", "a.mp4", "--clip", "1-2"].iter().chain(more);
            ExportArgs::from_arg_matches(&command.get_matches_from(words)).unwrap()
        };
        let own = interrupted(&args(&[]), "b1");
        assert!(own.contains("the fleet was stopped") && !own.contains("continues"), "{own}");
        let of_a_server = interrupted(&args(&["--server", "http://127.0.0.1:1"]), "b1");
        assert_eq!(of_a_server, "interrupted; batch b1 continues on the server");
    }

    #[test]
    fn clips_are_given_in_seconds() {
        let clip = parse_clip("12.5-57").unwrap();
        assert_eq!((clip.clip_id.as_str(), clip.start_ms, clip.end_ms), ("", 12_500, 57_000));
        assert_eq!(parse_clip("intro=0-1.001").unwrap().clip_id, "intro");
        assert_eq!(parse_clip("intro=0-1.001").unwrap().end_ms, 1_001);
        for bad in ["12", "a-b", "1-inf", "1e300-2"] {
            assert!(parse_clip(bad).is_err(), "{bad}");
        }
    }
}

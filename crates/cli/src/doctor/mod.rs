//! `clipfleet doctor`: checks this machine or a deployment, and suggests fixes.

use crate::{
    client::Client,
    exit::Failed,
    roles,
    roles::cloud::{self, BUCKETS, ROLE, RoleSettings},
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clipfleet_cloud::{Cloud, ErrorKind, ObjectName};
use clipfleet_contract::names;
use clipfleet_service::settings::{Reader, declare};
use clipfleet_worker::{GpuMode, Program};
use serde_json::Value;
use std::{fmt, path::Path, process::ExitCode, time::Duration};

/// The longest wait for a response of a server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn command() -> Command {
    let cloud = Arg::new("cloud").long("cloud").action(ArgAction::SetTrue);
    let server = Arg::new("server").long("server").value_name("URL").env("CLIPFLEET_SERVER").hide_env_values(true);
    let token = Arg::new("token").long("token").env("CLIPFLEET_TOKEN").hide_env_values(true);
    let command = Command::new("doctor")
        .about("Check this machine and suggest fixes")
        .arg(cloud.help("Check a deployment instead of this machine"))
        .arg(server.help("Check this dispatcher, too, for example https://clipfleet-dispatcher-xyz.run.app"))
        .arg(token.help("Identity token, if the dispatcher requires one"));
    declare(command, &[ROLE, BUCKETS, &[roles::GPU]])
}

/// The result of one check, and the remedy if there is a problem.
struct Finding {
    verdict: Verdict,
    what: String,
    remedy: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Works,
    /// Missing, but not always needed.
    Lacks,
    Broken,
}

impl Finding {
    fn works(what: impl Into<String>) -> Self {
        Self { verdict: Verdict::Works, what: what.into(), remedy: String::new() }
    }

    fn lacks(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Lacks, what: what.into(), remedy: remedy.into() }
    }

    fn broken(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, what: what.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.verdict {
            Verdict::Works => "ok     ",
            Verdict::Lacks => "lacks  ",
            Verdict::Broken => "BROKEN ",
        };
        write!(f, "{sign}{}", self.what)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, "\n         -> {}", self.remedy) }
    }
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (settings, buckets) = (cloud::role(&mut reader), cloud::buckets(&mut reader));
    let gpu = reader.take(&roles::GPU, roles::gpu_mode);
    let ((settings, buckets), gpu) = reader.finish(settings.zip(buckets).zip(gpu))?;
    let argument = |name| matches.get_one::<String>(name);
    let deployment = matches.get_flag("cloud");
    let (mut findings, subject) = if deployment {
        (Vec::new(), "This deployment")
    } else {
        let mut findings = media(gpu).await;
        findings.push(scratch(&std::env::temp_dir()));
        (findings, "This machine")
    };
    findings.extend(endpoints(&settings, &buckets.default_bucket, deployment).await);
    if let Some(server) = argument("server") {
        findings.push(dispatcher(server, argument("token").cloned()).await);
    }
    findings.iter().for_each(|finding| println!("{finding}"));
    let broken = findings.iter().filter(|finding| finding.verdict == Verdict::Broken).count();
    match broken {
        0 => println!("\n{subject} can export clips."),
        1 => println!("\n1 problem to fix before {} can export clips.", subject.to_lowercase()),
        count => println!("\n{count} problems to fix before {} can export clips.", subject.to_lowercase()),
    }
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The findings of the media program.
async fn media(gpu: GpuMode) -> Vec<Finding> {
    let program = match roles::installed_pipeline() {
        Ok(program) => program,
        Err(reason) => {
            return vec![Finding::broken("media program: not found", format!("CLIPFLEET_PIPELINE {reason}"))];
        }
    };
    // As at the start of a worker, the plugins are scanned again. The registry is removed afterwards.
    let directory = std::env::temp_dir().join(format!("clipfleet-doctor-{}-registry", std::process::id()));
    let created = std::fs::create_dir(&directory);
    let checked = Program::new(program, gpu, &directory).check().await;
    if created.is_ok() {
        let _ = std::fs::remove_dir_all(&directory);
    }
    match checked {
        Ok(report) => media_findings(&report),
        Err(error) => {
            vec![Finding::broken(format!("media program: {error}"), "install what it names, then run the doctor again")]
        }
    }
}

fn media_findings(report: &Value) -> Vec<Finding> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut findings = vec![Finding::works(format!("GStreamer {}", text(&report["gstreamer"])))];
    for decoder in report["decoders"].as_array().into_iter().flatten() {
        let name = format!("decode {} with {}", text(&decoder["codec"]), text(&decoder["element"]));
        findings.push(if decoder["available"] == true {
            Finding::works(name)
        } else {
            Finding::lacks(name, format!("sources in this codec fail; apt-get install {}", text(&decoder["package"])))
        });
    }
    for encoder in report["encoders"].as_array().into_iter().flatten() {
        let name = format!("encode {} with {}", text(&encoder["kind"]), text(&encoder["name"]));
        findings.push(if encoder["available"] == true {
            Finding::works(name)
        } else {
            Finding::lacks(name, text(&encoder["note"]))
        });
    }
    findings.push(gpu_finding(&report["gpu"]));
    findings
}

fn gpu_finding(gpu: &Value) -> Finding {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let found: Vec<&str> = gpu["elements"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let test = &gpu["selfTest"];
    if test.is_null() {
        return Finding::lacks("GPU: not used, clips are encoded on the CPU (slower)", text(&gpu["note"]));
    }
    let driver = gpu["driver"].as_str().map(|driver| format!(" (driver {driver})")).unwrap_or_default();
    if test["passed"] == true {
        let elements = found.join(", ");
        return Finding::works(format!("GPU{driver}: tested in {} ms; {elements}", test["milliseconds"]));
    }
    let remedy = "clips are encoded on the CPU; see what the driver says (nvidia-smi), then start the worker again";
    Finding::broken(format!("GPU{driver}: {}", text(&test["reason"])), remedy)
}

fn scratch(directory: &Path) -> Finding {
    let probe = directory.join(format!("clipfleet-doctor-{}", std::process::id()));
    match std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) => Finding::works(format!("write to {}", directory.display())),
        Err(error) => Finding::broken(
            format!("write to {}: {error}", directory.display()),
            "make it writable, or set CLIPFLEET_SCRATCH to a directory that is",
        ),
    }
}

/// Checks that the configured servers respond and have what the fleet needs. If `needed`, servers must be configured.
async fn endpoints(settings: &RoleSettings, bucket: &str, needed: bool) -> Vec<Finding> {
    let endpoints = &settings.endpoints;
    let hosts = [&endpoints.pubsub, &endpoints.firestore, &endpoints.storage];
    if hosts.iter().all(|host| host.is_none()) && endpoints.project == names::LOCAL_PROJECT {
        let (what, remedy) = ("cloud: none configured", "set GOOGLE_CLOUD_PROJECT, or the *_EMULATOR_HOST variables");
        return vec![if needed {
            Finding::broken(what, remedy)
        } else {
            Finding::lacks(
                format!("{what}, the emulator is used"),
                format!("nothing to do for `clipfleet up` and `clipfleet export`; otherwise {remedy}"),
            )
        }];
    }
    let cloud = match cloud::connect(endpoints).await {
        Ok(cloud) => cloud,
        Err(failed) => {
            let remedy = "log in with application default credentials, or set the *_EMULATOR_HOST variables";
            return vec![Finding::broken(format!("cloud: {failed}"), remedy)];
        }
    };
    let address = |host: &Option<String>, google: &str| host.clone().unwrap_or_else(|| google.to_owned());
    vec![
        documents(&cloud, &address(&endpoints.firestore, "firestore.googleapis.com")).await,
        objects(&cloud, bucket, &address(&endpoints.storage, "storage.googleapis.com")).await,
        queue(&cloud, &address(&endpoints.pubsub, "pubsub.googleapis.com")).await,
    ]
}

async fn documents(cloud: &Cloud, address: &str) -> Finding {
    let path = [format!("{}/doctor", names::REQUESTS)];
    finding(
        "read documents",
        address,
        "roles/datastore.user",
        tokio::time::timeout(REQUEST_TIMEOUT, cloud.documents.get(&path)).await,
    )
}

async fn objects(cloud: &Cloud, bucket: &str, address: &str) -> Finding {
    let name = ObjectName::new(bucket, "doctor");
    let result = tokio::time::timeout(REQUEST_TIMEOUT, cloud.objects.stat(&name, None)).await;
    // A missing object is a valid response.
    let result = result.map(|stat| match stat {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    finding(&format!("look up objects in {bucket}"), address, "roles/storage.objectViewer on the bucket", result)
}

/// Checks that a dispatcher responds and that the fleet is not paused.
async fn dispatcher(server: &str, token: Option<String>) -> Finding {
    let result = async { Client::new(server, token)?.get("/fleet").await };
    match result.await {
        Ok(fleet) if fleet["paused"] == true => {
            Finding::lacks(format!("dispatcher at {server}: the fleet is paused"), "clipfleet fleet resume")
        }
        Ok(_) => Finding::works(format!("dispatcher at {server}")),
        Err(failed) => Finding::broken(
            format!("dispatcher at {server}: {failed}"),
            "correct the address; for 401 and 403, give an identity token of an account that may invoke it \
             (gcloud auth print-identity-token)",
        ),
    }
}

async fn queue(cloud: &Cloud, address: &str) -> Finding {
    let mut deliveries = cloud.queue.subscribe(names::PROGRESS_EVENTS_STATUS, 1);
    // A stream that stays open without an error is a valid response. A delivery is nacked when it is dropped.
    let result = match tokio::time::timeout(Duration::from_secs(2), deliveries.next()).await {
        Ok(Some(Err(error))) => Ok(Err(error)),
        _ => Ok(Ok(())),
    };
    deliveries.close().await;
    finding(
        &format!("subscribe to {}", names::PROGRESS_EVENTS_STATUS),
        address,
        "roles/pubsub.subscriber on the subscription",
        result,
    )
}

/// The finding of a call. `role` is the IAM role that it requires.
fn finding<T>(
    what: &str,
    address: &str,
    role: &str,
    result: Result<Result<T, clipfleet_cloud::CloudError>, tokio::time::error::Elapsed>,
) -> Finding {
    match result {
        Ok(Ok(_)) => Finding::works(format!("{what} at {address}")),
        Ok(Err(error)) => {
            let remedy = match error.kind() {
                ErrorKind::Denied => format!("grant this account {role}"),
                ErrorKind::NotFound => "create it: `clipfleet up` does this here, infra/ in Google Cloud".to_owned(),
                _ => format!("start the server at {address}, or correct the address"),
            };
            Finding::broken(format!("{what} at {address}: {error}"), remedy)
        }
        Err(_) => Finding::broken(
            format!("{what} at {address}: no answer"),
            format!("start the server at {address}, or correct the address"),
        ),
    }
}

//! `clipfleet doctor`: checks this machine or a deployment, and suggests fixes.

mod advisories;
mod finding;
mod host;
mod media;
mod packages;
mod quotas;
mod services;
mod vulnerabilities;

use crate::{
    exit::{Failed, Status},
    local::data::{self, DATA},
    roles::{
        self,
        cloud::{self, BUCKETS, ROLE, TELEMETRY},
        price::{self, REGION},
        scaling::{self, POOL_SIZE, PoolSize},
    },
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clipfleet_service::settings::{Reader, Setting, declare, declare_advanced, optional};
use quotas::Deployment;
use std::process::ExitCode;

const QUOTAS_HOST: Setting = Setting {
    flag: "quotas-host",
    env: "CLIPFLEET_QUOTAS_HOST",
    value: "HOST:PORT",
    default: "",
    help: "host:port of a Cloud Quotas API to use instead of Google's, without credentials",
};

pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let server = Arg::new("server").long("server").value_name("URL").env("CLIPFLEET_SERVER").hide_env_values(true);
    let token = Arg::new("token").long("token").value_name("TOKEN").env("CLIPFLEET_TOKEN").hide_env_values(true);
    let command = Command::new("doctor")
        .about("Check this machine and suggest fixes")
        .arg(flag("verbose", "List the checks that passed, too").short('v'))
        .arg(flag("cloud", "Check a deployment and the quotas of its project instead of this machine"))
        .arg(server.help("Check this dispatcher, too, for example https://clipfleet-dispatcher-xyz.run.app"))
        .arg(token.help("Identity token, if the dispatcher requires one").hide_short_help(true))
        .arg(flag("json", "Print JSON"));
    let command = declare(command, &[&[DATA]]);
    declare_advanced(command, &[ROLE, TELEMETRY, BUCKETS, &[roles::GPU, REGION, QUOTAS_HOST], POOL_SIZE]).after_help(
        "Examples:\n  clipfleet doctor -v\n  \
         clipfleet doctor --cloud --project P --default-bucket P-clips --region europe-west4 --scaler-max 3",
    )
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (settings, buckets) = (cloud::role(&mut reader), cloud::buckets(&mut reader));
    let (gpu, data) = (reader.take(&roles::GPU, roles::gpu_mode), reader.take(&DATA, data::directory));
    let (region, quotas_host) = (price::region_name(&mut reader), reader.take(&QUOTAS_HOST, optional));
    let size = scaling::pool_size(&mut reader);
    let built = settings.zip(buckets).zip(gpu.zip(data)).zip(region.zip(quotas_host).zip(size));
    let (((settings, buckets), (gpu, data)), ((region, quotas_host), size)) = reader.finish(built)?;
    let argument = |name| matches.get_one::<String>(name);
    let is_deployment = matches.get_flag("cloud");
    let mut findings = Vec::new();
    if !is_deployment {
        findings.extend(media::check(gpu).await);
        findings.extend(host::check(&data));
    }
    findings.extend(services::endpoints(&settings, &buckets.default, is_deployment).await);
    // An emulator has no quotas.
    if is_deployment && (quotas_host.is_some() || services::uses_google(&settings.endpoints)) {
        let PoolSize { pool, run_host, max } = size;
        let project = settings.endpoints.project.clone();
        findings.extend(quotas::check(&Deployment { project, region, pool, max, quotas_host, run_host }).await);
    }
    if let Some(server) = argument("server") {
        findings.extend(services::dispatcher(server, argument("token").cloned()).await);
    }
    let subject = if is_deployment { "deployment" } else { "machine" };
    let problems = finding::report(&findings, subject, matches.get_flag("verbose"), matches.get_flag("json"));
    Ok(if problems == 0 { ExitCode::SUCCESS } else { Status::Failed.into() })
}

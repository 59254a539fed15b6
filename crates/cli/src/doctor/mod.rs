//! `clipfleet doctor`: checks this machine or a deployment, and suggests fixes.

mod finding;
mod host;
mod media;
mod services;

use crate::{
    exit::{Failed, Status},
    local::data::{self, DATA},
    roles::{
        self,
        cloud::{self, BUCKETS, ROLE, TELEMETRY},
    },
};
use clap::{Arg, ArgAction, ArgMatches, Command};
use clipfleet_service::settings::{Reader, declare, declare_advanced};
use std::process::ExitCode;

pub(crate) fn command() -> Command {
    let flag = |name: &'static str, help: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    let server = Arg::new("server").long("server").value_name("URL").env("CLIPFLEET_SERVER").hide_env_values(true);
    let token = Arg::new("token").long("token").value_name("TOKEN").env("CLIPFLEET_TOKEN").hide_env_values(true);
    let command = Command::new("doctor")
        .about("Check this machine and suggest fixes")
        .arg(flag("verbose", "List the checks that passed, too").short('v'))
        .arg(flag("cloud", "Check a deployment instead of this machine"))
        .arg(server.help("Check this dispatcher, too, for example https://clipfleet-dispatcher-xyz.run.app"))
        .arg(token.help("Identity token, if the dispatcher requires one").hide_short_help(true))
        .arg(flag("json", "Print JSON"));
    let command = declare(command, &[&[DATA]]);
    declare_advanced(command, &[ROLE, TELEMETRY, BUCKETS, &[roles::GPU]])
}

pub(crate) async fn run(matches: &ArgMatches) -> Result<ExitCode, Failed> {
    let mut reader = Reader::new(matches);
    let (settings, buckets) = (cloud::role(&mut reader), cloud::buckets(&mut reader));
    let (gpu, data) = (reader.take(&roles::GPU, roles::gpu_mode), reader.take(&DATA, data::directory));
    let ((settings, buckets), (gpu, data)) = reader.finish(settings.zip(buckets).zip(gpu.zip(data)))?;
    let argument = |name| matches.get_one::<String>(name);
    let is_deployment = matches.get_flag("cloud");
    let mut findings = Vec::new();
    if !is_deployment {
        findings.extend(media::check(gpu).await);
        findings.extend(host::check(&data));
    }
    findings.extend(services::endpoints(&settings, &buckets.default_bucket, is_deployment).await);
    if let Some(server) = argument("server") {
        findings.extend(services::dispatcher(server, argument("token").cloned()).await);
    }
    let subject = if is_deployment { "deployment" } else { "machine" };
    let problems = finding::report(&findings, subject, matches.get_flag("verbose"), matches.get_flag("json"));
    Ok(if problems == 0 { ExitCode::SUCCESS } else { Status::Failed.into() })
}

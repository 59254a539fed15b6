//! The quotas of a project that limit its fleet, compared with what its pools need.
//!
//! They are read from the Cloud Quotas API, for which `cloudquotas.quotas.get` suffices:
//! <https://cloud.google.com/docs/quotas/reference/rest/v1/projects.locations.services.quotaInfos>

use super::finding::Finding;
use crate::{
    exit::root_cause,
    quota::{Need, Quota, SERVE},
};
use clipfleet_cloud::{
    ErrorKind,
    google::{PoolShape, WorkerPool, authorization_headers},
};
use clipfleet_domain::cost::Instance;
use reqwest::header::HeaderMap;
use serde_json::Value;
use std::time::Duration;
use tokio::time::timeout;

/// The longest wait for one response.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const QUOTAS_URL: &str = "https://cloudquotas.googleapis.com";

/// The pools of `infra/`.
const POOLS: [&str; 2] = ["clipfleet-worker-gpu", "clipfleet-worker-cpu"];

/// A worker with an L4, as `infra/` deploys it by default.
const DEFAULT_SHAPE: PoolShape =
    PoolShape { instances: 0, vcpus: 4.0, gib: 16.0, gpus: 1.0, gpus_are_redundant: false };

/// The deployment whose quotas are checked.
#[derive(Debug, Clone)]
pub(super) struct Deployment {
    pub(super) project: String,
    pub(super) region: String,
    /// The full name of the pool that the scaler sets, if it is known.
    pub(super) pool: Option<String>,
    /// The largest number of its instances.
    pub(super) max: u32,
    /// host:port of servers that are not Google's, without credentials.
    pub(super) quotas_host: Option<String>,
    pub(super) run_host: Option<String>,
}

/// All checks of quotas.
pub(super) async fn check(deployment: &Deployment) -> Vec<Finding> {
    let headers = match &deployment.quotas_host {
        Some(_) => HeaderMap::new(),
        None => match timeout(REQUEST_TIMEOUT, authorization_headers()).await {
            Ok(Ok(headers)) => headers,
            Ok(Err(error)) => return vec![unread(&error.to_string(), "gcloud auth application-default login")],
            Err(_) => return vec![unread("no credentials in time", "gcloud auth application-default login")],
        },
    };
    let (mut findings, fleet) = pools(deployment).await;
    for quota in Quota::ALL {
        match limit(deployment, quota, &headers).await {
            Ok(limit) => findings.push(compare(quota, limit, &fleet, deployment)),
            // The other quotas would fail for the same reason.
            Err(finding) => {
                findings.push(finding);
                break;
            }
        }
    }
    findings
}

/// What the fleet consists of at most.
struct Fleet {
    /// The pool that the scaler sets.
    shape: PoolShape,
    max: u32,
    /// Everything else.
    rest: Need,
}

impl Fleet {
    fn need(&self, workers: u32) -> Need {
        self.rest.with_pool(workers, &instance(&self.shape), self.shape.gpus_are_redundant)
    }
}

fn instance(shape: &PoolShape) -> Instance {
    Instance { vcpus: shape.vcpus, gib: shape.gib, gpus: shape.gpus }
}

/// Reads the pools. A pool that does not exist is assumed to be the default one.
async fn pools(deployment: &Deployment) -> (Vec<Finding>, Fleet) {
    let Deployment { project, region, pool, max, .. } = deployment;
    let full_name = |name: &str| format!("projects/{project}/locations/{region}/workerPools/{name}");
    let scaled = pool.clone().unwrap_or_else(|| full_name(POOLS[0]));
    let mut fleet = Fleet { shape: DEFAULT_SHAPE, max: *max, rest: Need::always(&SERVE) };
    let mut findings = Vec::new();
    match read_pool(&scaled, deployment).await {
        Ok(shape) => {
            let count = format!("{scaled}: {} instances, {} at most (--scaler-max)", shape.instances, max);
            findings.push(Finding::passed(format!("{count}; {} each", resources(&shape))));
            fleet = Fleet { shape, max: shape.instances.max(*max), ..fleet };
        }
        Err((ErrorKind::NotFound, _)) => findings.push(Finding::note(
            format!(
                "{scaled} does not exist; assuming {max} instances (--scaler-max), {} each",
                resources(&fleet.shape)
            ),
            "name it with --scaler-pool, or its region with --region",
        )),
        Err((kind, error)) => {
            let remedy = match kind {
                ErrorKind::Denied => "grant this account roles/run.viewer, and enable run.googleapis.com",
                _ => "correct --scaler-pool, or try again",
            };
            findings.push(Finding::note(
                format!("{error}; assuming {max} instances (--scaler-max), {} each", resources(&fleet.shape)),
                remedy,
            ));
        }
    }
    for other in POOLS.map(full_name).into_iter().filter(|name| *name != scaled) {
        if let Ok(shape) = read_pool(&other, deployment).await {
            fleet.rest = fleet.rest.with_pool(shape.instances, &instance(&shape), shape.gpus_are_redundant);
        }
    }
    (findings, fleet)
}

fn resources(shape: &PoolShape) -> String {
    let gpu = if shape.gpus > 0.0 { format!(", {} L4", shape.gpus) } else { String::new() };
    format!("{} vCPU, {} GiB{gpu}", shape.vcpus, shape.gib)
}

async fn read_pool(name: &str, deployment: &Deployment) -> Result<PoolShape, (ErrorKind, String)> {
    let reading = async { WorkerPool::connect(name, deployment.run_host.as_deref()).await?.shape().await };
    match timeout(REQUEST_TIMEOUT, reading).await {
        Ok(read) => read.map_err(|error| (error.kind(), error.to_string())),
        Err(_) => Err((ErrorKind::Unavailable, format!("read {name}: no answer"))),
    }
}

/// The limit of a quota in the region, in our unit; `None` if there is no limit.
async fn limit(deployment: &Deployment, quota: Quota, headers: &HeaderMap) -> Result<Option<f64>, Finding> {
    let Deployment { project, region, quotas_host, .. } = deployment;
    let base = quotas_host.as_ref().map_or(QUOTAS_URL.to_owned(), |host| format!("http://{host}"));
    let id = quota.id();
    let url = format!("{base}/v1/projects/{project}/locations/global/services/run.googleapis.com/quotaInfos/{id}");
    let failed = |error: reqwest::Error| {
        let reason = if error.is_timeout() { "no answer".to_owned() } else { root_cause(&error) };
        unread(&format!("{base}: {reason}"), "check the connection to Google, and run the doctor again")
    };
    let http = reqwest::Client::builder().timeout(REQUEST_TIMEOUT).build().map_err(failed)?;
    let answer = http.get(url).headers(headers.clone()).send().await.map_err(failed)?;
    let status = answer.status();
    let body: Value = answer.json().await.unwrap_or_default();
    if status.is_success() {
        return limit_in(&body, region)
            .map(|units| units.map(|units| units / quota.units()))
            .ok_or_else(|| unread(&format!("no limit of {id} in {region}"), "correct --region"));
    }
    Err(refused(status.as_u16(), &body["error"], project))
}

/// The limit of the region in a `QuotaInfo`. Its `dimensionsInfos` are ordered from the more to the less specific. -1
/// is no limit.
fn limit_in(info: &Value, region: &str) -> Option<Option<f64>> {
    let applies = |dimensions: &Value| {
        let named = dimensions["dimensions"]["region"].as_str();
        let applicable = dimensions["applicableLocations"].as_array();
        let includes = |places: &Vec<Value>| places.iter().any(|place| place == region || place == "global");
        named.map_or_else(|| applicable.is_none_or(includes), |named| named == region)
    };
    let value = &info["dimensionsInfos"].as_array()?.iter().find(|dimensions| applies(dimensions))?["details"]["value"];
    // A 64-bit number is a string in JSON. A value of 0 is left out.
    let units = match value {
        Value::Null => 0.0,
        Value::String(text) => text.parse::<f64>().ok()?,
        number => number.as_f64()?,
    };
    Some((units >= 0.0).then_some(units))
}

/// Why the quotas could not be read. That does not keep the fleet from exporting.
fn unread(reason: &str, remedy: &str) -> Finding {
    Finding::note(format!("quotas: not read: {reason}"), remedy)
}

fn refused(status: u16, error: &Value, project: &str) -> Finding {
    let message = error["message"].as_str().unwrap_or("no reason");
    let details = error["details"].as_array().into_iter().flatten();
    let reasons: Vec<&str> = details.filter_map(|detail| detail["reason"].as_str()).collect();
    let remedy = match status {
        403 if reasons.contains(&"SERVICE_DISABLED") && message.contains("quota project") => {
            format!("gcloud auth application-default set-quota-project {project}")
        }
        403 if reasons.contains(&"SERVICE_DISABLED") => {
            format!("gcloud services enable cloudquotas.googleapis.com --project {project}")
        }
        403 => "grant this account roles/cloudquotas.viewer".to_owned(),
        401 => "gcloud auth application-default login".to_owned(),
        404 => "correct --project".to_owned(),
        _ => "run the doctor again later".to_owned(),
    };
    unread(&format!("{status}: {message}"), &remedy)
}

/// Compares a limit with what the fleet needs.
fn compare(quota: Quota, limit: Option<f64>, fleet: &Fleet, deployment: &Deployment) -> Finding {
    let Deployment { project, region, .. } = deployment;
    let what = quota.what();
    let (need, one) = (fleet.need(fleet.max).of(quota), fleet.need(1).of(quota));
    let rollout = fleet.need(fleet.max).in_rollout().of(quota);
    let Some(limit) = limit else { return Finding::passed(format!("quota in {region}: {what}: no limit")) };
    let text = format!("quota in {region}: {what}: {limit}; the fleet needs {need}, in a rollout {rollout}");
    if rollout <= limit {
        return Finding::passed(text);
    }
    let request = format!(
        "request {} ({}) in {region} at \
         https://console.cloud.google.com/iam-admin/quotas?project={project} (Cloud Run Admin API)",
        quota.amount(rollout),
        quota.id()
    );
    if need <= limit {
        Finding::note(format!("{text}: a rollout waits until old workers have stopped"), request)
    } else if one > limit {
        Finding::problem(format!("{text}: no worker can start"), request)
    } else {
        let fits = (1..=fleet.max).take_while(|workers| fleet.need(*workers).of(quota) <= limit).count();
        Finding::note(format!("{text}: room for {fits} of {} workers", fleet.max), request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_most_specific_entry_of_the_region_has_the_limit() {
        let info = json!({"dimensionsInfos": [
            {"dimensions": {"region": "europe-west4"}, "details": {"value": "3"},
             "applicableLocations": ["europe-west4"]},
            {"dimensions": {"region": "us-east4"}, "details": {}, "applicableLocations": ["us-east4"]},
            {"details": {"value": "-1"}, "applicableLocations": ["us-central1", "europe-west1"]},
        ]});
        assert_eq!(limit_in(&info, "europe-west4"), Some(Some(3.0)));
        assert_eq!(limit_in(&info, "us-east4"), Some(Some(0.0)), "a number of 0 is left out in JSON");
        assert_eq!(limit_in(&info, "europe-west1"), Some(None));
        assert_eq!(limit_in(&info, "asia-south1"), None);
        assert_eq!(limit_in(&json!({}), "europe-west4"), None);
    }
}

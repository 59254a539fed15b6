//! `clipfleet doctor --cloud` and the quotas of a project, against a server that answers as Google's APIs do.
//!
//! The answers have the form of the published definitions: QuotaInfo of the Cloud Quotas API v1
//! (<https://cloud.google.com/docs/quotas/reference/rest/v1/projects.locations.services.quotaInfos>) and WorkerPool of
//! the Cloud Run Admin API v2. Nothing here was compared with a real project.

use crate::cli::{command, output_of};
use clipfleet_tests::{fixtures, fleet::Fleet};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    process::Command,
    thread,
};

const QUOTAS: &str = "/v1/projects/p/locations/global/services/run.googleapis.com/quotaInfos";
const POOLS: &str = "/v2/projects/p/locations/europe-west4/workerPools";
const GIB: i64 = 1 << 30;

type Answers = BTreeMap<String, (u16, Value)>;

/// Answers each path as given, and every other one with 404. Returns its address.
fn google(answers: Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let Some(line) = lines.next() else { continue };
            lines.find(String::is_empty);
            let path = line.split([' ', '?']).nth(1).unwrap_or_default().to_owned();
            let missing = (404, refusal(404, "NOT_FOUND", "not found", &[]));
            let (status, body) = answers.get(&path).cloned().unwrap_or(missing);
            let body = body.to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n");
            let _ = stream.write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
        }
    });
    address
}

/// An error as Google's APIs return it.
fn refusal(code: u16, status: &str, message: &str, reasons: &[&str]) -> Value {
    let details: Vec<Value> = reasons
        .iter()
        .map(|reason| json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}))
        .collect();
    json!({"error": {"code": code, "message": message, "status": status, "details": details}})
}

/// A QuotaInfo with a limit in europe-west4, and another one elsewhere.
fn quota_info(id: &str, limit: i64, unit: &str) -> (String, (u16, Value)) {
    let info = json!({
        "name": format!("projects/123/locations/global/services/run.googleapis.com/quotaInfos/{id}"),
        "quotaId": id,
        "metric": "run.googleapis.com/some_allocation",
        "service": "run.googleapis.com",
        "isPrecise": true,
        "containerType": "PROJECT",
        "dimensions": ["region"],
        "metricDisplayName": "Some allocation",
        "quotaDisplayName": "Some allocation, per project per region",
        "metricUnit": unit,
        "quotaIncreaseEligibility": {"isEligible": true},
        "dimensionsInfos": [
            {"dimensions": {"region": "europe-west4"}, "details": {"value": limit.to_string()},
             "applicableLocations": ["europe-west4"]},
            {"details": {"value": "999"}, "applicableLocations": ["us-east4", "europe-west1"]},
        ],
        "serviceRequestQuotaUri": "https://console.cloud.google.com/iam-admin/quotas",
    });
    (format!("{QUOTAS}/{id}"), (200, info))
}

/// The quotas of a project: L4 without and with zonal redundancy, vCPU, GiB.
fn quotas([l4, redundant, vcpus, gib]: [i64; 4]) -> Answers {
    Answers::from([
        quota_info("NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion", l4, "1"),
        quota_info("NvidiaL4GpuAllocPerProjectRegion", redundant, "1"),
        quota_info("CpuAllocPerProjectRegion", 1_000 * vcpus, "{mCPU}"),
        quota_info("MemAllocPerProjectRegion", GIB * gib, "By"),
    ])
}

/// A pool of workers with an L4 each.
fn pool(name: &str, instances: i64) -> (String, (u16, Value)) {
    let full_name = format!("projects/p/locations/europe-west4/workerPools/{name}");
    let limits = json!({"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "1"});
    let pool = json!({
        "name": full_name, "uid": "u", "etag": "\"e\"", "generation": "7", "observedGeneration": "7",
        "launchStage": "GA",
        "template": {
            "containers": [{"image": "i@sha256:0", "resources": {"limits": limits}}],
            "nodeSelector": {"accelerator": "nvidia-l4"},
            "gpuZonalRedundancyDisabled": true,
        },
        "scaling": {"scalingMode": "MANUAL", "manualInstanceCount": instances},
    });
    (format!("{POOLS}/{name}"), (200, pool))
}

/// Runs the doctor of a deployment in project `p`, whose quotas and pools this server knows.
fn doctor(directory: &Path, emulator: &str, google: &str, more: &[&str]) -> (Option<i32>, String) {
    let mut doctor: Command = command(directory, &["doctor", "--cloud", "-v", "--project", "p"]);
    let hosts = ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"];
    doctor.args(more).args(["--quotas-host", google, "--run-host", google]).envs(hosts.map(|name| (name, emulator)));
    let output = doctor.output().unwrap();
    // Project `p` is not the emulator's, so what it is asked for is missing there.
    let text = output_of(&output);
    (
        output.status.code(),
        text.lines().filter(|line| !line.contains(emulator)).map(|line| format!("{line}\n")).collect(),
    )
}

#[tokio::test]
async fn the_doctor_compares_the_quotas_of_a_project_with_what_its_pools_need() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let doctor = |answers: Answers, more: &[&str]| doctor(directory.path(), &fleet.emulator, &google(answers), more);

    // A new project: three L4, but memory for two workers with 16 GiB beside the control plane.
    let mut new = quotas([3, 0, 20, 40]);
    new.extend([pool("clipfleet-worker-gpu", 1)]);
    let (_, text) = doctor(new, &["--scaler-max", "3"]);
    let memory =
        "note     quota in europe-west4: memory, GiB: 40; the fleet needs 49, in a rollout 98: room for 2 of 3";
    assert!(text.contains(memory), "{text}");
    assert!(
        text.contains(
            "fix: request 98 GiB of memory (MemAllocPerProjectRegion) in europe-west4 at https://console.cloud"
        ),
        "{text}"
    );
    let l4 = "L4 without zonal redundancy: 3; the fleet needs 3, in a rollout 6: a rollout waits until old workers";
    assert!(text.contains(l4), "{text}");
    assert!(text.contains("L4 with zonal redundancy: 0; the fleet needs 0"), "{text}");
    assert!(
        text.contains("clipfleet-worker-gpu: 1 instances, 3 at most (--scaler-max); 4 vCPU, 16 GiB, 1 L4 each"),
        "{text}"
    );

    let mut enough = quotas([6, 0, 40, 120]);
    enough.extend([pool("clipfleet-worker-gpu", 0)]);
    let (_, text) = doctor(enough, &[]);
    assert!(text.contains("ok       quota in europe-west4: vCPU: 40; the fleet needs 13, in a rollout 26"), "{text}");
    assert!(!text.contains("request"), "{text}");

    // Not even one worker can start.
    let mut none = quotas([0, 0, 20, 40]);
    none.extend([pool("clipfleet-worker-gpu", 0)]);
    let (status, text) = doctor(none, &[]);
    assert!(
        text.contains("problem  quota in europe-west4: L4 without") && text.contains("no worker can start"),
        "{text}"
    );
    assert_eq!(status, Some(1));
}

#[tokio::test]
async fn the_doctor_says_what_to_do_where_quotas_or_pools_cannot_be_read() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 1).await;
    let doctor = |answers: Answers, more: &[&str]| doctor(directory.path(), &fleet.emulator, &google(answers), more).1;
    let first = format!("{QUOTAS}/NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion");
    let with = |status: u16, error: Value| Answers::from([(first.clone(), (status, error))]);

    let message = "Cloud Quotas API has not been used in project p before or it is disabled.";
    let disabled = refusal(403, "PERMISSION_DENIED", message, &["SERVICE_DISABLED"]);
    let text = doctor(with(403, disabled), &[]);
    assert!(text.contains("note     quotas: not read: 403: Cloud Quotas API has not been used"), "{text}");
    assert!(text.contains("fix: gcloud services enable cloudquotas.googleapis.com --project p"), "{text}");
    assert!(text.contains("workerPools/clipfleet-worker-gpu does not exist; assuming 3 instances"), "{text}");

    let message = "Your application is authenticating by using local Application Default Credentials. The \
                   cloudquotas.googleapis.com API requires a quota project, which is not set by default.";
    let text = doctor(with(403, refusal(403, "PERMISSION_DENIED", message, &["SERVICE_DISABLED"])), &[]);
    assert!(text.contains("fix: gcloud auth application-default set-quota-project p"), "{text}");

    let message = "Permission 'cloudquotas.quotas.get' denied on resource (or it may not exist).";
    let mut denied = with(403, refusal(403, "PERMISSION_DENIED", message, &["IAM_PERMISSION_DENIED"]));
    denied.insert(format!("{POOLS}/other"), (403, refusal(403, "PERMISSION_DENIED", "no run.workerpools.get", &[])));
    let text = doctor(denied, &["--scaler-pool", "projects/p/locations/europe-west4/workerPools/other"]);
    assert!(text.contains("fix: grant this account roles/cloudquotas.viewer"), "{text}");
    assert!(text.contains("no run.workerpools.get; assuming 3 instances"), "{text}");
    assert!(text.contains("fix: grant this account roles/run.viewer"), "{text}");

    let text = doctor(quotas([3, 0, 20, 40]), &["--region", "mars-north1"]);
    assert!(text.contains("no limit of NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion in mars-north1"), "{text}");
}

/// The names of a message's fields in the Python definitions of the installed Cloud SDK.
fn fields(messages: &str, class: &str) -> BTreeSet<String> {
    let text =
        messages.split(&format!("\nclass {class}(_messages.Message):")).nth(1).unwrap_or_else(|| panic!("{class}"));
    let text = text.split("\nclass ").next().unwrap();
    let fields = text.lines().filter_map(|line| line.strip_prefix("  ")?.split_once(" = _messages."));
    fields.map(|(name, _)| name.to_owned()).filter(|name| !name.contains(' ')).collect()
}

/// Checks that every field of an answer exists in a message.
fn check(answer: &Value, messages: &str, class: &str) {
    let (used, known) = (answer.as_object().unwrap().keys(), fields(messages, class));
    assert!(!known.is_empty(), "{class}");
    let unknown: Vec<&String> = used.filter(|name| !known.contains(*name)).collect();
    assert!(unknown.is_empty(), "{class} has no {unknown:?}, only {known:?}");
}

#[test]
fn the_answers_have_the_fields_of_the_installed_cloud_sdk() {
    let apis = Path::new("/usr/lib/google-cloud-sdk/lib/googlecloudsdk/generated_clients/apis");
    let read = |path: &str| std::fs::read_to_string(apis.join(path));
    let definitions = (read("cloudquotas/v1/cloudquotas_v1_messages.py"), read("run/v2/run_v2_messages.py"));
    let (Ok(of_quotas), Ok(of_run)) = definitions else {
        println!("the answers' fields: skipped: the Google Cloud SDK is not installed in {}", apis.display());
        return;
    };
    let (_, (_, info)) = quota_info("CpuAllocPerProjectRegion", 20_000, "{mCPU}");
    check(&info, &of_quotas, "QuotaInfo");
    check(&info["quotaIncreaseEligibility"], &of_quotas, "QuotaIncreaseEligibility");
    check(&info["dimensionsInfos"][0], &of_quotas, "DimensionsInfo");
    check(&info["dimensionsInfos"][0]["details"], &of_quotas, "QuotaDetails");
    let (_, (_, mut pool)) = pool("clipfleet-worker-gpu", 1);
    check(&pool, &of_run, "GoogleCloudRunV2WorkerPool");
    check(&pool["scaling"], &of_run, "GoogleCloudRunV2WorkerPoolScaling");
    // The SDK's WorkerPoolRevisionTemplate may be older than this field, which that of services has, too, and
    // Google's client for Rust.
    let redundancy = pool["template"].as_object_mut().unwrap().remove("gpuZonalRedundancyDisabled");
    assert!(
        redundancy.is_some()
            && fields(&of_run, "GoogleCloudRunV2RevisionTemplate").contains("gpuZonalRedundancyDisabled")
    );
    check(&pool["template"], &of_run, "GoogleCloudRunV2WorkerPoolRevisionTemplate");
    check(&pool["template"]["containers"][0], &of_run, "GoogleCloudRunV2Container");
    check(&pool["template"]["containers"][0]["resources"], &of_run, "GoogleCloudRunV2ResourceRequirements");
}

//! Roles of a fleet whose server refuses them for a while: at the start, when permissions are still propagating, and
//! later. They wait, say so, and go on by themselves.

use crate::serve::{emulator, export, free_address, until_ready};
use clipfleet_tests::{
    fixtures,
    fleet::{Role, role},
};
use serde_json::{Value, json};
use std::path::Path;

const STREAM: &str = "google.pubsub.v1.Subscriber/StreamingPull";
const PERMISSION: &str = "POST /v1/projects/*:testIamPermissions";

/// Fault rules of the emulator.
async fn faults(emulator: &str, rules: &[(&str, Value)]) {
    let rules: Vec<Value> = rules.iter().map(|(on, fault)| json!({"on": on, "fault": fault})).collect();
    let request = reqwest::Client::new().put(format!("http://{emulator}/_clipfleet/faults"));
    let answer = request.json(&json!({"rules": rules})).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

async fn is_alive(address: &str) -> bool {
    reqwest::get(format!("http://{address}/health")).await.unwrap().status().is_success()
}

fn denied() -> Value {
    json!({"refuse": {"code": "PERMISSION_DENIED"}})
}

/// One process per role, each with its address; the dispatcher is the first.
struct Roles(Vec<(Role, String)>);

impl Roles {
    fn start(emulator: &str, directory: &Path) -> Self {
        let scratch = directory.join("scratch").display().to_string();
        let start = |arguments: &[&str]| {
            let listen = free_address();
            (role(emulator, &[arguments, &["--listen", &listen]].concat()), listen)
        };
        let worker = ["worker", "--slots", "1", "--scratch", &scratch];
        Self(vec![start(&["dispatcher", "--console"]), start(&["status"]), start(&worker)])
    }

    /// The subscription without which each role is not ready.
    fn subscriptions(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let names = ["export-requests-dispatcher", "status", "clip-jobs-worker"];
        self.0.iter().zip(names).map(|((_, address), name)| (address.as_str(), name))
    }

    async fn until_refused(&self) {
        for (address, name) in self.subscriptions() {
            let reason = |answer: &Value| answer["reason"].as_str().unwrap_or_default().to_owned();
            let refused = |answer: &Value| answer["ready"] == false && reason(answer).contains("refused on purpose");
            let answer = until_ready(address, refused).await;
            assert!(reason(&answer).contains(name), "{answer}");
            assert!(is_alive(address).await, "{name}");
        }
    }

    async fn until_all_ready(&self) {
        for (address, _) in self.subscriptions() {
            until_ready(address, |answer| answer["ready"] == true).await;
        }
    }
}

#[tokio::test]
async fn roles_wait_for_permissions_that_come_late() {
    let directory = fixtures::directory();
    let (_emulator, emulator) = emulator(directory.path()).await;
    faults(&emulator, &[(PERMISSION, denied()), (STREAM, denied())]).await;
    let roles = Roles::start(&emulator, directory.path());
    roles.until_refused().await;
    faults(&emulator, &[]).await;
    roles.until_all_ready().await;
    export(directory.path(), &roles.0[0].1);
}

#[tokio::test]
async fn roles_survive_a_permission_that_is_withdrawn_for_a_while() {
    let directory = fixtures::directory();
    let (_emulator, emulator) = emulator(directory.path()).await;
    // Google ends every stream sooner or later. Only the next one is refused.
    faults(&emulator, &[(STREAM, json!({"cut_answer": {"after_ms": 2_000}}))]).await;
    let roles = Roles::start(&emulator, directory.path());
    roles.until_all_ready().await;
    faults(&emulator, &[(PERMISSION, denied()), (STREAM, denied())]).await;
    roles.until_refused().await;
    faults(&emulator, &[]).await;
    roles.until_all_ready().await;
    export(directory.path(), &roles.0[0].1);
}

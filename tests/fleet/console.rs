//! Tests of the web page beside the API: `up` serves it, a dispatcher serves it with `--console` only.

use clipfleet_tests::{
    fixtures,
    fleet::{Fleet, program},
};
use serde_json::Value;
use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

/// A separate dispatcher; killed when dropped.
struct Dispatcher {
    child: Child,
    api: String,
}

impl Dispatcher {
    fn start(emulator: &str, more: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(["dispatcher", "--log-format", "json"]).args(more);
        for name in ["PUBSUB_EMULATOR_HOST", "FIRESTORE_EMULATOR_HOST", "STORAGE_EMULATOR_HOST"] {
            command.env(name, emulator);
        }
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let listens = |line: String| serde_json::from_str::<Value>(&line).ok()?["listen"].as_str().map(str::to_owned);
        let api = lines.find_map(listens).expect("the dispatcher logs its address");
        // An unread pipe would block the process.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, api: format!("http://{api}") }
    }
}

impl Drop for Dispatcher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_page_is_served_with_its_policy_and_only_where_it_is_enabled() {
    let directory = fixtures::directory();
    let fleet = Fleet::start(&directory.path().join("data"), 0, 2).await;
    let enabled = Dispatcher::start(&fleet.emulator, &["--console"]);
    let disabled = Dispatcher::start(&fleet.emulator, &[]);
    for (api, served) in [(&fleet.api, true), (&enabled.api, true), (&disabled.api, false)] {
        let page = reqwest::get(format!("{api}/")).await.unwrap();
        assert_eq!(page.status().is_success(), served, "{api}");
        // The API is always available, and answers its own errors.
        let other = reqwest::get(format!("{api}/v1/nothing")).await.unwrap();
        assert_eq!(other.status(), 404);
        assert_eq!(other.json::<Value>().await.unwrap()["error"]["code"], "no_such_route");
        if !served {
            continue;
        }
        assert_eq!(page.url().path(), "/console/");
        let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
        let storage = format!("http://{}", fleet.emulator);
        assert!(policy.contains(&format!("connect-src 'self' {storage};")), "{policy}");
        let settings = reqwest::get(format!("{api}/console/settings.json")).await.unwrap();
        let settings: Value = settings.json().await.unwrap();
        assert_eq!(settings["storage"]["url"], storage);
        assert_eq!(settings["fleet"].is_object(), *api == fleet.api, "only `up` knows its workers");
    }
}

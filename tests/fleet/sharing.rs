//! A fleet that several people use (`clipfleet up --token`), and links to results of every kind.

use crate::cli::{clipfleet, output_of};
use clipfleet_tests::{
    fixtures::{self, Recipe},
    fleet::{Fleet, clips, request},
    mp4::Probe,
};
use serde_json::{Value, json};
use std::path::Path;

const TOKEN: &str = "correct-horse-battery";

/// The status of a GET request with these headers.
async fn status(url: &str, headers: &[(&str, &str)]) -> u16 {
    let request = reqwest::Client::new().get(url);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.unwrap().status().as_u16()
}

fn talk(directory: &Path) -> String {
    Recipe { pictures: 90, ..Recipe::default() }.make(directory, "talk").display().to_string()
}

/// Exports one second of a video.
async fn export(fleet: &Fleet, directory: &Path) -> Value {
    let source = fleet.upload(Path::new(&talk(directory)), "talk").await;
    let mut request = request("b1", &source, &[("c1", 0, 1_000)]);
    request["output"] = json!({"quality": "720p"});
    fleet.submit(&request).await;
    let shown = fleet.finished("b1").await;
    assert_eq!(shown["status"], "completed", "{shown:#}");
    clips(&shown)["c1"].clone()
}

#[tokio::test]
async fn a_team_uses_a_machine_through_one_address_with_its_token() {
    let directory = fixtures::directory();
    let fleet = Fleet::start_scaling(&directory.path().join("data"), "1", 1, &[("CLIPFLEET_TOKEN", TOKEN)]).await;
    let (refused, answer) = fleet.call("GET", "/v1/batches", "").await;
    assert_eq!((refused, &answer["error"]["code"]), (401, &json!("unauthenticated")));
    assert_eq!(status(&format!("{}/console/main.js", fleet.api), &[]).await, 200);
    assert_eq!(status(&format!("{}/health", fleet.api), &[]).await, 200, "platforms have no token");

    // The command line sends the file, follows the clip and fetches it through the one address.
    let source = talk(directory.path());
    let export = |token: &str| {
        let arguments = ["export", &source, "--clip", "intro=0-1", "--quality", "720p", "--server", &fleet.api];
        clipfleet(directory.path(), &[&arguments[..], &["--token", token]].concat())
    };
    let wrong = export("wrong-horse-battery");
    assert_ne!(wrong.status.code(), Some(0));
    assert!(output_of(&wrong).contains("this fleet has a token"), "{}", output_of(&wrong));
    let exported = export(TOKEN);
    assert_eq!(exported.status.code(), Some(0), "{}", output_of(&exported));
    let files: Vec<_> =
        std::fs::read_dir(directory.path().join("clips")).unwrap().map(|it| it.unwrap().path()).collect();
    assert_eq!(Probe::of(&files[0]).picture_times.len(), 30);

    // A browser's pictures and videos come with its cookie.
    let bearer = format!("Bearer {TOKEN}");
    let listed = reqwest::Client::new().get(format!("{}/v1/batches", fleet.api)).bearer_auth(TOKEN).send().await;
    let listed: Value = listed.unwrap().json().await.unwrap();
    let batch = listed["batches"][0]["batchId"].as_str().unwrap();
    let shown = reqwest::Client::new().get(format!("{}/v1/batches/{batch}", fleet.api)).bearer_auth(TOKEN).send().await;
    let shown: Value = shown.unwrap().json().await.unwrap();
    let url = shown["clips"][0]["outputUrl"].as_str().unwrap();
    let own = url.replace(&format!("http://{}", fleet.emulator), &fleet.api);
    assert_ne!(own, url, "the link is one of the storage");
    let session = reqwest::Client::new().post(format!("{}/v1/session", fleet.api)).json(&json!({"token": TOKEN}));
    let cookie = session.send().await.unwrap().headers()["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap();
    assert_eq!(status(&own, &[]).await, 401);
    assert_eq!(status(&own, &[("cookie", cookie), ("range", "bytes=0-9")]).await, 206);
    assert_eq!(status(&own, &[("authorization", &bearer)]).await, 200);
    assert_eq!(fleet.stop().await, Some(0));
}

#[tokio::test]
async fn links_are_those_that_were_chosen_and_can_be_asked_for() {
    for kind in ["firebase", "public", "signed", "none"] {
        let directory = fixtures::directory();
        let settings = [("CLIPFLEET_OUTPUT_LINKS", kind)];
        let fleet = Fleet::start_scaling(&directory.path().join("data"), "1", 1, &settings).await;
        let clip = export(&fleet, directory.path()).await;
        let base = format!("http://{}", fleet.emulator);
        let object = clip["outputUri"].as_str().unwrap().strip_prefix("gs://clipfleet-local/").unwrap();
        let (answered, links) = fleet.call("GET", "/v1/batches/b1/clips/c1:links", "").await;
        let url = clip["outputUrl"].as_str().unwrap().to_owned();
        match kind {
            "firebase" => {
                let encoded = object.replace('/', "%2F");
                let expected = format!("{base}/v0/b/clipfleet-local/o/{encoded}?alt=media&token=");
                assert!(url.starts_with(&expected), "{url}");
            }
            "public" => assert_eq!(url, format!("{base}/clipfleet-local/{object}")),
            _ => assert_eq!((url.as_str(), &clip["coverUrl"]), ("", &json!("")), "{kind}"),
        }
        if kind == "none" {
            assert_eq!((answered, &links["error"]["code"]), (409, &json!("links_disabled")));
        } else {
            assert_eq!(answered, 200, "{kind}: {links}");
            for (name, start) in [("outputUrl", &b"ftyp"[..]), ("coverUrl", &b"\xff\xd8"[..])] {
                let bytes = fleet.download(links[name].as_str().unwrap()).await;
                let at = if name == "outputUrl" { 4 } else { 0 };
                assert_eq!(&bytes[at..at + start.len()], start, "{kind} {name}");
            }
            assert_eq!(links["expireTime"].is_string(), kind == "signed", "{links}");
            assert_eq!(url.is_empty(), kind == "signed");
        }
        // The command line needs no link where it reaches the storage.
        let out = directory.path().join("out").display().to_string();
        let (code, said) = fleet.command(&["batch", "download", "b1", "--out", &out]);
        assert_eq!(code, Some(0), "{kind}: {said}");
        assert_eq!(fleet.stop().await, Some(0));
    }
}

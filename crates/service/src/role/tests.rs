//! Several roles in one process: its state, its metrics, its stop and its errors.

use super::*;
use crate::health::bind;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};

const COUNTERS: [&[Metric]; 2] =
    [&[Metric::counter("test_first_total", "First.")], &[Metric::counter("test_second_total", "Second.")]];

/// A role that is ready once told to be, and ends with an error once told to. It says whether it finished its work.
fn role(name: &'static str) -> (Role, oneshot::Sender<()>, oneshot::Sender<String>, oneshot::Receiver<()>) {
    let (ready, is_ready) = oneshot::channel::<()>();
    let (fail, failed) = oneshot::channel::<String>();
    let (finish, finished) = oneshot::channel::<()>();
    let metrics = if name == "first" { COUNTERS[0] } else { COUNTERS[1] };
    let work = move |readiness: Readiness, stop: CancellationToken| async move {
        if is_ready.await.is_ok() {
            readiness.ready(json!({"of": name}));
        }
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(reason) = failed => return Err(reason),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        let _ = finish.send(());
        Ok(())
    };
    (Role::new(name, metrics, work), ready, fail, finished)
}

async fn start(roles: Vec<Role>, stop: &CancellationToken) -> (SocketAddr, JoinHandle<io::Result<()>>) {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, tokio::spawn(run_all(roles, listener, Router::new(), stop.clone())))
}

async fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until `/ready` answers with this text.
async fn until_ready_says(address: SocketAddr, text: &str) {
    let asking = async {
        while !get(address, "/ready").await.contains(text) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), asking).await.unwrap_or_else(|_| panic!("/ready never said {text}"));
}

#[tokio::test]
async fn a_process_is_ready_when_all_its_roles_are_and_names_the_state_of_each() {
    let stop = CancellationToken::new();
    let (first, first_ready, _first_fails, first_finished) = role("first");
    let (second, second_ready, _second_fails, second_finished) = role("second");
    let (address, running) = start(vec![first, second], &stop).await;
    until_ready_says(address, "\"reason\":\"first: starting; second: starting\"").await;
    first_ready.send(()).unwrap();
    until_ready_says(address, "\"reason\":\"first: ready; second: starting\"").await;
    second_ready.send(()).unwrap();
    until_ready_says(address, "{\"first\":{\"of\":\"first\"},\"second\":{\"of\":\"second\"}},\"ready\":true").await;
    metrics::counter!("test_first_total").increment(1);
    metrics::counter!("test_second_total").increment(1);
    let metrics = get(address, "/metrics").await;
    assert!(
        metrics.contains("# HELP test_first_total First.") && metrics.contains("# HELP test_second_total"),
        "{metrics}"
    );

    stop.cancel();
    running.await.unwrap().unwrap();
    assert!(first_finished.await.is_ok() && second_finished.await.is_ok(), "both finished their work");
}

#[tokio::test]
async fn the_error_of_one_role_ends_the_process_after_the_others_have_finished() {
    let stop = CancellationToken::new();
    let (first, first_ready, _first_fails, first_finished) = role("first");
    let (second, second_ready, second_fails, _) = role("second");
    let (address, running) = start(vec![first, second], &stop).await;
    first_ready.send(()).unwrap();
    until_ready_says(address, "first: ready").await;
    drop(second_ready);
    second_fails.send("the subscription is gone".to_owned()).unwrap();
    let ended = timeout(Duration::from_secs(10), running).await.expect("the process ends").unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "second: the subscription is gone");
    assert!(first_finished.await.is_ok(), "the other role finished its work");
}

#[tokio::test]
async fn a_role_that_ends_without_a_stop_ends_the_process_with_an_error() {
    let stop = CancellationToken::new();
    let (first, first_ready, _first_fails, _first_finished) = role("first");
    first_ready.send(()).unwrap();
    let short = Role::new("short", &[], |readiness: Readiness, _| async move {
        readiness.ready(json!(null));
        io::Result::Ok(())
    });
    let (_, running) = start(vec![first, short], &stop).await;
    let ended = timeout(Duration::from_secs(10), running).await.expect("the process ends").unwrap();
    assert_eq!(ended.unwrap_err().to_string(), "short ended by itself");
}

#[tokio::test]
async fn a_role_that_was_never_ready_does_not_delay_the_stop_nor_take_the_others_along() {
    let stop = CancellationToken::new();
    let (first, first_ready, _first_fails, first_finished) = role("first");
    let stuck = Role::new("stuck", &[], |_, _| std::future::pending::<io::Result<()>>());
    let (address, running) = start(vec![first, stuck], &stop).await;
    first_ready.send(()).unwrap();
    until_ready_says(address, "first: ready; stuck: starting").await;
    stop.cancel();
    timeout(Duration::from_secs(4), running).await.expect("it does not wait for the stuck role").unwrap().unwrap();
    assert!(first_finished.await.is_ok(), "the ready role finished its work");
}

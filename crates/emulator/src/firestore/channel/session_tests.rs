//! Sessions on virtual time: timeouts of silent browsers, and what is kept for them.

use super::*;
use tokio::time::advance;

/// A session whose stream yields what the test sends.
fn session() -> (Arc<Session>, mpsc::Sender<Result<Value, Status>>, mpsc::Receiver<QueuedMessage>) {
    let (session, queue) = Session::new("s".into());
    let (sender, sent) = mpsc::channel(1);
    let responses =
        futures::stream::unfold(sent, |mut sent: mpsc::Receiver<_>| async { Some((sent.recv().await?, sent)) });
    spawn(Arc::clone(&session), responses.boxed(), CancellationToken::new(), async {});
    (session, sender, queue)
}

fn back_channel(last_array: u64) -> BackChannel {
    BackChannel { last_array, once: false, wait_ms: None }
}

fn is_closed(session: &Session) -> bool {
    session.state.lock().closed
}

/// Runs every task until it waits.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_session_and_stream_of_a_silent_browser_end() {
    let (session, sender, _queue) = session();
    settle().await;
    advance(limits::CHANNEL_IDLE_TIMEOUT - Duration::from_secs(1)).await;
    settle().await;
    session.acknowledge(None).unwrap();
    advance(limits::CHANNEL_IDLE_TIMEOUT - Duration::from_secs(1)).await;
    settle().await;
    assert!(!is_closed(&session), "the browser sent a request");
    advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(is_closed(&session) && sender.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_ends_in_time_and_keeps_the_session() {
    let (session, _sender, _queue) = session();
    let mut last_array = 0;
    for _ in 0..3 {
        let started = Instant::now();
        let mut response = pin!(Arc::clone(&session).open_back_channel(&back_channel(last_array)).unwrap());
        let mut chunks = 0;
        while let Some(Ok(chunk)) = response.next().await {
            assert!(chunk.ends_with(b",[\"noop\"]]]"), "{chunk:?}");
            (chunks, last_array) = (chunks + 1, last_array + 1);
        }
        let duration = started.elapsed();
        assert!(duration >= limits::CHANNEL_RESPONSE_TTL - limits::CHANNEL_NOOP_INTERVAL, "{duration:?}");
        assert!(duration <= limits::CHANNEL_RESPONSE_TTL + limits::CHANNEL_NOOP_INTERVAL, "{duration:?}");
        assert!(chunks >= 3, "one immediately, and one every {:?}", limits::CHANNEL_NOOP_INTERVAL);
        assert!(limits::CHANNEL_NOOP_INTERVAL < limits::CHANNEL_KEEP_ALIVE_INTERVAL);
    }
    assert!(!is_closed(&session));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_nobody_reads_does_not_keep_a_session() {
    let (session, _sender, _queue) = session();
    let _response = Arc::clone(&session).open_back_channel(&back_channel(0)).unwrap();
    settle().await;
    advance(limits::CHANNEL_RESPONSE_TTL + limits::CHANNEL_IDLE_TIMEOUT + Duration::from_secs(1)).await;
    settle().await;
    assert!(is_closed(&session));
}

#[tokio::test(start_paused = true)]
async fn messages_that_the_stream_does_not_take_are_rejected_after_a_timeout() {
    let (session, _sender, mut queue) = session();
    let many = |first, count| Messages { first, texts: vec!["x".repeat(limits::MAX_CHANNEL_QUEUE_BYTES / 4); count] };
    session.enqueue(many(0, 4)).await.unwrap();
    let started = Instant::now();
    let rejected = session.enqueue(many(4, 1)).await.unwrap_err();
    assert_eq!((rejected.code(), started.elapsed()), (tonic::Code::ResourceExhausted, limits::CHANNEL_QUEUE_TIMEOUT));
    // Every message that the stream takes frees space. A message larger than the whole queue is queued alone.
    drop(queue.recv().await.unwrap());
    session.enqueue(many(4, 1)).await.unwrap();
    for _ in 0..4 {
        drop(queue.recv().await.unwrap());
    }
    let large = Messages { first: 5, texts: vec!["x".repeat(limits::MAX_CHANNEL_QUEUE_BYTES * 3)] };
    session.enqueue(large).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_its_browser() {
    let (session, sender, _queue) = session();
    let large = json!("x".repeat(limits::MAX_CHANNEL_UNACKNOWLEDGED_BYTES / 2));
    let mut sent = 0;
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), sender.send(Ok(large.clone()))).await {
        sent += 1;
    }
    // Two are pending, the forwarding task has one more, and one waits in this test's own channel.
    assert!((3..=4).contains(&sent), "{sent}");
    assert!(session.state.lock().arrays.bytes() < limits::MAX_CHANNEL_UNACKNOWLEDGED_BYTES * 2);
    session.acknowledge(Some(2)).unwrap();
    assert!(timeout(Duration::from_secs(1), sender.send(Ok(large))).await.is_ok(), "acknowledging frees space");
    assert!(session.acknowledge(Some(99)).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_session_closes_when_the_end_of_its_stream_is_acknowledged() {
    let (session, sender, _queue) = session();
    sender.send(Err(Status::not_found("gone"))).await.unwrap();
    drop(sender);
    let mut response = pin!(Arc::clone(&session).open_back_channel(&back_channel(0)).unwrap());
    let mut text = String::new();
    while let Some(Ok(chunk)) = response.next().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains(r#"{"error":{"code":404,"message":"gone","status":"NOT_FOUND"}}"#), "{text}");
    assert!(text.ends_with(r#"["close"]]]"#), "{text}");
    assert!(!is_closed(&session), "the browser may ask again for lost arrays");
    let last = session.state.lock().arrays.last();
    session.acknowledge(Some(last)).unwrap();
    settle().await;
    assert!(is_closed(&session));
}

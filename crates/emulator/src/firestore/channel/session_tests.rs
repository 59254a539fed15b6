//! Sessions on virtual time: how long browsers may be silent, and what is kept for them.

use super::*;
use tokio::time::advance;

/// A session whose stream says what it is given to say.
fn session() -> (Arc<Session>, mpsc::Sender<Result<Value, Status>>, mpsc::Receiver<Fed>) {
    let (session, fed) = Session::new("s".into());
    let (say, said) = mpsc::channel(1);
    let responses =
        futures::stream::unfold(said, |mut said: mpsc::Receiver<_>| async { Some((said.recv().await?, said)) });
    spawn(Arc::clone(&session), responses.boxed(), CancellationToken::new(), async {});
    (session, say, fed)
}

fn asking(has: u64) -> BackChannel {
    BackChannel { has, once: false, wait_ms: None }
}

fn is_over(session: &Session) -> bool {
    session.state.lock().over
}

/// Lets every task do what it can.
async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_browser_that_is_not_heard_of_is_forgotten_and_its_stream_with_it() {
    let (session, say, _fed) = session();
    settle().await;
    advance(limits::CHANNEL_IDLE - Duration::from_secs(1)).await;
    settle().await;
    session.hear(None).unwrap();
    advance(limits::CHANNEL_IDLE - Duration::from_secs(1)).await;
    settle().await;
    assert!(!is_over(&session), "it was heard of");
    advance(Duration::from_secs(2)).await;
    settle().await;
    assert!(is_over(&session) && say.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_read_ends_in_time_and_keeps_the_session() {
    let (session, _say, _fed) = session();
    let mut has = 0;
    for _ in 0..3 {
        let began = Instant::now();
        let mut answer = pin!(Arc::clone(&session).hold(&asking(has)).unwrap());
        let mut chunks = 0;
        while let Some(Ok(chunk)) = answer.next().await {
            assert!(chunk.ends_with(b",[\"noop\"]]]"), "{chunk:?}");
            (chunks, has) = (chunks + 1, has + 1);
        }
        let lasted = began.elapsed();
        assert!(lasted >= limits::CHANNEL_LIFE - limits::CHANNEL_NOOP, "{lasted:?}");
        assert!(lasted <= limits::CHANNEL_LIFE + limits::CHANNEL_NOOP, "{lasted:?}");
        assert!(chunks >= 3, "one at once, and one every {:?}", limits::CHANNEL_NOOP);
        assert!(limits::CHANNEL_NOOP < limits::CHANNEL_KEEP_ALIVE);
    }
    assert!(!is_over(&session));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_reads_does_not_keep_a_session_for_ever() {
    let (session, _say, _fed) = session();
    let _answer = Arc::clone(&session).hold(&asking(0)).unwrap();
    settle().await;
    advance(limits::CHANNEL_LIFE + limits::CHANNEL_IDLE + Duration::from_secs(1)).await;
    settle().await;
    assert!(is_over(&session));
}

#[tokio::test(start_paused = true)]
async fn messages_that_nobody_takes_in_are_refused_after_a_while() {
    let (session, _say, mut fed) = session();
    let many = |first, count| Messages { first, texts: vec!["x".repeat(limits::CHANNEL_FEED_BYTES / 4); count] };
    session.feed(many(0, 4)).await.unwrap();
    let began = Instant::now();
    let refused = session.feed(many(4, 1)).await.unwrap_err();
    assert_eq!((refused.code(), began.elapsed()), (tonic::Code::ResourceExhausted, limits::CHANNEL_FEED_WAIT));
    // Room comes with every one that is taken, and one larger than all the room is taken alone.
    drop(fed.recv().await.unwrap());
    session.feed(many(4, 1)).await.unwrap();
    for _ in 0..4 {
        drop(fed.recv().await.unwrap());
    }
    let large = Messages { first: 5, texts: vec!["x".repeat(limits::CHANNEL_FEED_BYTES * 3)] };
    session.feed(large).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_waits_for_its_browser() {
    let (session, say, _fed) = session();
    let large = json!("x".repeat(limits::CHANNEL_BYTES / 2));
    let mut said = 0;
    while let Ok(Ok(())) = timeout(Duration::from_secs(1), say.send(Ok(large.clone()))).await {
        said += 1;
    }
    // Two are kept, one more is in the hand that carries it, one waits in this test's own queue.
    assert!((3..=4).contains(&said), "{said}");
    assert!(session.state.lock().arrays.bytes() < limits::CHANNEL_BYTES * 2);
    session.hear(Some(2)).unwrap();
    assert!(timeout(Duration::from_secs(1), say.send(Ok(large))).await.is_ok(), "what is acknowledged makes room");
    assert!(session.hear(Some(99)).is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_stream_is_told_and_then_the_session_is_over() {
    let (session, say, _fed) = session();
    say.send(Err(Status::not_found("gone"))).await.unwrap();
    drop(say);
    let mut answer = pin!(Arc::clone(&session).hold(&asking(0)).unwrap());
    let mut text = String::new();
    while let Some(Ok(chunk)) = answer.next().await {
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
    assert!(text.contains(r#"{"error":{"code":404,"message":"gone","status":"NOT_FOUND"}}"#), "{text}");
    assert!(text.ends_with(r#"["close"]]]"#), "{text}");
    assert!(!is_over(&session), "it may ask again for what it did not get");
    let last = session.state.lock().arrays.last();
    session.hear(Some(last)).unwrap();
    settle().await;
    assert!(is_over(&session));
}

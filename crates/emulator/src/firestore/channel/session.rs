//! One session: a Firestore stream behind many short requests of a browser.
//!
//! ```text
//!   POST ── messages ──> queue ──> stream (Listen or Write) ──> responses ──> arrays ──> GET, held open
//!                        (bounded)                               (waits for acknowledgements)
//! ```
//! Each session has a task that forwards responses to the arrays. The task ends the session when the browser ends it,
//! when the stream has ended and the browser has acknowledged everything, or when the browser has been silent for too
//! long.

use super::{
    arrays::Arrays,
    form::{BackChannel, Messages},
};
use crate::{error::http_code, limits};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{convert::Infallible, future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

/// The stream's responses, as JSON.
pub(super) type Responses = BoxStream<'static, Result<Value, Status>>;

/// A message on its way to the stream, and the queue space that it takes.
pub(super) struct QueuedMessage {
    pub(super) text: String,
    _permit: OwnedSemaphorePermit,
}

/// See the module.
pub(super) struct Session {
    pub(super) id: String,
    queue: mpsc::Sender<QueuedMessage>,
    queue_space: Arc<Semaphore>,
    /// The number of the next message. It is locked while messages are queued, so that the messages of two requests do
    /// not mix.
    next_message: tokio::sync::Mutex<u64>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    arrays: Arrays,
    /// The last array that was sent, whether or not it arrived.
    sent: u64,
    /// How many back channels were opened, and when the current one was, if it is still open.
    back_channels: u64,
    back_channel_since: Option<Instant>,
    /// When the browser last sent a request or had an open back channel.
    last_seen: Instant,
    /// The stream has ended.
    stream_ended: bool,
    /// The session is closed; nothing more is sent.
    closed: bool,
}

impl State {
    /// When the session times out. An open back channel shows that the browser is alive, unless nobody reads the
    /// response: a response that is read ends.
    fn deadline(&self) -> Instant {
        match self.back_channel_since {
            Some(since) => since + limits::CHANNEL_RESPONSE_TTL + limits::CHANNEL_IDLE_TIMEOUT,
            None => self.last_seen + limits::CHANNEL_IDLE_TIMEOUT,
        }
    }

    fn is_fully_acknowledged(&self) -> bool {
        self.stream_ended && self.arrays.bytes() == 0
    }
}

impl Session {
    /// A session, and the receiver of the browser's messages.
    pub(super) fn new(id: String) -> (Arc<Self>, mpsc::Receiver<QueuedMessage>) {
        let (queue, receiver) = mpsc::channel(limits::MAX_CHANNEL_MESSAGES);
        let state = State {
            arrays: Arrays::default(),
            sent: 0,
            back_channels: 0,
            back_channel_since: None,
            last_seen: Instant::now(),
            stream_ended: false,
            closed: false,
        };
        let queue_space = Arc::new(Semaphore::new(limits::MAX_CHANNEL_QUEUE_BYTES));
        let (next_message, state, changed) = (0.into(), Mutex::new(state), Notify::new());
        (Arc::new(Self { id, queue, queue_space, next_message, state, changed }), receiver)
    }

    /// Queues messages for the stream. Messages that an earlier attempt of the same request delivered are skipped.
    pub(super) async fn enqueue(&self, messages: Messages) -> Result<(), Status> {
        let enqueueing = async {
            let mut next = self.next_message.lock().await;
            if messages.first > *next {
                let (first, next) = (messages.first, *next);
                return Err(Status::invalid_argument(format!(
                    "message {next} is missing: the form begins with {first}"
                )));
            }
            let skipped = usize::try_from(*next - messages.first).unwrap_or(usize::MAX);
            for text in messages.texts.into_iter().skip(skipped) {
                let size = text.len().clamp(1, limits::MAX_CHANNEL_QUEUE_BYTES);
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                // The semaphore is never closed, and a stream that ended needs no messages.
                if let Ok(permit) = Arc::clone(&self.queue_space).acquire_many_owned(size).await {
                    let _ = self.queue.send(QueuedMessage { text, _permit: permit }).await;
                }
                *next += 1;
            }
            Ok(())
        };
        let timed_out = |_| Status::resource_exhausted("the stream does not take messages in as fast as they come");
        timeout(limits::CHANNEL_QUEUE_TIMEOUT, enqueueing).await.map_err(timed_out)?
    }

    /// Records a request of the browser and the last array that it acknowledges.
    pub(super) fn acknowledge(&self, last_array: Option<u64>) -> Result<(), Status> {
        let mut state = self.state.lock();
        state.last_seen = Instant::now();
        if let Some(last_array) = last_array
            && !state.arrays.acknowledge(last_array)
        {
            let last = state.arrays.last();
            return Err(Status::invalid_argument(format!(
                "array {last_array} is acknowledged, and {last} is the last there is"
            )));
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// The response to a request with messages: whether a back channel is open, the last array that was sent, and the
    /// number of unacknowledged bytes.
    pub(super) fn status(&self) -> Value {
        let state = self.state.lock();
        json!([u8::from(state.back_channel_since.is_some()), state.sent, state.arrays.bytes()])
    }

    /// Closes the session immediately.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_waiters();
    }

    /// Since when no back channel is open; `None` while one is.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.back_channel_since.is_none().then_some(state.last_seen)
    }

    /// Forwards responses to the arrays until the session is closed.
    pub(super) async fn run(&self, mut responses: Responses, stop: CancellationToken) {
        while self.forward_response(&mut responses).await {}
        drop(responses);
        // The browser may not have received the stream's end yet. When the server stops, the wait is short.
        let acknowledged = self.wait_until(|state| state.closed || state.is_fully_acknowledged());
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(limits::STOP_GRACE_PERIOD).await;
        };
        tokio::select! {
            () = acknowledged => {}
            () = stopped => {}
        }
        self.close();
    }

    /// Forwards one response when there is room. Returns whether there may be more.
    async fn forward_response(&self, responses: &mut Responses) -> bool {
        let has_space =
            self.wait_until(|state| state.closed || state.arrays.bytes() < limits::MAX_CHANNEL_UNACKNOWLEDGED_BYTES);
        has_space.await;
        let closed = self.wait_until(|state| state.closed);
        let response = tokio::select! {
            biased;
            () = closed => return false,
            response = responses.next() => response,
        };
        let (array, more) = match response {
            Some(Ok(message)) => (json!([message]), true),
            Some(Err(status)) => {
                let (http, name) = http_code(status.code());
                let error = json!({"code": http.as_u16(), "message": status.message(), "status": name});
                (json!([{ "error": error }]), true)
            }
            None => (json!(["close"]), false),
        };
        let mut state = self.state.lock();
        state.arrays.push(&array.to_string());
        state.stream_ended = !more;
        drop(state);
        self.changed.notify_waiters();
        more
    }

    /// Waits until a condition holds. Meanwhile, a browser that is silent for too long ends the session.
    async fn wait_until(&self, condition: impl Fn(&State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let deadline = {
                let mut state = self.state.lock();
                if !state.closed && state.deadline() <= Instant::now() {
                    state.closed = true;
                    self.changed.notify_waiters();
                }
                // A closed session has nothing to wait for.
                if state.closed || condition(&state) {
                    return;
                }
                state.deadline()
            };
            tokio::select! {
                () = changed => {}
                () = sleep_until(deadline) => {}
            }
        }
    }

    /// Opens a back channel; an earlier one that is still open ends. The stream of chunks ends after a while, and the
    /// browser opens the next one.
    pub(super) fn open_back_channel(
        self: Arc<Self>,
        back: &BackChannel,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>, Status> {
        self.acknowledge(Some(back.last_array))?;
        let now = Instant::now();
        let number = {
            let mut state = self.state.lock();
            if !state.arrays.can_resume_after(back.last_array) {
                let last_array = back.last_array;
                return Err(Status::invalid_argument(format!(
                    "what follows array {last_array} was acknowledged and is not kept"
                )));
            }
            state.back_channels += 1;
            state.back_channel_since = Some(now);
            state.back_channels
        };
        self.changed.notify_waiters();
        let interval = limits::CHANNEL_NOOP_INTERVAL;
        let wait = back.wait_ms.map_or(interval, Duration::from_millis).min(interval);
        let response = BackChannelResponse {
            sent: back.last_array,
            bytes: 0,
            ends_after: if back.once { now } else { now + limits::CHANNEL_RESPONSE_TTL },
            // A browser that gets no immediate response concludes that a proxy buffers responses.
            noop_at: if back.once { now + wait } else { now },
            number,
            session: self,
        };
        Ok(futures::stream::unfold(response, |mut response| async { Some((Ok(response.next().await?), response)) }))
    }
}

/// The response on one back channel. It is dropped when the browser hangs up or the response ends.
struct BackChannelResponse {
    session: Arc<Session>,
    /// The number of this back channel.
    number: u64,
    /// The last array sent in it.
    sent: u64,
    bytes: usize,
    /// The response ends with the first chunk after this time.
    ends_after: Instant,
    /// When the browser gets a `noop` if there is no data.
    noop_at: Instant,
}

impl BackChannelResponse {
    async fn next(&mut self) -> Option<Bytes> {
        let full = self.bytes >= limits::MAX_CHANNEL_RESPONSE_BYTES;
        if self.bytes > 0 && (full || self.ends_after <= Instant::now()) {
            return None;
        }
        let session = Arc::clone(&self.session);
        loop {
            let mut changed = pin!(session.changed.notified());
            changed.as_mut().enable();
            if let Some(chunk) = self.poll(&mut session.state.lock()) {
                return chunk;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(self.noop_at) => {}
            }
        }
    }

    /// The next chunk, or `Some(None)` at the end; `None` while there is nothing to send.
    fn poll(&mut self, state: &mut State) -> Option<Option<Bytes>> {
        if state.closed || state.back_channels != self.number {
            return Some(None);
        }
        let now = Instant::now();
        if state.arrays.last() <= self.sent {
            if state.stream_ended {
                return Some(None);
            }
            if now < self.noop_at {
                return None;
            }
            state.arrays.push(r#"["noop"]"#);
        }
        let (chunk, last) =
            state.arrays.chunk_after(self.sent, limits::MAX_CHANNEL_RESPONSE_BYTES.saturating_sub(self.bytes))?;
        (self.sent, state.sent) = (last, state.sent.max(last));
        self.noop_at = now + limits::CHANNEL_NOOP_INTERVAL;
        self.bytes += chunk.len();
        Some(Some(chunk.into()))
    }
}

impl Drop for BackChannelResponse {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        if state.back_channels == self.number {
            state.back_channel_since = None;
            state.last_seen = Instant::now();
        }
        drop(state);
        self.session.changed.notify_waiters();
    }
}

/// Runs a session in its own task; `after` runs when the session has ended.
pub(super) fn spawn<F>(session: Arc<Session>, responses: Responses, stop: CancellationToken, after: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    tokio::spawn(async move {
        session.run(responses, stop).await;
        after.await;
    });
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

//! One session: a stream of Firestore's behind many short requests of a browser.
//!
//! ```text
//!   POST ── messages ──> feed ──> stream (Listen or Write) ──> responses ──> arrays ──> GET, held open
//!                        (bounded)                              (waits while too many are not acknowledged)
//! ```
//! A task of its own carries responses to the arrays and ends the session: when the browser says so, when its stream has ended and
//! that was told, or when the browser has not been heard of for a while.

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

/// What the stream answers, as JSON.
pub(super) type Responses = BoxStream<'static, Result<Value, Status>>;

/// A message on its way to the stream, and the room that it takes.
pub(super) struct Fed {
    pub(super) text: String,
    _room: OwnedSemaphorePermit,
}

/// See the module.
pub(super) struct Session {
    pub(super) id: String,
    feed: mpsc::Sender<Fed>,
    room: Arc<Semaphore>,
    /// The number of the message that comes next. Held while messages are fed, so that those of two requests do not mix.
    next: tokio::sync::Mutex<u64>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    arrays: Arrays,
    /// The last array that was sent, whether or not it arrived.
    sent: u64,
    /// How many requests for arrays there have been, and since when the last is held, if it still is.
    asked: u64,
    held: Option<Instant>,
    /// When the browser was last heard of.
    heard: Instant,
    /// The stream has said all that it will.
    ended: bool,
    /// Nobody is to be told anything any more.
    over: bool,
}

impl State {
    /// When the browser is given up. A request that is held is a sign of life, unless nobody reads the answer: one that is read ends.
    fn patience(&self) -> Instant {
        match self.held {
            Some(since) => since + limits::CHANNEL_LIFE + limits::CHANNEL_IDLE,
            None => self.heard + limits::CHANNEL_IDLE,
        }
    }

    fn all_is_known(&self) -> bool {
        self.ended && self.arrays.bytes() == 0
    }
}

impl Session {
    /// A session, and where its stream finds the browser's messages.
    pub(super) fn new(id: String) -> (Arc<Self>, mpsc::Receiver<Fed>) {
        let (feed, fed) = mpsc::channel(limits::CHANNEL_MESSAGES);
        let state = State {
            arrays: Arrays::default(),
            sent: 0,
            asked: 0,
            held: None,
            heard: Instant::now(),
            ended: false,
            over: false,
        };
        let room = Arc::new(Semaphore::new(limits::CHANNEL_FEED_BYTES));
        let session = Self { id, feed, room, next: 0.into(), state: Mutex::new(state), changed: Notify::new() };
        (Arc::new(session), fed)
    }

    /// Hands messages to the stream; those that came before, in a request that was sent again, are left out.
    pub(super) async fn feed(&self, messages: Messages) -> Result<(), Status> {
        let feeding = async {
            let mut next = self.next.lock().await;
            if messages.first > *next {
                let (first, next) = (messages.first, *next);
                return Err(Status::invalid_argument(format!(
                    "message {next} is missing: the form begins with {first}"
                )));
            }
            let known = usize::try_from(*next - messages.first).unwrap_or(usize::MAX);
            for text in messages.texts.into_iter().skip(known) {
                let size = text.len().clamp(1, limits::CHANNEL_FEED_BYTES);
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                // It is closed never, and a stream that ended needs no messages.
                if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(size).await {
                    let _ = self.feed.send(Fed { text, _room: room }).await;
                }
                *next += 1;
            }
            Ok(())
        };
        let busy = |_| Status::resource_exhausted("the stream does not take messages in as fast as they come");
        timeout(limits::CHANNEL_FEED_WAIT, feeding).await.map_err(busy)?
    }

    /// Notes that the browser was heard of, and what it has.
    pub(super) fn hear(&self, has: Option<u64>) -> Result<(), Status> {
        let mut state = self.state.lock();
        state.heard = Instant::now();
        if let Some(has) = has
            && !state.arrays.acknowledge(has)
        {
            let last = state.arrays.last();
            return Err(Status::invalid_argument(format!(
                "array {has} is acknowledged, and {last} is the last there is"
            )));
        }
        drop(state);
        self.changed.notify_waiters();
        Ok(())
    }

    /// What a browser is told that sent messages: whether it is being answered, up to which array it was, and how many bytes it has not
    /// acknowledged.
    pub(super) fn outlook(&self) -> Value {
        let state = self.state.lock();
        json!([u8::from(state.held.is_some()), state.sent, state.arrays.bytes()])
    }

    /// Ends the session at once.
    pub(super) fn end(&self) {
        self.state.lock().over = true;
        self.changed.notify_waiters();
    }

    /// Since when nobody waits for an answer; `None` while somebody does.
    pub(super) fn idle_since(&self) -> Option<Instant> {
        let state = self.state.lock();
        state.held.is_none().then_some(state.heard)
    }

    /// Carries responses to the arrays until the session is over.
    pub(super) async fn run(&self, mut responses: Responses, stop: CancellationToken) {
        while self.carry(&mut responses).await {}
        drop(responses);
        // The browser may still have to hear why; when the server stops, not for long.
        let told = self.until(|state| state.over || state.all_is_known());
        let stopped = async {
            stop.cancelled().await;
            tokio::time::sleep(limits::STOP_GRACE).await;
        };
        tokio::select! {
            () = told => {}
            () = stopped => {}
        }
        self.end();
    }

    /// Carries one response, when there is room. Says whether there may be more.
    async fn carry(&self, responses: &mut Responses) -> bool {
        let roomy = self.until(|state| state.over || state.arrays.bytes() < limits::CHANNEL_BYTES);
        roomy.await;
        let over = self.until(|state| state.over);
        let response = tokio::select! {
            biased;
            () = over => return false,
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
        state.ended = !more;
        drop(state);
        self.changed.notify_waiters();
        more
    }

    /// Waits until something holds; a browser that is silent for too long ends the session meanwhile.
    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let patience = {
                let mut state = self.state.lock();
                if !state.over && state.patience() <= Instant::now() {
                    state.over = true;
                    self.changed.notify_waiters();
                }
                // What is over waits for nothing.
                if state.over || holds(&state) {
                    return;
                }
                state.patience()
            };
            tokio::select! {
                () = changed => {}
                () = sleep_until(patience) => {}
            }
        }
    }

    /// Answers a request for arrays; an earlier one that is still held ends. The stream of chunks ends by itself after a while, and the
    /// browser asks again.
    pub(super) fn hold(
        self: Arc<Self>,
        back: &BackChannel,
    ) -> Result<impl Stream<Item = Result<Bytes, Infallible>> + Send + use<>, Status> {
        self.hear(Some(back.has))?;
        let now = Instant::now();
        let turn = {
            let mut state = self.state.lock();
            if !state.arrays.reaches_back_to(back.has) {
                let has = back.has;
                return Err(Status::invalid_argument(format!(
                    "what follows array {has} was acknowledged and is not kept"
                )));
            }
            state.asked += 1;
            state.held = Some(now);
            state.asked
        };
        self.changed.notify_waiters();
        let wait = back.wait_ms.map_or(limits::CHANNEL_NOOP, Duration::from_millis).min(limits::CHANNEL_NOOP);
        let answer = Answer {
            sent: back.has,
            bytes: 0,
            until: if back.once { now } else { now + limits::CHANNEL_LIFE },
            // A browser that is not answered at once takes it that something on the way holds answers back.
            noop: if back.once { now + wait } else { now },
            turn,
            session: self,
        };
        Ok(futures::stream::unfold(answer, |mut answer| async { Some((Ok(answer.next().await?), answer)) }))
    }
}

/// The answer to one request for arrays. When it is dropped, the browser has hung up, or had enough.
struct Answer {
    session: Arc<Session>,
    /// Which request it answers.
    turn: u64,
    /// The last array sent in it.
    sent: u64,
    bytes: usize,
    /// It ends with the first chunk after this.
    until: Instant,
    /// When the browser hears something even if there is nothing to say.
    noop: Instant,
}

impl Answer {
    async fn next(&mut self) -> Option<Bytes> {
        let full = self.bytes >= limits::CHANNEL_ANSWER_BYTES;
        if self.bytes > 0 && (full || self.until <= Instant::now()) {
            return None;
        }
        let session = Arc::clone(&self.session);
        loop {
            let mut changed = pin!(session.changed.notified());
            changed.as_mut().enable();
            if let Some(answer) = self.look(&mut session.state.lock()) {
                return answer;
            }
            tokio::select! {
                () = changed => {}
                () = sleep_until(self.noop) => {}
            }
        }
    }

    /// The next chunk, or none as the end; nothing while there is nothing to say.
    fn look(&mut self, state: &mut State) -> Option<Option<Bytes>> {
        if state.over || state.asked != self.turn {
            return Some(None);
        }
        let now = Instant::now();
        if state.arrays.last() <= self.sent {
            if state.ended {
                return Some(None);
            }
            if now < self.noop {
                return None;
            }
            state.arrays.push(r#"["noop"]"#);
        }
        let (chunk, last) =
            state.arrays.chunk_after(self.sent, limits::CHANNEL_ANSWER_BYTES.saturating_sub(self.bytes))?;
        (self.sent, state.sent) = (last, state.sent.max(last));
        self.noop = now + limits::CHANNEL_NOOP;
        self.bytes += chunk.len();
        Some(Some(chunk.into()))
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.session.state.lock();
        if state.asked == self.turn {
            state.held = None;
            state.heard = Instant::now();
        }
        drop(state);
        self.session.changed.notify_waiters();
    }
}

/// Runs a session in a task of its own; `after` follows its end.
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

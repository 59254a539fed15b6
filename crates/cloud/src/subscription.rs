//! A subscription that outlasts a refusal: its stream is opened again until the service allows it.
//!
//! ```text
//!   Waiting ──▶ Checking ──allowed──▶ Open ──▶ deliveries
//!      ▲           │                    │
//!      └──refused──┴──────refused───────┘      refused for REFUSAL_LIMIT: the error is returned
//! ```

use crate::{CloudError, Deliveries, Delivery, Queue, refusal::RefusalRetry};
use futures::future::BoxFuture;
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep_until};

/// How long a stream has to stay open after a refusal until it counts as allowed: Pub/Sub sends nothing when it accepts
/// one, and refuses within milliseconds.
const SETTLING_TIME: Duration = Duration::from_secs(5);

/// Receives from one subscription. A permission or subscription that is missing is waited for, up to
/// [`REFUSAL_LIMIT`](crate::REFUSAL_LIMIT).
pub struct Subscription {
    queue: Arc<dyn Queue>,
    name: String,
    outstanding: usize,
    /// Called with every change.
    report: Report,
    state: State,
    retry: RefusalRetry,
}

/// Whether the service allows to receive, or why not.
type Report = Box<dyn Fn(Result<(), &CloudError>) + Send + Sync>;

enum State {
    Waiting {
        until: Instant,
    },
    Checking(BoxFuture<'static, Result<(), CloudError>>),
    Open {
        deliveries: Deliveries,
        /// When the stream counts as allowed; `None` once it does.
        settles_at: Option<Instant>,
    },
}

/// What happened to an open stream.
enum Event {
    Settled,
    Received(Option<Result<Delivery, CloudError>>),
}

impl Subscription {
    /// Starts to receive, with at most `outstanding` unsettled deliveries at any time.
    pub fn open(
        queue: Arc<dyn Queue>,
        name: &str,
        outstanding: usize,
        report: impl Fn(Result<(), &CloudError>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            queue,
            name: name.to_owned(),
            outstanding,
            report: Box::new(report),
            state: State::Waiting { until: Instant::now() },
            retry: RefusalRetry::default(),
        }
    }

    /// The next delivery; `None` after the end of the stream. An error is one that neither a retry nor
    /// [`REFUSAL_LIMIT`](crate::REFUSAL_LIMIT) has fixed. Cancel-safe: a cancelled call loses no delivery.
    pub async fn next(&mut self) -> Option<Result<Delivery, CloudError>> {
        loop {
            let error = match &mut self.state {
                State::Waiting { until } => {
                    sleep_until(*until).await;
                    let (queue, name) = (Arc::clone(&self.queue), self.name.clone());
                    self.state = State::Checking(Box::pin(async move { queue.check_access(&name).await }));
                    continue;
                }
                State::Checking(answer) => match answer.await {
                    Ok(()) => {
                        let deliveries = self.queue.subscribe(&self.name, self.outstanding);
                        let settling = if self.retry.is_retrying() { SETTLING_TIME } else { Duration::ZERO };
                        self.state = State::Open { deliveries, settles_at: Some(Instant::now() + settling) };
                        continue;
                    }
                    Err(error) => error,
                },
                State::Open { deliveries, settles_at } => match next_event(deliveries, *settles_at).await {
                    Event::Settled => {
                        *settles_at = None;
                        self.allowed();
                        continue;
                    }
                    Event::Received(Some(Err(error))) => error,
                    Event::Received(received) => {
                        if received.is_some() && settles_at.take().is_some() {
                            self.allowed();
                        }
                        return received;
                    }
                },
            };
            (self.report)(Err(&error));
            let delay = self.retry.failed(&error);
            self.state = State::Waiting { until: Instant::now() + delay.unwrap_or_default() };
            let Some(delay) = delay else { return Some(Err(error)) };
            tracing::warn!(subscription = self.name, %error, wait_seconds = delay.as_secs(), "subscription refused");
        }
    }

    fn allowed(&mut self) {
        self.retry.answered();
        (self.report)(Ok(()));
    }

    /// As [`Deliveries::close`].
    pub async fn close(self) {
        if let State::Open { deliveries, .. } = self.state {
            deliveries.close().await;
        }
    }
}

async fn next_event(deliveries: &mut Deliveries, settles_at: Option<Instant>) -> Event {
    // Biased towards the delivery, which may be a refusal.
    tokio::select! {
        biased;
        received = deliveries.next() => Event::Received(received),
        () = sleep_until(settles_at.unwrap_or_else(Instant::now)), if settles_at.is_some() => Event::Settled,
    }
}

#[cfg(test)]
mod tests;

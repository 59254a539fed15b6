//! The clients of the fleet: each sends one Export All request, over HTTP or through the topic. It sends the request
//! again if it got no answer (and sometimes if it did), and cancels and retries at random.

use crate::{
    media::{BROKEN, OVERSIZED, POISON, UNSTORABLE},
    supervisor::BUCKET,
    world::World,
};
use clipfleet_cloud::Message;
use clipfleet_contract::{batch, names, v1};
use clipfleet_dispatcher::{Dispatch, Refusal, RetryFilter};
use clipfleet_domain::{
    access::AccessPolicy,
    ids::{BatchId, ClipId},
};
use prost::Message as _;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How long a client waits for an answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// The source of every clip.
pub(crate) const SOURCE: &str = "source.mp4";

/// The places of every request.
pub(crate) fn policy() -> AccessPolicy {
    AccessPolicy::of_buckets(BUCKET, &[])
}

/// One client and its batch.
pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) batch: String,
    pub(crate) clips: Vec<String>,
    /// Whether the batch's source does not exist.
    pub(crate) source_missing: bool,
}

impl Client {
    pub(crate) fn draw(world: &Arc<World>, index: usize) -> Self {
        let (number, source_missing) = world.draw(|rng| (rng.usize(1..=4), rng.u8(..12) == 0));
        let clip = |index: usize| {
            let doom = match world.draw(|rng| rng.u8(..24)) {
                0 | 1 => BROKEN,
                2 | 3 => POISON,
                4 => OVERSIZED,
                5 => UNSTORABLE,
                _ => "",
            };
            format!("c{index}{doom}")
        };
        let clips = (0..number).map(clip).collect();
        Self { world: Arc::clone(world), batch: format!("b{index}"), clips, source_missing }
    }

    /// Runs all actions of this client.
    pub(crate) async fn run(self) {
        sleep(self.world.draw_ms(0, 15_000)).await;
        if self.source_missing || self.world.draw(|rng| rng.bool()) {
            return self.publish().await;
        }
        let twice = self.world.draw(|rng| rng.u8(..4)) == 0;
        if twice {
            self.world.count("a batch was sent twice at once");
            tokio::join!(self.send(), self.send());
        } else {
            self.send().await;
        }
        if self.world.draw(|rng| rng.u8(..6)) == 0 {
            self.send_other_under_same_id().await;
        }
        self.cancel_and_retry().await;
    }

    async fn publish(&self) {
        let message = Message { data: self.request().encode_to_vec().into(), ..Message::default() };
        // The topic itself does not fail here: the fleet's guarantees begin once the topic accepted a request.
        let _ = self.world.cloud.queue.publish(names::EXPORT_REQUESTS, message).await;
        self.record_accepted();
        if !self.source_missing {
            self.cancel_and_retry().await;
        }
    }

    async fn cancel_and_retry(&self) {
        for _ in 0..self.world.draw(|rng| rng.u8(..4)) {
            sleep(self.world.draw_ms(0, 25_000)).await;
            self.cancel_or_retry().await;
        }
    }

    fn request(&self) -> v1::ExportBatch {
        let source = if self.source_missing { "missing.mp4" } else { SOURCE };
        let uri = format!("gs://{BUCKET}/{source}");
        // Some clips have a setting that workers of an earlier version do not know.
        let clips = self.clips.iter().enumerate().map(|(index, id)| {
            let audio = if index % 2 == 0 { r#","audio":{"normalizeLoudness":{}}"# } else { "" };
            format!(r#"{{"clipId":"{id}","startMs":0,"endMs":10000{audio}}}"#)
        });
        let clips: Vec<String> = clips.collect();
        let json = format!(
            r#"{{"batchId":"{}","ownerUid":"u1","projectId":"p1","source":{{"uri":"{uri}"}},"clips":[{}]}}"#,
            self.batch,
            clips.join(",")
        );
        batch::from_json(json.as_bytes()).unwrap()
    }

    fn record_accepted(&self) {
        self.world.trace(&self.batch, format_args!("accepted"));
        let mut state = self.world.lock();
        if self.source_missing {
            state.checker.refused.push(self.batch.clone());
        } else {
            state.checker.accepted.insert(self.batch.clone(), self.clips.clone());
        }
    }

    /// Sends the batch until it is accepted.
    async fn send(&self) {
        let request = self.request();
        loop {
            match self.call("send", async |dispatch: Arc<Dispatch>| dispatch.accept(&request).await).await {
                Some(Ok(_)) => return self.record_accepted(),
                Some(Err(Refusal::Unavailable(_))) | None => sleep(self.world.draw_ms(500, 4_000)).await,
                Some(Err(refusal)) => {
                    return self.world.violated(format!("{} was not accepted: {refusal:?}", self.batch));
                }
            }
        }
    }

    /// Another request with the same id must change nothing.
    async fn send_other_under_same_id(&self) {
        self.world.count("another request used the same id");
        let mut request = self.request();
        request.clips.truncate(1);
        request.clips[0].end_ms += 1_000;
        if let Some(Ok(_)) =
            self.call("send other", async |dispatch: Arc<Dispatch>| dispatch.accept(&request).await).await
        {
            self.world.violated(format!("{} was accepted twice, for different requests", self.batch));
        }
    }

    /// Cancels or retries, the whole batch or one clip.
    async fn cancel_or_retry(&self) {
        let batch = BatchId::parse(&self.batch).unwrap();
        let chosen = self.world.draw(|rng| rng.usize(..self.clips.len() + 1));
        let clip = self.clips.get(chosen).map(|clip| ClipId::parse(clip).unwrap());
        let cancels = self.world.draw(|rng| rng.bool());
        let verb = if cancels { "cancel" } else { "retry" };
        let answer = self
            .call(verb, async |dispatch: Arc<Dispatch>| match cancels {
                true => dispatch.cancel(&batch, clip.as_ref()).await,
                false => dispatch.retry(&batch, clip.as_ref(), RetryFilter::Ended).await,
            })
            .await;
        if let Some(Ok(clips)) = answer {
            self.world.count(&format!("{verb}: {}", if clips.is_empty() { "nothing to do" } else { "done" }));
        }
    }

    async fn call<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        verb: &str,
        request: impl FnOnce(Arc<Dispatch>) -> F,
    ) -> Option<Result<T, Refusal>> {
        call(&self.world, &self.batch, verb, request).await
    }
}

/// Calls any dispatcher that is reachable; `None` when there is none, or no answer.
pub(crate) async fn call<T, F: Future<Output = Result<T, Refusal>>>(
    world: &World,
    who: &str,
    verb: &str,
    request: impl FnOnce(Arc<Dispatch>) -> F,
) -> Option<Result<T, Refusal>> {
    let reachable: Vec<_> = world.lock().dispatchers.values().cloned().collect();
    let chosen = world.draw(|rng| rng.choice(reachable))?;
    world.trace(who, format_args!("requests {verb}"));
    let answer = timeout(REQUEST_TIMEOUT, request(chosen)).await.ok();
    let result = match &answer {
        None => "no answer".to_owned(),
        Some(Ok(_)) => "accepted".to_owned(),
        Some(Err(Refusal::Unavailable(error))) => format!("unavailable: {error}"),
        Some(Err(
            Refusal::Invalid(failure)
            | Refusal::Conflict(failure)
            | Refusal::NotFound(failure)
            | Refusal::Unauthenticated(failure)
            | Refusal::Forbidden(failure),
        )) => format!("refused: {}", failure.code),
    };
    world.trace(who, format_args!("{verb}: {result}"));
    answer
}

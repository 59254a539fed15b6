//! The people who use the fleet: each sends one Export All, over HTTP or through the topic, sends it again when it got no answer (and
//! sometimes when it did), and cancels and retries as chance has it.

use crate::{
    media::{BROKEN, OVERSIZED, POISON, UNSTORABLE},
    supervisor::BUCKET,
    world::World,
};
use clipfleet_cloud::Message;
use clipfleet_contract::{batch, names, v1};
use clipfleet_dispatcher::{Dispatch, Refusal, RetryFilter};
use clipfleet_domain::ids::{BatchId, ClipId};
use prost::Message as _;
use std::{future::Future, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

/// How long a person waits for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The source that every clip is cut from.
pub(crate) const SOURCE: &str = "source.mp4";

/// One person and their batch.
pub(crate) struct Person {
    pub(crate) world: Arc<World>,
    pub(crate) batch: String,
    pub(crate) clips: Vec<String>,
    /// The batch's source does not exist.
    pub(crate) mistaken: bool,
}

impl Person {
    pub(crate) fn draw(world: &Arc<World>, index: usize) -> Self {
        let (number, mistaken) = world.draw(|rng| (rng.usize(1..=4), rng.u8(..12) == 0));
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
        Self { world: Arc::clone(world), batch: format!("b{index}"), clips, mistaken }
    }

    /// Does everything this person does.
    pub(crate) async fn act(self) {
        sleep(self.world.draw_ms(0, 15_000)).await;
        if self.mistaken || self.world.draw(|rng| rng.bool()) {
            return self.send_by_topic().await;
        }
        let twice = self.world.draw(|rng| rng.u8(..4)) == 0;
        if twice {
            self.world.count("a batch was sent twice at once");
            tokio::join!(self.send(), self.send());
        } else {
            self.send().await;
        }
        if self.world.draw(|rng| rng.u8(..6)) == 0 {
            self.send_another_under_the_same_id().await;
        }
        self.change_their_mind_often().await;
    }

    async fn send_by_topic(&self) {
        let message = Message { data: self.request().encode_to_vec().into(), ..Message::default() };
        // The topic itself does not fail here: that it took a request is where the fleet's promise begins.
        let _ = self.world.cloud.queue.publish(names::EXPORT_REQUESTS, message).await;
        self.promise();
        if !self.mistaken {
            self.change_their_mind_often().await;
        }
    }

    async fn change_their_mind_often(&self) {
        for _ in 0..self.world.draw(|rng| rng.u8(..4)) {
            sleep(self.world.draw_ms(0, 25_000)).await;
            self.change_their_mind().await;
        }
    }

    fn request(&self) -> v1::ExportBatch {
        let source = if self.mistaken { "missing.mp4" } else { SOURCE };
        let clips: Vec<String> =
            self.clips.iter().map(|id| format!(r#"{{"clipId":"{id}","startMs":0,"endMs":10000}}"#)).collect();
        let json = format!(
            r#"{{"batchId":"{}","ownerUid":"u1","projectId":"p1","source":{{"uri":"gs://{BUCKET}/{source}"}},"clips":[{}]}}"#,
            self.batch,
            clips.join(",")
        );
        batch::from_json(json.as_bytes()).unwrap()
    }

    fn promise(&self) {
        self.world.trace(&self.batch, format_args!("was promised"));
        let mut state = self.world.lock();
        if self.mistaken {
            state.ledger.refused.push(self.batch.clone());
        } else {
            state.ledger.promised.insert(self.batch.clone(), self.clips.clone());
        }
    }

    /// Sends the batch until it is taken.
    async fn send(&self) {
        let request = self.request();
        loop {
            match self.ask("send", async |dispatch: Arc<Dispatch>| dispatch.accept(&request).await).await {
                Some(Ok(_)) => return self.promise(),
                Some(Err(Refusal::Unavailable(_))) | None => sleep(self.world.draw_ms(500, 4_000)).await,
                Some(Err(refusal)) => {
                    return self.world.violated(format!("{} was not taken: {refusal:?}", self.batch));
                }
            }
        }
    }

    /// Another request under a used id must change nothing.
    async fn send_another_under_the_same_id(&self) {
        self.world.count("another request came under a used id");
        let mut request = self.request();
        request.clips.truncate(1);
        request.clips[0].end_ms += 1_000;
        if let Some(Ok(_)) =
            self.ask("send other", async |dispatch: Arc<Dispatch>| dispatch.accept(&request).await).await
        {
            self.world.violated(format!("{} was taken twice, for different requests", self.batch));
        }
    }

    /// Cancels or retries, the whole batch or one clip.
    async fn change_their_mind(&self) {
        let batch = BatchId::parse(&self.batch).unwrap();
        let chosen = self.world.draw(|rng| rng.usize(..self.clips.len() + 1));
        let clip = self.clips.get(chosen).map(|clip| ClipId::parse(clip).unwrap());
        let cancels = self.world.draw(|rng| rng.bool());
        let verb = if cancels { "cancel" } else { "retry" };
        let answer = self
            .ask(verb, async |dispatch: Arc<Dispatch>| match cancels {
                true => dispatch.cancel(&batch, clip.as_ref()).await,
                false => dispatch.retry(&batch, clip.as_ref(), RetryFilter::Ended).await,
            })
            .await;
        if let Some(Ok(clips)) = answer {
            self.world.count(&format!("{verb}: {}", if clips.is_empty() { "nothing to do" } else { "done" }));
        }
    }

    async fn ask<T, F: Future<Output = Result<T, Refusal>>>(
        &self,
        verb: &str,
        question: impl FnOnce(Arc<Dispatch>) -> F,
    ) -> Option<Result<T, Refusal>> {
        ask(&self.world, &self.batch, verb, question).await
    }
}

/// Asks any dispatcher that can be reached; `None` when there is none, or no answer.
pub(crate) async fn ask<T, F: Future<Output = Result<T, Refusal>>>(
    world: &World,
    who: &str,
    verb: &str,
    question: impl FnOnce(Arc<Dispatch>) -> F,
) -> Option<Result<T, Refusal>> {
    let reachable: Vec<_> = world.lock().dispatchers.values().cloned().collect();
    let chosen = world.draw(|rng| rng.choice(reachable))?;
    world.trace(who, format_args!("asks to {verb}"));
    let answer = timeout(PATIENCE, question(chosen)).await.ok();
    let said = match &answer {
        None => "nothing".to_owned(),
        Some(Ok(_)) => "yes".to_owned(),
        Some(Err(Refusal::Unavailable(error))) => format!("try again: {error}"),
        Some(Err(Refusal::Invalid(failure) | Refusal::Conflict(failure) | Refusal::NotFound(failure))) => {
            format!("no: {}", failure.code)
        }
    };
    world.trace(who, format_args!("asked to {verb} and heard {said}"));
    answer
}

//! The operators of the fleet: they sometimes pause and resume it, and redrive dead letters.

use crate::{clients::call, world::World};
use clipfleet_dispatcher::{Dispatch, Refusal, RetryFilter};
use clipfleet_domain::ids::BatchId;
use std::{collections::BTreeSet, sync::Arc};
use tokio::time::sleep;

const OPERATOR: &str = "operator";

/// Pauses and resumes the fleet this many times.
pub(crate) async fn pause(world: Arc<World>, times: usize) {
    for _ in 0..times {
        sleep(world.draw_ms(0, 30_000)).await;
        set_paused(&world, true).await;
        sleep(world.draw_ms(0, 60_000)).await;
        set_paused(&world, false).await;
    }
}

/// Sends the request until a dispatcher accepts it.
async fn set_paused(world: &World, paused: bool) {
    let verb = if paused { "pause" } else { "resume" };
    while !matches!(call(world, OPERATOR, verb, async |dispatch| dispatch.set_paused(paused).await).await, Some(Ok(_)))
    {
        sleep(world.draw_ms(500, 4_000)).await;
    }
}

/// Lists the dead letters this many times, and redrives them.
pub(crate) async fn redrive(world: Arc<World>, times: usize) {
    for _ in 0..times {
        sleep(world.draw_ms(10_000, 120_000)).await;
        let found = call(&world, OPERATOR, "list dead letters", async |dispatch| dispatch.dead_letters("").await).await;
        let Some(Ok(found)) = found else { continue };
        let letters = found["deadLetters"].as_array().into_iter().flatten();
        let batches: BTreeSet<&str> = letters.filter_map(|letter| letter["batchId"].as_str()).collect();
        for batch in batches.into_iter().filter_map(|batch| BatchId::parse(batch).ok()) {
            let again = async |dispatch: Arc<Dispatch>| dispatch.retry(&batch, None, RetryFilter::DeadLettered).await;
            match call(&world, OPERATOR, "redrive", again).await {
                Some(Ok(clips)) if !clips.is_empty() => world.count("redriven"),
                Some(Err(Refusal::Invalid(failure))) => {
                    world.violated(format!("{batch} was not redriven: {failure:?}"))
                }
                _ => {}
            }
        }
    }
}

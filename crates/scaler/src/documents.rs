//! The documents that the board is built from: the dispatcher's record, which says what each clip is, and the clips' own, which say where
//! they stand.

use crate::{
    board::{Board, MAX_BATCHES},
    work::Work,
};
use clipfleet_cloud::{Cloud, CloudError, Document, Search, Value};
use clipfleet_contract::{
    batch, names,
    standing::{self, Standing},
};
use clipfleet_domain::{
    attempt::Attempt,
    ids::{BatchId, ClipId, WorkerId},
    lifecycle::ClipView,
    progress::Phase,
    rendition::by_name,
    state::State,
};
use std::collections::BTreeMap;

/// Records read at once.
const PAGE: u32 = 100;

/// Puts the batches on the board that are not known to be over, a page of them: those that follow `after`, which is moved on with each. Says
/// whether these were the last.
pub(crate) async fn take_up_open(
    cloud: &Cloud,
    board: &mut Board,
    after: &mut String,
    now_ms: i64,
) -> Result<bool, CloudError> {
    let search = Search { after: after.as_str(), ..Search::new(names::RECORD_OPEN, Value::Bool(true), PAGE) };
    let records = cloud.documents.find(names::REQUESTS, search).await?;
    for record in &records {
        let id = record.id();
        if let Ok(id) = BatchId::parse(id) {
            if board.len() >= MAX_BATCHES {
                return Ok(true);
            }
            take_up_recorded(cloud, board, &id, record, now_ms).await?;
        }
        id.clone_into(after);
    }
    Ok(records.len() < PAGE as usize)
}

/// Puts one batch on the board, or notes that it has no record.
pub(crate) async fn take_up(cloud: &Cloud, board: &mut Board, id: &BatchId, now_ms: i64) -> Result<(), CloudError> {
    match cloud.documents.get_one(names::request_document(id)).await? {
        Some(record) => take_up_recorded(cloud, board, id, &record, now_ms).await,
        None => {
            board.forget(id);
            board.ignore(id, now_ms);
            Ok(())
        }
    }
}

async fn take_up_recorded(
    cloud: &Cloud,
    board: &mut Board,
    id: &BatchId,
    record: &Document,
    now_ms: i64,
) -> Result<(), CloudError> {
    let request = record.text(names::RECORD_REQUEST).map(|text| batch::from_json(text.as_bytes()));
    let recorded = request.and_then(Result::ok).and_then(|request| batch::recorded_clips(&request).ok());
    let Some((rendition, clips)) = recorded else {
        tracing::error!(batch = %id, "its record cannot be read: written by another version of the dispatcher");
        board.ignore(id, now_ms);
        return Ok(());
    };
    // The batch first: what it counts, its clips' documents say by then.
    let batch = cloud.documents.get_one(names::batch_document(id)).await?;
    let documents = cloud.documents.list(&names::clip_documents(id)).await?;
    let views = documents.iter().filter_map(|document| {
        let clip = ClipId::parse(document.id()).ok()?;
        Some((clip, view(document)))
    });
    let mut views: BTreeMap<_, _> = views.collect();
    // In a batch that is over, a clip without a document is one whose document the store refuses for good. It waits for nobody.
    if batch.is_some_and(|batch| state(&batch).is_terminal()) {
        for (clip, _) in &clips {
            views.entry(clip.clone()).or_insert_with(|| ClipView { state: State::Failed, ..ClipView::default() });
        }
    }
    // Of a retry that its document has not heard of yet, only the record knows.
    for (clip, generation) in standing::retried(record.integers(names::RECORD_RETRIED)) {
        let shown = views.entry(clip).or_default();
        if generation > shown.generation {
            *shown = ClipView { generation, ..ClipView::default() };
        }
    }
    let clips = clips.into_iter().map(|(clip, length_ms)| (clip, Work::of(length_ms, &rendition)));
    board.take_up(id, clips.collect(), views, now_ms);
    Ok(())
}

/// Reads whether workers take new clips.
pub(crate) async fn paused(cloud: &Cloud) -> Result<bool, CloudError> {
    let document = cloud.documents.get_one(names::CONTROL_DOCUMENT.to_owned()).await?;
    Ok(document.is_some_and(|document| document.is(names::PAUSED)))
}

fn state(document: &Document) -> State {
    document.text(names::STATUS).and_then(|name| by_name(&State::ALL, name).ok()).unwrap_or_default()
}

/// As much of a clip as its document tells about who works at it.
fn view(document: &Document) -> ClipView {
    let standing = Standing::read(
        |field| document.text(field),
        |field| document.integer(field),
        |field| document.instant_ms(field),
    );
    let worker = document.text(names::WORKER).and_then(|worker| WorkerId::parse(worker).ok());
    let attempt = standing.latest.zip(worker).map(|(latest, worker)| Attempt {
        id: latest.id,
        number: latest.number,
        started_at_ms: latest.started_at_ms,
        worker,
        // Whatever the attempt says next is news.
        sequence: 0,
    });
    let phase = document.text(names::PHASE).and_then(|name| by_name(&Phase::ALL, name).ok()).unwrap_or_default();
    let percent = document.integer(names::PROGRESS).and_then(|percent| u8::try_from(percent).ok()).unwrap_or(0);
    let state = if attempt.is_none() && standing.state == State::Processing { State::Queued } else { standing.state };
    ClipView {
        generation: standing.generation,
        state,
        phase,
        percent,
        attempt,
        updated_at_ms: standing.updated_at_ms,
        ..ClipView::default()
    }
}

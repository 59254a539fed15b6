//! Whether anyone still waits for a clip. The status document says so; reading it every other second reaches a running
//! attempt within five, and cannot be missed as a message could.

use clipfleet_cloud::{Cloud, CloudError};
use clipfleet_contract::{names, standing::Standing};
use clipfleet_domain::job::Job;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(2);

/// False once the clip's generation has ended or a later one was asked for. A document that does not exist yet says nothing.
pub(crate) async fn is_wanted(cloud: &Cloud, job: &Job) -> Result<bool, CloudError> {
    let path = names::clip_document(&job.batch.id, &job.clip.id);
    let documents = cloud.documents.get(&[path]).await?;
    let Some(document) = documents.into_iter().next().flatten() else { return Ok(true) };
    let standing = Standing::of(document.text(names::STATUS), document.integer(names::GENERATION));
    Ok(standing.wants(job.generation))
}

/// Returns when the clip is no longer wanted.
pub(crate) async fn until_unwanted(cloud: &Cloud, job: &Job) {
    loop {
        tokio::time::sleep(EVERY).await;
        match is_wanted(cloud, job).await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "not known whether the clip is still wanted"),
        }
    }
}

//! Links to results, and places of owners that the worker checks by itself.

use super::*;
use clipfleet_cloud::DOWNLOAD_TOKENS;
use clipfleet_domain::ids::BatchId;

/// The document of a clip that was made with links of a kind.
async fn made_with(links: Option<LinkKind>) -> (Stage, Document) {
    let stage = Stage { links, ..Stage::new(|_| Action::Finish(1)).await };
    let (_link, stop, worker) = stage.worker();
    let document = stage.ended().await;
    assert_eq!(document.field("status").as_text(), Some("completed"));
    // The next clip is another worker's.
    stop.cancel();
    worker.await.unwrap().unwrap();
    (stage, document)
}

impl Stage {
    fn output(&self) -> ObjectName {
        let output = self.job().output;
        ObjectName::new(output.bucket(), output.object())
    }

    /// The document of the same clip in another batch with equal settings.
    async fn again(&self) -> Document {
        let mut job = self.job();
        job.batch.id = BatchId::parse("b2").unwrap();
        self.enqueue_bytes(job::encode(&job)).await;
        let _worker = self.worker();
        let completed = async {
            loop {
                let found = self.cloud.documents.get_one("exportBatches/b2/clips/c1".to_owned()).await.unwrap();
                match found.filter(|document| document.field("status").as_text() == Some("completed")) {
                    Some(document) => return document,
                    None => sleep(Duration::from_millis(100)).await,
                }
            }
        };
        tokio::time::timeout(TIMEOUT, completed).await.expect("completed")
    }
}

fn links_of(document: &Document) -> [&str; 2] {
    ["outputUrl", "coverUrl"].map(|field| document.field(field).as_text().unwrap_or_default())
}

#[tokio::test(start_paused = true)]
async fn a_document_has_links_that_live_as_long_as_the_objects() {
    let (stage, document) = made_with(Some(LinkKind::Firebase)).await;
    let [output, cover] = links_of(&document);
    let token = &stage.cloud.objects.stat(&stage.output(), None).await.unwrap().metadata[DOWNLOAD_TOKENS];
    assert!(output.starts_with("memory:/v0/b/media/o/processed-clips%2Fu1%2Fc1-"), "{output}");
    assert!(output.ends_with(&format!("?alt=media&token={token}")), "{output}");
    assert!(cover.starts_with("memory:/v0/b/media/o/processed-clips%2Fu1%2Fc1-") && cover.contains(".jpg?"), "{cover}");
    let uri = document.field("coverUri").as_text().unwrap();
    let name = ObjectName::new("media", uri.strip_prefix("gs://media/").unwrap());
    let token = &stage.cloud.objects.stat(&name, None).await.unwrap().metadata[DOWNLOAD_TOKENS];
    assert!(cover.ends_with(&format!("token={token}")), "the cover's own metadata has its token");

    let (stage, document) = made_with(Some(LinkKind::Public)).await;
    let plain = format!("memory:/media/{}", stage.output().object);
    assert_eq!(links_of(&document)[0], plain);
    assert!(!stage.cloud.objects.stat(&stage.output(), None).await.unwrap().metadata.contains_key(DOWNLOAD_TOKENS));
}

#[tokio::test(start_paused = true)]
async fn a_document_has_no_link_that_would_end_before_it() {
    for kind in [LinkKind::Signed, LinkKind::Disabled] {
        let (_, document) = made_with(Some(kind)).await;
        assert_eq!(links_of(&document), ["", ""], "{kind:?}");
        assert!(document.field("outputUri").as_text().unwrap().starts_with("gs://media/"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_without_a_token_gets_one_when_it_is_adopted_and_keeps_it() {
    let (stage, document) = made_with(Some(LinkKind::Signed)).await;
    assert_eq!(links_of(&document), ["", ""]);
    let stage = Stage { links: Some(LinkKind::Firebase), ..stage };
    let adopted = links_of(&stage.again().await).map(str::to_owned);
    assert!(adopted.iter().all(|link| link.contains("token=")), "{adopted:?}");
    assert_eq!(stage.made(), 1, "the clip was not made again");
    let token = &stage.cloud.objects.stat(&stage.output(), None).await.unwrap().metadata[DOWNLOAD_TOKENS];
    assert!(adopted[0].ends_with(token.as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_cannot_be_made_fails_no_clip() {
    let (stage, _) = made_with(Some(LinkKind::Signed)).await;
    let stage = Stage { links: Some(LinkKind::Firebase), ..stage };
    stage.memory.fail_next(Call::SetMetadata, Fault::Refused(ErrorKind::Denied));
    stage.memory.fail_next(Call::SetMetadata, Fault::Refused(ErrorKind::Unavailable));
    let document = stage.again().await;
    assert_eq!(links_of(&document), ["", ""]);
    assert_eq!(document.field("status").as_text(), Some("completed"));
}

#[tokio::test(start_paused = true)]
async fn a_job_for_places_of_others_is_refused_by_the_worker_itself() {
    let place = |text: &str| vec![text.parse().unwrap()];
    for (sources, outputs, refused) in [
        ("gs://media/uploads/{ownerUid}/", "gs://media/processed-clips/{ownerUid}/", "source_forbidden"),
        ("gs://media/", "gs://media/others/{ownerUid}/", "output_forbidden"),
    ] {
        let access = AccessPolicy::new(place(sources), place(outputs)).unwrap();
        let stage = Stage { access: Some(access), ..Stage::new(|_| Action::Finish(1)).await };
        let _worker = stage.worker();
        let document = stage.ended().await;
        assert_eq!((code(&document), stage.made()), (refused, 0), "nothing was read or made");
        assert!(!stage.exists(".mp4").await);
    }
    let access = AccessPolicy::new(place("gs://media/"), place("gs://media/processed-clips/{ownerUid}/")).unwrap();
    let stage = Stage { access: Some(access), ..Stage::new(|_| Action::Finish(1)).await };
    let _worker = stage.worker();
    assert_eq!(stage.ended().await.field("status").as_text(), Some("completed"));
}

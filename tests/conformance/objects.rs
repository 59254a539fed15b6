//! The required behaviour of an object store.

use crate::Backend;
use bytes::Bytes;
use clipfleet_cloud::{Body, CloudError, ErrorKind, LinkKind, Links, NewObject, ObjectInfo, ObjectName};
use std::{collections::BTreeMap, time::Duration};

/// Larger than the size from which clients upload in chunks, and not a multiple of a chunk.
const LARGE: usize = (20 << 20) + 12_345;

fn video() -> NewObject {
    NewObject {
        content_type: "video/mp4".into(),
        metadata: BTreeMap::from([("clip".into(), "c1".into()), ("settings".into(), "5eed".into())]),
    }
}

/// Pseudo-random bytes, so that a chunk in the wrong place is detected.
fn noise(length: usize) -> Bytes {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

async fn create(backend: &Backend, name: &ObjectName, bytes: Bytes) -> Result<ObjectInfo, CloudError> {
    backend.cloud.objects.create(name, video(), Body::Bytes(bytes)).await
}

pub(crate) async fn a_created_object_reads_back(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let name = backend.object("clips/c1.mp4").await;
    let bytes = noise(100_000);
    let made = create(backend, &name, bytes.clone()).await.unwrap();
    let NewObject { content_type, metadata } = video();
    let expected = ObjectInfo { size: 100_000, generation: made.generation, metageneration: 1, content_type, metadata };
    assert_eq!(made, expected);
    assert_eq!(objects.stat(&name, None).await.unwrap(), expected);
    assert_eq!(objects.stat(&name, Some(made.generation)).await.unwrap(), expected);
    assert!(objects.read(&name, made.generation, 0..100_000).await.unwrap() == bytes);
}

pub(crate) async fn an_empty_object_is_valid(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let name = backend.object("empty").await;
    let made = create(backend, &name, Bytes::new()).await.unwrap();
    assert_eq!(made.size, 0);
    assert_eq!(objects.stat(&name, None).await.unwrap().size, 0);
    assert!(objects.read(&name, made.generation, 0..0).await.unwrap().is_empty());
}

pub(crate) async fn create_only_if_absent(backend: &Backend) {
    let name = backend.object("once").await;
    let first = create(backend, &name, Bytes::from_static(b"first")).await.unwrap();
    let error = create(backend, &name, Bytes::from_static(b"second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let large = create(backend, &name, noise(LARGE)).await.unwrap_err();
    assert_eq!(large.kind(), ErrorKind::AlreadyExists, "{large}");
    let kept = backend.cloud.objects.read(&name, first.generation, 0..5).await.unwrap();
    assert_eq!(kept, "first");
}

pub(crate) async fn exactly_one_of_many_creators_succeeds(backend: &Backend) {
    let name = backend.object("contended").await;
    let creators = (0..8u8).map(|creator| {
        let (objects, name) = (backend.cloud.objects.clone(), name.clone());
        tokio::spawn(async move { objects.create(&name, video(), Body::Bytes(vec![creator; 1000].into())).await })
    });
    let creators: Vec<_> = creators.collect();
    let mut made = Vec::new();
    for creator in creators {
        match creator.await.unwrap() {
            Ok(info) => made.push(info),
            Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(made.len(), 1);
    assert_eq!(backend.cloud.objects.stat(&name, None).await.unwrap(), made[0]);
}

pub(crate) async fn read_range_of_a_pinned_generation(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let name = backend.object("source.mp4").await;
    let old = create(backend, &name, noise(10_000)).await.unwrap();
    let range = objects.read(&name, old.generation, 1_234..5_678).await.unwrap();
    assert!(range == noise(10_000).slice(1_234..5_678));
    objects.delete(&name).await.unwrap();
    let new = create(backend, &name, Bytes::from_static(b"another")).await.unwrap();
    assert_ne!(old.generation, new.generation);
    let gone = objects.read(&name, old.generation, 0..10).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    let gone = objects.stat(&name, Some(old.generation)).await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound, "{gone}");
    assert_eq!(objects.read(&name, new.generation, 2..7).await.unwrap(), "other");
}

pub(crate) async fn a_range_beyond_the_end_is_invalid(backend: &Backend) {
    let name = backend.object("short").await;
    let made = create(backend, &name, Bytes::from_static(b"0123456789")).await.unwrap();
    for range in [5..11, 10..20, 100..200] {
        let error = backend.cloud.objects.read(&name, made.generation, range.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{range:?}: {error}");
    }
}

pub(crate) async fn stat_missing_is_not_found(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let name = backend.object("missing").await;
    let nowhere = ObjectName::new(backend.name("no-bucket"), "missing");
    for name in [name, nowhere] {
        assert_eq!(objects.stat(&name, None).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(objects.read(&name, 1, 0..1).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(objects.delete(&name).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

pub(crate) async fn a_large_object_round_trips_from_memory(backend: &Backend) {
    let name = backend.object("large").await;
    let bytes = noise(LARGE);
    let made = create(backend, &name, bytes.clone()).await.unwrap();
    assert_large(backend, &name, made, &bytes).await;
}

pub(crate) async fn a_large_object_round_trips_from_a_file(backend: &Backend) {
    let name = backend.object("large").await;
    let bytes = noise(LARGE);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let body = Body::File(file.path().to_owned());
    let made = backend.cloud.objects.create(&name, video(), body).await.unwrap();
    assert_large(backend, &name, made, &bytes).await;
}

pub(crate) async fn a_large_object_round_trips_from_an_open_file(backend: &Backend) {
    let name = backend.object("large").await;
    let bytes = noise(LARGE);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.mp4");
    std::fs::write(&path, &bytes).unwrap();
    let mut file = std::fs::File::open(&path).unwrap();
    // What the name stands for afterwards does not matter, nor how far the file was read.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "another file").unwrap();
    std::io::Read::read_exact(&mut file, &mut [0; 100]).unwrap();
    let made = backend.cloud.objects.create(&name, video(), Body::Opened(file.into())).await.unwrap();
    assert_large(backend, &name, made, &bytes).await;
}

async fn assert_large(backend: &Backend, name: &ObjectName, made: ObjectInfo, bytes: &Bytes) {
    let objects = &backend.cloud.objects;
    assert_eq!(made.size, LARGE as u64);
    assert_eq!(made.metadata, video().metadata);
    assert_eq!(objects.stat(name, None).await.unwrap(), made);
    assert!(objects.read(name, made.generation, 0..made.size).await.unwrap() == bytes, "whole");
    let middle = 8_388_600..8_388_700;
    let read = objects.read(name, made.generation, middle.start..middle.end).await.unwrap();
    assert!(read == bytes.slice(middle.start as usize..middle.end as usize), "across a chunk border");
}

pub(crate) async fn names_can_be_any_text(backend: &Backend) {
    let objects = &backend.cloud.objects;
    for text in ["a b/c+d", "%2F?#&=", "clips/é/日本.mp4", "a//b"] {
        let name = backend.object(text).await;
        let made = create(backend, &name, Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
        assert_eq!(objects.stat(&name, None).await.unwrap(), made, "{text}");
        assert_eq!(objects.read(&name, made.generation, 0..made.size).await.unwrap(), text);
        objects.delete(&name).await.unwrap();
    }
}

pub(crate) async fn metadata_is_replaced_only_if_it_is_unchanged(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let name = backend.object("clips/c1.mp4").await;
    let made = create(backend, &name, noise(1_000)).await.unwrap();
    let other = |value: &str| BTreeMap::from([("note".to_owned(), value.to_owned())]);
    let changed = objects.set_metadata(&name, &made, other("first")).await.unwrap();
    let expected = ObjectInfo { metageneration: 2, metadata: other("first"), ..made.clone() };
    assert_eq!((&changed, &objects.stat(&name, None).await.unwrap()), (&expected, &expected));
    let error = objects.set_metadata(&name, &made, other("second")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(objects.stat(&name, None).await.unwrap(), expected);
    let emptied = objects.set_metadata(&name, &changed, BTreeMap::new()).await.unwrap();
    assert_eq!((emptied.metageneration, emptied.metadata.len()), (3, 0));
    objects.delete(&name).await.unwrap();
    let error = objects.set_metadata(&name, &emptied, other("third")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

pub(crate) async fn links_of_every_kind_work_by_plain_http_get(backend: &Backend) {
    let bytes = noise(5_000);
    for kind in [LinkKind::Firebase, LinkKind::Public, LinkKind::Signed] {
        let links = Links::new(backend.cloud.objects.clone(), Some(kind));
        let name = backend.object(&format!("processed-clips/u 1/é#?{kind:?}.mp4")).await;
        let mut new = video();
        new.metadata.extend(links.new_metadata(&name.bucket));
        let made = backend.cloud.objects.create(&name, new, Body::Bytes(bytes.clone())).await.unwrap();
        let link = links.current(&name).await.unwrap().unwrap().url.unwrap();
        if kind != LinkKind::Signed {
            assert_eq!(links.permanent(&name, &made.metadata), Some(link.clone()));
        }
        let whole = reqwest::get(&link).await.unwrap();
        assert_eq!((whole.status().as_u16(), &whole.headers()["content-type"]), (200, &"video/mp4".parse().unwrap()));
        assert!(whole.bytes().await.unwrap() == bytes, "{kind:?}");
        let part = reqwest::Client::new().get(&link).header("range", "bytes=10-19").send().await.unwrap();
        assert_eq!(part.status(), 206, "{kind:?}");
        assert!(part.bytes().await.unwrap() == bytes[10..20]);
    }
}

pub(crate) async fn a_changed_token_revokes_a_link(backend: &Backend) {
    let objects = &backend.cloud.objects;
    let links = Links::new(objects.clone(), Some(LinkKind::Firebase));
    let name = backend.object("clips/c1.mp4").await;
    let found = create(backend, &name, noise(1_000)).await.unwrap();
    let old = links.ensure_permanent(&name, &found).await.unwrap().unwrap();
    assert_eq!(reqwest::get(&old).await.unwrap().status(), 200);
    let found = objects.stat(&name, None).await.unwrap();
    objects.set_metadata(&name, &found, links.new_metadata(&name.bucket)).await.unwrap();
    let new = links.current(&name).await.unwrap().unwrap().url.unwrap();
    assert_eq!(reqwest::get(&old).await.unwrap().status(), 403);
    assert_eq!(reqwest::get(&new).await.unwrap().status(), 200);
}

pub(crate) async fn signed_url_works_by_plain_http_get(backend: &Backend) {
    let name = backend.object("processed-clips/u 1/é#?.mp4").await;
    let bytes = noise(50_000);
    create(backend, &name, bytes.clone()).await.unwrap();
    let url = backend.cloud.objects.signed_url(&name, Duration::from_secs(3600)).await.unwrap();
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    assert_eq!(answer.headers()["content-type"], "video/mp4");
    assert!(answer.bytes().await.unwrap() == bytes);
}

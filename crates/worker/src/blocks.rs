//! The source, in blocks: read by range at a pinned generation, kept in bounded memory, shared by the slots. Overlapping clips
//! of one source, and two attempts that want the same block at once, cost one read.

use bytes::{Bytes, BytesMut};
use clipfleet_cloud::{CloudError, ErrorKind, ObjectName, Objects};
use clipfleet_contract::pipeline::MAX_RANGE_BYTES;
use clipfleet_domain::{
    failure::{Code, Failure},
    job::PinnedSource,
};
use moka::future::Cache;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Bytes of a block: at 8 Mbit/s one second of video. Smaller costs requests, larger costs bytes around the clip's edges.
const BLOCK: u64 = 1 << 20;

type Key = (ObjectName, i64, u64);

/// Blocks of all the sources a worker reads.
#[derive(Clone)]
pub(crate) struct Blocks {
    objects: Arc<dyn Objects>,
    cache: Cache<Key, Bytes>,
}

impl Blocks {
    /// Keeps at most `capacity` bytes.
    pub(crate) fn new(objects: Arc<dyn Objects>, capacity: u64) -> Self {
        let weigh = |_: &Key, block: &Bytes| u32::try_from(block.len()).unwrap_or(u32::MAX);
        Self { objects, cache: Cache::builder().weigher(weigh).max_capacity(capacity).build() }
    }
}

/// Reads one source.
#[derive(Clone)]
pub struct SourceReader {
    blocks: Blocks,
    name: ObjectName,
    generation: i64,
    size: u64,
    /// Bytes that this reader and its clones had to fetch.
    fetched: Arc<AtomicU64>,
    /// Blocks that they read, at most one number per MiB of the source.
    used: Arc<Mutex<BTreeSet<u64>>>,
}

impl SourceReader {
    pub(crate) fn new(blocks: Blocks, source: &PinnedSource) -> Self {
        let name = ObjectName::new(source.uri.bucket(), source.uri.object());
        let (generation, size) = (source.generation, source.size_bytes);
        Self { blocks, name, generation, size, fetched: Arc::default(), used: Arc::default() }
    }

    /// Bytes that had to be fetched for it so far; what others had fetched already is not counted.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Has every block that this reader and its clones read fetched again when it is next asked for, by whomever. A
    /// ranged read has no checksum: bytes that were damaged on their way look like a damaged source, and would stay in
    /// the cache.
    pub(crate) async fn forget(&self) {
        let used = std::mem::take(&mut *self.used.lock());
        for index in used {
            self.blocks.cache.invalidate(&(self.name.clone(), self.generation, index)).await;
        }
    }

    /// The bytes of a range within the source.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        if range.start >= range.end || range.end > self.size || range.end - range.start > MAX_RANGE_BYTES {
            let message = format!("bytes {}..{} of a source of {} were asked for", range.start, range.end, self.size);
            return Err(Failure::new(Code::PipelineProtocol, message));
        }
        metrics::counter!("clipfleet_source_bytes_served_total").increment(range.end - range.start);
        let first = self.block(range.start / BLOCK).await?;
        let within = |position: u64| (position % BLOCK) as usize;
        if range.start / BLOCK == (range.end - 1) / BLOCK {
            return self.part(&first, within(range.start)..within(range.end - 1) + 1);
        }
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        bytes.extend_from_slice(&self.part(&first, within(range.start)..first.len())?);
        for index in range.start / BLOCK + 1..=(range.end - 1) / BLOCK {
            let block = self.block(index).await?;
            let end = usize::try_from(range.end - index * BLOCK).unwrap_or(usize::MAX).min(block.len());
            bytes.extend_from_slice(&self.part(&block, 0..end)?);
        }
        Ok(bytes.freeze())
    }

    fn part(&self, block: &Bytes, range: Range<usize>) -> Result<Bytes, Failure> {
        if range.start <= range.end && range.end <= block.len() {
            return Ok(block.slice(range));
        }
        Err(Failure::new(Code::SourceUnavailable, format!("{} gave fewer bytes than it said it has", self.name)))
    }

    async fn block(&self, index: u64) -> Result<Bytes, Failure> {
        self.used.lock().insert(index);
        let key = (self.name.clone(), self.generation, index);
        let range = index * BLOCK..((index + 1) * BLOCK).min(self.size);
        let read = async {
            metrics::counter!("clipfleet_source_bytes_total").increment(range.end - range.start);
            let read = self.blocks.objects.read(&self.name, self.generation, range.clone()).await?;
            self.fetched.fetch_add(read.len() as u64, Ordering::Relaxed);
            Ok::<_, CloudError>(read)
        };
        self.blocks.cache.try_get_with(key, read).await.map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &CloudError) -> Failure {
        let (name, generation) = (&self.name, self.generation);
        match error.kind() {
            ErrorKind::NotFound => Failure::new(
                Code::SourceGone,
                format!(
                    "{name} was deleted or overwritten since the batch was accepted (generation {generation} is gone); export again"
                ),
            ),
            ErrorKind::Denied => Failure::new(
                Code::SourceDenied,
                format!("the worker may not read {name}; grant it storage.objects.get on the bucket: {error}"),
            ),
            _ => Failure::new(Code::SourceUnavailable, format!("failed to {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clipfleet_cloud::{Body, NewObject, memory};
    use clipfleet_domain::source::ObjectUri;

    #[tokio::test]
    async fn any_range_comes_back_whole_whatever_blocks_it_touches() {
        let cloud = memory::cloud();
        cloud.objects.ensure_bucket("media").await.unwrap();
        let content: Vec<u8> = (0..3 * BLOCK + 5).map(|n| (n % 251) as u8).collect();
        let name = ObjectName::new("media", "a");
        let body = Body::Bytes(content.clone().into());
        let info = cloud.objects.create(&name, NewObject::default(), body).await.unwrap();
        let source = PinnedSource {
            uri: ObjectUri::parse("gs://media/a").unwrap(),
            generation: info.generation,
            size_bytes: info.size,
        };
        let reader = SourceReader::new(Blocks::new(cloud.objects.clone(), 16 << 20), &source);
        for (start, end) in [(0, 1), (0, BLOCK), (BLOCK - 1, BLOCK + 1), (7, 3 * BLOCK), (3 * BLOCK, 3 * BLOCK + 5)] {
            let read = reader.read(start..end).await.unwrap();
            assert!(read[..] == content[start as usize..end as usize], "{start}..{end}");
        }
        assert_eq!(reader.fetched(), info.size, "each block was fetched once");
        reader.forget().await;
        assert!(reader.read(0..1).await.unwrap()[..] == content[..1]);
        assert_eq!(reader.fetched(), info.size + BLOCK, "the block that was asked for was fetched again");
        assert_eq!(reader.read(0..info.size + 1).await.unwrap_err().code, Code::PipelineProtocol);
        let gone = PinnedSource { generation: info.generation + 1, ..source };
        let reader = SourceReader::new(Blocks::new(cloud.objects.clone(), 16 << 20), &gone);
        assert_eq!(reader.read(0..1).await.unwrap_err().code, Code::SourceGone);
    }
}

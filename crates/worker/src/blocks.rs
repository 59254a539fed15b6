//! Reads sources in blocks, at a pinned generation, through a bounded cache that the slots share. Overlapping clips of
//! one source, and attempts that need the same block at the same time, cause one read.

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

/// Bytes of a block: one second of video at 8 Mbit/s. Smaller blocks would take more requests, larger ones more bytes
/// around the clip's ends.
const BLOCK_BYTES: u64 = 1 << 20;

type Key = (ObjectName, i64, u64);

/// The cached blocks of all sources that a worker reads.
#[derive(Clone)]
pub(crate) struct Blocks {
    objects: Arc<dyn Objects>,
    cache: Cache<Key, Bytes>,
}

impl Blocks {
    /// A cache of at most `capacity` bytes.
    pub(crate) fn new(objects: Arc<dyn Objects>, capacity: u64) -> Self {
        let weight = |_: &Key, block: &Bytes| u32::try_from(block.len()).unwrap_or(u32::MAX);
        Self { objects, cache: Cache::builder().weigher(weight).max_capacity(capacity).build() }
    }
}

/// Reads one source.
#[derive(Clone)]
pub struct SourceReader {
    blocks: Blocks,
    name: ObjectName,
    generation: i64,
    size: u64,
    /// Bytes that this reader and its clones fetched.
    fetched: Arc<AtomicU64>,
    /// Indices of the blocks that they read: at most one per MiB of the source.
    used: Arc<Mutex<BTreeSet<u64>>>,
}

impl SourceReader {
    pub(crate) fn new(blocks: Blocks, source: &PinnedSource) -> Self {
        let name = ObjectName::new(source.uri.bucket(), source.uri.object());
        let (generation, size) = (source.generation, source.size_bytes);
        Self { blocks, name, generation, size, fetched: Arc::default(), used: Arc::default() }
    }

    /// Bytes fetched for this reader so far, without blocks that were in the cache.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Removes every block that this reader and its clones read from the cache. A ranged read has no checksum: bytes
    /// that were damaged in transit look like a damaged source, and would stay in the cache.
    pub(crate) async fn invalidate(&self) {
        let used = std::mem::take(&mut *self.used.lock());
        for index in used {
            self.blocks.cache.invalidate(&(self.name.clone(), self.generation, index)).await;
        }
    }

    /// The bytes of a range within the source.
    pub async fn read(&self, range: Range<u64>) -> Result<Bytes, Failure> {
        if range.start >= range.end || range.end > self.size || range.end - range.start > MAX_RANGE_BYTES {
            let message = format!("bytes {}..{} of a source of {} were requested", range.start, range.end, self.size);
            return Err(Failure::new(Code::PipelineProtocol, message));
        }
        metrics::counter!("clipfleet_source_bytes_served_total").increment(range.end - range.start);
        let first = self.block(range.start / BLOCK_BYTES).await?;
        let within = |position: u64| (position % BLOCK_BYTES) as usize;
        if range.start / BLOCK_BYTES == (range.end - 1) / BLOCK_BYTES {
            return self.part(&first, within(range.start)..within(range.end - 1) + 1);
        }
        let mut bytes = BytesMut::with_capacity((range.end - range.start) as usize);
        bytes.extend_from_slice(&self.part(&first, within(range.start)..first.len())?);
        for index in range.start / BLOCK_BYTES + 1..=(range.end - 1) / BLOCK_BYTES {
            let block = self.block(index).await?;
            let end = usize::try_from(range.end - index * BLOCK_BYTES).unwrap_or(usize::MAX).min(block.len());
            bytes.extend_from_slice(&self.part(&block, 0..end)?);
        }
        Ok(bytes.freeze())
    }

    fn part(&self, block: &Bytes, range: Range<usize>) -> Result<Bytes, Failure> {
        if range.start <= range.end && range.end <= block.len() {
            return Ok(block.slice(range));
        }
        Err(Failure::new(Code::SourceUnavailable, format!("{} returned fewer bytes than its size", self.name)))
    }

    async fn block(&self, index: u64) -> Result<Bytes, Failure> {
        self.used.lock().insert(index);
        let key = (self.name.clone(), self.generation, index);
        let range = index * BLOCK_BYTES..((index + 1) * BLOCK_BYTES).min(self.size);
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
                    "{name} was deleted or overwritten since the batch was accepted (generation {generation} is gone); \
                     export again"
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
    async fn every_range_is_read_completely_across_blocks() {
        let cloud = memory::cloud();
        cloud.objects.ensure_bucket("media").await.unwrap();
        let content: Vec<u8> = (0..3 * BLOCK_BYTES + 5).map(|n| (n % 251) as u8).collect();
        let name = ObjectName::new("media", "a");
        let body = Body::Bytes(content.clone().into());
        let info = cloud.objects.create(&name, NewObject::default(), body).await.unwrap();
        let source = PinnedSource {
            uri: ObjectUri::parse("gs://media/a").unwrap(),
            generation: info.generation,
            size_bytes: info.size,
        };
        let reader = SourceReader::new(Blocks::new(cloud.objects.clone(), 16 << 20), &source);
        for (start, end) in [
            (0, 1),
            (0, BLOCK_BYTES),
            (BLOCK_BYTES - 1, BLOCK_BYTES + 1),
            (7, 3 * BLOCK_BYTES),
            (3 * BLOCK_BYTES, 3 * BLOCK_BYTES + 5),
        ] {
            let read = reader.read(start..end).await.unwrap();
            assert!(read[..] == content[start as usize..end as usize], "{start}..{end}");
        }
        assert_eq!(reader.fetched(), info.size, "each block was fetched once");
        reader.invalidate().await;
        assert!(reader.read(0..1).await.unwrap()[..] == content[..1]);
        assert_eq!(reader.fetched(), info.size + BLOCK_BYTES, "the block was fetched again");
        assert_eq!(reader.read(0..info.size + 1).await.unwrap_err().code, Code::PipelineProtocol);
        let gone = PinnedSource { generation: info.generation + 1, ..source };
        let reader = SourceReader::new(Blocks::new(cloud.objects.clone(), 16 << 20), &gone);
        assert_eq!(reader.read(0..1).await.unwrap_err().code, Code::SourceGone);
    }
}

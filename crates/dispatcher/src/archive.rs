//! `GET /v1/batches/{batch}/clips.zip`: the completed clips of a batch as one ZIP archive, streamed while it is read
//! from the store. Entries are stored, because videos do not compress.

use crate::{
    dispatch::Dispatch,
    record,
    refusal::{Refusal, no_such_batch},
};
use bytes::Bytes;
use clipfleet_cloud::{Cloud, CloudError, ErrorKind, ObjectInfo, ObjectName};
use clipfleet_contract::{documents::clip::completed_file, names};
use clipfleet_domain::{
    failure::{Code, Failure},
    ids::BatchId,
    source::ObjectUri,
};
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use std::{
    io::{self, Write},
    sync::Arc,
};
use tokio::sync::mpsc;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Bytes per read of the store. Two reads are in memory per download.
const CHUNK_BYTES: u64 = 4 << 20;

/// Concurrent lookups of files before the archive begins.
const MAX_LOOKUPS: usize = 16;

/// A completed clip's file.
struct File {
    /// Its name in the archive.
    name: String,
    object: ObjectName,
    info: ObjectInfo,
}

/// An archive that is about to be streamed.
pub(crate) struct Archive {
    /// A file name for it.
    pub(crate) name: String,
    cloud: Cloud,
    files: Vec<File>,
}

impl Dispatch {
    /// The archive of a batch's completed clips, in the order of the request. Every file exists when it is returned.
    pub(crate) async fn archive(&self, id: &BatchId) -> Result<Archive, Refusal> {
        let stored = record::load(&self.cloud, id).await?.ok_or_else(|| no_such_batch(id))?;
        let batch = record::recorded(&stored.record)?;
        let source = source_name(&batch.source.uri);
        let documents = self.cloud.documents.list(&names::clip_documents(id)).await?;
        let completed = batch.clips.iter().filter_map(|clip| {
            let document = documents.iter().find(|document| document.id() == clip.id.as_str())?;
            let uri = ObjectUri::parse(completed_file(document)?).ok()?;
            Some((format!("{source}-{}.mp4", clip.id), ObjectName::new(uri.bucket(), uri.object())))
        });
        let lookups: Vec<_> = completed.map(|(name, object)| look_up(self.cloud.clone(), name, object)).collect();
        let files: Vec<File> = futures::stream::iter(lookups).buffered(MAX_LOOKUPS).try_collect().await?;
        if files.is_empty() {
            let message = format!("no clip of batch {:?} is completed yet", id.as_str());
            return Err(Refusal::Conflict(Failure::new(Code::NoCompletedClips, message)));
        }
        Ok(Archive { name: format!("{source}-clips.zip"), cloud: self.cloud.clone(), files })
    }
}

async fn look_up(cloud: Cloud, name: String, object: ObjectName) -> Result<File, Refusal> {
    match cloud.objects.stat(&object, None).await {
        Ok(info) => Ok(File { name, object, info }),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let message = format!("{object} was deleted; export the clip again");
            Err(Refusal::NotFound(Failure::new(Code::OutputDeleted, message)))
        }
        Err(error) => Err(error.into()),
    }
}

/// The name of a source without its folder and extension, as a part of file names on every system: where `\` separates
/// folders, an archive must not reach into others.
fn source_name(uri: &ObjectUri) -> String {
    let name = uri.object().rsplit('/').next().unwrap_or_default();
    let stem = match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem,
        _ => name,
    };
    stem.replace(['\\', ':', '*', '?', '"', '<', '>', '|'], "_")
}

impl Archive {
    /// The bytes. An error ends the stream, so that the client sees an incomplete download.
    pub(crate) fn into_stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // If the client is gone, there is nobody to tell.
            if let Err(error) = self.write(&sender).await {
                tracing::warn!(%error, "archive cut off");
                let _ = sender.send(Err(error)).await;
            }
        });
        futures::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) })
    }

    async fn write(&self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let pending = Pending::default();
        let mut zip = ZipWriter::new_stream(pending.clone());
        for File { name, object, info } in &self.files {
            let options = SimpleFileOptions::default()
                .compression_method(CompressionMethod::Stored)
                .large_file(info.size >= u64::from(u32::MAX));
            zip.start_file(name, options)?;
            for start in (0..info.size).step_by(CHUNK_BYTES as usize) {
                let range = start..info.size.min(start + CHUNK_BYTES);
                let bytes = self.cloud.objects.read(object, info.generation, range).await.map_err(read_failed)?;
                zip.write_all(&bytes)?;
                pending.send(sender).await?;
            }
        }
        zip.finish()?;
        pending.send(sender).await
    }
}

fn read_failed(error: CloudError) -> io::Error {
    io::Error::other(format!("failed to {error}"))
}

/// What was written and not yet sent.
#[derive(Clone, Default)]
struct Pending(Arc<Mutex<Vec<u8>>>);

impl Pending {
    async fn send(&self, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
        let bytes = std::mem::take(&mut *self.0.lock());
        let sent = sender.send(Ok(bytes.into())).await;
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client left"))
    }
}

impl Write for Pending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_gives_its_name_but_no_folder() {
        let name = |uri: &str| source_name(&ObjectUri::parse(uri).unwrap());
        assert_eq!(name("gs://media/talks/Überblick 1.2.mp4"), "Überblick 1.2");
        assert_eq!(name("gs://media/.hidden"), ".hidden");
        assert_eq!(name(r"gs://media/a/..\..\C:x?.mp4"), ".._.._C_x_");
    }
}

//! [`Objects`] in memory.

use super::{Call, Client};
use crate::{Body, CloudError, ErrorKind, Hosts, NewObject, ObjectInfo, ObjectName, Objects};
use async_trait::async_trait;
use bytes::Bytes;
use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, LazyLock},
    time::Duration,
};

#[derive(Default)]
pub(super) struct Buckets {
    buckets: BTreeMap<String, BTreeMap<String, Object>>,
    generation: i64,
}

struct Object {
    info: ObjectInfo,
    bytes: Bytes,
}

impl Buckets {
    fn bucket(&mut self, name: &ObjectName, doing: &str) -> Result<&mut BTreeMap<String, Object>, CloudError> {
        let missing = || CloudError::new(ErrorKind::NotFound, format!("{doing}: no such bucket"));
        self.buckets.get_mut(&name.bucket).ok_or_else(missing)
    }

    fn object(&mut self, name: &ObjectName, generation: Option<i64>, doing: &str) -> Result<&Object, CloudError> {
        let found = self.bucket(name, doing)?.get(&name.object);
        let found = found.filter(|object| generation.is_none_or(|generation| generation == object.info.generation));
        found.ok_or_else(|| CloudError::new(ErrorKind::NotFound, format!("{doing}: no such object")))
    }

    fn create(
        &mut self,
        name: &ObjectName,
        new: NewObject,
        bytes: Bytes,
        doing: &str,
    ) -> Result<ObjectInfo, CloudError> {
        self.generation += 1;
        let generation = self.generation;
        let bucket = self.bucket(name, doing)?;
        if bucket.contains_key(&name.object) {
            return Err(CloudError::new(ErrorKind::AlreadyExists, format!("{doing}: there is one")));
        }
        let NewObject { content_type, metadata } = new;
        let info = ObjectInfo { size: bytes.len() as u64, generation, metageneration: 1, content_type, metadata };
        bucket.insert(name.object.clone(), Object { info: info.clone(), bytes });
        Ok(info)
    }

    fn set_metadata(
        &mut self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
        doing: &str,
    ) -> Result<ObjectInfo, CloudError> {
        self.object(name, Some(found.generation), doing)?;
        let object = self.bucket(name, doing)?.get_mut(&name.object);
        match object.filter(|object| object.info.metageneration == found.metageneration) {
            Some(Object { info, .. }) => {
                info.metadata = metadata;
                info.metageneration += 1;
                Ok(info.clone())
            }
            None => Err(CloudError::new(ErrorKind::Conflict, format!("{doing}: its metadata has changed"))),
        }
    }
}

/// No browser reaches these.
static HOSTS: LazyLock<Hosts> =
    LazyLock::new(|| Hosts { storage: "memory:".into(), firebase: "memory:".into(), is_emulator: false });

#[async_trait]
impl Objects for Arc<Client> {
    async fn stat(&self, name: &ObjectName, generation: Option<i64>) -> Result<ObjectInfo, CloudError> {
        let doing = format!("stat {name}");
        self.call(Call::Stat, &doing, |state| Ok(state.buckets.object(name, generation, &doing)?.info.clone()))
    }

    async fn read(&self, name: &ObjectName, generation: i64, range: Range<u64>) -> Result<Bytes, CloudError> {
        let doing = format!("read bytes {}-{} of {name}#{generation}", range.start, range.end);
        self.call(Call::Read, &doing, |state| {
            let bytes = &state.buckets.object(name, Some(generation), &doing)?.bytes;
            if range.start > range.end || range.end > bytes.len() as u64 {
                let cause = format!("{doing}: it has {}", bytes.len());
                return Err(CloudError::new(ErrorKind::Invalid, cause));
            }
            Ok(bytes.slice(range.start as usize..range.end as usize))
        })
    }

    async fn create(&self, name: &ObjectName, new: NewObject, body: Body) -> Result<ObjectInfo, CloudError> {
        let doing = format!("create {name}");
        let bytes = body.read().map_err(|error| {
            CloudError::new(ErrorKind::Unavailable, format!("{doing}: its source file: {error}")).because(error)
        })?;
        self.call(Call::Create, &doing, |state| state.buckets.create(name, new, bytes, &doing))
    }

    async fn delete(&self, name: &ObjectName) -> Result<(), CloudError> {
        let doing = format!("delete {name}");
        let mut state = self.memory.lock();
        let removed = state.buckets.bucket(name, &doing)?.remove(&name.object);
        removed.map(drop).ok_or_else(|| CloudError::new(ErrorKind::NotFound, format!("{doing}: no such object")))
    }

    async fn set_metadata(
        &self,
        name: &ObjectName,
        found: &ObjectInfo,
        metadata: BTreeMap<String, String>,
    ) -> Result<ObjectInfo, CloudError> {
        let doing = format!("change the metadata of {name}");
        self.call(Call::SetMetadata, &doing, |state| state.buckets.set_metadata(name, found, metadata, &doing))
    }

    async fn signed_url(&self, name: &ObjectName, lifetime: Duration) -> Result<String, CloudError> {
        Ok(format!("memory://{}/{}?lifetime={}", name.bucket, name.object, lifetime.as_secs()))
    }

    fn hosts(&self) -> &Hosts {
        &HOSTS
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        self.memory.lock().buckets.buckets.entry(bucket.to_owned()).or_default();
        Ok(())
    }
}

//! [`Objects`] in memory.

use super::{Call, Client};
use crate::{Body, CloudError, ErrorKind, NewObject, ObjectInfo, ObjectName, Objects};
use async_trait::async_trait;
use bytes::Bytes;
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

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
        let info = ObjectInfo { size: bytes.len() as u64, generation, content_type, metadata };
        bucket.insert(name.object.clone(), Object { info: info.clone(), bytes });
        Ok(info)
    }
}

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

    async fn download_url(&self, name: &ObjectName, _lifetime: Duration) -> Result<String, CloudError> {
        Ok(format!("memory://{}/{}", name.bucket, name.object))
    }

    async fn ensure_bucket(&self, bucket: &str) -> Result<(), CloudError> {
        self.memory.lock().buckets.buckets.entry(bucket.to_owned()).or_default();
        Ok(())
    }
}

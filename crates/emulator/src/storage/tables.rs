//! Cloud Storage's tables.

use super::gcs;
use prost::Message;
use redb::{Error, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

/// Bucket by name.
const BUCKETS: TableDefinition<&str, &[u8]> = TableDefinition::new("storage_buckets");
/// Object by bucket and name. The generation in it names the file with its bytes.
const OBJECTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("storage_objects");

/// The key that signs URLs, by the name [`SIGNER`].
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("storage_keys");
const SIGNER: &str = "signer";

/// Any open view of the objects.
pub(super) trait Objects: ReadableTable<(&'static str, &'static str), &'static [u8]> {}
impl<T: ReadableTable<(&'static str, &'static str), &'static [u8]>> Objects for T {}

/// Any open view of the buckets.
pub(super) trait Buckets: ReadableTable<&'static str, &'static [u8]> {}
impl<T: ReadableTable<&'static str, &'static [u8]>> Buckets for T {}

/// The buckets, for writing; made if need be.
pub(super) fn buckets_mut(transaction: &WriteTransaction) -> Result<Table<'_, &'static str, &'static [u8]>, Error> {
    Ok(transaction.open_table(BUCKETS)?)
}

/// The objects, for writing; made if need be.
pub(super) fn objects_mut(
    transaction: &WriteTransaction,
) -> Result<Table<'_, (&'static str, &'static str), &'static [u8]>, Error> {
    Ok(transaction.open_table(OBJECTS)?)
}

/// The key that signs URLs, if it was made.
pub(super) fn signing_key(transaction: &ReadTransaction) -> Result<Option<Vec<u8>>, Error> {
    match transaction.open_table(KEYS) {
        Ok(table) => Ok(table.get(SIGNER)?.map(|key| key.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Keeps the key that signs URLs.
pub(super) fn put_signing_key(transaction: &WriteTransaction, key: &[u8]) -> Result<(), Error> {
    transaction.open_table(KEYS)?.insert(SIGNER, key)?;
    Ok(())
}

/// The buckets, for reading.
pub(super) fn buckets(transaction: &ReadTransaction) -> Result<impl Buckets + use<>, Error> {
    Ok(transaction.open_table(BUCKETS)?)
}

/// The objects, for reading.
pub(super) fn objects(transaction: &ReadTransaction) -> Result<impl Objects + use<>, Error> {
    Ok(transaction.open_table(OBJECTS)?)
}

/// One bucket.
pub(super) fn bucket(table: &impl Buckets, name: &str) -> Result<Option<gcs::Bucket>, Error> {
    table.get(name)?.map(|row| decode(row.value())).transpose()
}

/// One object.
pub(super) fn object(table: &impl Objects, bucket: &str, name: &str) -> Result<Option<gcs::Object>, Error> {
    table.get((bucket, name))?.map(|row| decode(row.value())).transpose()
}

/// A bucket's objects in the order of their names, from `start` on.
pub(super) fn objects_from(
    table: &impl Objects,
    bucket: &str,
    start: &str,
) -> Result<impl Iterator<Item = Result<gcs::Object, Error>>, Error> {
    let bucket = bucket.to_owned();
    let rows = table.range::<(&str, &str)>((bucket.as_str(), start)..)?;
    Ok(rows.map_while(move |row| match row {
        Ok((key, value)) => (key.value().0 == bucket).then(|| decode(value.value())),
        Err(error) => Some(Err(error.into())),
    }))
}

/// The generations of all objects.
pub(super) fn generations(table: &impl Objects) -> Result<Vec<i64>, Error> {
    table.iter()?.map(|row| Ok(decode::<gcs::Object>(row?.1.value())?.generation)).collect()
}

/// All buckets by name.
pub(super) fn all_buckets(table: &impl Buckets) -> Result<Vec<gcs::Bucket>, Error> {
    table.iter()?.map(|row| decode(row?.1.value())).collect()
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, Error> {
    M::decode(bytes).map_err(|error| Error::Corrupted(error.to_string()))
}

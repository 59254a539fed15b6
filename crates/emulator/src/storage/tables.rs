//! Cloud Storage's tables.

use super::gcs;
use crate::store::decode;
use redb::{Error, ReadTransaction, ReadableTable, Table, TableDefinition, TableError, WriteTransaction};

/// Buckets by name.
const BUCKETS: TableDefinition<&str, &[u8]> = TableDefinition::new("storage_buckets");
/// Objects by bucket and name. The generation is the name of the file with the bytes.
const OBJECTS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("storage_objects");

/// The key that signs URLs, under the name [`SIGNER`].
const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("storage_keys");
const SIGNER: &str = "signer";

/// Any open view of the objects.
pub(super) trait Objects: ReadableTable<(&'static str, &'static str), &'static [u8]> {}
impl<T: ReadableTable<(&'static str, &'static str), &'static [u8]>> Objects for T {}

/// Any open view of the buckets.
pub(super) trait Buckets: ReadableTable<&'static str, &'static [u8]> {}
impl<T: ReadableTable<&'static str, &'static [u8]>> Buckets for T {}

/// Opens the buckets for writing; creates the table if missing.
pub(super) fn buckets_mut(transaction: &WriteTransaction) -> Result<Table<'_, &'static str, &'static [u8]>, Error> {
    Ok(transaction.open_table(BUCKETS)?)
}

/// Opens the objects for writing; creates the table if missing.
pub(super) fn objects_mut(
    transaction: &WriteTransaction,
) -> Result<Table<'_, (&'static str, &'static str), &'static [u8]>, Error> {
    Ok(transaction.open_table(OBJECTS)?)
}

/// The key that signs URLs, if there is one.
pub(super) fn signing_key(transaction: &ReadTransaction) -> Result<Option<Vec<u8>>, Error> {
    match transaction.open_table(KEYS) {
        Ok(table) => Ok(table.get(SIGNER)?.map(|key| key.value().to_vec())),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Stores the key that signs URLs.
pub(super) fn put_signing_key(transaction: &WriteTransaction, key: &[u8]) -> Result<(), Error> {
    transaction.open_table(KEYS)?.insert(SIGNER, key)?;
    Ok(())
}

/// Opens the buckets for reading.
pub(super) fn buckets(transaction: &ReadTransaction) -> Result<impl Buckets + use<>, Error> {
    Ok(transaction.open_table(BUCKETS)?)
}

/// Opens the objects for reading.
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

/// A bucket's objects, sorted by name, from `start` on.
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

/// All buckets, sorted by name.
pub(super) fn all_buckets(table: &impl Buckets) -> Result<Vec<gcs::Bucket>, Error> {
    table.iter()?.map(|row| decode(row?.1.value())).collect()
}

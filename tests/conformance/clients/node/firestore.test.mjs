// Firestore, through @google-cloud/firestore.
// "Reference" is the Firestore RPC reference (google.firestore.v1); other pointers name pages of the documentation.
// Listening is in firestore-listen.test.mjs.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { AggregateField, FieldPath, FieldValue, Filter, Firestore, GeoPoint, Timestamp } from '@google-cloud/firestore';
import {
  ALREADY_EXISTS, FAILED_PRECONDITION, INVALID_ARGUMENT, NOT_FOUND, PROJECT, refused, unique,
} from './support.mjs';

const db = new Firestore({ projectId: PROJECT });
after(() => db.terminate());

const collection = () => db.collection(unique('things'));
const read = async (reference) => (await reference.get()).data();
const idsOf = async (query) => (await query.get()).docs.map((found) => found.id).join('');
const micros = (time) => {
  assert.equal(time.nanoseconds % 1000, 0, 'finer than microseconds');
  return BigInt(time.seconds) * 1_000_000n + BigInt(time.nanoseconds / 1000);
};

/** Creates six documents. */
async function clips() {
  const all = collection();
  const documents = {
    a: { n: 1, kind: 'clip', tags: ['x', 'y'] },
    b: { n: 2, kind: 'clip', tags: ['y'] },
    c: { n: 3, kind: 'batch', tags: [] },
    d: { n: 3.5, kind: 'batch', tags: ['z'] },
    e: { n: 'text', kind: null },
    f: { kind: 'clip' },
  };
  const batch = db.batch();
  for (const [id, fields] of Object.entries(documents)) batch.set(all.doc(id), fields);
  await batch.commit();
  return all;
}

describe('Firestore', { concurrency: true }, () => {
  test('a document reads back, a missing one does not exist', async () => {
    // Reference, BatchGetDocuments: found or missing, with a read time.
    const all = collection();
    await all.doc('one').set({ status: 'queued', progress: 0 });
    assert.deepEqual(await read(all.doc('one')), { status: 'queued', progress: 0 });
    const missing = await all.doc('missing').get();
    assert.equal(missing.exists, false);
    assert.ok(missing.readTime);
  });

  test('create, update and delete check whether the document exists', async () => {
    // Reference, Precondition.exists: ALREADY_EXISTS, NOT_FOUND.
    const one = collection().doc('one');
    await refused(one.update({ n: 1 }), NOT_FOUND);
    await one.create({ n: 1 });
    await refused(one.create({ n: 2 }), ALREADY_EXISTS);
    await one.delete();
    await one.delete();
    await refused(one.delete({ exists: true }), NOT_FOUND);
  });

  test('a stale update time is a failed precondition', async () => {
    // Reference, Precondition.update_time: exactly the document's, else FAILED_PRECONDITION.
    const one = collection().doc('one');
    const first = await one.set({ n: 1 });
    const second = await one.update({ n: 2 }, { lastUpdateTime: first.writeTime });
    assert.ok(micros(second.writeTime) > micros(first.writeTime));
    await refused(one.update({ n: 3 }, { lastUpdateTime: first.writeTime }), FAILED_PRECONDITION);
    await refused(one.delete({ lastUpdateTime: first.writeTime }), FAILED_PRECONDITION);
    assert.deepEqual(await read(one), { n: 2 });
  });

  test('update times are microseconds and strictly increase', async () => {
    // Reference, Document.update_time.
    const one = collection().doc('one');
    const times = [];
    for (let n = 0; n < 10; n += 1) times.push(micros((await one.set({ n })).writeTime));
    assert.deepEqual(times, [...new Set(times)].sort());
    const found = await one.get();
    assert.deepEqual([micros(found.createTime), micros(found.updateTime)], [times[0], times.at(-1)]);
  });

  test('every type of value reads back', async () => {
    // Supported data types.
    const all = collection();
    const values = {
      null: null, true: true, false: false, zero: 0, large: Number.MAX_SAFE_INTEGER, double: 0.1, negative: -1.5,
      nan: NaN, infinity: Infinity, text: 'größe 日本語 \u{1f3ac}', empty: '', bytes: Buffer.from([0, 255]),
      time: new Timestamp(1_795_370_117, 792_095_000), early: new Timestamp(-2_000_000_000, 1000),
      reference: all.doc('other'), place: new GeoPoint(-37.5, 179.25),
      array: [1, 'two', null, { three: [3] }], emptyArray: [], map: { inner: { deep: true }, empty: {} },
    };
    await all.doc('one').set(values);
    assert.deepEqual(await read(all.doc('one')), values);
  });

  test('integers keep all 64 bits', async () => {
    // Supported data types, integer: 64-bit, signed.
    const big = new Firestore({ projectId: PROJECT, useBigInt: true });
    const one = big.collection(unique('things')).doc('one');
    const values = { largest: 2n ** 63n - 1n, smallest: -(2n ** 63n) };
    await one.set(values);
    assert.deepEqual(await read(one), values);
    await big.terminate();
  });

  test('a merge changes the named fields and keeps the rest', async () => {
    // Add data, merge; Reference, Write.update_mask.
    const one = collection().doc('one');
    await one.set({ a: 1, m: { x: 1, y: 2 } });
    await one.set({ b: 2, m: { y: 3 } }, { merge: true });
    assert.deepEqual(await read(one), { a: 1, b: 2, m: { x: 1, y: 3 } });
    await one.set({ a: 9, m: { x: 9 } }, { mergeFields: ['m.x'] });
    assert.deepEqual(await read(one), { a: 1, b: 2, m: { x: 9, y: 3 } });
    await one.set({ only: true });
    assert.deepEqual(await read(one), { only: true });
  });

  test('an update changes nested fields and deletes fields', async () => {
    // Add data, Update fields in nested objects; FieldValue.delete().
    const one = collection().doc('one');
    await one.set({ m: { x: { deep: 1 }, y: 2 }, gone: 1 });
    await one.update({ 'm.x.deep': 5, 'm.z': 6, gone: FieldValue.delete() });
    assert.deepEqual(await read(one), { m: { x: { deep: 5 }, y: 2, z: 6 } });
  });

  test('field names may need quotes', async () => {
    // Reference, Field paths: backticks around names that are not simple.
    const one = collection().doc('one');
    const names = ['a.b', 'with space', 'tick`', 'back\\slash', 'ä', '1st'];
    await one.set(Object.fromEntries(names.map((name) => [name, { in: 0 }])));
    for (const [n, name] of names.entries()) await one.update(new FieldPath(name, 'in'), n);
    assert.deepEqual(await read(one), Object.fromEntries(names.map((name, n) => [name, { in: n }])));
  });

  test('the server applies transforms', async () => {
    // Reference, FieldTransform: request time, increment, array union and removal.
    const one = collection().doc('one');
    await one.set({ n: 1, tags: ['a', 'b', 'a'] });
    const at = FieldValue.serverTimestamp();
    await one.update({ n: FieldValue.increment(2.5), tags: FieldValue.arrayUnion('b', 'c'), at });
    const found = await read(one);
    assert.deepEqual([found.n, found.tags], [3.5, ['a', 'b', 'a', 'c']]);
    assert.ok(Math.abs(found.at.toMillis() - Date.now()) < 10_000);
    await one.update({ tags: FieldValue.arrayRemove('a') });
    assert.deepEqual((await read(one)).tags, ['b', 'c']);
  });

  test('a batch is all or nothing', async () => {
    // Transactions and batched writes: if one write fails none is applied.
    const all = collection();
    await refused(db.batch().set(all.doc('new'), {}).update(all.doc('missing'), { n: 1 }).commit(), NOT_FOUND);
    assert.equal(await idsOf(all), '');
    const batch = db.batch().create(all.doc('a'), { n: 1 }).update(all.doc('a'), { n: 2 }).set(all.doc('b'), {});
    const results = await batch.commit();
    assert.equal(new Set(results.map((result) => micros(result.writeTime))).size, 1);
    assert.deepEqual([await idsOf(all), await read(all.doc('a'))], ['ab', { n: 2 }]);
  });

  test('the bulk writer writes each document independently', async () => {
    // Reference, BatchWrite: one status for each write. A failure does not affect other writes.
    const all = collection();
    await all.doc('x').set({});
    const writer = db.bulkWriter();
    writer.onWriteError(() => false);
    const outcomes = [all.doc('a'), all.doc('x'), all.doc('b')].map((reference) => writer.create(reference, { n: 1 }));
    const settled = Promise.allSettled(outcomes);
    await writer.close();
    assert.deepEqual((await settled).map((outcome) => outcome.reason?.code), [undefined, ALREADY_EXISTS, undefined]);
    assert.equal(await idsOf(all), 'abx');
  });

  test('documents arrive in the requested order, missing ones in their place', async () => {
    // Reference, BatchGetDocuments; the client restores the order.
    const all = await clips();
    const found = await db.getAll(...['c', 'none', 'a'].map((id) => all.doc(id)), { fieldMask: ['n'] });
    assert.deepEqual(found.map((one) => [one.id, one.data()]), [['c', { n: 3 }], ['none', undefined], ['a', { n: 1 }]]);
  });

  test('documents and collections can be listed', async () => {
    // Reference, ListDocuments (with documents that only have children) and ListCollectionIds.
    const all = collection();
    await all.doc('b').set({});
    await all.doc('a').collection('clips').doc('c').set({});
    assert.deepEqual((await all.listDocuments()).map((one) => one.id), ['a', 'b']);
    assert.deepEqual((await all.doc('a').listCollections()).map((one) => one.id), ['clips']);
    assert.ok((await db.listCollections()).some((one) => one.id === all.id));
  });

  test('concurrent increments in transactions are not lost', async () => {
    // Transactions: ABORTED under contention; the client retries.
    const counter = collection().doc('counter');
    await counter.set({ n: 0 });
    const addOne = (transaction) =>
      transaction.get(counter).then((found) => transaction.update(counter, { n: found.get('n') + 1 }));
    await Promise.all(Array.from({ length: 4 }, () => db.runTransaction(addOne, { maxAttempts: 20 })));
    assert.deepEqual(await read(counter), { n: 4 });
  });

  test('a failed transaction writes nothing', async () => {
    // Transactions: an exception in the function rolls back.
    const one = collection().doc('one');
    const failing = db.runTransaction(async (transaction) => {
      transaction.set(one, { n: 1 });
      throw new Error('on purpose');
    });
    await assert.rejects(failing, /on purpose/);
    assert.equal((await one.get()).exists, false);
  });

  test('a read-only transaction reads', async () => {
    // Reference, TransactionOptions.ReadOnly.
    const all = await clips();
    const look = async (transaction) => (await transaction.get(all.where('kind', '==', 'clip'))).size;
    assert.equal(await db.runTransaction(look, { readOnly: true }), 3);
  });

  test('filters match their documents', async () => {
    // Query operators.
    const all = await clips();
    for (const [field, operator, value, expected] of [
      ['kind', '==', 'clip', 'abf'], ['kind', '!=', 'clip', 'cd'], ['kind', '==', null, 'e'],
      ['n', '>', 1, 'bcd'], ['n', '<=', 3, 'abc'], ['n', 'in', [1, 3], 'ac'], ['n', 'not-in', [1, 3], 'bde'],
      ['tags', 'array-contains', 'y', 'ab'], ['tags', 'array-contains-any', ['x', 'z'], 'ad'],
    ]) {
      assert.equal(await idsOf(all.where(field, operator, value)), expected, `${field} ${operator} ${value}`);
    }
    const both = Filter.and(Filter.where('kind', '==', 'batch'), Filter.where('n', '>', 3));
    const either = Filter.or(Filter.where('n', '==', 1), both);
    assert.equal((await idsOf(all.where(either))).split('').sort().join(''), 'ad');
  });

  test('order, limits, offsets, cursors and projections restrict the result', async () => {
    // Order and limit data; Query cursors; Reference, StructuredQuery.select.
    const all = await clips();
    const byN = all.orderBy('n');
    assert.equal(await idsOf(byN), 'abcde');
    assert.equal(await idsOf(all.orderBy('n', 'desc')), 'edcba');
    assert.equal(await idsOf(byN.limit(2)), 'ab');
    assert.equal(await idsOf(byN.limitToLast(2)), 'de');
    assert.equal(await idsOf(byN.offset(1).limit(2)), 'bc');
    assert.equal(await idsOf(byN.startAt(2).endBefore(3.5)), 'bc');
    assert.equal(await idsOf(byN.startAfter(await all.doc('b').get()).endAt(3.5)), 'cd');
    const projected = await byN.select('kind').limit(1).get();
    assert.deepEqual(projected.docs[0].data(), { kind: 'clip' });
  });

  test('a query without matches is empty and has a read time', async () => {
    // Reference, RunQueryResponse: a read time even without documents.
    const none = await collection().where('n', '==', 1).get();
    assert.deepEqual([none.empty, none.size], [true, 0]);
    assert.ok(none.readTime);
  });

  test('a collection group spans parents', async () => {
    // Collection group query: every collection of that id, in order of full names.
    const all = collection();
    const group = unique('clips');
    for (const batch of ['b2', 'b1']) await all.doc(batch).collection(group).doc('x').set({ batch });
    assert.deepEqual((await db.collectionGroup(group).get()).docs.map((one) => one.get('batch')), ['b1', 'b2']);
    assert.equal((await db.collectionGroup(group).where('batch', '==', 'b2').get()).size, 1);
  });

  test('counts, sums and averages', async () => {
    // Aggregation queries: numbers only; null over nothing.
    const numbers = (await clips()).where('n', '>', 0);
    const wanted = { count: AggregateField.count(), sum: AggregateField.sum('n'), avg: AggregateField.average('n') };
    assert.deepEqual((await numbers.aggregate(wanted).get()).data(), { count: 4, sum: 9.5, avg: 2.375 });
    assert.deepEqual((await collection().aggregate(wanted).get()).data(), { count: 0, sum: 0, avg: null });
    assert.equal((await numbers.limit(3).count().get()).data().count, 3);
  });

  test('requests that break the rules are invalid', async () => {
    // Quotas, constraints: reserved ids, 1 MiB documents.
    const all = collection();
    await refused(all.doc('__reserved__').set({}), INVALID_ARGUMENT);
    await refused(all.doc('large').set({ text: 'x'.repeat(1_048_577) }), INVALID_ARGUMENT);
  });

  test('a query can be read as a stream', async () => {
    // Reference, RunQuery is a stream of documents.
    const seen = [];
    for await (const found of (await clips()).orderBy('n').stream()) seen.push(found.id);
    assert.equal(seen.join(''), 'abcde');
  });
});

// Firestore's REST API: through the web SDK's `firebase/firestore/lite`, with which a web page polls, and with plain
// requests.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { initializeApp } from 'firebase/app';
import {
  Timestamp, addDoc, collection, connectFirestoreEmulator, deleteDoc, doc, getCount, getDoc, getDocs, getFirestore,
  increment, limit, orderBy, query, runTransaction, serverTimestamp, setDoc, setLogLevel, startAfter, updateDoc, where,
  writeBatch,
} from 'firebase/firestore/lite';
import { PROJECT, unique } from './support.mjs';

setLogLevel('silent'); // The SDK must not log failures that a check provokes.
const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');
const db = getFirestore(initializeApp({ projectId: PROJECT }));
connectFirestoreEmulator(db, host, Number(port));

describe('Firestore for web pages', { concurrency: true }, () => {
  test('a document is set, read and deleted', async () => {
    // documents:commit and documents:batchGet.
    const one = doc(db, unique('things'), 'one');
    assert.equal((await getDoc(one)).exists(), false);
    const at = new Timestamp(1_795_370_117, 792_095_000);
    const values = { text: 'größe', n: 1, f: 1.5, yes: true, nothing: null, list: [1, { a: 'b' }], at };
    await setDoc(one, values);
    assert.deepEqual((await getDoc(one)).data(), values);
    await deleteDoc(one);
    assert.equal((await getDoc(one)).exists(), false);
  });

  test('an update of a missing document is not found', async () => {
    // REST: 404 NOT_FOUND, which the SDK reports as `not-found`.
    await assert.rejects(updateDoc(doc(db, unique('things'), 'missing'), { n: 1 }), { code: 'not-found' });
  });

  test('merges and transforms', async () => {
    // documents:commit with updateMask and updateTransforms.
    const one = doc(db, unique('things'), 'one');
    await setDoc(one, { m: { x: 1 }, n: 1 });
    await setDoc(one, { m: { y: 2 }, n: increment(4), at: serverTimestamp() }, { merge: true });
    const { at, ...rest } = (await getDoc(one)).data();
    assert.deepEqual(rest, { m: { x: 1, y: 2 }, n: 5 });
    assert.ok(Math.abs(at.toMillis() - Date.now()) < 10_000);
  });

  test('clips of a batch are queried in order and in pages', async () => {
    // documents:runQuery with order, limit and cursor.
    const clips = collection(db, unique('batches'), 'b1', 'clips');
    for (const [n, status] of ['completed', 'failed', 'completed', 'completed'].entries()) {
      await setDoc(doc(clips, `c${n}`), { status, progress: n * 10 });
    }
    const completed = query(clips, where('status', '==', 'completed'), orderBy('progress', 'desc'), limit(2));
    const first = await getDocs(completed);
    assert.deepEqual(first.docs.map((found) => found.id), ['c3', 'c2']);
    const second = await getDocs(query(completed, startAfter(first.docs.at(-1))));
    assert.deepEqual(second.docs.map((found) => found.id), ['c0']);
    assert.equal((await getCount(clips)).data().count, 4);
  });

  test('a query without matches is empty', async () => {
    // documents:runQuery returns only a read time.
    assert.equal((await getDocs(collection(db, unique('none')))).empty, true);
  });

  test('batches and transactions', async () => {
    // documents:commit of several writes; documents:batchGet and :commit under preconditions.
    const things = collection(db, unique('things'));
    await writeBatch(db).set(doc(things, 'a'), { n: 1 }).set(doc(things, 'b'), { n: 2 }).commit();
    await runTransaction(db, async (transaction) => {
      const found = await transaction.get(doc(things, 'a'));
      transaction.update(doc(things, 'a'), { n: found.data().n + 10 });
      transaction.delete(doc(things, 'b'));
    });
    assert.deepEqual((await getDocs(things)).docs.map((found) => [found.id, found.data().n]), [['a', 11]]);
    const added = await addDoc(things, { n: 3 });
    assert.deepEqual((await getDoc(added)).data(), { n: 3 });
  });

  test('a page of this machine may call, a page of another origin may not', async () => {
    // Fetch standard, CORS: the preflight is answered for the page's origin. The rule for others is ours: no page of
    // another origin in the user's browser may reach the emulator.
    const url = `http://${host}:${port}/v1/projects/${PROJECT}/databases/(default)/documents:batchGet`;
    const headers = { 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' };
    const local = await fetch(url, { method: 'OPTIONS', headers: { ...headers, Origin: 'http://localhost:3000' } });
    assert.equal(local.status, 200);
    assert.equal(local.headers.get('access-control-allow-origin'), 'http://localhost:3000');
    const remote = await fetch(url, { method: 'POST', body: '{}', headers: { Origin: 'https://example.com' } });
    assert.equal(remote.status, 403);
  });

  test('errors are Google JSON', async () => {
    // AIP-193: {"error": {"code", "message", "status"}}.
    const answer = await fetch(`http://${host}:${port}/v1/projects/${PROJECT}/databases/(default)/documents/none/none`);
    const { error } = await answer.json();
    assert.deepEqual([answer.status, error.code, error.status], [404, 404, 'NOT_FOUND']);
  });
});

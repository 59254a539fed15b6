// Listening and writing with the complete web SDK, `firebase/firestore`. In Node it uses gRPC (Listen, Write) instead
// of the browsers' protocol. Pointers name pages of the Firestore documentation and RPCs of google.firestore.v1.

import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { Firestore } from '@google-cloud/firestore';
import { initializeApp } from 'firebase/app';
import {
  collection, connectFirestoreEmulator, deleteDoc, disableNetwork, doc, enableNetwork, getCountFromServer, getDoc,
  getDocs, getFirestore, increment, limit, onSnapshot, orderBy, query, runTransaction, serverTimestamp, setDoc,
  setLogLevel, terminate, updateDoc, where, writeBatch,
} from 'firebase/firestore';
import { PROJECT, eventually, unique } from './support.mjs';

setLogLevel('silent'); // The SDK must not log failures that a check provokes.
const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');
const open = (name) => {
  const db = getFirestore(initializeApp({ projectId: PROJECT }, name));
  connectFirestoreEmulator(db, host, Number(port));
  return db;
};
const db = open('shared');
const server = new Firestore({ projectId: PROJECT });
after(() => Promise.all([terminate(db), server.terminate()]));

/** Listens and records every snapshot that the server confirmed. */
function watch(what) {
  const snapshots = [];
  const failures = [];
  const record = (snapshot) =>
    snapshot.metadata.hasPendingWrites || snapshot.metadata.fromCache || snapshots.push(snapshot);
  const stop = onSnapshot(what, { includeMetadataChanges: true }, record, (error) => failures.push(error));
  const until = async (condition) => {
    await eventually(() => failures.length || (snapshots.length && condition(snapshots.at(-1))));
    assert.deepEqual(failures, []);
    return snapshots.at(-1);
  };
  return { snapshots, stop, until };
}

const idsOf = (snapshot) => snapshot.docs.map((found) => found.id).join('');

describe('Firestore for web pages, listening', { concurrency: true }, () => {
  test('a write is confirmed by the server and read back', async () => {
    // Write: the stream's write results carry update time and transform results.
    const one = doc(db, unique('web'), 'one');
    const before = Date.now();
    await setDoc(one, { n: 1, at: serverTimestamp() });
    const after = Date.now();
    await updateDoc(one, { n: increment(2) });
    const found = await getDoc(one);
    assert.equal(found.data().n, 3);
    const at = found.data().at.toMillis();
    assert.ok(before - 1 <= at && at <= after + 1, `${before} ${at} ${after}`);
    assert.equal((await server.doc(one.path).get()).get('n'), 3);
    await deleteDoc(one);
    assert.equal((await getDoc(one)).exists(), false);
  });

  test('a refused write is reverted on the page', async () => {
    // Write: NOT_FOUND for an update of a missing document. The SDK reverts its local change.
    const missing = doc(db, unique('web'), 'missing');
    await assert.rejects(updateDoc(missing, { n: 1 }), { code: 'not-found' });
    assert.equal((await getDoc(missing)).exists(), false);
  });

  test('a page receives what a server writes', async () => {
    // Get realtime updates, Listen to a document.
    const name = `${unique('web')}/one`;
    const watched = watch(doc(db, name));
    await watched.until((snapshot) => !snapshot.exists());
    for (const n of [1, 2, 3]) {
      await server.doc(name).set({ n });
      await watched.until((snapshot) => snapshot.data()?.n === n);
    }
    await server.doc(name).delete();
    await watched.until((snapshot) => !snapshot.exists());
    watched.stop();
  });

  test('the progress of a batch is received as its clips change', async () => {
    // Get realtime updates, Listen to multiple documents: a query with a filter, an order and a limit.
    const clips = `${unique('batches')}/b1/clips`;
    const processing = where('status', '==', 'processing');
    const watched = watch(query(collection(db, clips), processing, orderBy('progress'), limit(2)));
    await watched.until((snapshot) => snapshot.empty);
    for (const [n, id] of ['a', 'b', 'c'].entries()) {
      await server.doc(`${clips}/${id}`).set({ status: 'processing', progress: n });
    }
    await watched.until((snapshot) => idsOf(snapshot) === 'ab');
    await server.doc(`${clips}/a`).update({ status: 'completed' });
    await watched.until((snapshot) => idsOf(snapshot) === 'bc');
    await server.doc(`${clips}/b`).update({ progress: 50 });
    await watched.until((snapshot) => idsOf(snapshot) === 'cb');
    watched.stop();
  });

  test('a page that was offline receives what changed and what was deleted', async () => {
    // Listen: resume_token and expected_count; deleted documents must leave the result (ExistenceFilter or RESET).
    const away = open(unique('away'));
    const things = unique('web');
    for (const id of ['a', 'b', 'c']) await server.doc(`${things}/${id}`).set({ n: 1 });
    const watched = watch(collection(away, things));
    await watched.until((snapshot) => idsOf(snapshot) === 'abc');
    await disableNetwork(away);
    await server.doc(`${things}/a`).delete();
    await server.doc(`${things}/b`).update({ n: 2 });
    await server.doc(`${things}/d`).set({ n: 1 });
    await enableNetwork(away);
    const last = await watched.until((snapshot) => idsOf(snapshot) === 'bcd');
    assert.deepEqual(last.docs.map((found) => found.get('n')), [2, 1, 1]);
    watched.stop();
    await terminate(away);
  });

  test('writes of an offline page arrive when it is online again', async () => {
    // Access data offline: writes are queued, and sent in order once the connection returns.
    const away = open(unique('away'));
    const one = doc(away, unique('web'), 'one');
    await setDoc(one, { n: 0 });
    await disableNetwork(away);
    const writes = [setDoc(one, { n: 1 }), updateDoc(one, { n: increment(1) })];
    await enableNetwork(away);
    await Promise.all(writes);
    assert.equal((await server.doc(one.path).get()).get('n'), 2);
    await terminate(away);
  });

  test('batches, transactions, queries and counts', async () => {
    // Commit, BatchGetDocuments, RunAggregationQuery; a query is answered through a listener.
    const things = collection(db, unique('web'));
    await writeBatch(db).set(doc(things, 'a'), { n: 1 }).set(doc(things, 'b'), { n: 2 }).commit();
    await runTransaction(db, async (transaction) => {
      const found = await transaction.get(doc(things, 'a'));
      transaction.update(doc(things, 'a'), { n: found.data().n + 10 });
    });
    const sorted = await getDocs(query(things, orderBy('n', 'desc')));
    assert.deepEqual(sorted.docs.map((found) => found.data().n), [11, 2]);
    assert.equal((await getCountFromServer(things)).data().count, 2);
  });
});

// Listening to Firestore, through @google-cloud/firestore.
// "Listen" is the page "Get realtime updates"; "Reference" is the Firestore RPC reference (google.firestore.v1,
// Listen).

import assert from 'node:assert/strict';
import net from 'node:net';
import { after, describe, test } from 'node:test';
import { Firestore } from '@google-cloud/firestore';
import { PROJECT, eventually, sleep, unique } from './support.mjs';

const db = new Firestore({ projectId: PROJECT });
after(() => db.terminate());

const collection = () => db.collection(unique('watched'));

/** Listens and records every snapshot. */
function watch(what) {
  const snapshots = [];
  const failures = [];
  const stop = what.onSnapshot((snapshot) => snapshots.push(snapshot), (error) => failures.push(error));
  return {
    snapshots,
    failures,
    stop,
    /** Waits for the next snapshot. */
    async next() {
      const from = this.taken ?? 0;
      await eventually(() => snapshots.length > from || failures.length);
      assert.deepEqual(failures, []);
      this.taken = from + 1;
      return snapshots[from];
    },
    /** Waits until the last snapshot satisfies a condition. */
    async until(condition) {
      await eventually(() => failures.length || (snapshots.length && condition(snapshots.at(-1))));
      assert.deepEqual(failures, []);
      return snapshots.at(-1);
    },
  };
}

const idsOf = (snapshot) => snapshot.docs.map((found) => found.id).join('');
const changesOf = (snapshot) =>
  snapshot.docChanges().map(({ type, doc, oldIndex, newIndex }) => `${type} ${doc.id} ${oldIndex}>${newIndex}`);

describe('Listening', { concurrency: true }, () => {
  test('a document listener receives the current state, then each change, then the deletion', async () => {
    // Listen, Listen to a document: an initial snapshot, then one for each change; a deleted document does not exist.
    const one = collection().doc('one');
    await one.set({ n: 1 });
    const watched = watch(one);
    assert.deepEqual((await watched.next()).data(), { n: 1 });
    await one.update({ n: 2 });
    assert.deepEqual((await watched.next()).data(), { n: 2 });
    await one.delete();
    assert.equal((await watched.next()).exists, false);
    await one.set({ n: 3 });
    assert.deepEqual((await watched.next()).data(), { n: 3 });
    watched.stop();
  });

  test('a listener of a missing document receives a snapshot without it, and then its creation', async () => {
    // Listen: the initial snapshot shows that the document does not exist.
    const one = collection().doc('one');
    const watched = watch(one);
    assert.equal((await watched.next()).exists, false);
    await one.create({ n: 1 });
    assert.deepEqual((await watched.next()).data(), { n: 1 });
    watched.stop();
  });

  test('snapshots carry the times of the document', async () => {
    // Reference, Document: the same create and update time as a read gives.
    const one = collection().doc('one');
    const { writeTime } = await one.set({ n: 1 });
    const watched = watch(one);
    const found = await watched.next();
    assert.ok(found.updateTime.isEqual(writeTime) && found.createTime.isEqual(writeTime));
    assert.ok(found.readTime.valueOf() >= writeTime.valueOf());
    watched.stop();
  });

  test('a query listener reports added, modified and removed documents with their positions', async () => {
    // Listen, View changes between snapshots.
    const all = collection();
    await all.doc('a').set({ n: 1 });
    await all.doc('c').set({ n: 3 });
    const watched = watch(all.orderBy('n'));
    assert.deepEqual(changesOf(await watched.next()), ['added a -1>0', 'added c -1>1']);
    await all.doc('b').set({ n: 2 });
    assert.deepEqual(changesOf(await watched.next()), ['added b -1>1']);
    await all.doc('a').set({ n: 4 });
    assert.deepEqual(changesOf(await watched.next()), ['modified a 0>2']);
    await all.doc('c').delete();
    assert.deepEqual(changesOf(await watched.next()), ['removed c 1>-1']);
    assert.equal(idsOf(watched.snapshots.at(-1)), 'ba');
    watched.stop();
  });

  test('a query without matches begins with an empty snapshot', async () => {
    // Listen: the initial snapshot arrives even if there is no match.
    const all = collection();
    const watched = watch(all.where('status', '==', 'queued'));
    assert.equal((await watched.next()).empty, true);
    await all.doc('other').set({ status: 'done' });
    await all.doc('a').set({ status: 'queued' });
    assert.equal(idsOf(await watched.next()), 'a');
    watched.stop();
  });

  test('documents enter and leave a filtered query', async () => {
    // Reference, DocumentRemove: a document that no longer matches leaves, though it still exists.
    const all = collection();
    await all.doc('a').set({ status: 'queued' });
    const watched = watch(all.where('status', '==', 'queued'));
    assert.equal(idsOf(await watched.next()), 'a');
    await all.doc('a').update({ status: 'done' });
    assert.deepEqual(changesOf(await watched.next()), ['removed a 0>-1']);
    await all.doc('a').update({ status: 'queued' });
    assert.deepEqual(changesOf(await watched.next()), ['added a -1>0']);
    watched.stop();
  });

  test('a limited query is refilled when a document leaves its window', async () => {
    // Listen with limit: the window always holds the first documents.
    const all = collection();
    for (const [n, id] of ['a', 'b', 'c', 'd'].entries()) await all.doc(id).set({ n });
    const watched = watch(all.orderBy('n').limit(2));
    assert.equal(idsOf(await watched.next()), 'ab');
    await all.doc('a').delete();
    assert.equal(idsOf(await watched.until((snapshot) => idsOf(snapshot) === 'bc')), 'bc');
    await all.doc('z').set({ n: -1 });
    await watched.until((snapshot) => idsOf(snapshot) === 'zb');
    assert.ok(watched.snapshots.every((snapshot) => snapshot.size === 2));
    watched.stop();
  });

  test('a query limited to its last documents can be listened to', async () => {
    // Listen with limitToLast: the last documents, in the order of the query.
    const all = collection();
    for (const [n, id] of ['a', 'b', 'c'].entries()) await all.doc(id).set({ n });
    const watched = watch(all.orderBy('n').limitToLast(2));
    assert.equal(idsOf(await watched.next()), 'bc');
    await all.doc('d').set({ n: 9 });
    await watched.until((snapshot) => idsOf(snapshot) === 'cd');
    watched.stop();
  });

  test('a batch is seen completely or not at all', async () => {
    // Reference, TargetChange.NO_CHANGE: a snapshot is consistent at one time.
    const all = collection();
    const watched = watch(all);
    assert.equal((await watched.next()).size, 0);
    for (const n of [1, 2, 3]) {
      const batch = db.batch();
      for (const id of ['a', 'b', 'c', 'd', 'e']) batch.set(all.doc(id), { n });
      await batch.commit();
    }
    await watched.until((snapshot) => snapshot.docs[0]?.get('n') === 3);
    for (const snapshot of watched.snapshots.slice(1)) {
      assert.equal(snapshot.size, 5);
      assert.equal(new Set(snapshot.docs.map((found) => found.get('n'))).size, 1);
    }
    watched.stop();
  });

  test('read times of snapshots increase and states never go back', async () => {
    // Reference, TargetChange.read_time: snapshots arrive in the order of time.
    const one = collection().doc('one');
    await one.set({ n: 0 });
    const watched = watch(one);
    await watched.next();
    for (let n = 1; n <= 30; n += 1) await one.set({ n });
    await watched.until((snapshot) => snapshot.get('n') === 30);
    const states = watched.snapshots.map((snapshot) => snapshot.get('n'));
    assert.deepEqual(states, [...states].sort((a, b) => a - b));
    const times = watched.snapshots.map((snapshot) => snapshot.readTime.valueOf());
    assert.deepEqual(times, [...times].sort());
    watched.stop();
  });

  test('a detached listener receives nothing more', async () => {
    // Listen, Detach a listener.
    const one = collection().doc('one');
    await one.set({ n: 1 });
    const [stopped, other] = [watch(one), watch(one)];
    await stopped.next();
    await other.next();
    stopped.stop();
    await one.set({ n: 2 });
    assert.deepEqual((await other.next()).data(), { n: 2 });
    await sleep(300);
    assert.equal(stopped.snapshots.length, 1);
    other.stop();
  });

  test('a new listener after a pause starts with the current state', async () => {
    // Listen: each listener starts with a complete snapshot, whatever was missed.
    const all = collection();
    await all.doc('a').set({ n: 1 });
    const first = watch(all);
    await first.next();
    first.stop();
    await all.doc('a').delete();
    await all.doc('b').set({ n: 2 });
    const second = watch(all);
    assert.deepEqual(changesOf(await second.next()), ['added b -1>0']);
    second.stop();
  });

  test('a listener survives a broken connection and misses no change', async () => {
    // Reference, Target.resume_token: the client reopens the stream and continues where it ended.
    const [host, port] = process.env.FIRESTORE_EMULATOR_HOST.split(':');
    const ends = [];
    const line = net.createServer((client) => {
      const server = net.connect(Number(port), host);
      ends.push(client, server);
      for (const end of [client, server]) end.on('error', () => {});
      client.pipe(server).pipe(client);
    });
    await new Promise((resolve) => line.listen(0, '127.0.0.1', resolve));
    // The same server at another address. The environment variable overrides settings, so this client is created while
    // the variable holds that address.
    process.env.FIRESTORE_EMULATOR_HOST = `127.0.0.1:${line.address().port}`;
    const far = new Firestore({ projectId: PROJECT });
    process.env.FIRESTORE_EMULATOR_HOST = `${host}:${port}`;
    const all = collection();
    await all.doc('a').set({ n: 1 });
    await all.doc('b').set({ n: 1 });
    const watched = watch(far.collection(all.id));
    assert.equal(idsOf(await watched.next()), 'ab');
    for (const end of ends) end.destroy();
    await all.doc('a').delete();
    await all.doc('b').update({ n: 2 });
    await all.doc('c').set({ n: 1 });
    const last = await watched.until((snapshot) => idsOf(snapshot) === 'bc');
    assert.deepEqual(last.docs.map((found) => found.get('n')), [2, 1]);
    watched.stop();
    await far.terminate();
    for (const end of ends) end.destroy();
    line.close();
  });

  test('a collection group can be listened to across parents', async () => {
    // Listen to a collection group query.
    const all = collection();
    const group = unique('clips');
    const watched = watch(db.collectionGroup(group));
    await watched.next();
    await all.doc('b1').collection(group).doc('x').set({ n: 1 });
    await watched.until((snapshot) => snapshot.size === 1);
    await all.doc('b2').collection(group).doc('y').set({ n: 1 });
    await all.doc('b2').set({ not: 'in the group' });
    assert.equal(idsOf(await watched.until((snapshot) => snapshot.size === 2)), 'xy');
    watched.stop();
  });

  test('many listeners are served at the same time', async () => {
    // This client opens one stream for each listener, and each listener sees only its own changes.
    const all = collection();
    const watched = Array.from({ length: 20 }, (_, n) => watch(all.doc(`d${n}`)));
    await Promise.all(watched.map((one) => one.next()));
    await Promise.all(watched.map((_, n) => all.doc(`d${n}`).set({ n })));
    const seen = await Promise.all(watched.map((one) => one.next()));
    assert.deepEqual(seen.map((snapshot) => snapshot.get('n')), watched.map((_, n) => n));
    watched.forEach((one) => one.stop());
  });

  test('every kind of change reaches a listener', async () => {
    // Transforms, transactions and bulk writes are changes like all others.
    const all = collection();
    const watched = watch(all.doc('one'));
    await watched.next();
    await db.runTransaction(async (transaction) => transaction.create(all.doc('one'), { n: 1 }));
    assert.equal((await watched.next()).get('n'), 1);
    const writer = db.bulkWriter();
    writer.update(all.doc('one'), { n: 2 });
    await writer.close();
    assert.equal((await watched.next()).get('n'), 2);
    watched.stop();
  });
});

// The unmodified Firebase web SDK in a browser, against the emulator.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { deleteDoc, doc, getDoc, setDoc, terminate, updateDoc } from 'firebase/firestore';
import { folder, freePort, otherClient, pause, spread, startBrowser, startEmulator, until } from './support.mjs';

let data, emulator, browser, other, quiet;
const ends = [];

before(async () => {
  data = await folder();
  ends.push(data.end);
  emulator = await startEmulator(data.path, await freePort());
  ends.push(() => emulator.end());
  browser = await startBrowser();
  ends.push(browser.end);
  other = otherClient(emulator.port);
  ends.push(() => terminate(other));
  // The second-to-last test uses this: nothing is written here while the other tests run.
  quiet = await browser.open();
  quiet.since = Date.now();
  await setDoc(doc(other, 'quiet/one'), { number: 1 });
  quiet.watch = await quiet.api.watch(await quiet.connect(emulator.port), 'quiet/one');
});

after(async () => {
  for (const end of ends.reverse()) {
    await end();
  }
});

/** Waits until the last snapshot of a watch satisfies a condition; returns all its snapshots. */
async function settled(api, watch, condition) {
  return until('the snapshot', async () => {
    const { snapshots, error } = await api.snapshots(watch);
    assert.equal(error, null);
    return snapshots.length > 0 && condition(snapshots.at(-1)) ? snapshots : undefined;
  });
}

test('a page polls with firestore/lite', async (t) => {
  const { api, connect, complaints, requests } = await browser.open(t);
  const client = await connect(emulator.port, 'lite');
  assert.equal((await api.get(client, 'lite/none')).exists, false);
  for (let number = 0; number < 5; number += 1) {
    await setDoc(doc(other, 'lite/one'), { number, name: 'für Élise 🎬' });
    assert.deepEqual((await api.get(client, 'lite/one')).data, { number, name: 'für Élise 🎬' });
  }
  assert.deepEqual(await api.set(client, 'lite/two', { number: 7 }), { done: null });
  assert.deepEqual(await api.update(client, 'lite/two', { number: 8 }), { done: null });
  assert.equal((await getDoc(doc(other, 'lite/two'))).data().number, 8);
  const found = await api.get(client, {
    collection: 'lite',
    where: [['number', '>', 3]],
    orderBy: [['number', 'desc']],
  });
  assert.deepEqual(
    found.docs.map(({ id, number }) => [id, number]),
    [
      ['two', 8],
      ['one', 4],
    ],
  );
  assert.equal(await api.count(client, { collection: 'lite' }), 2);
  assert.equal((await api.update(client, 'lite/missing', { number: 1 })).code, 'not-found');
  assert.deepEqual(await api.delete(client, 'lite/two'), { done: null });
  assert.equal((await api.get(client, 'lite/two')).exists, false);
  assert.ok(
    requests.some((url) => url.includes(':batchGet')),
    'it sent a request',
  );
  assert.ok(!requests.some((url) => url.includes('/channel')), 'it polled');
  // The browser logs the 404 that the SDK was meant to receive, and the SDK logs its own error for it.
  assert.deepEqual(
    complaints.filter((text) => !text.includes('404') && !text.includes('"not-found"')),
    [],
  );
});

const ROUNDS = 100;
for (const [mode, settings] of [
  ['default', {}],
  ['long polling', { experimentalForceLongPolling: true }],
  ['XMLHttpRequest', { useFetchStreams: false, experimentalAutoDetectLongPolling: false }],
]) {
  test(`a listener receives every change in order: ${mode}`, async (t) => {
    let arrived = () => {};
    const { api, connect, complaints } = await browser.open(t, (_watch, snapshot) => arrived(snapshot));
    const path = `changes/${mode.replaceAll(' ', '-')}`;
    const watch = await api.watch(await connect(emulator.port, 'full', settings), path);
    const first = (await settled(api, watch, ({ fromCache }) => !fromCache))[0];
    assert.equal(first.exists, false, 'a missing document can be listened to');
    const latencies = [];
    for (let number = 0; number < ROUNDS; number += 1) {
      const received = new Promise((resolve) => {
        arrived = (snapshot) => snapshot.data?.number === number && resolve(snapshot);
      });
      const sent = Date.now();
      await setDoc(doc(other, path), { number });
      latencies.push((await received).at - sent);
    }
    const { snapshots } = await api.snapshots(watch);
    assert.deepEqual(
      snapshots.slice(1).map((snapshot) => snapshot.data.number),
      [...Array(ROUNDS).keys()],
    );
    console.log(`write to callback, ${mode}: ${spread(latencies)}`);
    assert.deepEqual(complaints, []);
  });
}

test('twenty simultaneous listeners receive only their own changes', async (t) => {
  const { api, connect, complaints, requests } = await browser.open(t);
  const client = await connect(emulator.port);
  const names = [...Array(20).keys()].map((number) => `many/${number}`);
  const watches = [];
  for (const name of names) {
    watches.push(await api.watch(client, name));
  }
  const all = await api.watch(client, { collection: 'many' });
  for (let round = 0; round < 5; round += 1) {
    await Promise.all(names.map((name, index) => setDoc(doc(other, name), { index, round })));
  }
  for (const [index, watch] of watches.entries()) {
    const snapshots = await settled(api, watch, ({ data }) => data?.round === 4);
    const theirs = snapshots.filter(({ exists }) => exists);
    assert.ok(theirs.every(({ data }) => data.index === index));
    const rounds = theirs.map(({ data }) => data.round);
    assert.deepEqual(rounds, [...rounds].sort(), 'in order');
  }
  await settled(api, all, ({ docs }) => docs.length === 20 && docs.every(({ round }) => round === 4));
  const sessions = new Set(requests.map((url) => new URL(url).searchParams.get('SID')).filter(Boolean));
  assert.equal(sessions.size, 1, 'one stream carries them all');
  assert.deepEqual(complaints, []);
});

test('a listener of a query receives documents that enter, move and leave', async (t) => {
  const { api, connect, complaints } = await browser.open(t);
  const what = { collection: 'clips', where: [['owner', '==', 'u1']], orderBy: [['rank', 'desc']], limit: 3 };
  const watch = await api.watch(await connect(emulator.port), what);
  const shows = (...ids) =>
    settled(api, watch, ({ docs, fromCache }) => !fromCache && docs.map(({ id }) => id).join() === ids.join());
  const put = (id, owner, rank) => setDoc(doc(other, `clips/${id}`), { owner, rank });
  await shows();
  await put('a', 'u1', 1);
  await put('b', 'u1', 2);
  await put('x', 'u2', 9);
  await shows('b', 'a');
  await put('c', 'u1', 3);
  await put('d', 'u1', 4);
  await shows('d', 'c', 'b');
  await put('a', 'u1', 5);
  await shows('a', 'd', 'c');
  await deleteDoc(doc(other, 'clips/d'));
  await shows('a', 'c', 'b');
  await updateDoc(doc(other, 'clips/c'), { owner: 'u2' });
  const snapshots = await shows('a', 'b');
  assert.ok(snapshots.every(({ docs }) => docs.every(({ owner }) => owner === 'u1')));
  assert.deepEqual(complaints, []);
});

test('a page writes, and receives the reason of a refusal', async (t) => {
  const { api, connect, complaints } = await browser.open(t);
  const client = await connect(emulator.port);
  const read = async (path) => (await getDoc(doc(other, path))).data();
  assert.deepEqual(await api.set(client, 'writes/one', { number: 1, list: ['a'], gone: true, text: 'ö🎬\u2028' }), {
    done: null,
  });
  assert.deepEqual(await read('writes/one'), { number: 1, list: ['a'], gone: true, text: 'ö🎬\u2028' });
  assert.deepEqual(await api.set(client, 'writes/one', { more: null }, { merge: true }), { done: null });
  assert.deepEqual(await api.transform(client, 'writes/one'), { done: null });
  const { at, ...rest } = await read('writes/one');
  assert.deepEqual(rest, { number: 6, list: ['b'], text: 'ö🎬\u2028', more: null });
  assert.ok(Math.abs(at.toMillis() - Date.now()) < 60_000);
  const entries = [...Array(100).keys()].map((number) => [
    `writes/batch-${number}`,
    { number, text: 'x'.repeat(2_000) },
  ]);
  assert.deepEqual(await api.batch(client, entries), { done: null });
  assert.equal((await read('writes/batch-99')).number, 99);
  // Five transactions read a missing document, then five read the same number. Each time at least one succeeds, and the
  // SDK retries the others up to five times.
  for (const number of [5, 10]) {
    assert.deepEqual(await api.transact(client, 'writes/counter', 5), Array(5).fill({ done: null }));
    assert.deepEqual(await read('writes/counter'), { number });
  }
  assert.deepEqual(await api.delete(client, 'writes/one'), { done: null });
  assert.equal(await read('writes/one'), undefined);

  const refused = await api.update(client, 'writes/missing', { number: 1 });
  assert.equal(refused.code, 'not-found');
  const large = await api.set(client, 'writes/large', { text: 'x'.repeat((1 << 20) + 1) });
  assert.equal(large.code, 'invalid-argument', JSON.stringify(large));
  assert.deepEqual(await api.set(client, 'writes/two', { number: 2 }), { done: null }, 'the stream is reopened');
  // The browser and the SDK log every transaction that conflicted with another: the document was missing, or had
  // another version.
  const refusals = [
    /status of 409 .*:commit\?/,
    /status of 400 .*:commit\?/,
    /"already-exists"/,
    /"failed-precondition"/,
  ];
  for (const refusal of refusals) {
    assert.ok(
      complaints.some((text) => refusal.test(text)),
      `${refusal} among ${complaints.join('\n')}`,
    );
  }
  assert.deepEqual(
    complaints.filter((text) => !refusals.some((refusal) => refusal.test(text))),
    [],
  );
});

test('a page receives more data than the server buffers for it', async (t) => {
  const { api, connect, complaints, requests } = await browser.open(t);
  const text = 'ü'.repeat(150_000);
  for (let number = 0; number < 20; number += 1) {
    await setDoc(doc(other, `large/${number}`), { number, text });
  }
  const watch = await api.watch(await connect(emulator.port), { collection: 'large' });
  const [snapshot] = (await settled(api, watch, ({ docs, fromCache }) => !fromCache && docs.length === 20)).slice(-1);
  assert.ok(snapshot.docs.every((found) => found.text === text));
  const answers = requests.filter((url) => url.includes('RID=rpc'));
  assert.ok(answers.length > 3, `${answers.length} answers, each acknowledged by the request for the next`);
  assert.deepEqual(complaints, []);
});

test('clients that terminate close their sessions and connections', async (t) => {
  const { api, connect, complaints, requests } = await browser.open(t);
  // More clients, one after the other, than a browser has connections.
  for (let round = 0; round < 10; round += 1) {
    const client = await connect(emulator.port);
    const watch = await api.watch(client, 'leaving/one');
    await settled(api, watch, ({ fromCache }) => !fromCache);
    await api.leave(client);
  }
  assert.ok(requests.some((url) => url.includes('TYPE=terminate')));
  const sessions = [...new Set(requests.map((url) => new URL(url).searchParams.get('SID')).filter(Boolean))];
  assert.equal(sessions.length, 10);
  // The emulator has closed the sessions. Without the terminate request it would keep them for a minute.
  const channel = `http://127.0.0.1:${emulator.port}/google.firestore.v1.Firestore/Listen/channel`;
  await until('all are closed', async () => {
    const answers = sessions.map((id) => fetch(`${channel}?VER=8&SID=${id}&RID=1&AID=0`, { method: 'POST' }));
    return (await Promise.all(answers)).every(({ status }) => status === 400);
  });
  assert.deepEqual(complaints, []);
});

test("a listener without changes still listens after the SDK's timeout for silent connections", async (t) => {
  const SILENCE_MS = 60_000;
  await pause(Math.max(0, quiet.since + SILENCE_MS - Date.now()));
  await setDoc(doc(other, 'quiet/one'), { number: 2 });
  const snapshots = await settled(quiet.api, quiet.watch, ({ data }) => data.number === 2);
  assert.deepEqual(
    snapshots.map(({ data }) => data.number),
    [1, 2],
  );
  const sessions = new Set(quiet.requests.map((url) => new URL(url).searchParams.get('SID')).filter(Boolean));
  assert.equal(sessions.size, 1, 'on its first stream');
  assert.deepEqual(quiet.complaints, []);
});

test('an emulator that is killed and restarted only delays a listener', async (t) => {
  const { api, connect } = await browser.open(t);
  const client = await connect(emulator.port);
  const write = async (path, fields) => (fields ? setDoc(doc(other, path), fields) : deleteDoc(doc(other, path)));
  for (let number = 0; number < 10; number += 1) {
    await write(`kept/${number}`, { number, round: 0 });
  }
  const one = await api.watch(client, 'kept/0');
  const all = await api.watch(client, { collection: 'kept', orderBy: [['number', 'asc']] });
  await settled(api, all, ({ docs, fromCache }) => !fromCache && docs.length === 10);
  for (let round = 1; round <= 2; round += 1) {
    await emulator.end('SIGKILL');
    const gone = Date.now();
    // While no client is connected: earlier writes are kept, others happen before the page is back.
    const writing = (async () => {
      await write('kept/0', { number: 0, round });
      await write(`kept/${9 - round}`, null);
      await write(`kept/${10 + round}`, { number: 10 + round, round });
    })();
    emulator = await startEmulator(data.path, emulator.port);
    await writing;
    // The three writes are three states; this waits for the last one.
    const snapshots = await settled(
      api,
      all,
      ({ docs, fromCache }) => !fromCache && docs.at(-1)?.id === `${10 + round}`,
    );
    const { docs } = snapshots.at(-1);
    const ids = docs.map(({ id }) => Number(id));
    assert.ok(ids.length === 10 && !ids.includes(9 - round) && docs[0].round === round, `${JSON.stringify(docs)}`);
    await settled(api, one, ({ data }) => data.round === round);
    console.log(`from the kill to an updated page: ${snapshots.at(-1).at - gone} ms`);
  }
  const { snapshots } = await api.snapshots(one);
  const rounds = snapshots.map(({ data }) => data.round);
  assert.deepEqual([...new Set(rounds)], [0, 1, 2], 'every state that was stored, in order');
});

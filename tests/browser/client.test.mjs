// The client against a fleet: all clips at the same time, one of them invalid, followed by three transports; cancel,
// retry, and a page that is left and reopened.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import {
  cancel,
  downloadUrl,
  exportAll,
  firestoreListener,
  firestorePolling,
  listBatches,
  rememberedBatches,
  restPolling,
  resume,
  retry,
  watchBatch,
} from '../../crates/console/web/clipfleet.js';
import { WAIT_TIMEOUT_MS, stage, store, until } from './support.mjs';

// The unmodified Firebase SDK that the conformance tests install.
const installed = createRequire(new URL('../../target/clients/node/package.json', import.meta.url));
const sdk = (name) => import(pathToFileURL(installed.resolve(name)));

let place, uri, api;
const sdks = {};
const storage = (() => {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
})();

before(
  async () => {
    place = await stage(30, 2);
    api = place.fleet.api;
    uri = await store(place.fleet, place.source, 'sources/a.mp4');
    const [host, port] = place.fleet.emulator.split(':');
    const { initializeApp } = await sdk('firebase/app');
    for (const [name, module] of [
      ['lite', 'firebase/firestore/lite'],
      ['whole', 'firebase/firestore'],
    ]) {
      const functions = await sdk(module);
      const db = functions.getFirestore(initializeApp({ projectId: 'clipfleet-local' }, name));
      functions.connectFirestoreEmulator(db, host, Number(port));
      sdks[name] = { ...functions, db };
    }
  },
  { timeout: 2 * WAIT_TIMEOUT_MS },
);

after(async () => {
  await Promise.all(Object.values(sdks).map(({ terminate, db }) => terminate(db)));
  await place?.end();
});

const clip = (clipId, startMs, endMs) => ({ clipId, startMs, endMs });
const base = () => ({ api, source: uri, ownerUid: 'u1', projectId: 'p1', output: { quality: '1080p' }, storage });

/** Records every state that a watch reports, until the test ends. */
function follow(t, batchId, clipIds, transport) {
  const states = [];
  const watch = watchBatch(batchId, (exports, batch) => states.push({ exports, batch }), {
    transport,
    clipIds,
    storage,
  });
  t.after(watch.stop);
  return { states, done: watch.done };
}

test(
  'one invalid clip, and the others become complete by three transports',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async (t) => {
    const clips = [
      clip('a', 0, 3_000),
      clip('upside-down', 4_000, 2_000),
      clip('b', 2_000, 27_000),
      clip('beyond', 100_000, 110_000),
    ];
    const { batchId, results } = await exportAll(clips, base());
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
    );
    assert.match(results[1].reason.message, /endMs/);

    const started = ['a', 'b', 'beyond'];
    const owners = ({ query, where }) => ({ query, where, ownerUid: 'u1' });
    const transports = {
      'REST polling': restPolling({ api, everyMs: 100 }),
      'Firestore polling': firestorePolling({ ...sdks.lite, ...owners(sdks.lite), everyMs: 100 }),
      'Firestore listener': firestoreListener({ ...sdks.whole, ...owners(sdks.whole) }),
    };
    const follows = Object.entries(transports).map(([name, transport]) => [
      name,
      follow(t, batchId, started, transport),
    ]);
    await Promise.all(follows.map(([, { done }]) => done));
    for (const [name, { states }] of follows) {
      const { exports, batch } = states.at(-1);
      assert.deepEqual(Object.keys(exports), started, name);
      assert.equal(batch.status, 'partial', name);
      for (const id of ['a', 'b']) {
        const { status, progress, phase, outputUrl, error, encoder } = exports[id];
        assert.deepEqual(
          { status, progress, phase, error },
          { status: 'completed', progress: 100, phase: 'done', error: null },
          name,
        );
        assert.ok(encoder, name);
        const video = await (await fetch(outputUrl)).blob();
        assert.deepEqual([video.type, video.size], ['video/mp4', Number(exports[id].outputSizeBytes)], name);
      }
      assert.equal(exports.beyond.status, 'failed', name);
      assert.equal(exports.beyond.error.code, 'window_beyond_end', name);
      for (const id of started) {
        const bar = states.map((it) => it.exports[id].progress);
        assert.ok(
          bar.every((percent, index) => index === 0 || percent >= bar[index - 1]),
          `${name}: ${id} went ${bar}`,
        );
      }
      const between = states.map((it) => it.exports.b.progress).filter((percent) => percent > 0 && percent < 100);
      assert.ok(new Set(between).size >= 2, `${name}: b jumped, ${between}`);
    }
  },
);

test(
  'a clip is cancelled and retried while a page is left and reopened',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async (t) => {
    const { batchId } = await exportAll([clip('c', 0, 20_000), clip('d', 1_000, 3_000)], {
      ...base(),
      note: { title: 'second' },
    });
    const first = follow(t, batchId, undefined, restPolling({ api, everyMs: 100 }));
    await until('c is processing', () => first.states.at(-1)?.exports.c.status === 'processing');
    assert.deepEqual(await cancel(batchId, 'c', { api, storage }), ['c']);
    await first.done;
    assert.equal(first.states.at(-1).exports.c.status, 'cancelled');
    assert.equal(first.states.at(-1).exports.d.status, 'completed');
    assert.deepEqual(await retry(batchId, 'c', { api, storage }), ['c']);

    assert.deepEqual(rememberedBatches({ storage }).map(({ title, over }) => [title, over])[0], ['second', false]);
    let latest;
    const again = resume(
      (id, exports) => {
        latest = { id, exports };
      },
      { transport: restPolling({ api, everyMs: 100 }), storage },
    );
    t.after(again.stop);
    assert.deepEqual(again.batchIds, [batchId]);
    // Clips are read after their batch: a clip may be complete in an answer whose batch is still processing.
    const about = () => rememberedBatches({ storage })[0];
    await until(
      'c is complete and its batch has ended',
      () => latest?.exports.c.status === 'completed' && about().over,
    );
    assert.equal(latest.exports.c.generation, 1);
    assert.equal(about().status, 'completed');

    await assert.rejects(
      retry(batchId, 'c', { api, storage }),
      (error) => error.status === 409 && error.code === 'clip_not_retryable',
    );
    await assert.rejects(cancel('nobody', undefined, { api, storage }), (error) => error.status === 404);
  },
);

test(
  'batches are listed by owner and page, a clip made again is reused, and a ZIP file has what is complete',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async (t) => {
    const owner = { ...base(), ownerUid: 'u2', output: { quality: '720p' } };
    const ids = [];
    for (const reused of [false, true]) {
      const { batchId } = await exportAll([clip('e', 0, 2_000)], owner);
      const { done, states } = follow(t, batchId, undefined, restPolling({ api, everyMs: 100 }));
      await done;
      ids.unshift(batchId);
      assert.equal(states.at(-1).exports.e.reused, reused);
    }
    const first = await listBatches({ ownerUid: 'u2', pageSize: 1 }, { api });
    const second = await listBatches({ ownerUid: 'u2', pageSize: 1, pageToken: first.nextPageToken }, { api });
    assert.deepEqual(
      [...first.batches, ...second.batches].map(({ batchId, ownerUid, sourceUri }) => [batchId, ownerUid, sourceUri]),
      ids.map((batchId) => [batchId, 'u2', uri]),
    );
    await assert.rejects(listBatches({ status: 'nonsense' }, { api }), (error) => error.status === 400);

    const zip = await fetch(downloadUrl(ids[0], { api }));
    assert.match(zip.headers.get('content-disposition'), /^attachment/);
    const bytes = Buffer.from(await zip.arrayBuffer());
    assert.deepEqual(bytes.subarray(0, 4), Buffer.from('PK\x03\x04', 'latin1'));
    assert.ok(bytes.includes('a-e.mp4'), 'the entry is called after source and clip');
  },
);

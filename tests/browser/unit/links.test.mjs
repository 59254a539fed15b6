// Who the client is to the dispatcher, and where it says that a clip can be read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ClipfleetError,
  cancel,
  clipLinks,
  exportAll,
  firestoreListener,
  firestorePolling,
  listBatches,
  restPolling,
  watchBatch,
} from '../../../crates/console/web/clipfleet.js';
import { until } from '../../support/until.mjs';

const SIGNED = {
  batchId: 'b1',
  clipId: 'a b',
  outputUrl: 'https://storage.example/clip.mp4?X-Goog-Signature=00',
  coverUrl: null,
  expireTime: '2031-05-02T10:00:00Z',
};

/** A `fetch` that answers with `[status, json]` by method, path and headers, and records all three. */
function answering(answer) {
  const requests = [];
  const fetch = async (url, { method, headers }) => {
    requests.push({ request: `${method} ${url}`, headers });
    const [status, json] = answer({ url, headers, times: requests.length });
    return new Response(JSON.stringify(json), { status });
  };
  return { fetch, requests };
}
const refusal = (status, code) => [status, { error: { code, message: code, details: [] } }];

test('links are asked of the dispatcher: by its transport, or by the same options', async () => {
  const { fetch, requests } = answering(() => [200, SIGNED]);
  assert.deepEqual(await clipLinks('b1', 'a b', { fetch, api: '/api' }), SIGNED);
  const transport = restPolling({ fetch, api: 'https://clips.example', token: () => 't1' });
  assert.deepEqual(await clipLinks('b1', 'a b', { transport }), SIGNED);
  assert.deepEqual(
    requests.map(({ request, headers }) => `${request} ${headers.authorization ?? '-'}`),
    [
      'GET /api/v1/batches/b1/clips/a%20b:links -',
      'GET https://clips.example/v1/batches/b1/clips/a%20b:links Bearer t1',
    ],
  );
});

test('a fleet that gives no links says so, and is not asked again', async () => {
  const { fetch, requests } = answering(() => refusal(409, 'links_disabled'));
  const disabled = (error) => error instanceof ClipfleetError && error.code === 'links_disabled' && !error.retryable;
  await assert.rejects(clipLinks('b1', 'a', { fetch }), disabled);
  assert.equal(requests.length, 1);
});

test('a request for links that was not answered is sent again, until its signal says otherwise', async () => {
  const { fetch, requests } = answering(({ times }) => (times < 2 ? refusal(503, 'unavailable') : [200, SIGNED]));
  assert.equal((await clipLinks('b1', 'a', { fetch })).outputUrl, SIGNED.outputUrl);
  assert.equal(requests.length, 2);
  const stopped = new AbortController();
  stopped.abort(new Error('the page was left'));
  await assert.rejects(clipLinks('b1', 'a', { fetch, signal: stopped.signal }), /the page was left/);
  assert.equal(requests.length, 2);
});

test('transports for Firestore ask the function that they are given, and nothing without one', async () => {
  const unused = () => {};
  const sdk = { db: {}, doc: unused, collection: unused, onSnapshot: unused, getDoc: unused, getDocs: unused };
  for (const make of [firestoreListener, firestorePolling]) {
    const asked = [];
    const getLinks = async (ids) => {
      asked.push(ids);
      return { outputUrl: SIGNED.outputUrl };
    };
    const links = await clipLinks('b1', 'a', { transport: make({ ...sdk, getLinks }) });
    const { outputUrl } = SIGNED;
    assert.deepEqual(links, { batchId: 'b1', clipId: 'a', outputUrl, coverUrl: null, expireTime: null });
    assert.deepEqual(asked, [{ batchId: 'b1', clipId: 'a' }]);
    await assert.rejects(clipLinks('b1', 'a', { transport: make(sdk) }), /has no links.*getLinks/);
  }
});

test('an ID token is sent with every request, beside other headers', async () => {
  const { fetch, requests } = answering(() => [200, { batches: [], nextPageToken: '', clips: [] }]);
  const options = { fetch, token: async () => 'id-token', headers: () => ({ 'x-trace': '1' }), storage: null };
  await listBatches({}, options);
  await cancel('b1', 'a', options);
  const clips = [{ startMs: 0, endMs: 1_000 }];
  await exportAll(clips, { ...options, source: 'gs://b/o.mp4', ownerUid: 'u', projectId: 'p' });
  const watch = watchBatch('b1', () => {}, { transport: restPolling({ ...options, everyMs: 1 }), storage: null });
  await until('the watch asks', () => requests.length >= 5);
  watch.stop();
  for (const { headers } of requests) {
    assert.deepEqual([headers.authorization, headers['x-trace']], ['Bearer id-token', '1']);
  }
});

test('a token that is refused is asked for anew, once', async () => {
  const refreshes = [];
  const token = (refresh) => {
    refreshes.push(refresh);
    return refresh ? 'new' : 'old';
  };
  const { fetch } = answering(({ headers }) =>
    (headers.authorization === 'Bearer new' ? [200, SIGNED] : refusal(401, 'unauthenticated')));
  assert.equal((await clipLinks('b1', 'a', { fetch, token })).outputUrl, SIGNED.outputUrl);
  assert.deepEqual(refreshes, [false, true]);

  const nobody = answering(() => refusal(401, 'unauthenticated'));
  const refused = (error) => error.status === 401 && !error.retryable;
  await assert.rejects(clipLinks('b1', 'a', { fetch: nobody.fetch, token }), refused);
  assert.equal(nobody.requests.length, 2);
  // Without a token there is nothing to try again with.
  const plain = answering(() => refusal(401, 'unauthenticated'));
  await assert.rejects(clipLinks('b1', 'a', { fetch: plain.fetch }), refused);
  assert.equal(plain.requests.length, 1);
});

test('a session that ended is begun anew by signIn, and the request that met it succeeds', async () => {
  let [signedIn, asked] = [false, 0];
  let finish;
  const signIn = () => {
    asked += 1;
    return new Promise((resolve) => { finish = resolve; });
  };
  const { fetch, requests } = answering(() => (signedIn ? [200, { clips: [{ clipId: 'a' }] }] : refusal(401, 'none')));
  const cancelling = cancel('b1', 'a', { fetch, signIn });
  await until('it asks', () => asked === 1);
  assert.equal(requests.length, 1, 'nothing is sent meanwhile');
  signedIn = true;
  finish();
  assert.deepEqual(await cancelling, ['a']);
  assert.equal(requests.length, 2);
});

test('a stopped watch does not go on after signing in', async () => {
  const end = { finish: null };
  const signIn = () => new Promise((resolve) => { end.finish = resolve; });
  const { fetch, requests } = answering(() => refusal(401, 'none'));
  const watch = watchBatch('b1', () => {}, { transport: restPolling({ fetch, signIn }), storage: null });
  await until('it asks', () => end.finish);
  watch.stop();
  end.finish();
  // Everything that was going to follow has, in memory.
  await new Promise(setImmediate);
  assert.equal(requests.length, 1);
});

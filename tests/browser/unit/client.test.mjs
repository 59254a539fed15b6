// The client's own rules, without a fleet: how it handles answers that are late, duplicated, reordered or lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ClipfleetError,
  QUEUED,
  cancel,
  downloadUrl,
  exportAll,
  firestoreListener,
  firestorePolling,
  fold,
  forgetBatch,
  listBatches,
  rememberedBatches,
  restPolling,
  resume,
  retry,
  watchBatch,
} from '../../../crates/console/web/clipfleet.js';

/** Web storage in memory. */
function memory() {
  const kept = new Map();
  return { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
}

/** A `fetch` that answers by a function of method, path and body: `[status, json]`, or an error to throw. */
function answering(answer) {
  const requests = [];
  const fetch = async (url, { method, body }) => {
    requests.push(`${method} ${url}`);
    const given = answer(method, url, body && JSON.parse(body), requests.length);
    if (given instanceof Error) {
      throw given;
    }
    const [status, json] = given;
    return new Response(typeof json === 'string' ? json : JSON.stringify(json), { status });
  };
  return { fetch, requests };
}

const clips = [
  { clipId: 'a', startMs: 0, endMs: 1_000 },
  { clipId: 'b', startMs: 5_000, endMs: 4_000 },
  { clipId: 'c', startMs: 0, endMs: 2_000 },
];
const request = { source: 'gs://b/s.mp4', ownerUid: 'u', projectId: 'p', batchId: 'b1' };
const accepted = (body) => [
  202,
  {
    batchId: body.batchId,
    clips: body.clips.map(({ clipId }) => ({ clipId, document: `exportBatches/b1/clips/${clipId}` })),
  },
];
const refused = (...details) => [400, { error: { code: 'invalid_request', message: 'bad fields', details } }];
const settle = () =>
  new Promise((resolve) => {
    setTimeout(resolve, 20);
  });

test('a refused clip does not prevent the others from starting', async () => {
  const { fetch, requests } = answering((_, __, body) =>
    body.clips.length === 3
      ? refused({ field: 'clips[1].endMs', reason: 'must be greater than startMs' })
      : accepted(body),
  );
  const storage = memory();
  const { batchId, results } = await exportAll(clips, { ...request, fetch, storage });
  assert.equal(batchId, 'b1');
  assert.deepEqual(
    results.map(({ clipId, status }) => `${clipId} ${status}`),
    ['a fulfilled', 'b rejected', 'c fulfilled'],
  );
  assert.match(results[1].reason.message, /^endMs must be greater than startMs$/);
  assert.equal(results[2].value.document, 'exportBatches/b1/clips/c');
  assert.equal(requests.length, 2);
  assert.deepEqual(rememberedBatches({ storage })[0].clipIds, ['a', 'c']);
});

test('a clip that is refused in the second round is identified by its own index', async () => {
  const { fetch } = answering((_, __, body) => {
    const index = body.clips.findIndex(({ clipId }) => clipId !== 'c');
    return index < 0 ? accepted(body) : refused({ field: `clips[${index}].clipId`, reason: 'no' });
  });
  const { results } = await exportAll(clips, { ...request, fetch, storage: null });
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'fulfilled'],
  );
});

test('an error of the whole request is the reason of every clip', async () => {
  const { fetch } = answering(() =>
    refused({ field: 'source.uri', reason: 'must lie in an allowed bucket' }, { field: 'clips[1].endMs', reason: 'x' }),
  );
  const { results } = await exportAll(clips, { ...request, fetch, storage: memory() });
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'rejected', 'rejected'],
  );
  assert.equal(results[0].reason.code, 'invalid_request');
});

test('a request without an answer is sent again with the same id', async () => {
  const bodies = [];
  const { fetch } = answering((_, __, body, times) => {
    bodies.push(body.batchId);
    return (
      [new TypeError('connection reset'), [503, { error: { code: 'unavailable', message: 'later', details: [] } }]][
        times - 1
      ] ?? accepted(body)
    );
  });
  const { batchId, results } = await exportAll(clips, { ...request, batchId: undefined, fetch, storage: null });
  assert.equal(results.filter(({ status }) => status === 'fulfilled').length, 3);
  assert.deepEqual(bodies, [batchId, batchId, batchId]);
  assert.match(batchId, /^web-[a-z0-9-]+$/);
});

test('a permanent error is not retried; an HTML error page is handled', async () => {
  const { fetch, requests } = answering(() => [403, '<html>no</html>']);
  await assert.rejects(
    cancel('b1', 'a', { fetch }),
    (error) => error instanceof ClipfleetError && error.status === 403 && !error.retryable,
  );
  assert.deepEqual(requests, ['POST /v1/batches/b1/clips/a:cancel']);
});

test('a custom submit function is used, and violations of a callable function are parsed', async () => {
  const submit = async (sent) => {
    if (sent.clips.length === 3) {
      throw Object.assign(new Error('bad'), {
        code: 'invalid-argument',
        details: { code: 'invalid_request', violations: [{ field: 'clips[0].startMs', reason: 'no' }] },
      });
    }
    return { batchId: sent.batchId, clips: [] };
  };
  const { results } = await exportAll(clips, { ...request, submit, storage: null });
  assert.deepEqual(
    results.map(({ status }) => status),
    ['rejected', 'fulfilled', 'fulfilled'],
  );
});

test('a call without clips is a TypeError', async () => {
  await assert.rejects(exportAll([], request), TypeError);
});

test('progress never decreases, terminal states stay, and a retry starts again', () => {
  const half = fold(QUEUED, { status: 'processing', progress: 50, phase: 'encoding', generation: 0 });
  assert.equal(fold(half, { status: 'processing', progress: 30, phase: 'fetching', generation: 0 }).progress, 50);
  const done = fold(half, { status: 'completed', progress: 100, phase: 'done', generation: 0, etaSeconds: 3 });
  assert.equal(done.etaSeconds, null);
  assert.equal(fold(done, { status: 'processing', progress: 99, generation: 0 }), done);
  const again = fold(done, { status: 'queued', progress: 0, phase: 'queued', generation: 1 });
  assert.deepEqual([again.status, again.progress, again.generation], ['queued', 0, 1]);
  assert.equal(fold(again, { status: 'completed', progress: 100, generation: 0 }), again);
  assert.equal(
    fold(again, { status: 'queued', progress: 0, phase: 'queued', generation: 1 }),
    again,
    'an unchanged state is the same object',
  );
});

test('a clip that was reused says so, and a clip without the field was not', () => {
  const done = { status: 'completed', progress: 100, phase: 'done', generation: 0 };
  assert.equal(fold(QUEUED, { ...done, reused: true }).reused, true);
  assert.equal(fold(QUEUED, done).reused, false);
});

test('batches are listed by page; filters that are not given are not sent', async () => {
  const { fetch, requests } = answering(() => [200, { batches: [], nextPageToken: '' }]);
  await listBatches({}, { fetch });
  const page = await listBatches({ status: 'failed', ownerUid: 'a b', pageSize: 50, pageToken: '', projectId: null }, {
    fetch,
    api: '/proxy',
  });
  assert.deepEqual(page, { batches: [], nextPageToken: '' });
  assert.deepEqual(requests, [
    'GET /v1/batches',
    'GET /proxy/v1/batches?status=failed&ownerUid=a+b&pageSize=50',
  ]);
});

test('the ZIP file of a batch has an address of its own', () => {
  assert.equal(downloadUrl('web-1'), '/v1/batches/web-1/clips.zip');
  assert.equal(downloadUrl('a/b', { api: '/proxy' }), '/proxy/v1/batches/a%2Fb/clips.zip');
});

/** A transport that the test controls. */
function controlled() {
  const link = {};
  const transport = (batchId, observer) => {
    Object.assign(link, observer, { stopped: false, refreshed: 0 });
    return {
      stop: () => {
        link.stopped = true;
      },
      refresh: () => {
        link.refreshed += 1;
      },
    };
  };
  return { link, transport };
}

test('a watch shows known clips as queued before any document exists, and only reports changes', async () => {
  const { link, transport } = controlled();
  const states = [];
  const watch = watchBatch('b1', (exports, batch) => states.push([exports, batch]), {
    transport,
    clipIds: ['a', 'b'],
    storage: null,
  });
  await settle();
  assert.deepEqual(
    Object.values(states[0][0]).map(({ status }) => status),
    ['queued', 'queued'],
  );
  const answer = {
    batch: { status: 'processing', progress: 10, totalClips: 2 },
    clips: [{ clipId: 'a', status: 'processing', progress: 20, generation: 0 }],
  };
  link.next(answer);
  link.next(answer);
  assert.equal(states.length, 2);
  assert.equal(states[1][0].b, states[0][0].b);
  assert.equal(states[1][0].a.progress, 20);
  link.next({ batch: { status: 'processing', progress: 8, totalClips: 2 }, clips: [] });
  assert.equal(states.length, 2, 'an older answer is ignored');
  watch.stop();
  link.next({ batch: { status: 'failed', progress: 100, totalClips: 2 }, clips: [] });
  assert.equal(states.length, 2);
  assert.ok(link.stopped);
});

test('done waits for every clip, and a batch that was refused as a whole fails them all', async () => {
  const { link, transport } = controlled();
  const watch = watchBatch('b1', () => {}, { transport, clipIds: ['a', 'b'], storage: null });
  link.next({
    batch: {
      status: 'failed',
      progress: 0,
      totalClips: 0,
      error: { code: 'invalid_request', message: 'no', retryable: false },
    },
    clips: [],
  });
  const exports = await watch.done;
  assert.deepEqual(
    Object.values(exports).map(({ status, error }) => `${status} ${error.code}`),
    ['failed invalid_request', 'failed invalid_request'],
  );
  watch.stop();
});

test('cancel and retry refresh immediately, and a retried batch is remembered as running', async () => {
  const storage = memory();
  const { fetch } = answering((method, url, body) =>
    url.endsWith('/v1/batches') ? accepted(body) : [202, { batchId: 'b1', clips: [{ clipId: 'a' }] }],
  );
  await exportAll(clips, { ...request, fetch, storage });
  const { link, transport } = controlled();
  const watch = watchBatch('b1', () => {}, { transport, storage });
  const over = ['a', 'b', 'c'].map((clipId) => ({ clipId, status: 'cancelled', progress: 0, generation: 0 }));
  link.next({ batch: { status: 'cancelled', progress: 0, totalClips: 3 }, clips: over });
  assert.equal(rememberedBatches({ storage })[0].over, true);
  assert.deepEqual(await retry('b1', 'a', { fetch, storage }), ['a']);
  assert.equal(link.refreshed, 1);
  assert.equal(rememberedBatches({ storage })[0].over, false);
  watch.stop();
});

test('a terminal state from before a retry is reverted', async () => {
  const storage = memory();
  const { fetch } = answering((_, __, body) => accepted(body));
  await exportAll(clips, { ...request, fetch, storage });
  const { link, transport } = controlled();
  const resumed = resume(() => {}, { transport, storage });
  const report = (...statuses) =>
    link.next({
      batch: { status: statuses.includes('processing') ? 'processing' : 'partial', progress: 50, totalClips: 3 },
      clips: statuses.map((status, index) => ({
        clipId: 'abc'[index],
        status,
        progress: 0,
        generation: status === 'processing' ? 1 : 0,
      })),
    });
  report('completed', 'completed', 'cancelled');
  const remembered = () => rememberedBatches({ storage }).map(({ over, status }) => [over, status])[0];
  assert.deepEqual(remembered(), [true, 'partial']);
  report('completed', 'completed', 'processing');
  assert.deepEqual(remembered(), [false, null]);
  resumed.stop();
});

test('after a reload, every unfinished batch is followed again', async () => {
  const storage = memory();
  const { fetch } = answering((_, __, body) => accepted(body));
  for (const batchId of ['one', 'two', 'three']) {
    await exportAll(clips, { ...request, batchId, fetch, storage, note: { title: batchId } });
  }
  forgetBatch('two', { storage });
  const { transport } = controlled();
  const shown = new Set();
  const resumed = resume((batchId) => shown.add(batchId), { transport, storage });
  await settle();
  assert.deepEqual(resumed.batchIds, ['three', 'one']);
  assert.deepEqual([...shown], ['three', 'one']);
  assert.equal(rememberedBatches({ storage })[0].title, 'three');
  resumed.stop();
});

test('full, forbidden or broken storage only loses the memory', async () => {
  const { fetch } = answering((_, __, body) => accepted(body));
  const broken = {
    getItem: () => '{nonsense',
    setItem: () => {
      throw new Error('full');
    },
  };
  const { results } = await exportAll(clips, { ...request, fetch, storage: broken });
  assert.equal(results[0].status, 'fulfilled');
  assert.deepEqual(rememberedBatches({ storage: broken }), []);
});

test('polling continues after failures, treats 404 as "not yet", and stops on request', async () => {
  const errors = [];
  const seen = [];
  const { fetch, requests } = answering(
    (_, __, ___, times) =>
      [[404, { error: { code: 'no_such_batch', message: 'none', details: [] } }], new TypeError('offline')][
        times - 1
      ] ?? [
        200,
        {
          batchId: 'b1',
          status: 'processing',
          progress: 5,
          totalClips: 1,
          clips: [{ clipId: 'a', status: 'processing', progress: 5 }],
        },
      ],
  );
  const watch = watchBatch('b1', (exports) => seen.push(exports.a?.progress), {
    transport: restPolling({ fetch, everyMs: 10 }),
    onError: (error) => errors.push(error.code),
    storage: null,
  });
  while (!seen.includes(5)) {
    await settle();
  }
  watch.stop();
  await settle();
  const before = requests.length;
  await settle();
  assert.equal(requests.length, before);
  assert.deepEqual(errors, ['unreachable']);
});

test('where an unknown batch cannot be on its way, the first 404 is an error', async () => {
  const unknown = { code: 'batch_not_found', message: 'none', details: [] };
  const { fetch, requests } = answering(() => [404, { error: unknown }]);
  const error = await new Promise((resolve) => {
    const watch = watchBatch('typo', () => {}, {
      transport: restPolling({ fetch, everyMs: 10, unknownMs: 0 }),
      onError: (reason) => {
        watch.stop();
        resolve(reason);
      },
      storage: null,
    });
  });
  assert.deepEqual([error.status, error.code, requests.length], [404, 'batch_not_found', 1]);
});

test('a failed Firestore listener is restarted', async () => {
  let started = 0;
  const ends = [];
  const onSnapshot = (what, next, error) => {
    started += 1;
    ends.push(what);
    const clipsOf = what.startsWith('clips');
    if (started === 1) {
      queueMicrotask(() => error(new Error('permission-denied')));
    } else {
      queueMicrotask(() =>
        next(
          clipsOf
            ? { docs: [{ id: 'a', data: () => ({ status: 'processing', progress: 7 }) }] }
            : { exists: () => true, data: () => ({ status: 'processing', progress: 7, totalClips: 1 }) },
        ),
      );
    }
    return () => {};
  };
  const transport = firestoreListener({ db: {}, onSnapshot, doc: () => 'batch', collection: () => 'clips' });
  const errors = [];
  const seen = await new Promise((resolve) => {
    const watch = watchBatch(
      'b1',
      (exports) => {
        watch.stop();
        resolve(exports);
      },
      { transport, onError: (error) => errors.push(error.message), storage: null },
    );
  });
  assert.equal(seen.a.progress, 7);
  assert.deepEqual(errors, ['permission-denied']);
  assert.deepEqual(ends.sort(), ['batch', 'batch', 'clips']);
});

test('rules that only let owners read require a query', () => {
  assert.throws(() => firestorePolling({ db: {}, ownerUid: 'u1' }), /query and where/);
});

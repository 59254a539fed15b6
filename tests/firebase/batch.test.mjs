// A page follows a real batch of `clipfleet up` with the unmodified SDK: the states that it receives, and their
// latency.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { doc, onSnapshot, terminate } from 'firebase/firestore';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { folder, freePort, otherClient, spread, startBrowser, startFleetOn, until } from './support.mjs';

const CLIPS = ['intro', 'wizard--clip-2', 'end'];
const BATCH = 'exportBatches/firebase-1';
const FINAL = ['completed', 'partial', 'failed', 'cancelled'];
const ends = [];
let fleet, port, browser, other, source;

before(async () => {
  const data = await folder();
  ends.push(data.end);
  source = join(data.path, 'source.mp4');
  const pictures = ['-f', 'lavfi', '-i', 'testsrc2=size=1280x720:rate=30:duration=36'];
  const audio = ['-f', 'lavfi', '-i', 'sine=frequency=330:beep_factor=4:sample_rate=48000:duration=36'];
  const codecs = [
    '-c:v',
    'libx264',
    '-preset',
    'ultrafast',
    '-pix_fmt',
    'yuv420p',
    '-c:a',
    'aac',
    '-movflags',
    '+faststart',
  ];
  execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...pictures, ...audio, ...codecs, source]);
  fleet = await startFleet(join(data.path, 'data'));
  ends.push(fleet.stop);
  port = Number(fleet.emulator.split(':')[1]);
  await upload(port);
  browser = await startBrowser();
  ends.push(browser.end);
  other = otherClient(port);
  ends.push(() => terminate(other));
});

after(async () => {
  for (const end of ends.reverse()) {
    await end();
  }
});

async function upload(port) {
  const url = `http://127.0.0.1:${port}/upload/storage/v1/b/clipfleet-local/o?uploadType=media&name=uploads/talk.mp4`;
  assert.equal((await fetch(url, { method: 'POST', body: readFileSync(source) })).status, 200);
}

/** The visible fields of a document. */
const shown = ({ status, progress }) => `${status} ${progress}`;

/** The values without adjacent repetitions. */
const changes = (all) => all.filter((one, index) => one !== all[index - 1]);

test('a page receives the states of a batch in order, by listening and by polling, like another client', async (t) => {
  const documents = [BATCH, ...CLIPS.map((clip) => `${BATCH}/clips/${clip}`)];
  const { api, connect, complaints } = await browser.open(t);
  const [listening, polling] = [await connect(port), await connect(port, 'lite')];
  const watches = [];
  for (const path of documents) {
    watches.push(await api.watch(listening, path));
  }
  const together = await api.watch(listening, { collection: `${BATCH}/clips` });

  // Another client, over gRPC, is the reference.
  const reference = new Map(documents.map((path) => [path, []]));
  const stops = documents.map((path) =>
    onSnapshot(doc(other, path), (snapshot) => {
      reference.get(path).push({ exists: snapshot.exists(), data: snapshot.data() });
    }),
  );
  for (const [index, path] of documents.entries()) {
    await until('the page listens', async () =>
      (await api.snapshots(watches[index])).snapshots.some(({ fromCache }) => !fromCache),
    );
    await until('the reference client, too', () => reference.get(path).length > 0);
  }

  const clips = CLIPS.map((clipId, index) => ({ clipId, startMs: index * 10_000, endMs: index * 10_000 + 14_000 }));
  const request = {
    batchId: 'firebase-1',
    ownerUid: 'u1',
    projectId: 'p1',
    source: { uri: 'gs://clipfleet-local/uploads/talk.mp4' },
    output: { quality: '1080p' },
    clips,
  };
  const answer = await fetch(`${fleet.api}/v1/batches`, { method: 'POST', body: JSON.stringify(request) });
  assert.equal(answer.status, 202);

  const polled = new Map(documents.map((path) => [path, []]));
  await until(
    'the batch ends',
    async () => {
      for (const path of documents) {
        const { exists, data } = await api.get(polling, path);
        polled.get(path).push(exists ? data : { status: 'queued', progress: 0 });
      }
      const all = await api.get(polling, { collection: `${BATCH}/clips`, orderBy: [['createdAt', 'asc']] });
      assert.ok(all.docs.length === 0 || all.docs.length === CLIPS.length);
      return FINAL.includes(polled.get(BATCH).at(-1).status);
    },
    250,
  );
  for (const watch of watches) {
    await until('the page has received the end', async () =>
      FINAL.includes((await api.snapshots(watch)).snapshots.at(-1).data?.status),
    );
  }
  await until('the reference client, too', () =>
    documents.every((path) => FINAL.includes(reference.get(path).at(-1).data?.status)),
  );
  stops.forEach((stop) => stop());

  const latencies = [];
  for (const [index, path] of documents.entries()) {
    const { snapshots, error } = await api.snapshots(watches[index]);
    assert.equal(error, null);
    assert.equal(snapshots[0].exists, false, 'before the first event there is no document, which is not an error');
    const states = (all) => all.filter(({ exists }) => exists).map(({ data }) => data);
    const data = states(snapshots);
    const shownStates = changes(data.map(shown));
    console.log(`  ${path}: ${shownStates.join(', ')}`);
    // A listener may miss a state that the next one followed immediately, so the page and the reference may differ.
    for (const [name, seen] of [
      ['listened', data],
      ['reference', states(reference.get(path))],
      ['polled', polled.get(path)],
    ]) {
      const statuses = changes(seen.map(({ status }) => status));
      const percents = seen.map(({ progress }) => progress);
      assert.deepEqual(
        statuses,
        ['queued', 'processing', 'completed'].filter((status) => statuses.includes(status)),
        `${path}, ${name}`,
      );
      assert.equal(statuses.at(-1), 'completed');
      assert.deepEqual(
        percents,
        [...percents].sort((a, b) => a - b),
        `${path}, ${name}: never decreases`,
      );
      assert.equal(percents.at(-1), 100);
    }
    assert.ok(shownStates.length >= 4, `${path} moves: ${shownStates}`);
    snapshots
      .filter(({ exists }) => exists)
      .forEach((snapshot, number, all) => {
        if (number === 0 || all[number - 1].data.status !== snapshot.data.status) {
          latencies.push(snapshot.at - snapshot.data.updatedAt);
        }
      });
  }
  console.log(`event to callback, changes of status: ${spread(latencies)}`);

  const { snapshots } = await api.snapshots(together);
  const last = snapshots.at(-1).docs;
  assert.deepEqual(
    last.map(({ id }) => id),
    [...CLIPS].sort(),
  );
  assert.ok(last.every(({ status, outputUrl, error }) => status === 'completed' && outputUrl && error === null));
  for (const { outputUrl } of last) {
    assert.equal((await fetch(outputUrl, { headers: { range: 'bytes=0-3' } })).status, 206);
  }
  assert.deepEqual(complaints, []);
});

test('a fleet that is killed continues after a restart, and so does the page', async (t) => {
  const data = await folder();
  const [emulator, api] = [await freePort(), await freePort()];
  let up = await startFleetOn(join(data.path, 'data'), emulator, api);
  t.after(async () => {
    await up.end();
    await data.end();
  });
  // Its bucket is created during the start.
  await until('it accepts the source', () =>
    upload(emulator).then(
      () => true,
      () => false,
    ),
  );
  const { api: page, connect } = await browser.open(t);
  const client = await connect(emulator);
  const watches = new Map();
  for (const path of ['exportBatches/killed', 'exportBatches/killed/clips/one', 'exportBatches/killed/clips/two']) {
    watches.set(path, await page.watch(client, path));
  }
  const request = {
    batchId: 'killed',
    ownerUid: 'u1',
    projectId: 'p1',
    source: { uri: 'gs://clipfleet-local/uploads/talk.mp4' },
    clips: [
      { clipId: 'one', startMs: 0, endMs: 12_000 },
      { clipId: 'two', startMs: 20_000, endMs: 26_000 },
    ],
  };
  const answer = await until('it accepts the batch', () =>
    fetch(`http://127.0.0.1:${api}/v1/batches`, { method: 'POST', body: JSON.stringify(request) }).catch(
      () => undefined,
    ),
  );
  assert.equal(answer.status, 202);
  const last = async (path) => (await page.snapshots(watches.get(path))).snapshots.at(-1)?.data;
  await until('a clip is processing', async () => ((await last('exportBatches/killed/clips/one'))?.progress ?? 0) > 0);
  await up.end('SIGKILL');
  up = await startFleetOn(join(data.path, 'data'), emulator, api);
  for (const path of watches.keys()) {
    await until(`${path} ends`, async () => FINAL.includes((await last(path))?.status));
  }
  const final = await (await fetch(`http://127.0.0.1:${api}/v1/batches/killed`)).json();
  assert.equal(final.status, 'completed');
  for (const [path, watch] of watches) {
    const { snapshots, error } = await page.snapshots(watch);
    assert.equal(error, null);
    const data = snapshots.filter(({ exists }) => exists).map((snapshot) => snapshot.data);
    console.log(`  ${path}: ${changes(data.map(shown)).join(', ')}`);
    const statuses = changes(data.map(({ status }) => status));
    assert.deepEqual(
      statuses,
      ['queued', 'processing', 'completed'].filter((status) => statuses.includes(status)),
      path,
    );
    const percents = data.map(({ progress }) => progress);
    assert.deepEqual(
      percents,
      [...percents].sort((a, b) => a - b),
      `${path}: never decreases`,
    );
  }
  const { attempt, outputUrl } = await last('exportBatches/killed/clips/one');
  assert.ok(attempt > 1, 'another attempt followed the one that died');
  assert.equal((await fetch(outputUrl, { headers: { range: 'bytes=0-3' } })).status, 206);
});

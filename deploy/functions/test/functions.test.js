// The functions under the Functions Framework against a fleet, with Google's unmodified clients: what a product's page would see.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Firestore } from '@google-cloud/firestore';
import { Storage } from '@google-cloud/storage';
import { PROJECT, startFleet, startFunction } from './processes.js';
import { startGuard, startMetadataServer, userToken } from './tokens.js';

const AUDIENCE = 'https://dispatcher.example.test';
const FINAL = ['completed', 'partial', 'failed', 'cancelled'];

/** Longest wait for anything the fleet is asked to do. */
const PATIENCE_MS = 120_000;

const folder = mkdtempSync(join(tmpdir(), 'clipfleet-functions-'));
const user = userToken('u1', PROJECT);
const stops = [];
let fleet, guard, db, storage, environments;
const functions = {};

/** Registers how to end what was started, in case the rest fails to start. */
async function started(starting) {
  const running = await starting;
  stops.push(running.stop);
  return running;
}

before(async () => {
  fleet = await started(startFleet(join(folder, 'data')));
  const metadata = await started(startMetadataServer());
  guard = await started(startGuard(fleet.api, metadata.publicKey, AUDIENCE));
  const base = {
    PUBSUB_EMULATOR_HOST: fleet.emulator,
    FIRESTORE_EMULATOR_HOST: fleet.emulator,
    GOOGLE_CLOUD_PROJECT: PROJECT,
    CLIPFLEET_SOURCE_PREFIX: 'gs://clipfleet-local/uploads/{uid}/',
    CLIPFLEET_DATABASE: '(default)',
    // Credentials of whoever runs the tests must not matter.
    HOME: folder,
  };
  // What Google's Functions emulator sets: tokens are decoded, their signatures not verified. The Firebase CLI refuses to deploy with them.
  const debug = { ...base, FIREBASE_DEBUG_MODE: 'true', FIREBASE_DEBUG_FEATURES: '{"skipTokenVerification":true}' };
  environments = {
    local: { ...debug, CLIPFLEET_DISPATCHER_URL: fleet.api },
    verified: { ...base, CLIPFLEET_DISPATCHER_URL: fleet.api },
    guarded: {
      ...debug,
      CLIPFLEET_DISPATCHER_URL: guard.url,
      CLIPFLEET_DISPATCHER_AUDIENCE: AUDIENCE,
      GCE_METADATA_HOST: metadata.host,
      METADATA_SERVER_DETECTION: 'assume-present',
      // Set by Cloud Run. Google's client is impatient where it does not know that there is a metadata server.
      K_SERVICE: 'functions',
    },
    withoutToken: { ...debug, CLIPFLEET_DISPATCHER_URL: guard.url },
    // The discard port: nothing listens there.
    withoutDispatcher: { ...debug, CLIPFLEET_DISPATCHER_URL: 'http://127.0.0.1:9' },
    namedDatabase: { ...debug, CLIPFLEET_DISPATCHER_URL: fleet.api, CLIPFLEET_DATABASE: 'clipfleet' },
    misconfigured: {
      ...debug,
      CLIPFLEET_DISPATCHER_URL: 'http://dispatcher.example.test',
      CLIPFLEET_SOURCE_PREFIX: 'gs://bucket/',
      CLIPFLEET_DATABASE: 'Fleet',
    },
  };
  functions.exportAllClips = await started(startFunction('exportAllClips', environments.local));
  functions.exportAllClipsDirect = await started(startFunction('exportAllClipsDirect', environments.guarded));
  functions.cancelExport = await started(startFunction('cancelExport', environments.local));
  functions.retryClip = await started(startFunction('retryClip', environments.guarded));
  functions.getClipLinks = await started(startFunction('getClipLinks', environments.guarded));

  process.env.FIRESTORE_EMULATOR_HOST = fleet.emulator;
  db = new Firestore({ projectId: PROJECT });
  storage = new Storage({ projectId: PROJECT, apiEndpoint: `http://${fleet.emulator}` });
  const source = join(folder, 'source.mp4');
  const pictures = ['-f', 'lavfi', '-i', 'testsrc2=size=960x540:rate=30:duration=6'];
  const sound = ['-f', 'lavfi', '-i', 'sine=frequency=330:beep_factor=4:sample_rate=48000:duration=6'];
  const codecs = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-c:a', 'aac', '-movflags', '+faststart'];
  execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...pictures, ...sound, ...codecs, source]);
  await storage.bucket('clipfleet-local').upload(source, { destination: 'uploads/u1/talk.mp4' });
});

after(async () => {
  await db?.terminate();
  await Promise.all(stops.reverse().map((stop) => stop()));
  rmSync(folder, { recursive: true, force: true });
});

/** A project as the product keeps it: with more in it than an export needs. */
const project = (more = {}) => ({
  ownerUid: 'u1',
  title: 'Talk',
  source: { uri: 'gs://clipfleet-local/uploads/u1/talk.mp4' },
  output: { quality: '720p' },
  clips: [
    { clipId: 'intro', title: 'Hello', startMs: 0, endMs: 1500 },
    { clipId: 'wizard--clip-2', score: 0.9, startMs: 1000, endMs: 3000, reframe: { mode: 'auto_center', position: 20 } },
    { clipId: 'end', startMs: 4000, endMs: 5500, audio: { normalizeLoudness: {} } },
  ],
  ...more,
});

const keep = (id, more) => db.doc(`wizardProjects/${id}`).set(project(more));

/** Listens to a document until it satisfies a condition; returns all that was seen of it. */
function watch(path, satisfied) {
  return new Promise((resolve, reject) => {
    const seen = [];
    const end = (settle, value) => {
      clearTimeout(timer);
      stop();
      settle(value);
    };
    const timer = setTimeout(() => end(reject, new Error(`${path} did not get there: ${JSON.stringify(seen.at(-1))}`)), PATIENCE_MS);
    const stop = db.doc(path).onSnapshot(
      (document) => {
        // No document yet means queued.
        const data = document.data() ?? { status: 'queued', progress: 0 };
        seen.push(data);
        if (satisfied(data)) {
          end(resolve, seen);
        }
      },
      (error) => end(reject, error),
    );
  });
}

const over = ({ status }) => FINAL.includes(status);
const become = (path, status) => watch(path, (data) => data.status === status);

const faults = () => `http://${fleet.emulator}/_clipfleet/faults`;

/** Makes the emulator misbehave by these rules alone; see `crates/emulator/README.md`. */
const setFaults = async (...rules) =>
  assert.equal((await fetch(faults(), { method: 'PUT', body: JSON.stringify({ seed: 1, rules }) })).status, 200);

/** How often the one rule struck. */
const struck = async () => (await (await fetch(faults())).json()).rules[0].struck;

function assertRefused(answer, status, code, fields = []) {
  assert.equal(answer.error?.status, status, JSON.stringify(answer));
  assert.equal(answer.error.details?.code, code, JSON.stringify(answer));
  assert.deepEqual(answer.error.details?.violations?.map(({ field }) => field) ?? [], fields, JSON.stringify(answer));
}

test('a project is exported: published, followed by listeners, downloaded', async () => {
  await keep('talk');
  const { http, result, error } = await functions.exportAllClips.call({ projectId: 'talk' }, user);
  assert.equal(http, 200, JSON.stringify(error));
  const document = `exportBatches/${result.batchId}`;
  assert.deepEqual(result, {
    batchId: result.batchId,
    document,
    clips: ['intro', 'wizard--clip-2', 'end'].map((clipId) => ({ clipId, document: `${document}/clips/${clipId}` })),
  });

  const [batch, ...clips] = await Promise.all([document, ...result.clips.map(({ document }) => document)].map((path) => watch(path, over)));
  assert.equal(batch.at(-1).status, 'completed', JSON.stringify(batch.at(-1)));
  assert.deepEqual([batch.at(-1).ownerUid, batch.at(-1).projectId, batch.at(-1).completedClips], ['u1', 'talk', 3]);
  for (const [index, seen] of clips.entries()) {
    const clip = seen.at(-1);
    assert.equal(clip.status, 'completed', JSON.stringify(clip));
    const progress = seen.map(({ progress }) => progress);
    assert.deepEqual(progress, progress.toSorted((a, b) => a - b), 'progress fell');
    assert.equal(progress.at(-1), 100);

    const [, bucket, name] = clip.outputUri.match(/^gs:\/\/([^/]+)\/(.+)$/);
    assert.match(name, /^processed-clips\/u1\//);
    const file = join(folder, `${index}.mp4`);
    await storage.bucket(bucket).file(name).download({ destination: file });
    assert.equal(statSync(file).size, clip.outputSizeBytes);
    const entries = 'stream=codec_name,width,height:format=duration';
    const found = JSON.parse(execFileSync('ffprobe', ['-v', 'error', '-show_entries', entries, '-of', 'json', file]));
    const { width, height } = found.streams.find(({ codec_name }) => codec_name === 'h264');
    assert.deepEqual([width, height], [720, 1280]);
    assert.ok(found.streams.some(({ codec_name }) => codec_name === 'aac'), 'there is sound');
    const { startMs, endMs } = project().clips[index];
    // Two pictures: the container counts the longer of picture and sound, whose last packet reaches over the end.
    assert.ok(Math.abs(found.format.duration - (endMs - startMs) / 1000) < 2 / 30, `${found.format.duration} s`);
  }
});

test('a request that is repeated starts nothing twice, even if its answer was lost', async () => {
  await keep('once');
  // The next publication is this function's: the fleet is quiet.
  await setFaults({ on: 'google.pubsub.v1.Publisher/Publish', fault: 'lose_answer', times: 1 });
  const call = { projectId: 'once', requestId: 'click-1', clipIds: ['intro'] };
  const first = await functions.exportAllClips.call(call, user);
  assert.equal(first.http, 200, JSON.stringify(first.error));
  assert.equal(await struck(), 1);
  await setFaults();
  const second = await functions.exportAllClips.call(call, user);
  assert.deepEqual(second.result, first.result);
  const other = await functions.exportAllClips.call({ ...call, requestId: 'click-2' }, user);
  assert.notEqual(other.result.batchId, first.result.batchId);
  for (const { result } of [first, other]) {
    const [batch] = (await watch(result.document, over)).slice(-1);
    assert.deepEqual([batch.status, batch.totalClips], ['completed', 1]);
    const [clip] = (await watch(result.clips[0].document, over)).slice(-1);
    assert.equal(clip.generation, 0, JSON.stringify(clip));
  }
});

test('the dispatcher is called with an OIDC token, and its answers are passed on', async () => {
  await keep('direct', { clips: [{ clipId: 'one', startMs: 0, endMs: 1000 }, { clipId: 'two', startMs: 1000, endMs: 900 }] });
  const call = (more) => functions.exportAllClipsDirect.call({ projectId: 'direct', requestId: 'r1', ...more }, user);
  assertRefused(await call({ output: { quality: '8k', fps: 31 } }), 'INVALID_ARGUMENT', 'invalid_request', [
    'output.quality',
    'output.fps',
    'clips[1].endMs',
  ]);
  const accepted = await call({ clipIds: ['one'] });
  assert.equal(accepted.http, 200, JSON.stringify(accepted.error));
  assert.deepEqual(accepted.result.clips, [{ clipId: 'one', document: `${accepted.result.document}/clips/one` }]);
  // It reaches the dispatcher with its signature, so that the dispatcher can check it, too.
  assert.match(guard.passed.at(-1), /^Bearer [^.]+\.[^.]+\.[^.]{300,}$/);
  assertRefused(await call({ clipIds: ['one'], output: { quality: '1080p' } }), 'ALREADY_EXISTS', 'batch_id_conflict', ['batchId']);
  await become(accepted.result.document, 'completed');

  await db.doc('wizardProjects/direct').update({ 'source.uri': 'gs://clipfleet-local/uploads/u1/missing.mp4' });
  assertRefused(await call({ requestId: 'r2', clipIds: ['one'] }), 'INVALID_ARGUMENT', 'source_not_found', ['source.uri']);
});

test('the links of a completed clip lead to its file and its cover', async () => {
  await keep('links', { clips: [{ clipId: 'one', startMs: 0, endMs: 1000, coverAtMs: 500 }] });
  const { result } = await functions.exportAllClips.call({ projectId: 'links' }, user);
  const ids = { batchId: result.batchId, clipId: 'one' };
  await watch(result.clips[0].document, ({ status }) => status === 'processing' || status === 'completed');
  const early = await functions.getClipLinks.call(ids, user);
  const clip = (await become(result.clips[0].document, 'completed')).at(-1);
  // On a quiet machine the clip may have been done before the question arrived.
  if (early.error) {
    assertRefused(early, 'FAILED_PRECONDITION', 'clip_not_completed');
  }

  const { result: links, error } = await functions.getClipLinks.call(ids, user);
  assert.deepEqual({ batchId: links?.batchId, clipId: links?.clipId }, ids, JSON.stringify(error));
  const found = await fetch(links.outputUrl);
  assert.equal((await found.arrayBuffer()).byteLength, clip.outputSizeBytes);
  assert.ok((await fetch(links.coverUrl)).ok, links.coverUrl);
  assert.ok(links.expireTime === null || new Date(links.expireTime) > new Date(), links.expireTime);

  const stranger = userToken('u2', PROJECT);
  assertRefused(await functions.getClipLinks.call(ids), 'UNAUTHENTICATED');
  assertRefused(await functions.getClipLinks.call(ids, stranger), 'PERMISSION_DENIED');
  assertRefused(await functions.getClipLinks.call({ ...ids, batchId: 'none' }, user), 'NOT_FOUND', 'batch_not_found');
  assertRefused(await functions.getClipLinks.call({ ...ids, clipId: 'none' }, user), 'NOT_FOUND', 'clip_not_found');
  assertRefused(await functions.getClipLinks.call({ batchId: ids.batchId }, user), 'INVALID_ARGUMENT', 'invalid_request', ['clipId']);
});

test('a batch is cancelled, waiting or at work; one of its clips is retried and completes', async () => {
  // Half a minute of work for the one slot, so that what comes behind it waits for as long as this looks at it.
  await keep('heavy', { output: { quality: '2160p', fps: 60 }, clips: [{ clipId: 'whole', startMs: 0, endMs: 5900 }] });
  const heavy = (await functions.exportAllClips.call({ projectId: 'heavy' }, user)).result;
  await become(heavy.clips[0].document, 'processing');
  await keep('twice');
  const { result } = await functions.exportAllClips.call({ projectId: 'twice' }, user);
  // Taken in: until then there is nothing to cancel.
  await watch(result.document, ({ totalClips }) => totalClips === 3);
  const [intro, second, end] = result.clips;

  const one = await functions.cancelExport.call({ batchId: result.batchId, clipId: intro.clipId }, user);
  assert.deepEqual(one.result, { batchId: result.batchId, clips: [{ clipId: 'intro' }] }, JSON.stringify(one.error));
  await become(intro.document, 'cancelled');
  const rest = await functions.cancelExport.call({ batchId: result.batchId }, user);
  assert.deepEqual(rest.result?.clips, [{ clipId: second.clipId }, { clipId: end.clipId }], JSON.stringify(rest.error));
  await become(result.document, 'cancelled');

  const again = await functions.retryClip.call({ batchId: result.batchId, clipId: intro.clipId }, user);
  assert.deepEqual(again.result?.clips, [{ clipId: 'intro' }], JSON.stringify(again.error));
  const stopped = await functions.cancelExport.call({ batchId: heavy.batchId }, user);
  assert.deepEqual(stopped.result?.clips, [{ clipId: 'whole' }], JSON.stringify(stopped.error));
  await become(heavy.document, 'cancelled');
  const clip = (await become(intro.document, 'completed')).at(-1);
  assert.deepEqual([clip.generation, clip.history.map(({ status }) => status)], [1, ['cancelled']]);
  assert.equal((await become(result.document, 'partial')).at(-1).cancelledClips, 2);
  assertRefused(
    await functions.retryClip.call({ batchId: result.batchId, clipId: intro.clipId }, user),
    'FAILED_PRECONDITION',
    'clip_not_retryable',
  );
});

test('only who owns a project or a batch may act on it', async () => {
  await keep('mine');
  const stranger = userToken('u2', PROJECT);
  for (const name of ['exportAllClips', 'exportAllClipsDirect']) {
    assertRefused(await functions[name].call({ projectId: 'mine' }), 'UNAUTHENTICATED');
    assertRefused(await functions[name].call({ projectId: 'mine' }, stranger), 'PERMISSION_DENIED');
    assertRefused(await functions[name].call({ projectId: 'nobody-s' }, user), 'NOT_FOUND');
  }
  const { result } = await functions.exportAllClipsDirect.call({ projectId: 'mine', clipIds: ['intro'] }, user);
  const clip = { batchId: result.batchId, clipId: 'intro' };
  for (const name of ['cancelExport', 'retryClip']) {
    assertRefused(await functions[name].call(clip), 'UNAUTHENTICATED');
    assertRefused(await functions[name].call(clip, stranger), 'PERMISSION_DENIED');
    assertRefused(await functions[name].call({ ...clip, batchId: 'none' }, user), 'NOT_FOUND', 'batch_not_found');
    assertRefused(await functions[name].call({ ...clip, clipId: 'none' }, user), 'NOT_FOUND', 'clip_not_found');
    assertRefused(await functions[name].call({ batchId: 'a/b', clipId: '..' }, user), 'INVALID_ARGUMENT', 'invalid_request', [
      'batchId',
      'clipId',
    ]);
  }
  await become(result.document, 'completed');

  // Whoever writes the project's document does not thereby read other people's uploads.
  for (const uri of ['gs://clipfleet-local/uploads/u2/talk.mp4', 'gs://clipfleet-local/uploads/u1', 'gs://elsewhere/uploads/u1/a.mp4']) {
    await keep('thief', { source: { uri } });
    assertRefused(await functions.exportAllClips.call({ projectId: 'thief' }, user), 'PERMISSION_DENIED');
  }
});

test('batches are in the database of the fleet, projects in that of the product', async () => {
  const named = new Firestore({ projectId: PROJECT, databaseId: 'clipfleet' });
  const cancel = await started(startFunction('cancelExport', environments.namedDatabase));
  const exportAll = await started(startFunction('exportAllClips', environments.namedDatabase));
  try {
    await named.doc('exportBatches/named').set({ ownerUid: 'u2' });
    await db.doc('exportBatches/default').set({ ownerUid: 'u2' });
    await named.doc('wizardProjects/moved').set(project());
    await keep('stays', { ownerUid: 'u2' });
    assertRefused(await cancel.call({ batchId: 'named' }, user), 'PERMISSION_DENIED');
    assertRefused(await functions.cancelExport.call({ batchId: 'default' }, user), 'PERMISSION_DENIED');
    // Not in the other one's database, and the dispatcher, which is asked then, reads that one, too.
    assertRefused(await functions.cancelExport.call({ batchId: 'named' }, user), 'NOT_FOUND', 'batch_not_found');
    assertRefused(await exportAll.call({ projectId: 'moved' }, user), 'NOT_FOUND');
    assertRefused(await exportAll.call({ projectId: 'stays' }, user), 'PERMISSION_DENIED');
  } finally {
    await named.terminate();
  }
});

test('without debug mode a token that Firebase did not sign is refused', async () => {
  await keep('mine');
  const verifying = await started(startFunction('exportAllClips', environments.verified));
  assertRefused(await verifying.call({ projectId: 'mine' }, user), 'UNAUTHENTICATED');
  assertRefused(await verifying.call({ projectId: 'mine' }), 'UNAUTHENTICATED');
});

test('what would only fail later is refused before it is published, field by field', async () => {
  const call = (more) => functions.exportAllClips.call({ projectId: 'bad', ...more }, user);
  assertRefused(await functions.exportAllClips.call({ projectId: 'a/b', requestId: '', clipIds: 'c1', output: [] }, user), 'INVALID_ARGUMENT', 'invalid_request', [
    'projectId',
    'requestId',
    'clipIds',
    'output',
  ]);
  assertRefused(await functions.exportAllClips.call(null, user), 'INVALID_ARGUMENT', 'invalid_request', ['projectId']);
  await keep('bad', {
    clips: [
      { clipId: 'ok', startMs: 0, endMs: 1000 },
      { clipId: 'ok', startMs: 0, endMs: 1000 },
      { clipId: 'a/b', startMs: -1, endMs: 1000 },
      { clipId: 'backwards', startMs: 1000, endMs: 500 },
      { clipId: 'seconds', startMs: 0.5, endMs: 12.5 },
      { startMs: 0, endMs: 'soon' },
    ],
  });
  const fields = ['clips[1].clipId', 'clips[2].clipId', 'clips[2].startMs', 'clips[3].endMs', 'clips[4].startMs', 'clips[5].clipId', 'clips[5].endMs'];
  assertRefused(await call(), 'INVALID_ARGUMENT', 'invalid_request', fields);
  assertRefused(await call({ clipIds: ['ok', 'gone'] }), 'INVALID_ARGUMENT', 'invalid_request', ['clipIds[1]']);
  await keep('bad', { clips: [] });
  assertRefused(await call(), 'INVALID_ARGUMENT', 'invalid_request', ['clips']);
});

test('what only the dispatcher can tell of a published batch stands in its document', async () => {
  await keep('later', { output: { quality: '8k' } });
  const { result } = await functions.exportAllClips.call({ projectId: 'later' }, user);
  const batch = (await watch(result.document, over)).at(-1);
  assert.deepEqual([batch.status, batch.error.code], ['failed', 'invalid_request']);
  assert.deepEqual(batch.error.details.map(({ field }) => field), ['output.quality']);
});

test('a service that does not answer is unavailable, one that refuses the function is nobody\'s fault but ours', async () => {
  await keep('mine');
  const batchId = (await functions.exportAllClipsDirect.call({ projectId: 'mine', clipIds: ['end'] }, user)).result.batchId;
  await become(`exportBatches/${batchId}`, 'completed');
  const withoutDispatcher = await started(startFunction('cancelExport', environments.withoutDispatcher));
  assertRefused(await withoutDispatcher.call({ batchId }, user), 'UNAVAILABLE', 'unavailable');
  const withoutToken = await started(startFunction('cancelExport', environments.withoutToken));
  assertRefused(await withoutToken.call({ batchId }, user), 'INTERNAL', 'internal');

  const refuse = (code) => setFaults({ on: 'google.pubsub.v1.Publisher/Publish', fault: { refuse: { code } } });
  await refuse('UNAVAILABLE');
  assertRefused(await functions.exportAllClips.call({ projectId: 'mine' }, user), 'UNAVAILABLE', 'unavailable');
  // It was given up altogether: nothing is published behind the caller's back when the service is there again. The client waits
  // for at most a second between two tries.
  const tries = await struck();
  assert.ok(tries > 1, `${tries} tries`);
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  assert.equal(await struck(), tries);
  await refuse('PERMISSION_DENIED');
  assertRefused(await functions.exportAllClips.call({ projectId: 'mine' }, user), 'INTERNAL', 'internal');
  await setFaults();
});

test('the Firebase CLI finds five callable functions and the settings to ask for', () => {
  const found = join(folder, 'manifest.json');
  const cli = join(import.meta.dirname, '../node_modules/.bin/firebase-functions');
  execFileSync(process.execPath, [cli, '.'], {
    cwd: join(import.meta.dirname, '..'),
    env: { ...process.env, FUNCTIONS_MANIFEST_OUTPUT_PATH: found, GCLOUD_PROJECT: PROJECT },
  });
  const { endpoints, params } = JSON.parse(readFileSync(found));
  assert.deepEqual(Object.keys(endpoints).sort(), ['cancelExport', 'exportAllClips', 'exportAllClipsDirect', 'getClipLinks', 'retryClip']);
  assert.ok(Object.values(endpoints).every(({ platform, callableTrigger }) => platform === 'gcfv2' && callableTrigger));
  assert.deepEqual(
    params.filter(({ default: value }) => value === undefined).map(({ name }) => name),
    ['CLIPFLEET_DISPATCHER_URL', 'CLIPFLEET_SOURCE_PREFIX', 'CLIPFLEET_SERVICE_ACCOUNT'],
  );
});

test('bad settings are all named in the log and answered as no fault of the caller', async () => {
  const misconfigured = await started(startFunction('cancelExport', environments.misconfigured));
  assertRefused(await misconfigured.call({ batchId: 'b1' }, user), 'INTERNAL');
  const output = misconfigured.output.join('\n');
  assert.match(output, /CLIPFLEET_DISPATCHER_URL must begin with https/);
  assert.match(output, /CLIPFLEET_SOURCE_PREFIX must have the form/);
  assert.match(output, /CLIPFLEET_DATABASE must be \(default\), or/);
});

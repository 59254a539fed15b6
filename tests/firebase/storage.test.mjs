// Links with a download token, by the unmodified Firebase web SDK in a browser and in Node, against the emulator.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { initializeApp } from 'firebase/app';
import { connectStorageEmulator, getDownloadURL, getStorage, ref } from 'firebase/storage';
import { PROJECT, folder, freePort, startBrowser, startEmulator } from './support.mjs';

const BUCKET = 'clips-of-firebase.appspot.com';
const NAME = 'processed-clips/u1/für Élise #1+é.mp4';
const TOKEN = '0b8a3f0e-0000-4000-8000-00000000000a';
const URI = `gs://${BUCKET}/${NAME}`;
const ends = [];
let emulator, browser, base, video;

before(async () => {
  const data = await folder();
  ends.push(data.end);
  const path = join(data.path, 'clip.mp4');
  const picture = ['-f', 'lavfi', '-i', 'testsrc2=size=180x320:rate=30:duration=2'];
  const codec = ['-c:v', 'libx264', '-preset', 'ultrafast', '-pix_fmt', 'yuv420p', '-movflags', '+faststart'];
  execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...picture, ...codec, path]);
  video = readFileSync(path);
  emulator = await startEmulator(join(data.path, 'data'), await freePort());
  ends.push(() => emulator.end());
  base = `http://127.0.0.1:${emulator.port}`;
  const created = await fetch(`${base}/storage/v1/b`, { method: 'POST', body: JSON.stringify({ name: BUCKET }) });
  assert.equal(created.status, 200);
  await upload(NAME, { firebaseStorageDownloadTokens: TOKEN });
  browser = await startBrowser();
  ends.push(browser.end);
});

after(async () => {
  for (const end of ends.reverse()) {
    await end();
  }
});

/** Stores the video as a service does: by Cloud Storage's API, with custom metadata. */
async function upload(name, metadata) {
  const head = { name, contentType: 'video/mp4', metadata };
  const body = Buffer.concat([
    Buffer.from(`--part\r\ncontent-type: application/json\r\n\r\n${JSON.stringify(head)}\r\n`),
    Buffer.from('--part\r\ncontent-type: video/mp4\r\n\r\n'),
    video,
    Buffer.from('\r\n--part--\r\n'),
  ]);
  const answer = await fetch(`${base}/upload/storage/v1/b/${BUCKET}/o?uploadType=multipart`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/related; boundary=part' },
    body,
  });
  assert.equal(answer.status, 200);
}

/** The link that a service writes for an object and its token. */
const link = (name, token) => `${base}/v0/b/${BUCKET}/o/${encodeURIComponent(name)}?alt=media&token=${token}`;

const connect = (api) => api.connectStorage({ project: PROJECT, host: '127.0.0.1', port: emulator.port });

test('getDownloadURL returns the link of a token, which a page fetches and plays without the SDK', async (t) => {
  const { api, complaints } = await browser.open(t);
  const client = await connect(api);
  const { done: url } = await api.downloadUrl(client, URI);
  assert.equal(url, link(NAME, TOKEN));

  const whole = await api.fetchLink(url);
  assert.equal(whole.status, 200);
  assert.ok(Buffer.from(whole.bytes).equals(video));
  const part = await api.fetchLink(url, 'bytes=4-7');
  assert.deepEqual(
    [part.status, part.range, Buffer.from(part.bytes).toString()],
    [206, `bytes 4-7/${video.length}`, 'ftyp'],
  );
  const { width, height, duration } = await api.play(url);
  assert.deepEqual([width, height, Math.round(duration)], [180, 320, 2]);

  const { done: metadata } = await api.objectMetadata(client, URI);
  assert.deepEqual(
    [metadata.bucket, metadata.fullPath, metadata.size, metadata.contentType, metadata.customMetadata],
    [BUCKET, NAME, video.length, 'video/mp4', undefined],
  );
  assert.ok(Date.now() - Date.parse(metadata.timeCreated) < 3_600_000, metadata.timeCreated);
  assert.deepEqual(complaints, []);
});

test('Node gets the same link', async () => {
  const storage = getStorage(initializeApp({ projectId: PROJECT }, 'links'));
  connectStorageEmulator(storage, '127.0.0.1', emulator.port);
  const url = await getDownloadURL(ref(storage, URI));
  assert.equal(url, link(NAME, TOKEN));
  assert.ok(Buffer.from(await (await fetch(url)).arrayBuffer()).equals(video));
});

test('a revoked link stops, and the SDK returns the current one', async (t) => {
  const name = 'revoked.mp4';
  await upload(name, { firebaseStorageDownloadTokens: TOKEN });
  const { api } = await browser.open(t);
  const client = await connect(api);
  const { done: first } = await api.downloadUrl(client, `gs://${BUCKET}/${name}`);
  assert.equal(first, link(name, TOKEN));
  const revoked = await fetch(`${base}/v0/b/${BUCKET}/o/${name}?delete_token=${TOKEN}`, { method: 'POST' });
  assert.equal(revoked.status, 200);
  assert.equal((await api.fetchLink(first)).status, 403);
  const { done: second } = await api.downloadUrl(client, `gs://${BUCKET}/${name}`);
  assert.notEqual(second, first);
  assert.equal((await api.fetchLink(second)).status, 200);
});

test('the SDK gets a link for an object without a token, and a named error for a missing object', async (t) => {
  await upload('without.mp4', {});
  const { api } = await browser.open(t);
  const client = await connect(api);
  const { done: url } = await api.downloadUrl(client, `gs://${BUCKET}/without.mp4`);
  assert.equal((await api.fetchLink(url)).status, 200);
  assert.equal((await api.downloadUrl(client, `gs://${BUCKET}/missing.mp4`)).code, 'storage/object-not-found');
});

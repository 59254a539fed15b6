// Cloud Storage, through @google-cloud/storage, and with plain requests where the client hides the protocol.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { pipeline } from 'node:stream/promises';
import { Readable } from 'node:stream';
import { Storage } from '@google-cloud/storage';
import { PROJECT, refused, unique } from './support.mjs';

const HOST = process.env.STORAGE_EMULATOR_HOST;
const byVariable = new Storage({ projectId: PROJECT });
// The client uses the variable as the whole base URL, without the `/storage/v1` that it adds to `apiEndpoint`. Its
// documentation recommends the option, so all checks except one use that.
delete process.env.STORAGE_EMULATOR_HOST;
const gcs = new Storage({ projectId: PROJECT, apiEndpoint: HOST });
const QUARTER_MEBIBYTE = 256 * 1024;
const md5 = (content) => createHash('md5').update(content).digest('base64');
const text = async (file, options) => (await file.download(options))[0].toString();
const names = (files) => files.map((file) => file.name);

describe('Cloud Storage', { concurrency: true }, () => {
  let bucket;
  before(async () => {
    [bucket] = await gcs.createBucket(unique('clipfleet-node'));
  });
  const ownBucket = async () => (await gcs.createBucket(unique('clipfleet-own')))[0];
  const newFile = () => bucket.file(unique('object'));
  const create = { preconditionOpts: { ifGenerationMatch: 0 } };

  test('a bucket is created once, found, listed and deleted when empty', async () => {
    // Reference, Buckets: 409 for one that exists and for deleting one that is not empty, 404 for a missing one.
    const own = await ownBucket();
    await refused(gcs.createBucket(own.name), 409);
    assert.deepEqual(await own.exists(), [true]);
    assert.deepEqual(names((await gcs.getBuckets({ prefix: own.name }))[0]), [own.name]);
    await own.file('x').save('x');
    await refused(own.delete(), 409);
    await own.file('x').delete();
    await own.delete();
    await refused(own.getMetadata(), 404);
  });

  test('the conventional variable is sufficient', async () => {
    // The client itself reads STORAGE_EMULATOR_HOST, and then requests `/b/...`.
    const [own] = await byVariable.createBucket(unique('clipfleet-variable'));
    await own.file('x').save('content', { resumable: false });
    assert.equal(await text(own.file('x')), 'content');
  });

  test('an object reads back with its checksums', async () => {
    // Reference, Objects: size, generation, md5Hash, crc32c.
    const [file, content] = [newFile(), randomBytes(5000)];
    await file.save(content, { contentType: 'video/mp4', resumable: false, validation: 'md5' });
    const [metadata] = await file.getMetadata();
    assert.deepEqual([Number(metadata.size), metadata.contentType], [5000, 'video/mp4']);
    assert.equal(metadata.md5Hash, md5(content));
    assert.ok(BigInt(metadata.generation) > 10n ** 15n);
    assert.deepEqual((await file.download({ validation: 'crc32c' }))[0], content);
  });

  test('an empty object is valid', async () => {
    // Reference, Objects: size 0, with the checksums of nothing.
    const file = newFile();
    await file.save('', { resumable: false });
    const [metadata] = await file.getMetadata();
    assert.deepEqual([Number(metadata.size), metadata.crc32c], [0, 'AAAAAA==']);
    assert.equal(metadata.md5Hash, '1B2M2Y8AsgTpgAmY7PhCfg==');
    assert.equal(await text(file), '');
  });

  test('an upload carries metadata', async () => {
    // Reference, Objects: the object has the metadata of its upload.
    const file = newFile();
    const given = { cacheControl: 'public, max-age=60', contentDisposition: 'inline', metadata: { clip: 'c1' } };
    await file.save('x', { resumable: false, metadata: given });
    const [{ cacheControl, contentDisposition, metadata }] = await file.getMetadata();
    assert.deepEqual({ cacheControl, contentDisposition, metadata }, given);
  });

  test('a resumable upload in chunks', async () => {
    // Resumable uploads, multiple chunks.
    const [file, content] = [newFile(), randomBytes(2 * QUARTER_MEBIBYTE + 17)];
    await file.save(content, { resumable: true, chunkSize: QUARTER_MEBIBYTE, validation: 'crc32c' });
    assert.deepEqual((await file.download())[0], content);
  });

  test('a resumable upload of unknown size from a stream', async () => {
    // Resumable uploads, unknown size.
    const [file, content] = [newFile(), randomBytes(300_000)];
    const parts = [content.subarray(0, 100_000), content.subarray(100_000)];
    await pipeline(Readable.from(parts), file.createWriteStream({ resumable: true, contentType: 'video/mp4' }));
    assert.deepEqual((await file.download())[0], content);
  });

  test('an interrupted upload is resumed where it was', async () => {
    // Resumable uploads, Check the status: 308 with the stored Range; first with plain requests, then by the client.
    const [file, content] = [newFile(), randomBytes(QUARTER_MEBIBYTE + 1000)];
    const [uri] = await file.createResumableUpload();
    const put = (body, range) =>
      fetch(uri, { method: 'PUT', body, headers: { 'Content-Range': range }, redirect: 'manual' });
    const first = await put(content.subarray(0, QUARTER_MEBIBYTE), `bytes 0-${QUARTER_MEBIBYTE - 1}/${content.length}`);
    assert.deepEqual([first.status, first.headers.get('range')], [308, `bytes=0-${QUARTER_MEBIBYTE - 1}`]);
    const status = await put('', `bytes */${content.length}`);
    assert.deepEqual([status.status, status.headers.get('range')], [308, `bytes=0-${QUARTER_MEBIBYTE - 1}`]);
    await pipeline(Readable.from([content]), file.createWriteStream({ resumable: true, uri, offset: 0 }));
    assert.deepEqual((await file.download())[0], content);
  });

  test('wrong checksums are refused', async () => {
    // Data validation: 400, and no object.
    const file = newFile();
    const wrong = { resumable: false, metadata: { md5Hash: md5('other') } };
    await refused(file.save('content', wrong), 400);
    assert.deepEqual(await file.exists(), [false]);
  });

  test('an object is created only if absent', async () => {
    // Request preconditions, ifGenerationMatch=0: 412 when there is one, in one piece and resumable.
    const file = newFile();
    await file.save('first', { resumable: false, ...create });
    await refused(file.save('second', { resumable: false, ...create }), 412);
    const refusedLate = (error) => /412|condition/i.test(`${error.code} ${error.message}`);
    await assert.rejects(file.save('second', { resumable: true, ...create }), refusedLate);
    assert.equal(await text(file), 'first');
  });

  test('exactly one of many creators succeeds', async () => {
    // Request preconditions: exactly one concurrent upload with ifGenerationMatch=0 succeeds.
    const name = unique('object');
    const tries = [1, 2, 3, 4, 5].map((n) => bucket.file(name).save(String(n), { resumable: false, ...create }));
    const outcomes = await Promise.allSettled(tries);
    const codes = outcomes.map((outcome) => outcome.reason?.code).filter(Boolean);
    assert.deepEqual(codes, [412, 412, 412, 412]);
  });

  test('generations increase, and an overwritten one is gone', async () => {
    // Object versioning, off: 404 for an old generation; 412 for a stale precondition.
    const file = newFile();
    await file.save('first', { resumable: false });
    const { generation } = file.metadata;
    await file.save('second', { resumable: false, preconditionOpts: { ifGenerationMatch: generation } });
    assert.ok(BigInt(file.metadata.generation) > BigInt(generation));
    await refused(file.save('third', { resumable: false, preconditionOpts: { ifGenerationMatch: generation } }), 412);
    await refused(bucket.file(file.name, { generation }).download(), 404);
    assert.equal(await text(bucket.file(file.name, { generation: file.metadata.generation })), 'second');
  });

  test('ranges can be read, a range past the end is not satisfiable', async () => {
    // Reference, Objects: get, Range: both ends included; 416 beyond.
    const file = newFile();
    await file.save('0123456789', { resumable: false });
    assert.equal(await text(file, { start: 2, end: 4 }), '234');
    assert.equal(await text(file, { start: 7 }), '789');
    assert.equal(await text(file, { start: 8, end: 99 }), '89');
    assert.equal(await text(file, { end: -3 }), '789');
    await refused(file.download({ start: 10 }), 416);
  });

  test('an object is read as a stream', async () => {
    // Reference, Objects: get, alt=media; the client verifies the checksum of what it streamed.
    const [file, content] = [newFile(), randomBytes(3 * QUARTER_MEBIBYTE)];
    await file.save(content, { resumable: false });
    const parts = [];
    for await (const part of file.createReadStream({ validation: 'crc32c' })) parts.push(part);
    assert.deepEqual(Buffer.concat(parts), content);
  });

  test('a missing object is not found, in Google JSON', async () => {
    // Reference, standard errors: {"error": {"code", "message", "errors": [{"reason": "notFound", ...}]}}.
    const file = newFile();
    await refused(file.getMetadata(), 404);
    await refused(file.download(), 404);
    await refused(file.delete(), 404);
    const answer = await fetch(`${HOST}/storage/v1/b/${bucket.name}/o/${file.name}`);
    const { error } = await answer.json();
    assert.deepEqual([answer.status, error.code, error.errors[0].reason], [404, 404, 'notFound']);
  });

  test('a delete may require a generation', async () => {
    // Reference, Objects: delete: 412 on a stale generation.
    const file = newFile();
    await file.save('x', { resumable: false });
    await refused(file.delete({ ifGenerationMatch: Number(file.metadata.generation) + 1 }), 412);
    await file.delete({ ifGenerationMatch: file.metadata.generation });
    assert.deepEqual(await file.exists(), [false]);
  });

  test('lists are in order, in pages, below prefixes and up to delimiters', async () => {
    // Reference, Objects: list.
    const own = await ownBucket();
    for (const name of ['b', 'a/1', 'a/2', 'a/b/3', 'c/4']) await own.file(name).save(name, { resumable: false });
    assert.deepEqual(names((await own.getFiles())[0]), ['a/1', 'a/2', 'a/b/3', 'b', 'c/4']);
    const [first, next] = await own.getFiles({ maxResults: 2, autoPaginate: false });
    const [second] = await own.getFiles({ ...next, autoPaginate: false });
    assert.deepEqual([names(first), names(second)], [['a/1', 'a/2'], ['a/b/3', 'b']]);
    const [files, , answer] = await own.getFiles({ delimiter: '/', autoPaginate: false });
    assert.deepEqual([names(files), answer.prefixes], [['b'], ['a/', 'c/']]);
    assert.deepEqual(names((await own.getFiles({ prefix: 'a/' }))[0]), ['a/1', 'a/2', 'a/b/3']);
  });

  test('object names can be any text', async () => {
    // Objects, Object name requirements.
    const own = await ownBucket();
    const odd = ['größe 日本語 \u{1f3ac}', 'a/b//c/', '../up', 'what?#&=+', '100%', '%2F', '/leading', "quote'\"`<>\\"];
    for (const name of odd) {
      await own.file(name).save(name, { resumable: false });
      assert.deepEqual(names((await own.getFiles())[0]), [name]);
      assert.equal(await text(own.file(name)), name);
      await own.file(name).delete();
    }
  });

  test('metadata can be changed', async () => {
    // Reference, Objects: patch: the same generation, and the next metageneration.
    const file = newFile();
    await file.save('x', { resumable: false });
    const { generation } = file.metadata;
    await file.setMetadata({ metadata: { clip: 'c2' } });
    const [found] = await file.getMetadata();
    assert.deepEqual([found.generation, String(found.metageneration)], [generation, '2']);
    assert.deepEqual(found.metadata, { clip: 'c2' });
  });

  test('a signed URL reads and uploads what was signed, and expires', async () => {
    // Signed URLs (V4): signed by the client, with the emulator's key file.
    const credentials = await (await fetch(`${HOST}/_clipfleet/service-account`)).json();
    const signing = new Storage({ projectId: PROJECT, apiEndpoint: HOST, credentials });
    const file = signing.bucket(bucket.name).file(`${unique('signed')} ü.mp4`);
    const sign = async (options) => (await file.getSignedUrl({ version: 'v4', ...options }))[0];
    const [soon, contentType] = [Date.now() + 60_000, 'video/mp4'];
    const write = await sign({ action: 'write', expires: soon, contentType });
    const put = (type) => fetch(write, { method: 'PUT', body: 'content', headers: { 'content-type': type } });
    assert.equal((await put('text/plain')).status, 403);
    assert.equal((await put(contentType)).status, 200);
    const read = await sign({ action: 'read', expires: soon });
    assert.equal(await (await fetch(read)).text(), 'content');
    assert.equal((await fetch(read, { method: 'DELETE' })).status, 403);
    const changed = read.replace(/.$/, (last) => (last === '0' ? '1' : '0'));
    assert.match(await (await fetch(changed)).text(), /SignatureDoesNotMatch/);
  });
});

// Where exports are seen: the page of a batch, the header of every view, the history; with a fleet that answers, and
// with one that does not.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  DESKTOP,
  PHONE,
  WAIT_TIMEOUT_MS,
  assertAccessible,
  markClips,
  openVideo,
  recordComplaints,
  stage,
  startChromium,
  store,
  until,
} from './support.mjs';

const LIMIT = { timeout: 2 * WAIT_TIMEOUT_MS };

let place, browser, uri;
const record = { complaints: [], origins: new Set() };
/** What browsers log for a request that failed. Only pages whose requests are made to fail may log it. */
const FAILED_REQUEST = /Failed to load resource/;

before(async () => {
  place = await stage(30, 2);
  uri = await store(place.fleet, place.source, 'sources/talk.mp4');
  browser = await startChromium();
}, LIMIT);

after(async () => {
  await browser?.close();
  await place?.end();
});

/** A page of its own browser context, closed when the test ends. */
async function open(t, hash, { options = { viewport: DESKTOP }, mayFail = false, prepare } = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  t.after(async () => {
    // Requests that are being changed end with the page.
    await page.unrouteAll({ behavior: 'ignoreErrors' });
    await context.close();
  });
  const complaints = [];
  recordComplaints(page, { ...record, complaints });
  t.after(() => record.complaints.push(...complaints.filter((it) => !(mayFail && FAILED_REQUEST.test(it)))));
  await prepare?.(page, context);
  await page.goto(`${place.fleet.api}/console/${hash}`);
  await page.waitForSelector('html[data-ready]');
  return page;
}

let batches = 0;

/** Starts a batch as another client would: by the API, under another owner. */
async function startBatch(clips, { source = uri, batchId = `api-${(batches += 1)}`, quality = '720p' } = {}) {
  const body = { batchId, ownerUid: 'ann', projectId: 'shorts', source: { uri: source }, output: { quality }, clips };
  const response = await fetch(`${place.fleet.api}/v1/batches`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 202, await response.text());
  return batchId;
}

const clip = (clipId, startMs, endMs) => ({ clipId, startMs, endMs });
const cardOf = (page, clipId) => page.locator(`.clip[data-clip="${clipId}"]`);
const count = (page, status) => page.locator(`.clip[data-status=${status}]`).count();
const ended = (page) =>
  until('every clip is over', async () => {
    const statuses = await page.locator('.clip').evaluateAll((cards) => cards.map((it) => it.dataset.status));
    return statuses.length > 0 && !statuses.some((status) => ['queued', 'processing'].includes(status));
  });

/** Opens the video and marks twelve clips, a second apart. */
async function markTwelve(page) {
  await openVideo(page, place.source);
  await markClips(page, 12);
}

/** Presses Export All and measures, in the page, the time until three progress cards are entirely in view. */
function pressAndMeasure(page) {
  return page.evaluate(() => {
    const inView = (element) => {
      const { top, bottom, left, right, height } = element.getBoundingClientRect();
      return height > 0 && top >= 0 && left >= 0 && bottom <= innerHeight && right <= innerWidth;
    };
    const pressed = performance.now();
    document.querySelector('#export-all').click();
    return new Promise((resolve) => {
      const look = () => {
        const seen = [...document.querySelectorAll('.clip [role=progressbar]')].filter(inView).length;
        const elapsed = performance.now() - pressed;
        if (seen >= 3 || elapsed > 10_000) {
          resolve({ seen, elapsed });
        } else {
          requestAnimationFrame(look);
        }
      };
      look();
    });
  });
}

for (const [name, options] of [['desktop', { viewport: DESKTOP }], ['phone', PHONE]]) {
  test(`on a ${name}, three cards are in view one second after Export All, and other views show the export`, LIMIT,
    async (t) => {
      const page = await open(t, '', { options });
      await markTwelve(page);
      const { seen, elapsed } = await pressAndMeasure(page);
      console.log(`    ${name}: ${seen} cards in view after ${Math.round(elapsed)} ms`);
      assert.ok(seen >= 3 && elapsed <= 1_000, `${seen} cards in view after ${elapsed} ms`);
      const hash = new URL(page.url()).hash;
      assert.match(hash, /^#\/batch\/web-/);

      // The page is opened anew while the export runs: every view leads back to it, and the title counts.
      const again = await page.context().newPage();
      recordComplaints(again, record);
      await again.goto(`${place.fleet.api}/console/`);
      const pill = again.locator('.pill');
      await pill.waitFor();
      await until('the pill counts', async () => /^\d+ of 12/.test(await pill.textContent()));
      const percent = /^\d+ % · Interview – take 2\.mp4 · Clipfleet$/;
      await until('the title counts', async () => percent.test(await again.title()));
      for (const view of ['history', 'fleet']) {
        await again.goto(`${place.fleet.api}/console/#/${view}`);
        assert.ok(await pill.isVisible(), view);
      }
      await pill.click();
      await until('the batch is shown', async () => (await again.locator('.clip').count()) === 12);
      assert.equal(new URL(again.url()).hash, hash);

      await page.getByRole('button', { name: 'Cancel', exact: true }).click();
      await ended(page);
      assert.equal(await page.getByRole('button', { name: /^Retry/ }).count(), 0, 'cancelled is not failed');
      await page.getByRole('button', { name: /^Start \d+ clips? again$/ }).waitFor();
      await again.locator('.pill').waitFor({ state: 'hidden' });
      await until('the title is quiet', async () => !(await again.title()).includes('%'));
    });
}

test('a cancelled clip is started again by its own button, and the focus stays on its card', LIMIT, async (t) => {
  const batchId = await startBatch([clip('a', 0, 20_000), clip('b', 5_000, 25_000)], { quality: '1440p' });
  const page = await open(t, `#/batch/${batchId}`);
  const cancel = page.getByRole('button', { name: 'Cancel a', exact: true });
  await cancel.focus();
  await page.keyboard.press('Enter');
  await until('a is cancelled', async () => (await cardOf(page, 'a').getAttribute('data-status')) === 'cancelled');
  const again = cardOf(page, 'a').getByRole('button', { name: 'Start again: a' });
  await until('the focus is on what took its place', () => again.evaluate((it) => it === document.activeElement));
  assert.equal(await page.getByRole('button', { name: /^Start \d+ clips? again$/ }).count(), 0, 'not beside Cancel');
  await page.keyboard.press('Enter');
  await until('a runs again', async () => (await cardOf(page, 'a').getAttribute('data-status')) !== 'cancelled');
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await ended(page);
});

test('finished clips play, download under their name, and come as one ZIP file; the link works elsewhere', LIMIT,
  async (t) => {
    const batchId = await startBatch([clip('intro', 0, 2_000), clip('outro', 3_000, 5_000)]);
    const page = await open(t, `#/batch/${batchId}`, {
      prepare: (_, context) => context.grantPermissions(['clipboard-read', 'clipboard-write']),
    });
    await ended(page);
    assert.equal(await count(page, 'completed'), 2, await page.locator('.clips-grid').textContent());
    assert.equal(await page.locator('.progress-line').textContent(), 'All 2 clips are done');
    await cardOf(page, 'intro').locator('img').evaluate((image) => image.decode());

    // Pointing at a card plays it without sound; pressing it opens the player, and Escape leads back.
    await cardOf(page, 'intro').locator('.frame').hover();
    const preview = cardOf(page, 'intro').locator('video');
    await until('it plays', () => preview.evaluate((it) => it.muted && it.currentTime > 0.2));
    await cardOf(page, 'intro').getByRole('button', { name: 'Play intro' }).click();
    const player = page.locator('dialog.player video');
    await until('the player plays', () => player.evaluate((it) => it.currentTime > 0.2 && !it.muted));
    assert.equal(await player.evaluate((it) => `${it.videoWidth}x${it.videoHeight}`), '720x1280');
    await page.keyboard.press('Escape');
    await page.locator('dialog.player').waitFor({ state: 'hidden' });
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Play intro', 'the focus is back');

    const href = await page.getByRole('link', { name: 'Download intro' }).getAttribute('href');
    const disposition = (await fetch(href)).headers.get('content-disposition');
    assert.match(disposition, /^attachment; filename="[\w.-]+-intro\.mp4"$/);

    const downloading = page.waitForEvent('download');
    await page.getByRole('link', { name: 'Download all' }).click();
    const download = await downloading;
    const folder = join(place.folder, 'zip');
    mkdirSync(folder);
    const file = join(folder, download.suggestedFilename());
    await download.saveAs(file);
    execFileSync('python3', ['-m', 'zipfile', '-e', file, folder]);
    for (const name of ['talk-intro.mp4', 'talk-outro.mp4']) {
      const probed = execFileSync('ffprobe', ['-v', 'error', '-count_frames', '-select_streams', 'v', '-show_entries',
        'stream=width,height,nb_read_frames', '-of', 'csv=p=0', join(folder, name)]).toString();
      const [width, height, frames] = probed.trim().split(',').map(Number);
      assert.deepEqual([width, height], [720, 1280], name);
      assert.ok(frames >= 59, `${name} has ${frames} frames`);
    }

    await page.getByRole('button', { name: 'Copy link', exact: true }).click();
    await page.getByRole('button', { name: 'Copied' }).waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    const other = await open(t, '', {});
    await other.goto(copied);
    await until('it is shown elsewhere', async () => (await count(other, 'completed')) === 2);
    await other.getByRole('button', { name: 'Details of intro' }).click();
    assert.match(await cardOf(other, 'intro').locator('.details').textContent(), /Encoder.*Worker.*Attempt/);
    await assertAccessible(other, 'batch');
  });

test('a clip that was made before says so', LIMIT, async (t) => {
  const clips = [clip('same', 1_000, 3_000)];
  const first = await open(t, `#/batch/${await startBatch(clips)}`);
  await ended(first);
  assert.equal(await cardOf(first, 'same').locator('.state').textContent(), 'Done');
  const second = await open(t, `#/batch/${await startBatch(clips)}`);
  await ended(second);
  assert.equal(await cardOf(second, 'same').locator('.state').textContent(), 'Unchanged, reused');
});

test('a failure says why in plain words; Retry is offered only where it can help', LIMIT, async (t) => {
  const text = join(place.folder, 'notes.mp4');
  writeFileSync(text, 'not a video');
  const source = await store(place.fleet, text, 'sources/notes.mp4');
  const batchId = await startBatch([clip('a', 0, 2_000), clip('b', 2_000, 4_000)], { source });
  const page = await open(t, `#/batch/${batchId}`);
  await ended(page);
  assert.equal(await count(page, 'failed'), 2);
  assert.equal(
    await cardOf(page, 'a').locator('.problem').textContent(),
    'Not a video file we can read. Use MP4, MOV, MKV or WebM.',
  );
  assert.equal(await page.getByRole('button', { name: /Retry/ }).count(), 0);
  await assertAccessible(page, 'failed');

  // The fleet's answer for one clip is changed: failures that may pass take ten attempts to come about.
  const other = await open(t, '', {
    prepare: (prepared) => prepared.route(`**/v1/batches/${batchId}`, async (route) => {
      const answer = await (await route.fetch()).json();
      // It has no error any more once it is retried.
      const { error } = answer.clips.find(({ clipId }) => clipId === 'b');
      if (error) {
        Object.assign(error, { code: 'unavailable', retryable: true });
      }
      await route.fulfill({ json: answer });
    }),
  });
  await other.goto(`${place.fleet.api}/console/#/batch/${batchId}`);
  const retry = other.getByRole('button', { name: 'Retry b', exact: true });
  await retry.waitFor();
  assert.equal(await other.getByRole('button', { name: 'Retry a', exact: true }).count(), 0);
  const posted = [];
  other.on('request', (request) => request.method() === 'POST' && posted.push(new URL(request.url()).pathname));
  await other.getByRole('button', { name: 'Retry failed' }).click();
  await until('it was asked for', () => posted.length > 0);
  await ended(other);
  assert.deepEqual(posted, [`/v1/batches/${batchId}/clips/b:retry`]);
});

test('an unknown batch is said to be unknown at once, and is not asked for again', LIMIT, async (t) => {
  const asked = [];
  const page = await open(t, '#/history', {
    mayFail: true,
    prepare: async (prepared) => {
      await prepared.clock.install();
      prepared.on('request', (request) => request.url().includes('/v1/batches/') && asked.push(request.url()));
    },
  });
  await page.getByRole('textbox', { name: 'Find a batch by ID' }).fill('web-typo');
  await page.getByRole('button', { name: 'Open', exact: true }).click();
  await page.getByRole('heading', { name: 'No batch called web-typo' }).waitFor();
  // A minute of the page's timers.
  await page.clock.runFor(60_000);
  assert.ok(asked.length >= 1 && asked.length <= 2, `${asked.length} requests`);
  await assertAccessible(page, 'unknown batch');
});

test('a fleet that does not answer is never shown as idle, and the views recover', LIMIT, async (t) => {
  const batchId = await startBatch([clip('a', 0, 2_000)]);
  let down = true;
  const page = await open(t, '#/fleet', {
    mayFail: true,
    prepare: (prepared) => prepared.route('**/v1/**', (route) => (down ? route.abort() : route.continue())),
  });
  const banner = page.locator('.banner:visible');
  const show = (hash) => page.evaluate((to) => { location.hash = to; }, hash);
  const views = {
    '#/fleet': { empty: page.getByText('Idle.'), known: page.locator('.figure .value', { hasText: '0 / 2' }) },
    '#/history': { empty: page.getByText('No exports yet.'), known: page.locator(`[data-batch="${batchId}"]`) },
    [`#/batch/${batchId}`]: { empty: page.getByText('No batch called'), known: cardOf(page, 'a') },
  };
  for (const [hash, { empty, known }] of Object.entries(views)) {
    down = true;
    await show(hash);
    await banner.getByText('The fleet cannot be reached. Reconnecting…').waitFor();
    assert.equal(await empty.isVisible(), false, hash);
    assert.ok(await page.locator('.skeletons:visible').first().isVisible(), `${hash}: something is to come`);
    await assertAccessible(page, `${hash}, unreachable`);

    // It comes back by itself; and once more it is lost, with figures on the page, and asked for by hand.
    down = false;
    await known.first().waitFor();
    await banner.waitFor({ state: 'hidden' });
    down = true;
    await banner.getByText(/The fleet cannot be reached\. As of .+, reconnecting…/).waitFor();
    assert.ok(await known.first().isVisible(), `${hash}: the last figures stay`);
    assert.ok(await page.locator('.stale:visible').first().isVisible(), hash);
    down = false;
    await banner.getByRole('button', { name: 'Retry' }).click();
    await banner.waitFor({ state: 'hidden' });
  }
});

test('the history is the fleet’s: batches of others are found, filtered and opened', LIMIT, async (t) => {
  const done = await startBatch([clip('a', 0, 2_000)], { batchId: 'function-1' });
  await startBatch([clip('long', 0, 30_000)], { batchId: 'running-1', quality: '2160p' });
  const page = await open(t, '#/history');
  const row = (batchId) => page.locator(`.batch-row[data-batch="${batchId}"]`);
  await row(done).waitFor();
  assert.match(await row(done).textContent(), /talk\.mp4.*ann \/ shorts/);
  // The one that runs stands first although others are newer.
  await startBatch([clip('a', 0, 2_000)], { batchId: 'newer-1' });
  await page.locator('.batch-row[data-batch="newer-1"][data-status=completed]').waitFor({ timeout: WAIT_TIMEOUT_MS });
  assert.equal(await page.locator('.batch-row').first().getAttribute('data-batch'), 'running-1');
  await assertAccessible(page, 'history');

  await page.getByRole('searchbox', { name: 'Search' }).fill('function-1');
  await until('one row is left', async () => (await page.locator('.batch-row').count()) === 1);
  await page.getByRole('searchbox', { name: 'Search' }).fill('');
  await page.getByRole('combobox', { name: 'Status' }).selectOption('processing');
  const listed = () => page.locator('.batch-row').evaluateAll((rows) => rows.map((it) => it.dataset.batch).join());
  await until('only what runs is left', async () => (await listed()) === 'running-1');
  await row('running-1').getByRole('link').click();
  await cardOf(page, 'long').waitFor();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await ended(page);
});

test('a long history is read page by page', LIMIT, async (t) => {
  await Promise.all(Array.from({ length: 55 }, () => startBatch([clip('a', 0, 2_000)])));
  const page = await open(t, '#/history');
  await until('a page of rows', async () => (await page.locator('.batch-row').count()) >= 50);
  const before = await page.locator('.batch-row').count();
  await page.getByRole('button', { name: 'Load more' }).click();
  await until('more rows', async () => (await page.locator('.batch-row').count()) > before);
});

test('no page logged an error or asked another server', () => {
  assert.deepEqual(record.complaints, []);
  const own = [place.fleet.api, `http://${place.fleet.emulator}`];
  assert.deepEqual([...record.origins].filter((origin) => !own.includes(origin)), []);
});

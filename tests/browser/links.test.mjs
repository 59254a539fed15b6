// Clips whose documents hold no links: the page asks for one when it needs it, and says so where there is none. The
// gate stands for a fleet with these settings.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { startGate } from './gate.mjs';
import {
  DESKTOP, PHONE, WAIT_TIMEOUT_MS, assertAccessible, recordComplaints, stage, startChromium, store, until,
} from './support.mjs';

const LIMIT = { timeout: 2 * WAIT_TIMEOUT_MS };
const CLIPS = 8;
const DEAD = 'The clip’s link does not work any more.';

let place, browser;
const batchId = 'done-1';
/** What browsers log for answers that these tests ask for: 403, 404 and 409. */
const FAILED_REQUEST = /Failed to load resource/;

before(async () => {
  place = await stage(30, 2);
  browser = await startChromium();
  const { api } = place.fleet;
  const body = {
    batchId, ownerUid: 'ann', projectId: 'shorts', source: { uri: await store(place.fleet, place.source, 'talk.mp4') },
    output: { quality: '720p' },
    clips: Array.from({ length: CLIPS }, (_, index) => ({
      clipId: `clip-${index + 1}`, startMs: index * 2_000, endMs: index * 2_000 + 1_500,
    })),
  };
  const headers = { 'content-type': 'application/json' };
  assert.equal((await fetch(`${api}/v1/batches`, { method: 'POST', headers, body: JSON.stringify(body) })).status, 202);
  const status = async () => (await fetch(`${api}/v1/batches/${batchId}`)).json().then((batch) => batch.status);
  await until('the clips are done', async () => (await status()) === 'completed', 200);
}, LIMIT);

after(async () => {
  await browser?.close();
  await place?.end();
});

/** The page of the batch, behind a gate of its own. */
async function open(t, settings, options = { viewport: DESKTOP }) {
  const gate = await startGate(place.fleet, settings);
  const context = await browser.newContext(options);
  await context.grantPermissions(['clipboard-read', 'clipboard-write']);
  const page = await context.newPage();
  const complaints = [];
  recordComplaints(page, { complaints, origins: new Set() });
  t.after(async () => {
    await context.close();
    gate.stop();
    assert.deepEqual(complaints.filter((it) => !FAILED_REQUEST.test(it)), []);
  });
  await page.goto(`${gate.url}/console/#/batch/${batchId}`);
  await until('the clips are shown', async () => (await page.locator('.clip').count()) === CLIPS);
  return { page, gate };
}

const cardOf = (page, clipId) => page.locator(`.clip[data-clip="${clipId}"]`);
/** The clips whose links were asked for, in order. */
const asked = (gate) => gate.requests.map((it) => /clips\/(.+):links$/.exec(it)?.[1]).filter(Boolean);
const polls = (gate) => gate.requests.filter((it) => it === `GET /v1/batches/${batchId}`).length;
const plays = (page) =>
  until('it plays', () => page.locator('dialog.player video').evaluate((it) => it.currentTime > 0.2 && !it.muted));
const press = (page, name) => page.getByRole('button', { name, exact: true }).click();

test('links are asked for when a clip comes into view, and once', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'signed' }, PHONE);
  await cardOf(page, 'clip-1').locator('img').evaluate((image) => image.decode());
  const [first, last] = ['clip-1', `clip-${CLIPS}`];
  const before = polls(gate);
  await until('the page asks how the batch is', () => polls(gate) >= before + 2);
  const seen = asked(gate);
  assert.ok(seen.includes(first) && !seen.includes(last), `asked for ${seen}`);
  assert.equal(new Set(seen).size, seen.length, 'each once');

  await cardOf(page, last).scrollIntoViewIfNeeded();
  await cardOf(page, last).locator('img').evaluate((image) => image.decode());
  assert.equal(asked(gate).filter((clipId) => clipId === last).length, 1);
  // What follows needs no second answer: this one works for an hour.
  await press(page, `Play ${last}`);
  await plays(page);
  assert.equal(asked(gate).filter((clipId) => clipId === last).length, 1);
});

test('a clip is played, downloaded and copied by a signed link', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'signed' });
  await press(page, 'Play clip-2');
  await plays(page);
  const player = page.locator('dialog.player');
  assert.match(await player.locator('video').getAttribute('src'), /\/signed\//);
  assert.equal(await player.getByRole('link', { name: 'Download' }).getAttribute('href'), page.url());
  await page.keyboard.press('Escape');

  const downloading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download clip-2' }).click();
  const download = await downloading;
  assert.match(download.suggestedFilename(), /^[\w.-]+-clip-2\.mp4$/);
  assert.equal(await download.failure(), null);

  await press(page, 'Copy the link of clip-2');
  await page.getByText(/^The link of clip-2 works until /).waitFor();
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  const answer = await fetch(copied);
  assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'video/mp4']);
  assert.equal(asked(gate).filter((clipId) => clipId === 'clip-2').length, 1);
  await assertAccessible(page, 'signed links');
});

test('a link is not used shortly before it expires', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'signed' });
  await cardOf(page, 'clip-1').locator('img').evaluate((image) => image.decode());
  await page.clock.setSystemTime(Date.now() + 56 * 60_000);
  await press(page, 'Play clip-1');
  await plays(page);
  assert.equal(asked(gate).filter((clipId) => clipId === 'clip-1').length, 2);
});

test('a link that is refused is asked for anew, and the clip plays', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'signed' });
  await cardOf(page, 'clip-3').locator('img').evaluate((image) => image.decode());
  gate.breakLinks(403);
  await press(page, 'Play clip-3');
  await plays(page);
  assert.equal(asked(gate).filter((clipId) => clipId === 'clip-3').length, 2);
});

test('a dead link is said to be one, and Retry asks anew', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'signed' });
  await cardOf(page, 'clip-4').locator('img').evaluate((image) => image.decode());
  gate.breakLinks(404);
  await press(page, 'Play clip-4');
  const player = page.locator('dialog.player');
  await player.getByText(DEAD).waitFor();
  await assertAccessible(page, 'a dead link in the player');
  await player.getByRole('button', { name: 'Retry' }).click();
  await plays(page);
  assert.equal(await player.getByText(DEAD).isVisible(), false);
  await page.keyboard.press('Escape');

  gate.breakLinks(404);
  await page.getByRole('link', { name: 'Download clip-4' }).click();
  await cardOf(page, 'clip-4').getByText(DEAD).waitFor();
  await assertAccessible(page, 'a dead link in a card');
  const downloading = page.waitForEvent('download');
  await press(page, 'Retry the link of clip-4');
  assert.equal(await (await downloading).failure(), null);
  await until('it is said no more', async () => !(await cardOf(page, 'clip-4').getByText(DEAD).isVisible()));
});

test('a dead link of a document is replaced by what the fleet says now', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'document' });
  let status = 403;
  await page.route(/\/(storage\/v1|v0)\/b\//, (route) => (status === 200 ? route.continue() : route.fulfill({ status })));
  await press(page, 'Play clip-5');
  const player = page.locator('dialog.player');
  await player.getByText(DEAD).waitFor();
  assert.deepEqual(asked(gate), ['clip-5']);
  status = 200;
  await player.getByRole('button', { name: 'Retry' }).click();
  await plays(page);
  await page.unrouteAll({ behavior: 'ignoreErrors' });
});

test('a fleet without links is asked once; its clips come as one file', LIMIT, async (t) => {
  const { page, gate } = await open(t, { links: 'none' });
  await until('the buttons are away', async () =>
    (await page.getByRole('button', { name: /^(Play|Copy the link)/ }).count()) === 0);
  assert.equal(await page.getByRole('link', { name: /^Download clip/ }).count(), 0);
  const before = polls(gate);
  await until('the page asks how the batch is', () => polls(gate) >= before + 1);
  assert.equal(asked(gate).length, 1);
  assert.equal(await page.locator('.problem:visible').count(), 0);
  await cardOf(page, 'clip-1').locator('.frame').hover();
  const downloading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download all' }).click();
  assert.equal(await (await downloading).failure(), null);
  assert.equal(asked(gate).length, 1);
  await assertAccessible(page, 'no links');
});

test('a fleet answers for its own documents’ links', LIMIT, async (t) => {
  const { api } = place.fleet;
  const answer = await fetch(`${api}/v1/batches/${batchId}/clips/clip-1:links`);
  const links = await answer.json();
  if (links.error?.code === 'no_such_route') {
    t.skip('this program has no :links yet');
    return;
  }
  assert.equal(answer.status, 200, JSON.stringify(links));
  assert.deepEqual([links.batchId, links.clipId, links.expireTime], [batchId, 'clip-1', null]);
  assert.equal((await fetch(links.outputUrl)).headers.get('content-type'), 'video/mp4');
  assert.equal((await fetch(`${api}/v1/batches/${batchId}/clips/none:links`)).status, 404);
});

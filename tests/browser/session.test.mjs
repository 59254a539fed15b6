// A fleet with a token: signing in, and sessions that end while somebody works. The gate stands for such a fleet, since
// its sessions end when a test says so; the last test has a fleet that was started with a token.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { draftOf, makeLongFile, marks, openFile, videoShown } from './editor-support.mjs';
import { startGate } from './gate.mjs';
import {
  DESKTOP, PHONE, WAIT_TIMEOUT_MS, assertAccessible, markClips, recordComplaints, stage, startChromium, store, until,
} from './support.mjs';

const LIMIT = { timeout: 2 * WAIT_TIMEOUT_MS };
const TOKEN = 'q8-Zr/ü 5';
const CHUNK_BYTES = 8 * 1_024 * 1_024;
const WRONG = 'That is not the token of this fleet.';
/** What browsers log for the answers 401, 403 and 404, and for a picture that was refused. */
const FAILED_REQUEST = /Failed to load resource/;

let place, browser;

before(async () => {
  place = await stage(30, 2);
  browser = await startChromium();
}, LIMIT);

after(async () => {
  await browser?.close();
  await place?.end();
});

/** A page behind a gate of its own. What it must not do is checked at its end. */
async function open(t, settings, { path = '/console/', options = { viewport: DESKTOP } } = {}) {
  const gate = await startGate(place.fleet, { token: TOKEN, ownStorage: true, ...settings });
  const context = await browser.newContext(options);
  const [complaints, urls, origins] = [[], [], new Set()];
  const page = await context.newPage();
  recordComplaints(page, { complaints, origins });
  page.on('request', (request) => urls.push(request.url()));
  t.after(async () => {
    await context.close();
    gate.stop();
    assert.deepEqual(complaints.filter((it) => !FAILED_REQUEST.test(it)), []);
    assert.deepEqual([...origins], [gate.url], 'everything comes from one origin');
    assert.ok(!urls.some((url) => decodeURIComponent(url.split('#')[0]).includes(TOKEN)), 'no request names the token');
  });
  await page.goto(gate.url + path);
  return { page, gate, context };
}

const ready = (page) => page.waitForSelector('html[data-ready]');
const field = (page) => page.getByLabel('Access token', { exact: true });

async function signIn(page, token = TOKEN) {
  await field(page).fill(token);
  await field(page).press('Enter');
}
const isAway = (page) => until('the view is away', async () => (await page.locator('.sign-in').count()) === 0);

/** Asks for something that needs a session, and waits until the page asks for the token. */
async function meetTheEnd(page, gate) {
  gate.endSessions();
  await page.evaluate(() => { location.hash = '#/history'; });
  await field(page).waitFor();
}

for (const [name, options] of Object.entries({ desktop: { viewport: DESKTOP }, phone: PHONE })) {
  test(`a page without a session asks for the token, by keyboard, on a ${name}`, LIMIT, async (t) => {
    const { page } = await open(t, {}, { options, path: '/console/#/history' });
    await field(page).waitFor();
    const attributes = ['type', 'autocomplete'].map((it) => field(page).getAttribute(it));
    assert.deepEqual(await Promise.all(attributes), ['password', 'current-password']);
    assert.equal(await page.evaluate(() => document.activeElement.id), 'token', 'it has the focus');
    await assertAccessible(page, 'sign in');

    await page.keyboard.type('guess');
    await page.keyboard.press('Enter');
    await page.getByRole('alert').getByText(WRONG).waitFor();
    assert.equal(await field(page).getAttribute('aria-invalid'), 'true');
    await assertAccessible(page, 'a wrong token');
    // Behind it nothing would work.
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    assert.ok(await field(page).isVisible());
    const box = await page.locator('.sign-in').boundingBox();
    const { width } = page.viewportSize();
    assert.ok(box.x >= 0 && box.x + box.width <= width, 'it fits');

    await field(page).press('Control+a');
    await page.keyboard.type(TOKEN);
    assert.equal(await page.getByText(WRONG).isVisible(), false, 'it is about what is typed');
    await page.keyboard.press('Tab');
    assert.equal(await page.evaluate(() => document.activeElement.textContent), 'Continue');
    await page.keyboard.press('Enter');
    await isAway(page);
    await ready(page);
    await page.getByRole('heading', { name: 'History' }).waitFor();
    assert.match(page.url(), /\/console\/#\/history$/);
    // The browser keeps the session, not the page.
    await page.reload();
    await ready(page);
    assert.equal(await page.locator('.sign-in').count(), 0);
    const kept = await page.evaluate(() =>
      JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
    assert.ok(!kept.includes(TOKEN), 'the token is kept nowhere');
  });
}

test('a link with the token signs in, and the token leaves the address bar', LIMIT, async (t) => {
  const link = `/console/#token=${encodeURIComponent(TOKEN)}`;
  const { page, gate } = await open(t, {}, { path: link });
  await ready(page);
  assert.equal(page.url(), `${gate.url}/console/`);
  assert.equal(await page.locator('.sign-in').count(), 0);
  assert.equal(gate.requests.filter((it) => it === 'POST /v1/session').length, 1);
  assert.ok(!gate.requests.slice(0, gate.requests.indexOf('POST /v1/session')).some((it) => it.includes('/v1/')),
    'nothing was asked before');

  // In a tab that is open the browser loads nothing anew.
  gate.endSessions();
  await page.evaluate((hash) => { location.hash = hash; }, link.split('#')[1]);
  await until('a session was begun', () => gate.requests.filter((it) => it === 'POST /v1/session').length === 2);
  await until('the address is clean', () => page.url() === `${gate.url}/console/`);
  await page.getByRole('link', { name: 'History' }).click();
  await page.getByRole('heading', { name: 'History' }).waitFor();
  await page.goBack();
  assert.ok(!page.url().includes('token'), 'nor is it a step back');
});

test('a link with a wrong token says so; without a need for one it does nothing', LIMIT, async (t) => {
  const { page } = await open(t, {}, { path: '/console/#token=%E0%A4%A' });
  await page.getByText(WRONG).waitFor();
  assert.ok(page.url().endsWith('/console/'));
  await signIn(page);
  await ready(page);
  await isAway(page);
  // An old link does not end the session.
  await page.evaluate(() => { location.hash = '#token=old'; });
  await until('the address is clean', () => page.url().endsWith('/console/'));
  await page.getByRole('link', { name: 'History' }).click();
  await page.getByRole('heading', { name: 'History' }).waitFor();
  assert.equal(await page.locator('.sign-in').count(), 0);

  const { page: other } = await open(t, { token: null }, { path: '/console/#token=old' });
  await ready(other);
  assert.equal(await other.locator('.sign-in').count(), 0);
  assert.ok(other.url().endsWith('/console/'));
});

test('a browser without cookies is told why it does not get in', LIMIT, async (t) => {
  const { page } = await open(t, {});
  await page.route('**/v1/session', (route) => route.fulfill({ status: 204 }));
  await signIn(page);
  await page.getByText(/kept no cookie/).waitFor();
  await page.unroute('**/v1/session');
  await page.route('**/v1/session', (route) => route.abort());
  await signIn(page);
  await page.getByText('The fleet cannot be reached.').waitFor();
  await page.unroute('**/v1/session');
  await signIn(page);
  await ready(page);
});

test('an upload, marks and a pressed export survive the end of the session', LIMIT, async (t) => {
  const big = makeLongFile(join(place.folder, 'long talk.mp4'), 40, 3 * CHUNK_BYTES);
  const { page, gate } = await open(t, {}, { path: `/console/#token=${encodeURIComponent(TOKEN)}` });
  await ready(page);
  // The session ends with the second chunk.
  let chunks = 0;
  gate.onRequest = ({ method, url, headers }) => {
    if (method === 'PUT' && url.startsWith('/upload/') && /^bytes \d/.test(headers['content-range'])) {
      chunks += 1;
      if (chunks === 2) {
        gate.endSessions();
      }
    }
  };
  await page.setInputFiles('#file', big);
  await videoShown(page);
  await field(page).waitFor();
  const shown = () => page.locator('progress').evaluate((bar) => Math.floor(bar.value * 100));
  const share = await shown();
  await signIn(page);
  await isAway(page);
  await until('it is stored', async () => (await draftOf(page)).source.stored);
  assert.ok(share > 0, 'a part was stored');
  assert.equal(gate.requests.filter((it) => it.startsWith('POST /upload/')).length, 1, 'one session took all of it');
  const { size } = statSync(big);
  const [bucket, ...object] = (await draftOf(page)).source.uri.slice('gs://'.length).split('/');
  const url = `http://${place.fleet.emulator}/storage/v1/b/${bucket}/o/${encodeURIComponent(object.join('/'))}`;
  assert.equal(Number((await (await fetch(url)).json()).size), size);

  // Marks, and an export that is pressed after the session ended.
  await markClips(page, 2);
  const before = await marks(page);
  gate.endSessions();
  await page.locator('#export-all').click();
  await field(page).waitFor();
  assert.deepEqual(await marks(page), before);
  await signIn(page);
  await page.waitForURL(/#\/batch\/./);
  await until('the clips are shown', async () => (await page.locator('.clip').count()) === 2);
  assert.equal(gate.requests.filter((it) => it === 'POST /v1/batches').length, 2, 'refused once, sent once more');
  // The other tests need the workers.
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
});

test('a session that ends while a batch is shown begins anew, with storage at its own origin', LIMIT, async (t) => {
  const { page, gate } = await open(t, {}, { path: `/console/#token=${encodeURIComponent(TOKEN)}` });
  await ready(page);
  await openFile(page, place.source);
  await markClips(page, 2, { step: 'Shift+ArrowRight' });
  await page.locator('#export-all').click();
  await page.locator('.clip').first().waitFor();
  gate.endSessions();
  await field(page).waitFor();
  await signIn(page);
  await isAway(page);
  const done = page.locator('.clip[data-status=completed]');
  await until('the clips are done', async () => (await done.count()) === 2);
  await until('the covers are there', () => page.locator('.clip img').evaluateAll((all) =>
    all.length === 2 && all.every((image) => image.complete && image.naturalWidth > 0)));

  // The clip's document names the storage as its machine does; the page reads it where it is itself.
  const save = done.first().getByRole('link', { name: /^Download/ });
  const { origin } = new URL(await save.evaluate((link) => link.href));
  assert.equal(origin, gate.url);
  const downloading = page.waitForEvent('download');
  await save.click();
  assert.equal(await (await downloading).failure(), null);

  // A video that is refused is shown once somebody has signed in.
  gate.endSessions();
  await done.first().getByRole('button', { name: /^Play/ }).click();
  await field(page).waitFor();
  await signIn(page);
  await isAway(page);
  await until('it plays', () => page.locator('dialog.player video').evaluate((it) => it.currentTime > 0.2));
});

test('a stored source is previewed once somebody has signed in', LIMIT, async (t) => {
  const uri = await store(place.fleet, place.source, 'sources/stored.mp4');
  const { page, gate } = await open(t, {}, { path: `/console/#token=${encodeURIComponent(TOKEN)}` });
  await ready(page);
  gate.endSessions();
  await page.locator('#uri').fill(uri);
  await page.getByRole('button', { name: 'Open', exact: true }).first().click();
  await field(page).waitFor();
  await signIn(page);
  await isAway(page);
  await videoShown(page);
  await until('nothing hides it', async () => !(await page.locator('.unplayable').isVisible()));
});

test('signing in in one tab signs in the others', LIMIT, async (t) => {
  const { page, gate, context } = await open(t, {}, { path: `/console/#token=${encodeURIComponent(TOKEN)}` });
  await ready(page);
  const other = await context.newPage();
  await other.goto(`${gate.url}/console/`);
  await ready(other);
  await meetTheEnd(page, gate);
  await meetTheEnd(other, gate);
  await signIn(other);
  await isAway(other);
  await isAway(page);
});

test('a caller without a right to the operations sees none, and they are not asked for again', LIMIT, async (t) => {
  const { page, gate } = await open(t, { operator: false, token: null }, { path: '/console/#/fleet' });
  await ready(page);
  const text = page.getByText('Only the operators of this fleet see what it does.');
  await text.waitFor();
  const link = page.getByRole('link', { name: 'Fleet', exact: true });
  await until('the link is away', async () => (await link.count()) === 0);
  assert.equal(await page.locator('.banner:visible').count(), 0);
  assert.equal(await page.getByRole('button', { name: 'Pause' }).count(), 0);
  await assertAccessible(page, 'no operator');
  const operations = () => gate.requests.filter((it) => /\/v1\/(fleet|dead-letters)/.test(it)).length;
  const before = operations();
  // A minute of the page's timers, and the view once more.
  await page.clock.install();
  await page.evaluate(() => { location.hash = '#/history'; });
  await page.getByRole('heading', { name: 'History' }).waitFor();
  await page.evaluate(() => { location.hash = '#/fleet'; });
  await text.waitFor();
  await page.clock.runFor(60_000);
  assert.equal(operations(), before);
});

test('a fleet that was started with a token', LIMIT, async (t) => {
  const program = join(process.env.CLIPFLEET_PROGRAMS, 'clipfleet');
  if (!execFileSync(program, ['up', '--help']).toString().includes('--token')) {
    t.skip('this program has no --token yet');
    return;
  }
  const token = 'a-token-of-a-team-0123456789';
  const fleet = await startFleet(join(place.folder, 'team'), 2, { token, more: ['--token', token] });
  t.after(fleet.stop);
  assert.equal((await fetch(`${fleet.api}/v1/batches`)).status, 401);
  const context = await browser.newContext({ viewport: DESKTOP });
  t.after(() => context.close());
  const page = await context.newPage();
  const record = { complaints: [], origins: new Set() };
  recordComplaints(page, record);
  await page.goto(`${fleet.api}/console/`);
  await signIn(page, 'guess');
  await page.getByText(WRONG).waitFor();
  await signIn(page, token);
  await isAway(page);
  await ready(page);
  await openFile(page, place.source);
  await markClips(page, 2, { step: 'Shift+ArrowRight' });
  await page.locator('#export-all').click();
  const done = page.locator('.clip[data-status=completed]');
  await until('the clips are done', async () => (await done.count()) === 2);
  await until('the covers are there', () => page.locator('.clip img').evaluateAll((all) =>
    all.length === 2 && all.every((image) => image.complete && image.naturalWidth > 0)));
  await done.first().getByRole('button', { name: /^Play/ }).click();
  await until('it plays', () => page.locator('dialog.player video').evaluate((it) => it.currentTime > 0.2));
  assert.deepEqual([...record.origins], [fleet.api]);
  assert.deepEqual(record.complaints.filter((it) => !FAILED_REQUEST.test(it)), []);
});

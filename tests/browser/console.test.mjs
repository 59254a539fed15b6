// The console as a user sees it, in Chromium: drop a video, mark clips, export all, watch, play, cancel, retry, reload.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cropWindow, outputSize } from '../../crates/console/web/reframe.js';
import { WAIT_TIMEOUT_MS, stage, startChromium, until } from './support.mjs';

const SHOTS = join(import.meta.dirname, '../../target/browser');
const DESKTOP = { width: 1360, height: 900 };
const PHONE = { width: 390, height: 844 };
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

let place, browser, context, page;
/** A page must never log errors, nor send requests to another server. */
const complaints = [];
const origins = new Set();

/** Runs before the page's own scripts: records every state of every bar. */
function recordBars() {
  window.bars = {};
  const record = () => {
    for (const row of document.querySelectorAll('.row')) {
      const card = row.closest('.batch').dataset.batch;
      const now = Number(row.querySelector('[role=progressbar]').getAttribute('aria-valuenow'));
      const list = ((window.bars[card] ??= {})[row.dataset.clip] ??= []);
      if (list.at(-1)?.now !== now || list.at(-1)?.status !== row.dataset.status) {
        list.push({ now, status: row.dataset.status, at: performance.now() });
      }
    }
  };
  addEventListener('DOMContentLoaded', () =>
    new MutationObserver(record).observe(document, {
      subtree: true,
      childList: true,
      attributes: true,
      attributeFilter: ['aria-valuenow', 'data-status'],
    }),
  );
}

function listenTo(opened) {
  opened.on(
    'console',
    (message) =>
      ['error', 'warning'].includes(message.type()) && complaints.push(`${message.type()}: ${message.text()}`),
  );
  opened.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  opened.on('request', (request) => request.url().startsWith('http') && origins.add(new URL(request.url()).origin));
}

before(
  async () => {
    mkdirSync(SHOTS, { recursive: true });
    place = await stage(60, 3);
    browser = await startChromium();
    context = await browser.newContext({ viewport: DESKTOP });
    context.setDefaultTimeout(60_000);
    await context.addInitScript(recordBars);
    page = await context.newPage();
    listenTo(page);
  },
  { timeout: 2 * WAIT_TIMEOUT_MS },
);

after(async () => {
  await browser?.close();
  await place?.end();
});

const shot = (name, of = page, options = {}) => of.screenshot({ path: join(SHOTS, `${name}.png`), ...options });
const rowOf = (id, of = page) => of.locator(`#export .batch:first-child .row[data-clip="${id}"]`);
const statusOf = (id) => rowOf(id).getAttribute('data-status');
const barOf = async (id) => Number(await rowOf(id).getByRole('progressbar').getAttribute('aria-valuenow'));

/** axe must find nothing serious, in both colour schemes. */
async function accessible(name, of = page) {
  for (const colorScheme of ['light', 'dark']) {
    // Without motion, because colours would be checked during the transition between the schemes.
    await of.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await of.evaluate(axe);
    const found = await of.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const grave = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    const problems = grave.flatMap(({ id, nodes }) =>
      nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`),
    );
    assert.deepEqual(problems, [], `${name}, ${colorScheme}`);
    assert.ok(found.passes.length > 5, 'axe ran');
  }
  await of.emulateMedia({ colorScheme: 'light' });
  await of.emulateMedia({ reducedMotion: null });
}

async function overlay() {
  return (await page.locator('.overlay').getAttribute('data-window')).split(' ').map(Number);
}

test('the page comes only from the fleet, with a strict policy', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const answer = await page.goto(place.fleet.api);
  assert.match(page.url(), /\/console\/$/);
  const policy = answer.headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|\*|data:/);
  await page.waitForSelector('html[data-ready]');
  const again = await fetch(`${place.fleet.api}/console/main.js`, {
    headers: { 'if-none-match': (await fetch(`${place.fleet.api}/console/main.js`)).headers.get('etag') },
  });
  assert.equal(again.status, 304);
  assert.equal((await fetch(`${place.fleet.api}/console/nothing.js`)).status, 404);
  await accessible('welcome');
  await shot('1-welcome');
});

test('a video is chosen, previewed and stored', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  await page.setInputFiles('#file', place.source);
  await until('the video plays', () => page.evaluate(() => document.querySelector('.picture video').readyState >= 2));
  await page.waitForSelector('.upload', { state: 'hidden' });
  assert.equal(await page.locator('.editor .problem').first().textContent(), '');
  assert.equal(await page.getByRole('heading', { level: 1, name: 'Interview' }).count(), 1);
  assert.match(await page.locator('.time').textContent(), /\/ 1:00\.0$/);
});

test('three clips are marked: by dragging, by key, by button', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const lane = await page.locator('.lane').boundingBox();
  const at = (seconds) => lane.x + (lane.width * seconds) / 60;
  await page.mouse.move(at(1), lane.y + 50);
  await page.mouse.down();
  await page.mouse.move(at(9), lane.y + 50, { steps: 8 });
  await page.mouse.up();
  assert.equal(await page.locator('.clips li').count(), 1);

  // A click seeks; N starts a clip there; arrow keys on its edge change it.
  await page.mouse.click(at(20), lane.y + 50);
  await page.evaluate(() => document.activeElement?.blur());
  await page.keyboard.press('n');
  assert.equal(await page.locator('.clips li').count(), 2);
  const end = page.getByRole('slider', { name: 'End of clip-2' });
  const before = Number(await end.getAttribute('aria-valuenow'));
  await end.focus();
  await page.keyboard.press('PageDown');
  await page.keyboard.press('Shift+ArrowLeft');
  assert.equal(Number(await end.getAttribute('aria-valuenow')), before - 6_000);
  assert.equal(
    await page.evaluate(() => document.activeElement.getAttribute('aria-label')),
    'End of clip-2',
    'the focus stays',
  );

  await page.mouse.click(at(54), lane.y + 50);
  await page.getByRole('button', { name: 'Mark clip' }).click();
  const third = page.locator('.clips li').nth(2);
  await third.getByRole('textbox', { name: /^Start/ }).fill('44');
  await third.getByRole('textbox', { name: /^Start/ }).press('Enter');
  await third.getByRole('textbox', { name: /^End/ }).fill('0:59.5');
  await third.getByRole('textbox', { name: /^End/ }).press('Enter');
  await third.getByRole('textbox', { name: /^Name/ }).fill('the end');
  await third.getByRole('textbox', { name: /^Name/ }).press('Enter');
  assert.match(await third.locator('.problem').textContent(), /letters, digits/);
  await third.getByRole('textbox', { name: /^Name/ }).fill('ending');
  await third.getByRole('textbox', { name: /^Name/ }).press('Enter');
  assert.equal(await third.locator('.problem').textContent(), '');
  await third.getByRole('textbox', { name: /^End/ }).fill('1:01');
  await third.getByRole('textbox', { name: /^End/ }).press('Enter');
  assert.match(await third.locator('.problem').textContent(), /ends at 1:00\.0/);
  await third.getByRole('textbox', { name: /^End/ }).fill('59.5');
  await third.getByRole('textbox', { name: /^End/ }).press('Enter');
  const list = await page.locator('.clips .name').evaluateAll((inputs) => inputs.map((input) => input.value));
  assert.deepEqual(list, ['clip-1', 'clip-2', 'ending']);
});

test('the window on the video is the one that the fleet cuts', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const source = { width: 1280, height: 720 };
  const window = (position, zoom, aspect = '9:16') =>
    Object.values(cropWindow(position, zoom, source, outputSize('1080p', aspect)));
  assert.deepEqual(await overlay(), window(50, 100));
  await page.getByRole('slider', { name: 'Position', exact: true }).fill('25');
  await page.getByRole('slider', { name: 'Zoom', exact: true }).fill('140');
  assert.deepEqual(await overlay(), window(25, 140));
  await page.getByRole('radio', { name: '1:1' }).check({ force: true });
  assert.deepEqual(await overlay(), window(25, 140, '1:1'));
  await page.getByRole('radio', { name: '9:16' }).check({ force: true });

  // Dragging it by a tenth of the picture moves it by a tenth of the picture.
  const box = await page.locator('.picture').boundingBox();
  const [left, , width] = await overlay();
  const x = box.x + ((left + width / 2) / source.width) * box.width;
  await page.mouse.move(x, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(x + box.width / 10, box.y + box.height / 2, { steps: 5 });
  await page.mouse.up();
  assert.ok(Math.abs((await overlay())[0] - left - source.width / 10) <= 2);

  await page.getByRole('radio', { name: 'Follow' }).check({ force: true });
  await page.getByRole('radio', { name: 'Fit' }).check({ force: true });
  await page.waitForSelector('.overlay', { state: 'hidden' });
  await page.getByRole('radio', { name: 'Crop' }).check({ force: true });
  await page.locator('#quality').selectOption('720p');
  // The result is drawn, not blank: its colours differ.
  await until('the monitor shows a picture', () =>
    page.locator('.monitor').evaluate((canvas) => {
      const { width, height } = canvas;
      const paper = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
      paper.drawImage(canvas, 0, 0);
      return new Set(new Uint32Array(paper.getImageData(0, 0, width, height).data.buffer)).size > 2;
    }),
  );
  await accessible('editor');
  await shot('2-editor');
});

/** The recorded bars of a batch. */
const bars = (batch, of = page) => of.evaluate((id) => window.bars[id], batch);

function assertNeverDecreases(list, what) {
  list.reduce((before, { now }) => {
    assert.ok(now >= before, `${what} decreased from ${before} to ${now}`);
    return now;
  }, 0);
}

let firstBatch;

test(
  'Export All starts all clips; three bars move independently and never back, to 100 %',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async () => {
    await page.getByRole('button', { name: 'Export all 3 clips' }).click();
    await page.waitForSelector('#export .batch .row >> nth=2');
    firstBatch = await page.locator('#export .batch').first().getAttribute('data-batch');
    await until('a clip is half done', async () =>
      (await Promise.all(['clip-1', 'clip-2', 'ending'].map(barOf))).some((percent) => percent >= 40),
    );
    await shot('3-exporting', page, { fullPage: true });
    for (const id of ['clip-1', 'clip-2', 'ending']) {
      await until(`${id} is complete`, async () => {
        const status = await statusOf(id);
        assert.ok(!['failed', 'cancelled'].includes(status), await rowOf(id).textContent());
        return status === 'completed';
      });
    }
    const recorded = await bars(firstBatch);
    const moved = Object.entries(recorded).map(([id, list]) => {
      assertNeverDecreases(list, id);
      assert.equal(list.at(-1).now, 100, id);
      // A document changes once a second, so the number of steps depends on the clip's length.
      const between = new Set(list.map(({ now }) => now).filter((now) => now > 0 && now < 100));
      assert.ok(between.size >= (id === 'ending' ? 3 : 1), `${id} jumped: ${list.map(({ now }) => now)}`);
      return list.map(({ now }) => now).join();
    });
    assert.equal(moved.length, 3);
    assert.equal(new Set(moved).size, 3, 'each bar moves independently');
    // All at the same time: each started before another ended.
    const times = Object.values(recorded).map((list) => ({
      started: list.find(({ status }) => status === 'processing').at,
      ended: list.at(-1).at,
    }));
    assert.ok(
      Math.max(...times.map(({ started }) => started)) < Math.min(...times.map(({ ended }) => ended)),
      JSON.stringify(times),
    );
  },
);

test('each result plays in the page', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  for (const id of ['clip-1', 'clip-2', 'ending']) {
    await rowOf(id)
      .getByRole('button', { name: `Play ${id}` })
      .click();
    const video = rowOf(id).locator('.player video');
    const state = () =>
      video.evaluate((it) => ({
        time: it.currentTime,
        frames: it.getVideoPlaybackQuality().totalVideoFrames,
        size: `${it.videoWidth}x${it.videoHeight}`,
        length: it.duration,
      }));
    const first = await until(`${id} plays`, async () => {
      const now = await state();
      return now.frames > 0 && now;
    });
    const later = await until(`${id} continues`, async () => {
      const now = await state();
      return now.time > first.time + 0.5 && now.frames > first.frames + 5 && now;
    });
    assert.equal(later.size, '720x1280');
    console.log(`    ${id}: ${later.length.toFixed(2)} s, at ${later.time.toFixed(2)} s after ${later.frames} frames`);
  }
  const href = await rowOf('ending').getByRole('link', { name: 'Download ending' }).getAttribute('href');
  const download = await fetch(href);
  assert.match(download.headers.get('content-disposition'), /attachment; filename="ending\.mp4"/);
  await rowOf('ending')
    .locator('img')
    .evaluate((image) => image.decode());
  await shot('4-completed', page, { fullPage: true });
  for (const id of ['clip-1', 'clip-2', 'ending']) {
    await rowOf(id)
      .getByRole('button', { name: `Play ${id}` })
      .click();
  }
  await accessible('completed');
});

test(
  'one clip of a second batch is cancelled and retried; a reload meanwhile restores everything',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async () => {
    // Full length and another quality: new work, and long enough to be interrupted.
    await page.locator('.clips .name').first().focus();
    await page.getByRole('textbox', { name: 'Start of clip-1' }).fill('0');
    await page.getByRole('textbox', { name: 'Start of clip-1' }).press('Enter');
    await page.getByRole('textbox', { name: 'End of clip-1' }).fill('30');
    await page.getByRole('textbox', { name: 'End of clip-1' }).press('Enter');
    await page.locator('#quality').selectOption('1080p');
    await page.getByRole('button', { name: 'Export all 3 clips' }).click();
    const card = page.locator(`#export .batch:first-child:not([data-batch="${firstBatch}"])`);
    await card.waitFor();
    const second = await card.getAttribute('data-batch');
    await until(
      'clip-1 is processing',
      async () => (await statusOf('clip-1')) === 'processing' && (await barOf('clip-1')) > 0,
    );
    await rowOf('clip-1').getByRole('button', { name: 'Cancel clip-1' }).click();
    await until('clip-1 is cancelled', async () => (await statusOf('clip-1')) === 'cancelled');
    await rowOf('clip-1').getByRole('button', { name: 'Retry clip-1' }).click();
    await until(
      'clip-1 is processing again',
      async () => (await statusOf('clip-1')) === 'processing' && (await barOf('clip-1')) > 1,
    );
    const before = (await bars(second))['ending'].at(-1).now;
    const marked = await page.locator('.clips .name').evaluateAll((inputs) => inputs.map((input) => input.value));

    await page.reload();
    await page.waitForSelector('html[data-ready]');
    await page.waitForSelector('#export .batch >> nth=1');
    assert.deepEqual(await page.locator('#export .batch').evaluateAll((cards) => cards.map((it) => it.dataset.batch)), [
      second,
      firstBatch,
    ]);
    assert.deepEqual(
      await page.locator('.clips .name').evaluateAll((inputs) => inputs.map((input) => input.value)),
      marked,
    );
    await until('the stored source is shown', () =>
      page.evaluate(() => document.querySelector('.picture video').readyState >= 2),
    );
    await until('the rows are shown', async () => (await barOf('ending')) >= before);
    for (const id of ['clip-1', 'clip-2', 'ending']) {
      await until(`${id} is complete`, async () => (await statusOf(id)) === 'completed');
    }
    for (const [id, list] of Object.entries(await bars(second))) {
      assertNeverDecreases(list, `${id} after the reload`);
    }
  },
);

test('history and fleet show their data; the fleet can be paused', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  await page.getByRole('link', { name: 'History' }).click();
  await page.waitForSelector('#history .batch >> nth=1');
  assert.equal(await page.locator('#history .batch').count(), 2);
  await page.waitForSelector('#history .batch[open] .row >> nth=2');
  await accessible('history');
  await shot('5-history', page, { fullPage: true });

  await page.getByRole('link', { name: 'Fleet', exact: true }).click();
  const badge = page.locator('.badge');
  await until('the fleet answers', async () => (await badge.textContent()) === 'Running');
  await page.getByRole('button', { name: 'Pause' }).click();
  await until('it is paused', async () => (await badge.textContent()) === 'Paused');
  assert.equal(await page.locator('#fleet-state').textContent(), 'Fleet paused');

  // Queued work is shown as waiting, once the worker knows of the pause: it polls every two seconds.
  await until('the worker knows', () => place.fleet.output.some((line) => line.includes('leasing stopped')));
  await page.getByRole('link', { name: 'Export', exact: true }).click();
  await page.locator('#quality').selectOption('1440p');
  await page.getByRole('button', { name: 'Export all 3 clips' }).click();
  await until(
    'a third batch',
    async () => (await page.locator('#export .batch').count()) === 2 && (await statusOf('ending')) === 'queued',
  );
  await page.getByRole('link', { name: 'Fleet', exact: true }).click();
  const figure = (name) => page.locator('.figure', { hasText: name }).locator('.value');
  await until('three clips wait', async () => (await figure('Clips waiting').textContent()) === '3');
  assert.equal(await figure('Slots at work').textContent(), '0 of 3');
  assert.equal(await figure('Dead letters').textContent(), '0');
  await accessible('fleet');
  await page.getByRole('button', { name: 'Resume' }).click();
  await until('they are processing', async () => (await figure('Slots at work').textContent()) === '3 of 3');
  await until('the clips are listed', async () => (await page.locator('tbody tr').count()) >= 4);
  await shot('6-fleet', page, { fullPage: true });
  await page.getByRole('link', { name: 'Export', exact: true }).click();
  await page.getByRole('button', { name: 'Cancel all' }).first().click();
  await until(
    'all are cancelled',
    async () => (await statusOf('ending')) === 'cancelled' && (await statusOf('clip-1')) === 'cancelled',
  );
});

test('nothing is cut off on a phone and in the dark scheme', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const phone = await browser.newContext({
    viewport: PHONE,
    hasTouch: true,
    isMobile: true,
    deviceScaleFactor: 2,
    storageState: await context.storageState(),
  });
  phone.setDefaultTimeout(60_000);
  const small = await phone.newPage();
  listenTo(small);
  await small.goto(`${place.fleet.api}/console/`);
  await small.waitForSelector('#export .row');
  await until('the video is shown', () =>
    small.evaluate(() => document.querySelector('.picture video').readyState >= 2),
  );
  const fits = async (what) => {
    const [content, screen] = await small.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= screen, `${what} is ${content} wide on ${screen}`);
  };
  await fits('export');
  await shot('7-phone', small, { fullPage: true });
  await shot('7-phone-first', small);

  // A finger marks a clip, with touches as the browser sends them.
  const marked = await small.locator('.clips li').count();
  await small.locator('.lane').evaluate((it) => it.scrollIntoView({ block: 'center' }));
  const lane = await small.locator('.lane').boundingBox();
  const touch = await phone.newCDPSession(small);
  const y = lane.y + lane.height - 12;
  const finger = (type, x) =>
    touch.send('Input.dispatchTouchEvent', { type, touchPoints: x === null ? [] : [{ x, y }] });
  await finger('touchStart', lane.x + lane.width * 0.4);
  for (let step = 1; step <= 6; step += 1) {
    await finger('touchMove', lane.x + lane.width * (0.4 + step * 0.04));
  }
  await finger('touchEnd', null);
  await until('the finger marked a clip', async () => (await small.locator('.clips li').count()) === marked + 1);

  for (const view of ['history', 'fleet']) {
    await small.goto(`${place.fleet.api}/console/#/${view}`);
    await until(`${view} is shown`, () =>
      small
        .locator(view === 'fleet' ? '.figure .value' : '#history .batch')
        .first()
        .isVisible(),
    );
    await fits(view);
    await shot(`8-phone-${view}`, small, { fullPage: true });
  }
  await accessible('phone', small);
  await phone.close();

  await page.emulateMedia({ colorScheme: 'dark', reducedMotion: 'reduce' });
  assert.equal(
    await page
      .locator('.fill')
      .first()
      .evaluate((it) => getComputedStyle(it).transitionDuration),
    '0s',
  );
  await page.evaluate(() => scrollTo(0, 0));
  await shot('9-dark');
  await shot('9-dark-whole', page, { fullPage: true });
});

test('a video without a duration, and a file that is not a video', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const { execFileSync } = await import('node:child_process');
  const { writeFileSync } = await import('node:fs');
  // As MediaRecorder writes it: no duration, no cues.
  const live = join(place.folder, 'recording.webm');
  execFileSync('ffmpeg', [
    '-hide_banner',
    '-loglevel',
    'error',
    '-y',
    '-i',
    place.source,
    '-t',
    '6',
    '-vf',
    'scale=320:-2',
    '-c:v',
    'libvpx',
    '-deadline',
    'realtime',
    '-cpu-used',
    '8',
    '-c:a',
    'libopus',
    '-f',
    'webm',
    '-live',
    '1',
    live,
  ]);
  await page.getByRole('button', { name: 'Other video' }).click();
  await page.setInputFiles('#file', live);
  await until('its length is found', async () => /\/ 0:0[56]\.\d$/.test(await page.locator('.time').textContent()));
  await page.getByRole('button', { name: 'Mark clip' }).click();

  const text = join(place.folder, 'notes.mp4');
  writeFileSync(text, 'no video at all');
  await page.getByRole('button', { name: 'Other video' }).click();
  await page.setInputFiles('#file', text);
  await page.waitForSelector('.unplayable', { state: 'visible' });
  await page.getByRole('button', { name: 'Mark clip' }).click();
  await page.getByRole('button', { name: 'Export one clip' }).click();
  await until('the fleet reports the reason', async () => (await statusOf('clip-1').catch(() => '')) === 'failed');
  assert.ok((await rowOf('clip-1').locator('.problem').first().textContent()).length > 10);
  await shot('10-failed', page, { fullPage: true });
});

test('the page logged no error, and sent no request to another server', () => {
  assert.deepEqual(complaints, []);
  assert.deepEqual(
    [...origins].filter((origin) => ![place.fleet.api, `http://${place.fleet.emulator}`].includes(origin)),
    [],
  );
});

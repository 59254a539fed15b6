// The console as a user sees it, in Chromium: drop a video, mark clips, export all, watch, play, cancel, retry, reload.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { cropWindow, outputSize } from '../../crates/console/web/reframe.js';
import {
  DESKTOP,
  PHONE,
  WAIT_TIMEOUT_MS,
  assertAccessible,
  recordComplaints,
  stage,
  startChromium,
  until,
} from './support.mjs';


const LIMIT = { timeout: 2 * WAIT_TIMEOUT_MS };

let place, browser, context, page;
/** A page must never log errors, nor send requests to another server. */
const record = { complaints: [], origins: new Set() };

/** Runs before the page's own scripts: records every state of every bar. */
function recordBars() {
  window.bars = {};
  const record = () => {
    for (const card of document.querySelectorAll('.clip')) {
      const { batch } = card.closest('[data-batch]').dataset;
      const now = Number(card.querySelector('[role=progressbar]').getAttribute('aria-valuenow'));
      const list = ((window.bars[batch] ??= {})[card.dataset.clip] ??= []);
      if (list.at(-1)?.now !== now || list.at(-1)?.status !== card.dataset.status) {
        list.push({ now, status: card.dataset.status, at: performance.now() });
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

before(
  async () => {
    place = await stage(60, 3);
    browser = await startChromium();
    context = await browser.newContext({ viewport: DESKTOP });
    context.setDefaultTimeout(60_000);
    await context.addInitScript(recordBars);
    page = await context.newPage();
    recordComplaints(page, record);
  },
  LIMIT,
);

after(async () => {
  await browser?.close();
  await place?.end();
});

const cardOf = (id, of = page) => of.locator(`.clip[data-clip="${id}"]`);
const statusOf = (id) => cardOf(id).getAttribute('data-status');
const barOf = async (id) => Number(await cardOf(id).getByRole('progressbar').getAttribute('aria-valuenow'));
const view = (name) => page.getByRole('navigation').getByRole('link', { name, exact: true }).click();
const tab = (name) => page.getByRole('tab', { name }).click();
const clipNames = () => page.locator('.clips .name').evaluateAll((inputs) => inputs.map((input) => input.value));

/** Presses Export and returns the id of the batch, whose page is then shown. */
async function exportAll(label) {
  await page.getByRole('button', { name: label }).click();
  await page.waitForURL(/#\/batch\/./);
  return decodeURIComponent(new URL(page.url()).hash.split('/').at(-1));
}

async function overlay() {
  return (await page.locator('.overlay').getAttribute('data-window')).split(' ').map(Number);
}

test('the page comes only from the fleet, with a strict policy', LIMIT, async () => {
  const answer = await page.goto(place.fleet.api);
  assert.match(page.url(), /\/console\/$/);
  const policy = answer.headers()['content-security-policy'];
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self';/);
  assert.doesNotMatch(policy, /unsafe|\*|data:/);
  await page.waitForSelector('html[data-ready]');
  const again = await fetch(`${place.fleet.api}/console/main.js`, {
    headers: { 'if-none-match': (await fetch(`${place.fleet.api}/console/main.js`)).headers.get('etag') },
  });
  assert.equal(again.status, 304);
  assert.equal((await fetch(`${place.fleet.api}/console/nothing.js`)).status, 404);
  await assertAccessible(page, 'welcome');
});

test('a video is chosen, previewed and stored', LIMIT, async () => {
  await page.setInputFiles('#file', place.source);
  await until('the video plays', () => page.evaluate(() => document.querySelector('.picture video').readyState >= 2));
  await until('it is stored', () => page.evaluate(() => !document.querySelector('progress:not([hidden])')));
  assert.equal(await page.getByRole('heading', { level: 1, name: 'Interview' }).count(), 1);
  assert.match(await page.locator('.time').first().textContent(), /\/ 1:00\.0$/);
});

test('three clips are marked: by dragging, by key, by button', LIMIT, async () => {
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
  const hints = async () => (await third.locator('.problem').allTextContents()).join('');
  assert.match(await hints(), /letters, digits/);
  await third.getByRole('textbox', { name: /^Name/ }).fill('ending');
  await third.getByRole('textbox', { name: /^Name/ }).press('Enter');
  assert.equal(await hints(), '');
  await third.getByRole('textbox', { name: /^End/ }).fill('1:01');
  await third.getByRole('textbox', { name: /^End/ }).press('Enter');
  assert.match(await hints(), /ends at 1:00\.0/);
  await third.getByRole('textbox', { name: /^End/ }).fill('59.5');
  await third.getByRole('textbox', { name: /^End/ }).press('Enter');
  const list = await page.locator('.clips .name').evaluateAll((inputs) => inputs.map((input) => input.value));
  assert.deepEqual(list, ['clip-1', 'clip-2', 'ending']);
});

test('the window on the video is the one that the fleet cuts', LIMIT, async () => {
  const source = { width: 1280, height: 720 };
  const window = (position, zoom, aspect = '9:16') =>
    Object.values(cropWindow(position, zoom, source, outputSize('1080p', aspect)));
  await tab('Framing');
  assert.deepEqual(await overlay(), window(50, 100));
  await page.getByRole('slider', { name: 'Position', exact: true }).fill('25');
  await page.getByRole('slider', { name: 'Zoom', exact: true }).fill('140');
  assert.deepEqual(await overlay(), window(25, 140));
  await tab('Output');
  await page.getByRole('radio', { name: '1:1' }).check({ force: true });
  assert.deepEqual(await overlay(), window(25, 140, '1:1'));
  await page.getByRole('radio', { name: '9:16' }).check({ force: true });
  await tab('Framing');

  // Dragging it by a tenth of the picture moves it by a tenth of the picture.
  const box = await page.locator('.picture').boundingBox();
  const [left, , width] = await overlay();
  const x = box.x + ((left + width / 2) / source.width) * box.width;
  await page.mouse.move(x, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(x + box.width / 10, box.y + box.height / 2, { steps: 5 });
  await page.mouse.up();
  assert.ok(Math.abs((await overlay())[0] - left - source.width / 10) <= 2);

  await page.getByRole('radio', { name: 'Pan' }).check({ force: true });
  await page.getByRole('radio', { name: 'Fit' }).check({ force: true });
  await page.waitForSelector('.overlay', { state: 'hidden' });
  await page.getByRole('radio', { name: 'Crop' }).check({ force: true });
  await tab('Output');
  await page.locator('#quality').selectOption('720p');
  await tab('Framing');
  // The result is drawn, not blank: its colours differ.
  await until('the monitor shows a picture', () =>
    page.locator('.monitor').evaluate((canvas) => {
      const { width, height } = canvas;
      const paper = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
      paper.drawImage(canvas, 0, 0);
      return new Set(new Uint32Array(paper.getImageData(0, 0, width, height).data.buffer)).size > 2;
    }),
  );
  await assertAccessible(page, 'editor');
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
  LIMIT,
  async () => {
    firstBatch = await exportAll(/^Export .*3 clips/);
    await page.waitForSelector('.clip >> nth=2');
    await until('a clip is half done', async () =>
      (await Promise.all(['clip-1', 'clip-2', 'ending'].map(barOf))).some((percent) => percent >= 40),
    );
    for (const id of ['clip-1', 'clip-2', 'ending']) {
      await until(`${id} is complete`, async () => {
        const status = await statusOf(id);
        assert.ok(!['failed', 'cancelled'].includes(status), await cardOf(id).textContent());
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

test('each result plays in the page', LIMIT, async () => {
  for (const id of ['clip-1', 'clip-2', 'ending']) {
    await cardOf(id)
      .getByRole('button', { name: `Play ${id}` })
      .click();
    const video = page.locator('dialog.player video');
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
    await page.keyboard.press('Escape');
    await page.locator('dialog.player[open]').waitFor({ state: 'detached' });
  }
  const href = await cardOf('ending').getByRole('link', { name: 'Download ending' }).getAttribute('href');
  const download = await fetch(href);
  assert.match(download.headers.get('content-disposition'), /attachment; filename="Interview-take-2-ending\.mp4"/);
  await cardOf('ending')
    .locator('img')
    .evaluate((image) => image.decode());
  await assertAccessible(page, 'completed');
});

test(
  'one clip of a second batch is cancelled and retried; a reload meanwhile restores everything',
  LIMIT,
  async () => {
    await view('Export');
    await tab('Clips');
    // Full length and another quality: new work, and long enough to be interrupted.
    await page.locator('.clips .name').first().focus();
    await page.getByRole('textbox', { name: 'Start of clip-1' }).fill('0');
    await page.getByRole('textbox', { name: 'Start of clip-1' }).press('Enter');
    await page.getByRole('textbox', { name: 'End of clip-1' }).fill('30');
    await page.getByRole('textbox', { name: 'End of clip-1' }).press('Enter');
    const marked = await clipNames();
    await tab('Output');
    await page.locator('#quality').selectOption('1080p');
    const second = await exportAll(/^Export .*3 clips/);
    assert.notEqual(second, firstBatch);
    await until(
      'clip-1 is processing',
      async () => (await statusOf('clip-1')) === 'processing' && (await barOf('clip-1')) > 0,
    );
    await cardOf('clip-1').getByRole('button', { name: 'Cancel clip-1' }).click();
    await until('clip-1 is cancelled', async () => (await statusOf('clip-1')) === 'cancelled');
    await cardOf('clip-1').getByRole('button', { name: 'Start again: clip-1' }).click();
    await until(
      'clip-1 is processing again',
      async () => (await statusOf('clip-1')) === 'processing' && (await barOf('clip-1')) > 1,
    );
    const before = (await bars(second))['ending'].at(-1).now;

    await page.reload();
    await page.waitForSelector('html[data-ready]');
    await until('the cards are shown', async () => (await barOf('ending')) >= before);
    for (const id of ['clip-1', 'clip-2', 'ending']) {
      await until(`${id} is complete`, async () => (await statusOf(id)) === 'completed');
    }
    for (const [id, list] of Object.entries(await bars(second))) {
      assertNeverDecreases(list, `${id} after the reload`);
    }
    await view('Export');
    assert.deepEqual(await clipNames(), marked);
    await until('the stored source is shown', () =>
      page.evaluate(() => document.querySelector('.picture video').readyState >= 2),
    );
  },
);

test('history and fleet show their data; the fleet can be paused', LIMIT, async () => {
  await view('History');
  await page.waitForSelector('.batch-row >> nth=1');
  assert.equal(await page.locator('.batch-row').count(), 2);

  await view('Fleet');
  const badge = page.locator('.badge');
  await until('the fleet answers', async () => (await badge.textContent()) === 'Running');
  await page.getByRole('button', { name: 'Pause' }).click();
  await until('it is paused', async () => (await badge.textContent()) === 'Paused');
  assert.equal(await page.locator('#fleet-state').textContent(), 'Fleet paused');

  // Queued work is shown as waiting, once the worker knows of the pause: it polls every two seconds.
  await until('the worker knows', () => place.fleet.output.some((line) => line.includes('leasing stopped')));
  await view('Export');
  await tab('Output');
  await page.locator('#quality').selectOption('1440p');
  const third = await exportAll(/^Export .*3 clips/);
  await until('a third batch', async () => (await statusOf('ending')) === 'queued');
  await view('Fleet');
  const figure = (name) => page.locator('.figure', { hasText: name }).locator('.value');
  await until('three clips wait', async () => (await figure('Clips waiting').textContent()) === '3');
  assert.equal(await figure('Busy slots').textContent(), '0 / 3');
  assert.equal(await figure('Dead letters').textContent(), '0');
  await assertAccessible(page, 'fleet');
  await page.getByRole('button', { name: 'Resume' }).click();
  await until('they are processing', async () => (await figure('Busy slots').textContent()) === '3 / 3');
  await until('the clips are listed', async () => (await page.locator('tbody tr').count()) >= 4);
  await page.goto(`${place.fleet.api}/console/#/batch/${third}`);
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await until(
    'all are cancelled',
    async () => (await statusOf('ending')) === 'cancelled' && (await statusOf('clip-1')) === 'cancelled',
  );
});

test('nothing is cut off on a phone, and motion is reduced on request', LIMIT, async () => {
  const phone = await browser.newContext({ ...PHONE, storageState: await context.storageState() });
  phone.setDefaultTimeout(60_000);
  const small = await phone.newPage();
  recordComplaints(small, record);
  await small.goto(`${place.fleet.api}/console/`);
  await small.waitForSelector('html[data-ready]');
  await until('the video is shown', () =>
    small.evaluate(() => document.querySelector('.picture video').readyState >= 2),
  );
  const fits = async (what) => {
    const [content, screen] = await small.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    assert.ok(content <= screen, `${what} is ${content} wide on ${screen}`);
  };
  await fits('export');

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

  const views = { history: '.batch-row', fleet: '.figure .value', [`batch/${firstBatch}`]: '.clip' };
  for (const [hash, content] of Object.entries(views)) {
    await small.goto(`${place.fleet.api}/console/#/${hash}`);
    await until(`${hash} is shown`, () => small.locator(content).first().isVisible());
    await fits(hash);
    await assertAccessible(small, `${hash} on a phone`);
  }
  await phone.close();

  await page.emulateMedia({ reducedMotion: 'reduce' });
  const fill = page.locator('.batch-progress .fill');
  const duration = await fill.evaluate((it) => getComputedStyle(it).transitionDuration);
  assert.equal(duration, '0s');
  await page.emulateMedia({ reducedMotion: null });
});

test('a video without a duration, and a file that is not a video', LIMIT, async () => {
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
  await view('Export');
  await page.getByRole('button', { name: 'Replace video' }).click();
  await page.setInputFiles('#file', live);
  const lengthFound = async () => /\/ 0:0[56]\.\d$/.test(await page.locator('.time').first().textContent());
  await until('its length is found', lengthFound);

  const text = join(place.folder, 'notes.mp4');
  writeFileSync(text, 'no video at all');
  await page.getByRole('button', { name: 'Replace video' }).click();
  await page.setInputFiles('#file', text);
  await page.waitForSelector('.unplayable', { state: 'visible' });
  await page.getByRole('button', { name: 'Mark clip' }).click();
  await exportAll(/^Export/);
  await until('the fleet reports the reason', async () => (await statusOf('clip-1').catch(() => '')) === 'failed');
  assert.match(await cardOf('clip-1').locator('.problem').textContent(), /^Not a video file/);
});

test('the page logged no error, and sent no request to another server', () => {
  assert.deepEqual(record.complaints, []);
  const own = [place.fleet.api, `http://${place.fleet.emulator}`];
  assert.deepEqual(
    [...record.origins].filter((origin) => !own.includes(origin)),
    [],
  );
});

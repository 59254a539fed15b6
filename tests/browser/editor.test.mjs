// The editor protects its user's work, and serves long videos. Each test is what would have caught a finding of a new
// user's trial.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, test } from 'node:test';
import { startFleet } from '../../deploy/functions/test/processes.js';
import {
  PHONE,
  blur,
  drag,
  draftOf,
  dropFile,
  laneAt,
  makeLongFile,
  makeSmallSource,
  makeTwoHours,
  marks,
  openConsole,
  openFile,
  ready,
  recordFrames,
  seekTo,
  videoShown,
} from './editor-support.mjs';
import { WAIT_TIMEOUT_MS, startChromium, until } from './support.mjs';

const SHOTS = join(import.meta.dirname, '../../target/browser');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const CHUNK_BYTES = 8 * 1_024 * 1_024;
const FRAME_MS = 1_000 / 30;
const timeout = { timeout: 2 * WAIT_TIMEOUT_MS };

let folder, fleet, browser, talk, other, page;
/** A page must never log errors. */
const complaints = [];

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  folder = mkdtempSync(join(tmpdir(), 'clipfleet-editor-'));
  talk = makeSmallSource(join(folder, 'talk.mp4'), 60);
  other = makeSmallSource(join(folder, 'other.mp4'), 20);
  writeFileSync(join(folder, 'logo.png'), 'a picture');
  fleet = await startFleet(join(folder, 'data'), 2);
  browser = await startChromium();
}, timeout);

after(async () => {
  await browser?.close();
  await fleet?.stop();
  rmSync(folder, { recursive: true, force: true });
});

afterEach(async () => {
  await page?.context().close();
  page = null;
  assert.deepEqual(complaints.splice(0), [], 'the page logged no error');
});

/** A page with `talk.mp4` (60 s) and clips of the given ranges, in seconds. */
async function editorWith(ranges, options = {}) {
  page = await openConsole({ browser, fleet, complaints, ...options });
  await openFile(page, talk);
  await markAll(ranges);
  return page;
}

async function markAll(ranges) {
  for (const [start, end] of ranges) {
    await drag(page, await laneAt(page, start, 60), await laneAt(page, end, 60));
  }
  await until('all are marked', async () => (await draftOf(page)).clips.length === ranges.length);
  await blur(page);
}

const button = (name) => page.getByRole('button', { name });
const field = (name) => page.getByRole('textbox', { name });
const toast = () => page.locator('.toast');
const currentTime = () => page.evaluate(() => document.querySelector('.picture video').currentTime);

/** Lets PUTs of uploads pass while `mayPass(offset)`; returns the ranges that were sent. */
async function holdUploads(mayPass) {
  const ranges = [];
  await page.route('**/upload/storage/**', (route) => {
    const range = route.request().headers()['content-range'];
    if (route.request().method() !== 'PUT') {
      return route.continue();
    }
    ranges.push(range);
    const offset = Number(/^bytes (\d+)-/.exec(range)?.[1] ?? -1);
    return mayPass(offset) ? route.continue() : new Promise(() => {});
  });
  return ranges;
}

/** The batch ids of the requests that start batches. */
function recordBatches() {
  const ids = [];
  page.on('request', (request) => {
    if (request.method() === 'POST' && request.url().endsWith('/v1/batches')) {
      ids.push(request.postDataJSON().batchId);
    }
  });
  return ids;
}

/** axe must find nothing at all, the size of targets included, in both colour schemes. */
async function accessible(name) {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { rules: { 'target-size': { enabled: true } } }));
    const problems = found.violations.flatMap(({ id, nodes }) =>
      nodes.map((it) => `${id}: ${it.html} ${it.failureSummary}`),
    );
    assert.deepEqual(problems, [], `${name}, ${colorScheme}`);
    assert.ok(
      found.passes.some(({ id }) => id === 'target-size'),
      'axe measured targets',
    );
  }
}

/* ---------- A2: files that are dropped ---------- */

test('a dropped file that is no video changes nothing', timeout, async () => {
  await editorWith([
    [1, 5],
    [10, 20],
  ]);
  const before = await draftOf(page);
  await dropFile(page, join(folder, 'logo.png'), 'image/png');
  await toast().waitFor();
  assert.match(await toast().textContent(), /logo\.png is not a video file/);
  assert.deepEqual(await draftOf(page), before);
  assert.equal(await page.getByRole('heading', { name: 'talk.mp4' }).count(), 1);
});

test('another video asks first, and the clips of the one before stay in Recent videos', timeout, async () => {
  await editorWith([
    [1, 5],
    [10, 20],
  ]);
  const before = await marks(page);
  await dropFile(page, other, 'video/mp4');
  const dialog = page.getByRole('dialog');
  await accessible('question');
  assert.match(await dialog.textContent(), /Replace talk\.mp4\? Its 2 clips are kept in Drafts\./);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  await dialog.waitFor({ state: 'detached' });
  assert.deepEqual(await marks(page), before);

  await dropFile(page, other, 'video/mp4');
  await dialog.getByRole('button', { name: 'Replace' }).click();
  await page.getByRole('heading', { name: 'other.mp4' }).waitFor();
  assert.deepEqual(await marks(page), []);

  await button('Replace video').click();
  const rows = page.locator('.recent li');
  await until('both are listed', async () => (await rows.count()) === 2);
  assert.match(await rows.filter({ hasText: 'talk.mp4' }).textContent(), /2 clips/);
  await page.screenshot({ path: join(SHOTS, 'editor-1-recent.png') });
  await accessible('recent videos');

  await button('Remove talk.mp4').click();
  await until('it is removed', async () => (await rows.count()) === 1);
  await toast().getByRole('button', { name: 'Undo' }).click();
  await until('it is back', async () => (await rows.count()) === 2);
  await rows.filter({ hasText: 'talk.mp4' }).locator('.open').click();
  await page.getByRole('heading', { name: 'talk.mp4' }).waitFor();
  assert.deepEqual(await marks(page), before);
  await videoShown(page);
});

test('the same file again keeps its clips and asks nothing', timeout, async () => {
  await editorWith([[1, 5]]);
  const before = await marks(page);
  await page.setInputFiles('#file', talk);
  await videoShown(page);
  assert.deepEqual(await marks(page), before);
  assert.equal(await page.getByRole('dialog').count(), 0);
});

test('two tabs with the same video overwrite no mark of each other', timeout, async () => {
  await editorWith([[1, 5]]);
  const second = await page.context().newPage();
  await second.goto(page.url());
  await ready(second);
  await until('the second tab has the clip', async () => (await second.locator('.clips li').count()) === 1);
  await drag(second, await laneAt(second, 10, 60), await laneAt(second, 20, 60));
  await until('the first tab has both', async () => (await page.locator('.clips li').count()) === 2);
  await drag(page, await laneAt(page, 30, 60), await laneAt(page, 40, 60));
  await until('the second tab has all three', async () => (await second.locator('.clips li').count()) === 3);
  assert.deepEqual(await marks(page), ['clip-1 1000–5000', 'clip-2 10000–20000', 'clip-3 30000–40000']);
});

/* ---------- A3: uploads ---------- */

test('an upload continues after a reload where it was, and the waiting export starts once', timeout, async () => {
  const big = makeLongFile(join(folder, 'long talk.mp4'), 40, 3 * CHUNK_BYTES);
  const bytes = statSync(big).size;
  page = await openConsole({ browser, fleet, complaints });
  const batches = recordBatches();
  let passing = (offset) => offset < 2 * CHUNK_BYTES;
  const ranges = await holdUploads((offset) => passing(offset));
  await page.setInputFiles('#file', big);
  await videoShown(page);
  await button('Mark clip').click();
  await button(/^Export 1 clip/).click();
  await until('the third chunk is sent', () => ranges.some((range) => range.startsWith(`bytes ${2 * CHUNK_BYTES}-`)));
  assert.match(await page.locator('#export-all').textContent(), /^Waiting for upload, \d+ %$/);
  const before = await marks(page);

  const warned = [];
  page.on('dialog', (dialog) => {
    warned.push(dialog.type());
    dialog.accept();
  });
  await page.reload();
  await ready(page);
  assert.deepEqual(warned, ['beforeunload']);
  assert.deepEqual(await marks(page), before);
  await button('Choose the file again').waitFor();
  const share = Math.floor((100 * 2 * CHUNK_BYTES) / bytes);
  assert.match(
    await page.locator('.notice').textContent(),
    new RegExp(`stopped at ${share} %\\. Choose long talk\\.mp4 again`),
  );
  assert.doesNotMatch(await page.locator('main').innerText(), /cannot play/);
  assert.match(await page.locator('#export-all').textContent(), /^Waiting for upload/);
  await page.screenshot({ path: join(SHOTS, 'editor-2-missing.png') });

  passing = () => true;
  const sentBefore = ranges.length;
  await page.setInputFiles('#file', big);
  await until('it is stored', async () => (await draftOf(page)).source.stored);
  const again = ranges.slice(sentBefore);
  assert.equal(again[0], `bytes */${bytes}`, 'the session says how far it is');
  assert.match(again[1], new RegExp(`^bytes ${2 * CHUNK_BYTES}-`));
  assert.ok(
    again.slice(1).every((range) => Number(/\d+/.exec(range)) >= 2 * CHUNK_BYTES),
    `sent again: ${again}`,
  );
  await until('the export starts', () => batches.length > 0);
  await until('its page is shown', () => /#\/batch\//.test(page.url()));
  assert.deepEqual(await marks(page), before);
  assert.equal(new Set(batches).size, 1, `${batches}`);
});

test('with a file handle an upload continues after a reload by itself', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  // A file of the browser's own file system has a handle like one that a user picked, and it may be read again.
  await page.evaluate(
    async (size) => {
      const root = await navigator.storage.getDirectory();
      const handle = await root.getFileHandle('picked.mp4', { create: true });
      const writable = await handle.createWritable();
      await writable.write(new Uint8Array(size).fill(7));
      await writable.close();
      window.showOpenFilePicker = async () => [handle];
    },
    2 * CHUNK_BYTES + 1_000,
  );
  let passing = (offset) => offset < CHUNK_BYTES;
  const ranges = await holdUploads((offset) => passing(offset));
  await button('Choose a video').click();
  await until('the second chunk is sent', () => ranges.some((range) => range.startsWith(`bytes ${CHUNK_BYTES}-`)));
  page.on('dialog', (dialog) => dialog.accept());
  passing = () => true;
  await page.reload();
  await ready(page);
  await until('it is stored', async () => (await draftOf(page)).source.stored);
  assert.equal(ranges.filter((range) => range.startsWith('bytes 0-')).length, 1, 'the first chunk was sent once');
  assert.equal(await button('Choose the file again').isVisible(), false);
});

test('a connection that breaks once does not fail an upload', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  let broken = 0;
  await page.route('**/upload/storage/**', (route) => {
    const breaks = route.request().method() === 'PUT' && broken === 0;
    broken += breaks ? 1 : 0;
    return breaks ? route.abort('connectionreset') : route.continue();
  });
  await openFile(page, makeSmallSource(join(folder, 'flaky.mp4'), 3));
  assert.equal(broken, 1);
  assert.equal(await page.locator('.notice').isVisible(), false);
  // Chromium itself logs the broken request.
  assert.match(complaints.splice(0).join(), /^error: Failed to load resource: net::ERR_CONNECTION_RESET$/);
});

test('a second tab shows the video once the first one has stored it', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  let release = () => {};
  const held = new Promise((resolve) => {
    release = resolve;
  });
  await page.route('**/upload/storage/**', async (route) => {
    await (route.request().method() === 'PUT' ? held : null);
    await route.continue();
  });
  await page.setInputFiles('#file', makeSmallSource(join(folder, 'shared.mp4'), 4));
  await videoShown(page);
  const second = await page.context().newPage();
  await second.goto(page.url());
  await second.getByRole('button', { name: 'Choose the file again' }).waitFor();
  release();
  await videoShown(second);
  assert.equal(await second.locator('.notice').isVisible(), false);
});

/* ---------- A5: one press, one batch ---------- */

test('presses while the upload runs make one batch', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  const batches = recordBatches();
  let release = () => {};
  const held = new Promise((resolve) => {
    release = resolve;
  });
  await page.route('**/upload/storage/**', async (route) => {
    if (route.request().method() === 'PUT') {
      await held;
    }
    await route.continue();
  });
  await page.setInputFiles('#file', makeSmallSource(join(folder, 'pressed.mp4'), 5));
  await videoShown(page);
  await button('Mark clip').click();
  const go = page.locator('#export-all');
  await go.click();
  await until('it waits', async () => /^Waiting for upload, \d+ %$/.test(await go.textContent()));
  assert.equal(await go.isDisabled(), true);
  await go.click({ force: true });
  await page.keyboard.press('Control+Enter');
  await page.keyboard.press('Control+Enter');
  assert.equal(await go.isDisabled(), true);
  release();
  await until('the page of the batch', () => /#\/batch\//.test(page.url()));
  await page.evaluate(() => {
    location.hash = '#/export';
  });
  await until(
    'the button is ready',
    async () => (await go.isEnabled()) && /^Export 1 clip/.test(await go.textContent()),
  );
  assert.equal(batches.length, 1, `${batches}`);
  const note = page.locator('.start .hint');
  assert.equal(await note.textContent(), '1 clip started.');
  await blur(page);
  await page.keyboard.press('n');
  assert.equal(await note.textContent(), '', 'what was said about other clips is gone');
});

test('a lost answer makes no second batch', timeout, async () => {
  await editorWith([[1, 3]]);
  const batches = recordBatches();
  let lost = 0;
  await page.route('**/v1/batches', async (route) => {
    if (route.request().method() === 'POST' && lost === 0) {
      lost += 1;
      await route.fetch();
      return route.abort('connectionreset');
    }
    return route.continue();
  });
  await blur(page);
  await page.keyboard.press('Control+Enter');
  await until('the page of the batch', () => /#\/batch\//.test(page.url()));
  assert.equal(lost, 1);
  assert.ok(batches.length >= 2, 'the request was repeated');
  assert.equal(new Set(batches).size, 1, `${batches}`);
  assert.match(complaints.splice(0).join(), /^error: Failed to load resource: net::ERR_CONNECTION_RESET$/);
});

/* ---------- A4: edges, undo, remove ---------- */

test('setting an edge past the other one begins a new clip', timeout, async () => {
  await editorWith([[10, 22]]);
  await seekTo(page, 40);
  await page.keyboard.press('i');
  const [first, second] = (await draftOf(page)).clips;
  assert.deepEqual([first.startMs, first.endMs], [10_000, 22_000], 'the selected clip stays');
  assert.deepEqual([second.startMs, second.endMs - second.startMs], [40_000, 15_000]);
  await page.keyboard.press('ArrowUp');
  await until('the first is selected', async () => (await draftOf(page)).selected === first.key);
  await seekTo(page, 5);
  await page.keyboard.press('o');
  const all = (await draftOf(page)).clips;
  assert.equal(all.length, 3);
  assert.deepEqual([all[0].startMs, all[0].endMs], [0, 5_000]);
  assert.deepEqual([all[1].startMs, all[1].endMs], [10_000, 22_000]);
});

test('everything can be undone and redone, a drag as one step', timeout, async () => {
  await editorWith([[10, 22]]);
  const states = [await draftOf(page)];
  const record = async () => states.push(await draftOf(page));
  const block = await page.locator('.block:not(.fresh)').boundingBox();
  const grip = { x: block.x + block.width / 2, y: block.y + 20 };
  await drag(page, grip, { x: grip.x + 200, y: grip.y });
  await record();
  await page.getByRole('tab', { name: 'Output' }).click();
  await page.locator('#quality').selectOption('720p');
  await record();
  await page.getByRole('tab', { name: /Clips/ }).click();
  await blur(page);
  await page.keyboard.press('Delete');
  await record();
  assert.equal(states.at(-1).clips.length, 0);
  assert.match(await toast().textContent(), /clip-1 removed/);

  const essence = ({ clips, output }) => ({ clips, output });
  for (const state of states.slice(0, -1).reverse()) {
    await page.keyboard.press('Control+z');
    assert.deepEqual(essence(await draftOf(page)), essence(state));
  }
  for (const state of states.slice(1)) {
    await page.keyboard.press('Control+Shift+Z');
    assert.deepEqual(essence(await draftOf(page)), essence(state));
  }
  await toast().getByRole('button', { name: 'Undo' }).click();
  assert.deepEqual((await draftOf(page)).clips, states[2].clips, 'the toast brings the clip back');
  await button('Undo', { exact: false }).first().click();
  assert.equal((await draftOf(page)).clips.length, 0);
});

test('a removed clip is offered back only while its video is open', timeout, async () => {
  await editorWith([[10, 22]]);
  await page.keyboard.press('Delete');
  await toast().waitFor();
  await button('Replace video').click();
  await toast().waitFor({ state: 'detached' });
});

test('undo while typing is the field’s own', timeout, async () => {
  await editorWith([[10, 22]]);
  await field('Name of clip 1').click();
  await page.keyboard.press('End');
  await page.keyboard.type('xyz');
  await page.keyboard.press('Control+z');
  assert.notEqual(await field('Name of clip 1').inputValue(), 'clip-1xyz');
  assert.equal((await draftOf(page)).clips.length, 1, 'no mark is undone');
});

test('hints belong to their field and vanish once it is mended', timeout, async () => {
  await editorWith([[10, 22]]);
  const hints = () => page.locator('.clips .problem').allTextContents();
  await field('Name of clip 1').fill('Über');
  await field('Name of clip 1').press('Enter');
  await field('Start of clip-1').fill('30');
  await field('Start of clip-1').press('Enter');
  assert.deepEqual(
    (await hints()).map((hint) => hint !== ''),
    [true, true, false],
  );
  assert.deepEqual(
    [(await draftOf(page)).clips[0].startMs, await field('Start of clip-1').inputValue()],
    [10_000, '30'],
  );
  // A later end makes the typed start possible.
  await field('End of clip-1').fill('40');
  await field('End of clip-1').press('Enter');
  assert.deepEqual(
    (await hints()).map((hint) => hint !== ''),
    [true, false, false],
  );
  assert.deepEqual(await marks(page), ['clip-1 30000–40000']);
  await field('Name of clip 1').fill('intro');
  assert.deepEqual(await hints(), ['', '', '']);
});

/* ---------- playing ---------- */

test('selecting a clip seeks to it, and playing it loops within it', timeout, async () => {
  await editorWith([
    [10, 11],
    [30, 40],
  ]);
  await page.keyboard.press('ArrowUp');
  await until('the first clip is shown', async () => Math.abs((await currentTime()) - 10) < 0.05);
  await page.evaluate(() => {
    const video = document.querySelector('.picture video');
    window.seen = { latest: 0, loops: 0 };
    video.addEventListener('seeking', () => {
      window.seen.loops += video.currentTime < 10.2 ? 1 : 0;
    });
    const look = () => {
      window.seen.latest = Math.max(window.seen.latest, video.currentTime);
      requestAnimationFrame(look);
    };
    look();
  });
  await page.keyboard.press('p');
  await until('it looped twice', () => page.evaluate(() => window.seen.loops >= 3));
  assert.ok((await page.evaluate(() => window.seen.latest)) < 11.4, 'it stays within the clip');
  await page.keyboard.press('k');
  assert.equal(await page.evaluate(() => document.querySelector('.picture video').paused), true);

  await page.keyboard.press('l');
  await page.keyboard.press('l');
  assert.equal(await page.evaluate(() => document.querySelector('.picture video').playbackRate), 2);
  await page.keyboard.press('j');
  const from = await currentTime();
  await until('it plays backwards', async () => (await currentTime()) < from - 0.2);
  await page.keyboard.press('k');
  await page.keyboard.press('m');
  assert.equal(await page.evaluate(() => document.querySelector('.picture video').muted), true);
  await page.getByRole('combobox', { name: 'Speed' }).selectOption('1.5');
  assert.equal(await page.evaluate(() => document.querySelector('.picture video').playbackRate), 1.5);
});

test('the list of keys opens with ?, and closes with Escape', timeout, async () => {
  await editorWith([[10, 22]]);
  const playhead = page.getByRole('slider', { name: 'Position in the video' });
  await playhead.focus();
  await page.keyboard.press('?');
  const help = page.getByRole('dialog', { name: 'Keyboard shortcuts' });
  await help.waitFor();
  await accessible('help');
  await page.keyboard.press('n');
  await page.keyboard.press('Escape');
  await help.waitFor({ state: 'detached' });
  assert.equal((await draftOf(page)).clips.length, 1, 'keys are not the editor’s while the list is open');
  assert.equal(await playhead.evaluate((it) => it === document.activeElement), true, 'the focus is back');
});

test('pan: keyframes are added, shown as diamonds, and walked through', timeout, async () => {
  await editorWith([[10, 30]]);
  await page.getByRole('tab', { name: 'Framing' }).click();
  await page.getByRole('radio', { name: 'Pan' }).check({ force: true });
  await seekTo(page, 20);
  await button('Add keyframe').click();
  const { keyframes } = (await draftOf(page)).clips[0].reframe;
  assert.deepEqual(
    keyframes.map(({ atMs }) => Math.round(atMs / 100)),
    [0, 100],
  );
  assert.equal(await page.locator('.block .diamonds i').count(), 2);
  await button('Previous keyframe').click();
  await until('the first keyframe is shown', async () => Math.abs((await currentTime()) - 10) < 0.1);
  await button('Next keyframe').click();
  await until('the second keyframe is shown', async () => Math.abs((await currentTime()) - 20) < 0.1);
  // An edge that passes a keyframe and comes back loses none.
  await page.getByRole('tab', { name: /Clips/ }).click();
  await field('End of clip-1').fill('15');
  await field('End of clip-1').press('Enter');
  assert.equal(await page.locator('.block .diamonds i').count(), 1);
  await field('End of clip-1').fill('30');
  await field('End of clip-1').press('Enter');
  assert.equal(await page.locator('.block .diamonds i').count(), 2);
});

/* ---------- long videos ---------- */

test('in two hours a clip of 15 s is marked to the frame', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  await openFile(page, makeTwoHours(folder));
  assert.equal(await page.locator('.overview').isVisible(), true);
  // At three quarters of the source, three presses show the third frame from there on.
  await recordFrames(page);
  await seekTo(page, 5_400.005);
  const shows = async (ms) => Math.abs((await page.evaluate(() => window.shownMs)) - ms) <= 1;
  for (let press = 1; press <= 3; press += 1) {
    await page.keyboard.press('.');
  }
  await until('the third frame', () => shows(5_400_000 + 3 * FRAME_MS));
  await page.keyboard.press('n');
  const [clip] = (await draftOf(page)).clips;
  assert.ok(Math.abs(clip.startMs - (5_400_000 + 3 * FRAME_MS)) <= 1, `starts at ${clip.startMs}`);
  await page.keyboard.press(',');
  await until('the second frame', () => shows(5_400_000 + 2 * FRAME_MS));

  // The view has the clip, with handles of at least 24 pixels, which do not overlap.
  const handles = page.locator('.block.selected .edge');
  const boxes = [await handles.first().boundingBox(), await handles.last().boundingBox()];
  assert.ok(
    boxes.every(({ width }) => width >= 24),
    JSON.stringify(boxes),
  );
  assert.ok(boxes[0].x + boxes[0].width <= boxes[1].x, JSON.stringify(boxes));

  // Zoomed in at its end by the wheel, a drag of five frames moves it by five frames.
  await seekTo(page, clip.endMs / 1_000);
  const edge = async () => {
    const box = await handles.last().boundingBox();
    return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  };
  const perMs = () =>
    page.evaluate(() => {
      const [a, b] = [...document.querySelectorAll('.tick')].map((tick) => parseFloat(tick.style.left));
      const seconds = [...document.querySelectorAll('.tick')]
        .slice(0, 2)
        .map((tick) => tick.textContent.split(':').reduce((sum, part) => sum * 60 + Number(part), 0));
      return (((b - a) / 100) * document.querySelector('.strip').clientWidth) / ((seconds[1] - seconds[0]) * 1_000);
    });
  const end = await handles.last().boundingBox();
  await page.mouse.move(end.x + end.width, end.y + end.height / 2);
  await page.keyboard.down('Control');
  for (let turn = 0; turn < 12; turn += 1) {
    await page.mouse.wheel(0, -120);
  }
  await page.keyboard.up('Control');
  await until('the timeline is zoomed in', async () => (await perMs()) > 0.3);
  const from = await edge();
  await page.keyboard.down('Alt');
  await drag(page, from, { x: from.x + 5 * FRAME_MS * (await perMs()), y: from.y });
  await page.keyboard.up('Alt');
  const { endMs } = (await draftOf(page)).clips[0];
  assert.ok(Math.abs(endMs - clip.endMs - 5 * FRAME_MS) < FRAME_MS / 2, `moved by ${endMs - clip.endMs} ms`);
  await page.screenshot({ path: join(SHOTS, 'editor-3-zoomed.png') });

  // Zoomed out, edges snap to each other.
  await blur(page);
  for (let press = 0; press < 12; press += 1) {
    await page.keyboard.press('-');
  }
  assert.equal(await page.locator('.overview').isVisible(), false, 'the whole source is shown');
  const narrow = await handles.evaluateAll((edges) => edges.map((it) => it.getBoundingClientRect().width));
  assert.ok(
    narrow.every((width) => width >= 24),
    `handles are ${narrow} wide`,
  );
  await accessible('two hours, whole');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.screenshot({ path: join(SHOTS, 'editor-4-two-hours.png') });
});

test('the overview, the wheel and two fingers move the view of a long source, and no clip', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints, hasTouch: true });
  await openFile(page, makeTwoHours(folder));
  const view = async () => {
    const [left, width] = await page
      .locator('.overview-frame')
      .evaluate((it) => [it.style.left, it.style.width].map(parseFloat));
    return { startMs: left * 72_000, lengthMs: width * 72_000 };
  };
  const first = await view();
  assert.ok(first.startMs === 0 && first.lengthMs >= 60_000 && first.lengthMs <= 90_000, JSON.stringify(first));

  // Dragging the frame to the middle of the overview shows the middle of the source.
  const { x, y, width, height } = await page.locator('.overview').boundingBox();
  await drag(page, { x: x + 2, y: y + height / 2 }, { x: x + width / 2, y: y + height / 2 });
  const dragged = await view();
  assert.ok(Math.abs(dragged.startMs - 3_600_000) < 120_000, JSON.stringify(dragged));
  assert.equal(await currentTime(), 0, 'looking elsewhere does not seek');

  const lane = await page.locator('.lane').boundingBox();
  await page.mouse.move(lane.x + lane.width / 2, lane.y + 20);
  await page.mouse.wheel(0, 200);
  await until('the wheel pans', async () => (await view()).startMs > dragged.startMs + 1_000);
  const panned = await view();
  await page.keyboard.down('Control');
  await page.mouse.wheel(0, 240);
  await page.keyboard.up('Control');
  await until('Ctrl and the wheel zoom', async () => (await view()).lengthMs > 1.5 * panned.lengthMs);

  const wide = await view();
  const touch = await page.context().newCDPSession(page);
  const fingers = (type, apart) =>
    touch.send('Input.dispatchTouchEvent', {
      type,
      touchPoints:
        apart === null
          ? []
          : [-1, 1].map((side, id) => ({ x: lane.x + lane.width / 2 + side * apart, y: lane.y + 20, id })),
    });
  await fingers('touchStart', 40);
  for (const apart of [60, 80, 100, 120]) {
    await fingers('touchMove', apart);
  }
  await fingers('touchEnd', null);
  await until('two fingers zoom', async () => (await view()).lengthMs < wide.lengthMs / 2);
  assert.deepEqual(await marks(page), [], 'a pinch marks no clip');

  // A seek brings the view back to the playhead.
  await page.keyboard.press('ArrowRight');
  await seekTo(page, 100);
  await until('the view follows', async () => (await view()).startMs <= 100_000);
});

test('a drag snaps to the playhead and to other clips, and Alt switches it off', timeout, async () => {
  await editorWith([[10, 20]]);
  const near = async (seconds, pixels) => {
    const at = await laneAt(page, seconds, 60);
    return { x: at.x + pixels, y: at.y };
  };
  await drag(page, await near(20, 5), await near(25, 0));
  assert.equal((await draftOf(page)).clips[1].startMs, 20_000, 'it begins where the other ends');
  await page.keyboard.press('Control+z');
  await page.keyboard.down('Alt');
  await drag(page, await near(20, 5), await near(25, 0));
  await page.keyboard.up('Alt');
  assert.notEqual((await draftOf(page)).clips[1].startMs, 20_000);
});

test('no time is cut off, up to 9:59:59.9', timeout, async () => {
  for (const viewport of [{ width: 1440, height: 900 }, PHONE]) {
    page = await openConsole({ browser, fleet, complaints, viewport });
    await page.fill('#uri', 'gs://clipfleet-local/none.mp4');
    await page.route('**/none.mp4**', (route) => route.abort());
    await button('Open').click();
    await button('Mark clip').click();
    for (const name of ['End of clip-1', 'Start of clip-1']) {
      await field(name).fill(name.startsWith('End') ? '9:59:59.9' : '9:59:49.9');
      await field(name).press('Enter');
    }
    await page.evaluate(() => {
      document.querySelector('.at').value = '9:59:59.9';
    });
    for (const font of ['', '"DejaVu Sans"', '"Noto Sans"', 'Arial, "Liberation Sans"']) {
      await page.evaluate((family) => {
        document.documentElement.style.fontFamily = family;
      }, font);
      const cut = await page.evaluate(() =>
        [...document.querySelectorAll('.at, .time, .length, #export-all, .tick')]
          .filter((it) => it.checkVisibility() && it.scrollWidth > it.clientWidth)
          .map((it) => `${it.className} ${it.value ?? it.textContent}: ${it.scrollWidth} in ${it.clientWidth}`),
      );
      assert.deepEqual(cut, [], `${font} at ${viewport.width}`);
    }
    complaints.splice(0);
    await page.context().close();
  }
  page = null;
});

/* ---------- what does not play ---------- */

test('a file that does not play can still be marked by times, and the page says what it knows', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  const broken = join(folder, 'notes.mp4');
  writeFileSync(broken, 'no video at all');
  await page.setInputFiles('#file', broken);
  const curtain = page.locator('.unplayable');
  await curtain.waitFor();
  assert.match(await curtain.textContent(), /cannot play notes\.mp4 \(15 B, video\/mp4\)/);
  await page.keyboard.press('n');
  await field('Start of clip-1').fill('5');
  await field('Start of clip-1').press('Enter');
  assert.deepEqual(await marks(page), ['clip-1 5000–15000']);
});

test('a stored video that was deleted is asked for again, and is not called unplayable', timeout, async () => {
  page = await openConsole({ browser, fleet, complaints });
  await openFile(page, makeSmallSource(join(folder, 'gone.mp4'), 4));
  await page.keyboard.press('n');
  const [before, { uri }] = [await marks(page), (await draftOf(page)).source];
  const object = encodeURIComponent(uri.replace('gs://clipfleet-local/', ''));
  const url = `http://${fleet.emulator}/storage/v1/b/clipfleet-local/o/${object}`;
  assert.equal((await fetch(url, { method: 'DELETE' })).status, 204);
  await page.reload();
  await button('Choose the file again').waitFor();
  assert.doesNotMatch(await page.locator('main').innerText(), /cannot play/);
  await openFile(page, join(folder, 'gone.mp4'));
  assert.deepEqual(await marks(page), before);

  await button('Replace video').click();
  await page.fill('#uri', 'gs://clipfleet-local/never.mp4');
  await button('Open', { exact: true }).first().click();
  await until('the page says so', async () =>
    /never\.mp4 does not exist/.test(await page.locator('.unplayable').textContent()),
  );
  // The request of the video itself is logged by Chromium.
  assert.ok(complaints.splice(0).every((text) => /Failed to load resource.*404|ERR_/.test(text)));
});

/* ---------- layout ---------- */

test('twelve clips leave few tab stops before Export, and it is in view', timeout, async () => {
  await editorWith(Array.from({ length: 12 }, (_, index) => [index * 5, index * 5 + 3]));
  const go = page.locator('#export-all');
  assert.match(await go.textContent(), /^Export 12 clips · 0:36$/);
  await page.locator('#main').focus();
  let stops = 0;
  while (!(await go.evaluate((it) => it === document.activeElement))) {
    await page.keyboard.press('Tab');
    stops += 1;
    assert.ok(stops < 40, 'Export is reached');
  }
  assert.ok(stops <= 26, `${stops} tab stops`);
  const { y, height } = await go.boundingBox();
  assert.ok(y + height <= 900, `Export ends at ${y + height}`);
  await accessible('twelve clips');
  await page.emulateMedia({ forcedColors: 'active' });
  await page.screenshot({ path: join(SHOTS, 'editor-5-forced-colors.png') });
});

test('on a phone the picture stays in view, and the sheet has all there is', timeout, async () => {
  await editorWith([], { viewport: PHONE, hasTouch: true, isMobile: true });
  await button('Mark clip').tap();
  await page.getByRole('tab', { name: 'Framing' }).tap();
  await page.evaluate(() => scrollTo(0, 300));
  const inView = async (selector) => {
    const { y, height } = await page.locator(selector).boundingBox();
    return y >= 0 && y + height <= PHONE.height + 1;
  };
  for (const selector of ['.picture', '#export-all', '.knobs input[type=range] >> nth=0', '.lane']) {
    assert.ok(await inView(selector), `${selector} is in view`);
  }
  assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= PHONE.width);
  // The open tab makes the sheet low, and high again.
  await page.getByRole('tab', { name: 'Framing' }).tap();
  assert.equal(await page.locator('.knobs').isVisible(), false);
  await page.getByRole('tab', { name: 'Framing' }).tap();
  assert.equal(await page.locator('.knobs').isVisible(), true);
  await accessible('phone');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.screenshot({ path: join(SHOTS, 'editor-6-phone.png') });
});

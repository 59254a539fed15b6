// A clip must start with the picture that Chromium's `<video>` shows at that time: the page, the API and the file count
// from the same zero, and show the same colours.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { draftOf } from '../browser/editor-support.mjs';
import { colourDistance } from './chart.mjs';
import { pictures, timed } from './decode.mjs';
import { NAMES, make } from './sources.mjs';
import { WAIT_TIMEOUT_MS, selected, stage, until } from './stage.mjs';

/**
 * Maximum difference between a level of a clip and the browser. Measured: Chromium without a GPU shows a blue of 192 in
 * limited range as 186 and a 40 as 47, where FFmpeg decodes 192 and 39, from the source as well as from the clip.
 */
const MAX_LEVELS = 10;

/** Length of a clip, and its frames. */
const CLIP_MS = 300;
const CLIP_FRAMES = 9;

/** The pictures that are marked, as shares of the source. */
const MARKS = [0, 0.31, 0.62, 0.88];

let here;

before(
  async () => {
    here = await stage();
  },
  { timeout: 2 * WAIT_TIMEOUT_MS },
);

after(() => here?.end());

const open = (name) => here.page.evaluate(async (file) => (await import('/play.mjs')).open(file), name);
const pictureAt = (seconds, expectedAt) =>
  here.page.evaluate(
    async ([at, expected]) => (await import('/play.mjs')).pictureAt(at, expected),
    [seconds, expectedAt],
  );

/** Marks pictures of a source as the console does: by the start time of the shown picture. */
async function mark(name) {
  const known = timed(here.path(name)).sort((one, other) => one.at - other.at);
  const { duration } = await open(name);
  const places = MARKS.map((share) => {
    const index = Math.round(share * (known.length - 1));
    const { at } = known[index];
    // Within the picture's time, as a user stops somewhere.
    return { expected: known[index], seconds: at + 0.4 * ((known[index + 1]?.at ?? at + 0.03) - at) };
  });
  if (name.startsWith('late-picture')) {
    // There is only audio, and the first picture is already shown.
    places.push({ expected: known[0], seconds: known[0].at / 2 });
  }
  const marks = [];
  for (const { expected, seconds } of places) {
    const shown = await pictureAt(seconds, expected.at);
    marks.push({ seconds, expected, shown, startMs: Math.round(Math.min(shown.mediaTime, seconds) * 1_000) });
  }
  return { name, known, marks, endMs: Math.floor(duration * 1_000) };
}

/** Marks, exports and compares; reports all failures together. */
async function compare(names) {
  const sources = [];
  for (const name of names) {
    sources.push(await mark(name));
  }
  const exported = await here.exportAll(
    sources.map(({ name, marks, endMs }) => ({
      name,
      clips: [...marks.map(({ startMs }) => startMs), endMs - CLIP_MS].map((startMs) => ({
        startMs,
        endMs: startMs + CLIP_MS,
      })),
    })),
  );
  const failures = [];
  const check = (condition, text) => condition || failures.push(text);
  sources.forEach(({ name, known, marks, endMs }, index) => {
    const clips = exported[index];
    marks.forEach(({ seconds, expected, shown, startMs }, place) => {
      const what = `${name} at ${seconds.toFixed(3)} s`;
      check(shown.number === expected.number, `${what}: the page shows ${shown.number}, FFmpeg has ${expected.number}`);
      const off = shown.mediaTime - expected.at;
      check(Math.abs(off) < 0.001, `${what}: the page is ${off.toFixed(3)} s later than FFmpeg`);
      const { path, problem } = clips[place];
      if (problem) {
        failures.push(`${what}: the clip from ${startMs} ms fails: ${problem}`);
        return;
      }
      const frames = pictures(path);
      check(frames.length === CLIP_FRAMES, `${what}: ${frames.length} frames`);
      check(
        frames[0].number === shown.number,
        `${what}: the page shows ${shown.number}, the clip starts with ${frames[0].number}`,
      );
      const distance = colourDistance(frames[0].patches, shown.patches);
      const list = (patches) => patches.map((patch) => patch.map(Math.round).join()).join(' ');
      check(
        distance <= MAX_LEVELS,
        `${what}: the page shows ${list(shown.patches)}, the clip ${list(frames[0].patches)}`,
      );
    });
    const { path, problem } = clips.at(-1);
    if (problem) {
      failures.push(`${name}: the clip up to the end that the page shows, ${endMs} ms, fails: ${problem}`);
    } else {
      const last = pictures(path).at(-1).number;
      // Chromium uses the start of a recording's last packet as its end.
      const { number } = known.findLast(({ at }) => at < endMs / 1_000 - 0.000_5);
      check(last === number, `${name}: a clip up to the page's end, ${endMs} ms, ends with ${last}, not ${number}`);
    }
  });
  assert.deepEqual(failures, []);
}

test('a clip starts with the picture that the page shows', { timeout: 4 * WAIT_TIMEOUT_MS }, async () => {
  const names = NAMES.filter(selected);
  names.forEach((name) => make(here.files, name));
  await compare(names);
});

test("a recording's clip starts with the picture that the page shows", { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  // Not Chromium's own video/x-matroska with H.264: Chromium shows the first picture wherever it seeks.
  const orders = [
    ['recording.webm', 'video/webm;codecs=vp8,opus'],
    ['recording.mp4', 'video/mp4;codecs=avc1,opus'],
  ]
    .map(([name, type]) => ({ name, type, audible: true, ms: 3_000 }))
    .filter(({ name }) => selected(name));
  const done = await here.page.evaluate(async (given) => (await import('/record.mjs')).recordAll(given), orders);
  assert.deepEqual(
    done.map(({ problem }) => problem),
    orders.map(() => undefined),
  );
  await compare(orders.map(({ name }) => name));
});

test(
  'the console marks the picture that it shows, on the timeline of the file',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async () => {
    const consolePage = await (await here.browser.newContext()).newPage();
    for (const name of ['late-picture.mp4', 'times-from-3-s.webm', 'ntsc.mp4'].filter(selected)) {
      make(here.files, name);
      const known = timed(here.path(name));
      await consolePage.goto(here.fleet.api);
      await consolePage.evaluate(() => localStorage.clear());
      await consolePage.reload();
      await consolePage.setInputFiles('#file', here.path(name));
      await until('the console plays the video', () =>
        consolePage.evaluate(() => document.querySelector('.picture video').readyState >= 2),
      );
      const { at } = known[50];
      await consolePage.evaluate(async (since) => {
        const video = document.querySelector('.picture video');
        const seeked = new Promise((resolve) => video.addEventListener('seeked', resolve, { once: true }));
        const presented = new Promise((resolve) => {
          const track = (_, { mediaTime }) => {
            video.requestVideoFrameCallback(track);
            if (Math.abs(mediaTime - since) < 0.001) {
              resolve();
            }
          };
          video.requestVideoFrameCallback(track);
        });
        video.currentTime = since + 0.015;
        await Promise.all([seeked, presented]);
      }, at);
      await consolePage.keyboard.press('n');
      const draft = await draftOf(consolePage);
      assert.equal(draft.clips[0].startMs, Math.round(at * 1_000), name);
      const { duration } = await open(name);
      assert.equal(draft.source.durationMs, Math.floor(duration * 1_000), name);
      assert.ok(duration >= known.at(-1).at, `${name}: the end is on the same timeline`);
    }
    await consolePage.close();
  },
);

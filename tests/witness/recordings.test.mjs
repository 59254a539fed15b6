// Recordings of Chromium's MediaRecorder are exported: every type that it supports, of a canvas and of a camera, with
// and without audio, with a pause, and with a change of size.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { film } from './chart.mjs';
import { checkColours, checkPictures, checkAudio } from './checks.mjs';
import { ffmpeg, pictures, timed } from './decode.mjs';
import { filmInput } from './sources.mjs';
import { WAIT_TIMEOUT_MS, selected, stage } from './stage.mjs';

/** Length of a recording, and its clip, which neither starts nor ends at a picture of the recording. */
const RECORDING_MS = 3_000;
const CLIP = { startMs: 711, endMs: 2_011 };

/** Length of a pause of the recorder, which is not recorded. */
const PAUSE_MS = 700;

/** Pictures of the camera until it repeats: more than a recording has. */
const CAMERA_PICTURES = 240;

/** Maximum difference of a clip's level from what Chromium shows of the recording; see player.test.mjs. */
const MAX_LEVELS_SHOWN = 10;

/** Simultaneous recordings: with more, a busy machine drops too many pictures of each. */
const MAX_TOGETHER = 4;

const CONTAINERS = { webm: 'video/webm', mkv: 'video/x-matroska', mp4: 'video/mp4' };

/**
 * The types to record: video codecs by their names for MediaRecorder (the first supported one is used), each with
 * these audio codecs.
 */
const MATRIX = [
  { codecs: ['vp8'], audioCodecs: ['opus', 'pcm'] },
  { codecs: ['vp9'], audioCodecs: ['opus', ''] },
  { codecs: ['av1', 'av01.0.04M.08'], audioCodecs: ['opus'] },
  { codecs: ['avc1'], audioCodecs: ['opus', ''] },
  { codecs: ['avc3'], audioCodecs: ['opus'] },
  { codecs: ['hvc1.1.6.L93.B0'], audioCodecs: ['opus', 'mp4a.40.2'] },
  { codecs: ['hev1.1.6.L93.B0'], audioCodecs: ['opus', 'mp4a.40.2'] },
];

/** For the long run: other names of the same codecs, other profiles, every audio codec. */
const MORE_CODECS = [
  'vp9.0',
  'vp09.00.10.08',
  'vp09.02.10.10',
  'av01.0.04M.10',
  'av01.1.04M.08',
  'h264',
  'h264.42E01E',
  'avc1.42E01E',
  'avc1.42001f',
  'avc1.4D401F',
  'avc1.64001F',
  'avc1.64003E',
  'avc3.42E01E',
  'avc3.64001F',
  'h265',
  'hvc1',
  'hev1',
  'theora',
  'mp4v.20.9',
];
const AUDIO_CODECS = ['', 'opus', 'pcm', 'mp4a.40.2', 'mp4a', 'flac', 'vorbis', 'mp3', 'ac-3', 'ec-3'];

const long = process.env.CLIPFLEET_WITNESS === 'long';

let here;

/** Makes the camera's film: numbered pictures, repeated. */
function makeFilm(path) {
  ffmpeg([...filmInput('30'), '-pix_fmt', 'yuv420p', path], { input: film(CAMERA_PICTURES) });
}

before(
  async () => {
    here = await stage((files) => {
      const camera = join(files, 'camera.y4m');
      makeFilm(camera);
      return [
        '--use-fake-ui-for-media-stream',
        '--use-fake-device-for-media-stream',
        `--use-file-for-fake-video-capture=${camera}`,
      ];
    });
  },
  { timeout: 2 * WAIT_TIMEOUT_MS },
);

after(() => here?.end());

/** An order for the recorder in the page. */
function order(container, codecs, more = {}) {
  const name = `${[container, ...codecs, ...Object.keys(more)].filter(Boolean).join('-')}.${container}`;
  const type = `${CONTAINERS[container]};codecs=${codecs.filter(Boolean).join(',')}`;
  return { name, type, codec: codecs[0], audible: Boolean(codecs[1]), ms: RECORDING_MS, ...more };
}

/** Records orders, some at a time. */
async function record(orders, page = here.page) {
  for (let first = 0; first < orders.length; first += MAX_TOGETHER) {
    const some = orders.slice(first, first + MAX_TOGETHER);
    const done = await page.evaluate(async (given) => (await import('/record.mjs')).recordAll(given), some);
    done.forEach(({ problem }, index) => assert.equal(problem, undefined, some[index].name));
  }
}

/** Records, exports one clip of each recording, and checks all before it reports failures. */
async function checkAll(all, clip = CLIP, colours = () => undefined, levels = undefined) {
  const orders = all.filter(({ name }) => selected(name));
  await record(orders);
  const exported = await here.exportAll(orders.map(({ name }) => ({ name, clips: [clip] })));
  const failures = [];
  for (const [index, { name, audible }] of orders.entries()) {
    const [made] = exported[index];
    if (made.problem) {
      failures.push(`${name} is not exported: ${made.problem}`);
      continue;
    }
    const [source, frames, expected] = [timed(here.path(name)), pictures(made.path), await colours(name)];
    const checks = [
      () => checkPictures(name, source, made, frames),
      () => checkColours(name, made, frames, expected, levels),
      () => audible && checkAudio(name, here.path(name), made),
    ];
    for (const check of checks) {
      try {
        check();
      } catch (error) {
        failures.push(error.message);
      }
    }
  }
  assert.deepEqual(failures, []);
  console.log(`${orders.length} recordings: ${orders.map(({ name }) => name).join(' ')}`);
}

/** The orders whose type the browser supports. */
async function supported(orders) {
  const types = orders.map(({ type }) => type);
  const good = await here.page.evaluate(async (all) => (await import('/record.mjs')).supported(all), types);
  return orders.filter(({ type }) => good.includes(type));
}

test('every type that MediaRecorder supports is exported', { timeout: (long ? 18 : 4) * WAIT_TIMEOUT_MS }, async () => {
  const orders = [];
  for (const container of Object.keys(CONTAINERS)) {
    for (const { codecs, audioCodecs } of MATRIX) {
      const [codec] = await supported(codecs.map((name) => order(container, [name])));
      const all = codec ? audioCodecs.map((audio) => order(container, [codec.codec, audio])) : [];
      orders.push(...(await supported(all)));
    }
    if (long) {
      const all = MORE_CODECS.flatMap((codec) => AUDIO_CODECS.map((audio) => order(container, [codec, audio])));
      orders.push(...(await supported(all)));
    }
  }
  const all = Object.keys(CONTAINERS).map(
    (container) => orders.filter(({ name }) => name.startsWith(container)).length,
  );
  assert.ok(
    all.every((count) => count >= 5),
    `${all} recordings are too few for a matrix`,
  );
  await checkAll(orders);
});

test(
  'a recording of a camera is exported in the colours that the browser shows',
  { timeout: 2 * WAIT_TIMEOUT_MS },
  async () => {
    const orders = [
      ['webm', 'vp8'],
      ['webm', 'vp9'],
      ['mkv', 'avc1'],
      ['mp4', 'avc1'],
    ].map(([container, codec]) => order(container, [codec, 'opus'], { camera: true }));
    const shown = async (name) => {
      const { at } = timed(here.path(name)).find((picture) => picture.at >= CLIP.startMs / 1_000);
      return here.page.evaluate(
        async ([file, seconds]) => {
          const player = await import('/play.mjs');
          await player.open(file);
          return (await player.pictureAt(seconds + 0.001, seconds)).patches;
        },
        [name, at],
      );
    };
    await checkAll(orders, CLIP, shown, MAX_LEVELS_SHOWN);
  },
);

test('a paused recording continues where it was paused', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  const orders = [
    ['webm', 'vp8'],
    ['webm', 'vp9'],
    ['mkv', 'avc1'],
    ['mp4', 'avc1'],
  ].map(([container, codec]) => order(container, [codec, 'opus'], { pauseMs: PAUSE_MS }));
  // The pause is in the middle of the recording, and so also of the clip.
  await checkAll(orders, { startMs: 911, endMs: 2_211 });
});

test('a recording whose pictures change their size is exported', { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
  // Chromium writes avc1 in MP4 without the new size: neither FFmpeg nor Chromium can decode the rest.
  const sizes = [
    { width: 480, height: 270 },
    { width: 240, height: 135 },
  ];
  const orders = [
    ['webm', 'vp8'],
    ['webm', 'vp9'],
    ['webm', 'av1'],
    ['mp4', 'avc3'],
  ].map(([container, codec]) => order(container, [codec, 'opus'], { sizes }));
  await checkAll(orders);
});

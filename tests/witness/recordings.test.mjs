// What Chromium records by MediaRecorder is exported: every type that it grants, of a canvas and of a camera, with
// sound and without, with a pause, and with a change of size.

import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { SIZE, film } from './chart.mjs';
import { checkColours, checkPictures, checkSound } from './checks.mjs';
import { ffmpeg, pictures, timed } from './decode.mjs';
import { PATIENCE_MS, chosen, stage } from './stage.mjs';

/** Length of a recording, and the clip that is cut out of it: neither begins nor ends with a picture of either. */
const RECORDING_MS = 3_000;
const CLIP = { startMs: 711, endMs: 2_011 };

/** Length of a pause of the recorder, which is in no recording. */
const PAUSE_MS = 700;

/** Pictures that the camera films until it begins again: more than a recording has. */
const CAMERA_PICTURES = 240;

/** How far a level of a clip may be from what Chromium shows of the recording; see player.test.mjs. */
const MAX_LEVELS_SHOWN = 10;

/** Recordings at once: more, and a busy machine leaves out too many pictures of each. */
const AT_ONCE = 4;

const CONTAINERS = { webm: 'video/webm', mkv: 'video/x-matroska', mp4: 'video/mp4' };

/**
 * What may be recorded: codecs by the names that MediaRecorder takes (the first that it grants is used), each with
 * these sounds.
 */
const MATRIX = [
  { codecs: ['vp8'], sounds: ['opus', 'pcm'] },
  { codecs: ['vp9'], sounds: ['opus', ''] },
  { codecs: ['av1', 'av01.0.04M.08'], sounds: ['opus'] },
  { codecs: ['avc1'], sounds: ['opus', ''] },
  { codecs: ['avc3'], sounds: ['opus'] },
  { codecs: ['hvc1.1.6.L93.B0'], sounds: ['opus', 'mp4a.40.2'] },
  { codecs: ['hev1.1.6.L93.B0'], sounds: ['opus', 'mp4a.40.2'] },
];

/** For the long run: other names of the same codecs, other profiles, every sound. */
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
const SOUNDS = ['', 'opus', 'pcm', 'mp4a.40.2', 'mp4a', 'flac', 'vorbis', 'mp3', 'ac-3', 'ec-3'];

const long = process.env.CLIPFLEET_WITNESS === 'long';

let here;

/** What the camera films: numbered pictures, over and over. */
function makeFilm(path) {
  const size = `${SIZE.width}x${SIZE.height}`;
  const args = [
    '-f',
    'rawvideo',
    '-pix_fmt',
    'rgb24',
    '-s',
    size,
    '-framerate',
    '30',
    '-i',
    'pipe:0',
    '-pix_fmt',
    'yuv420p',
    path,
  ];
  ffmpeg(args, { input: film(CAMERA_PICTURES) });
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
  { timeout: 2 * PATIENCE_MS },
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
  for (let first = 0; first < orders.length; first += AT_ONCE) {
    const some = orders.slice(first, first + AT_ONCE);
    const done = await page.evaluate(async (given) => (await import('/record.mjs')).recordAll(given), some);
    done.forEach(({ problem }, index) => assert.equal(problem, undefined, some[index].name));
  }
}

/** Records, exports one clip of each recording, and checks all of them before it says what is wrong. */
async function checkAll(all, clip = CLIP, colours = () => undefined, levels = undefined) {
  const orders = all.filter(({ name }) => chosen(name));
  await record(orders);
  const exported = await here.exportAll(orders.map(({ name }) => ({ name, clips: [clip] })));
  const wrong = [];
  for (const [index, { name, audible }] of orders.entries()) {
    const [made] = exported[index];
    if (made.problem) {
      wrong.push(`${name} is not exported: ${made.problem}`);
      continue;
    }
    const [source, frames, expected] = [timed(here.path(name)), pictures(made.path), await colours(name)];
    const checks = [
      () => checkPictures(name, source, made, frames),
      () => checkColours(name, made, frames, expected, levels),
      () => audible && checkSound(name, here.path(name), made),
    ];
    for (const check of checks) {
      try {
        check();
      } catch (error) {
        wrong.push(error.message);
      }
    }
  }
  assert.deepEqual(wrong, []);
  console.log(`${orders.length} recordings: ${orders.map(({ name }) => name).join(' ')}`);
}

/** Of these orders, those whose type the browser grants. */
async function granted(orders) {
  const types = orders.map(({ type }) => type);
  const good = await here.page.evaluate(async (all) => (await import('/record.mjs')).granted(all), types);
  return orders.filter(({ type }) => good.includes(type));
}

test('every type that MediaRecorder grants is exported', { timeout: (long ? 18 : 4) * PATIENCE_MS }, async () => {
  const orders = [];
  for (const container of Object.keys(CONTAINERS)) {
    for (const { codecs, sounds } of MATRIX) {
      const [codec] = await granted(codecs.map((name) => order(container, [name])));
      orders.push(...(await granted(codec ? sounds.map((audio) => order(container, [codec.codec, audio])) : [])));
    }
    if (long) {
      orders.push(
        ...(await granted(MORE_CODECS.flatMap((codec) => SOUNDS.map((audio) => order(container, [codec, audio]))))),
      );
    }
  }
  const all = Object.keys(CONTAINERS).map(
    (container) => orders.filter(({ name }) => name.startsWith(container)).length,
  );
  assert.ok(
    all.every((count) => count >= 5),
    `${all} recordings are no matrix`,
  );
  await checkAll(orders);
});

test(
  'a recording of a camera is exported in the colours that the browser shows',
  { timeout: 2 * PATIENCE_MS },
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
          return (await player.look(seconds + 0.001, seconds)).patches;
        },
        [name, at],
      );
    };
    await checkAll(orders, CLIP, shown, MAX_LEVELS_SHOWN);
  },
);

test('a recording that was paused goes on where it paused', { timeout: 2 * PATIENCE_MS }, async () => {
  const orders = [
    ['webm', 'vp8'],
    ['webm', 'vp9'],
    ['mkv', 'avc1'],
    ['mp4', 'avc1'],
  ].map(([container, codec]) => order(container, [codec, 'opus'], { pauseMs: PAUSE_MS }));
  // The pause is in the middle of the recording, and so of the clip.
  await checkAll(orders, { startMs: 911, endMs: 2_211 });
});

test('a recording whose pictures change their size is exported', { timeout: 2 * PATIENCE_MS }, async () => {
  // Chromium writes avc1 in MP4 without the new size: FFmpeg and Chromium itself cannot decode what follows.
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

// Shared code of the tests of the editor: small sources, a page that is watched, and what a user does with it.

import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { DESKTOP, PHONE as PHONE_DEVICE, ffmpeg, until } from './support.mjs';

export { DESKTOP };
/** The size alone: these tests use a mouse. */
export const PHONE = PHONE_DEVICE.viewport;

/** Options of a small encoding with a key frame in each second. */
const encoding = (crf) =>
  `-c:v libx264 -preset ultrafast -crf ${crf} -g 30 -bf 0 -pix_fmt yuv420p`.split(' ');

/** Makes a small video with audio, at 30 pictures per second. */
export function makeSmallSource(path, seconds) {
  const video = `testsrc2=size=320x180:rate=30:duration=${seconds}`;
  const audio = `sine=frequency=330:beep_factor=4:duration=${seconds}`;
  const inputs = ['-f', 'lavfi', '-i', video, '-f', 'lavfi', '-i', audio];
  ffmpeg(...inputs, ...encoding(44), '-c:a', 'aac', '-b:a', '16k', '-movflags', '+faststart', path);
  return path;
}

/**
 * Makes a file as long as several chunks of an upload, without encoding that much: an MP4 may end with a box of
 * padding.
 */
export function makeLongFile(path, seconds, paddingBytes) {
  makeSmallSource(path, seconds);
  const box = Buffer.alloc(paddingBytes);
  box.writeUInt32BE(paddingBytes, 0);
  box.write('free', 4);
  appendFileSync(path, box);
  return path;
}

/**
 * Makes a video of two hours at 30 pictures per second, without audio: a minute, repeated without encoding it again.
 * Once a folder.
 */
export function makeTwoHours(folder) {
  const [minute, hours] = [join(folder, 'minute.mp4'), join(folder, 'two hours.mp4')];
  if (existsSync(hours)) {
    return hours;
  }
  const video = 'testsrc2=size=160x90:rate=30:duration=60';
  ffmpeg('-f', 'lavfi', '-i', video, ...encoding(51), minute);
  ffmpeg('-stream_loop', '119', '-i', minute, '-c', 'copy', '-movflags', '+faststart', hours);
  return hours;
}

/** Opens the console in a context of its own. Errors of the page are added to `complaints`. */
export async function openConsole({ browser, fleet, complaints, ...options }) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(`${message.type()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  await page.goto(`${fleet.api}/console/`);
  await ready(page);
  return page;
}

export const ready = (page) => page.waitForSelector('html[data-ready]');

export const videoShown = (page) =>
  until('the video is shown', () => page.evaluate(() => document.querySelector('.picture video').readyState >= 2));

/** Chooses a file, and waits until it is shown and stored. */
export async function openFile(page, path) {
  await page.setInputFiles('#file', path);
  await videoShown(page);
  await until('it is stored', async () => (await draftOf(page))?.source.stored);
}

/** The open draft as the browser keeps it; null without one. */
export const draftOf = (page) =>
  page.evaluate(() => JSON.parse(localStorage.getItem(`clipfleet.draft.${localStorage.getItem('clipfleet.current')}`)));

/** `id start–end` of each clip, milliseconds. */
export const marks = async (page) =>
  (await draftOf(page)).clips.map(({ clipId, startMs, endMs }) => `${clipId} ${startMs}–${endMs}`);

/** Seeks the user's video, and waits for the picture. */
export const seekTo = (page, seconds) =>
  page.evaluate(
    (to) =>
      new Promise((resolve) => {
        const video = document.querySelector('.picture video');
        video.requestVideoFrameCallback(() => resolve());
        video.currentTime = to;
      }),
    seconds,
  );

/** Keeps the time of the shown frame in `window.shownMs`. */
export const recordFrames = (page) =>
  page.evaluate(() => {
    const video = document.querySelector('.picture video');
    const shown = (_, { mediaTime }) => {
      window.shownMs = mediaTime * 1_000;
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  });

/** Takes the focus from whatever has it, so that keys are the page's. */
export const blur = (page) => page.evaluate(() => document.activeElement?.blur());

/** Drops a file on the page, with the events that a browser sends. */
export async function dropFile(page, path, type) {
  const content = readFileSync(path).toString('base64');
  await page.evaluate(
    ([name, bytes, kind]) => {
      const transfer = new DataTransfer();
      transfer.items.add(
        new File([Uint8Array.from(atob(bytes), (c) => c.charCodeAt(0))], name, { type: kind, lastModified: 1 }),
      );
      for (const event of ['dragenter', 'dragover', 'drop']) {
        document.body.dispatchEvent(new DragEvent(event, { dataTransfer: transfer, bubbles: true, cancelable: true }));
      }
    },
    [basename(path), content, type],
  );
}

/** Where `ms` is on the timeline's lane, pixels, by the ruler's view: the source must be shown whole. */
export async function laneAt(page, seconds, durationSeconds) {
  const box = await page.locator('.lane').boundingBox();
  return { x: box.x + (box.width * seconds) / durationSeconds, y: box.y + box.height - 14 };
}

export async function drag(page, from, to) {
  await page.mouse.move(from.x, from.y);
  await page.mouse.down();
  await page.mouse.move((from.x + to.x) / 2, (from.y + to.y) / 2);
  await page.mouse.move(to.x, to.y);
  await page.mouse.up();
}

// Shared code of the tests against a fleet: a source with moving pictures and audio, a fleet on its own folder,
// waiting, and what every page is held to.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { WAIT_TIMEOUT_MS, until } from '../support/until.mjs';

export { WAIT_TIMEOUT_MS, until };

/** Runs ffmpeg; it writes only errors. */
export const ffmpeg = (...args) => execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-y', ...args]);

/** Makes a video of some seconds, 1280x720 at 30 pictures per second: a counter on moving colours, and a tone. */
export function makeSource(path, seconds) {
  const video = `testsrc2=size=1280x720:rate=30:duration=${seconds}`;
  const audio = `sine=frequency=330:beep_factor=4:sample_rate=48000:duration=${seconds}`;
  const coding = ['-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '24', '-pix_fmt', 'yuv420p', '-g', '60'];
  const inputs = ['-f', 'lavfi', '-i', video, '-f', 'lavfi', '-i', audio];
  ffmpeg(...inputs, ...coding, '-c:a', 'aac', '-movflags', '+faststart', path);
}

/** Starts Chromium without background requests; media may play without a click. */
export function startChromium(args = []) {
  const quiet = [
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ];
  return chromium.launch({
    executablePath: process.env.CHROMIUM,
    args: ['--no-sandbox', '--disable-gpu', ...quiet, '--autoplay-policy=no-user-gesture-required', ...args],
  });
}

/** A folder with a source of `seconds` and a fleet on it. `end` stops the fleet and deletes the folder. */
export async function stage(seconds, slots) {
  const folder = mkdtempSync(join(tmpdir(), 'clipfleet-browser-'));
  const source = join(folder, 'Interview – take 2.mp4');
  makeSource(source, seconds);
  const fleet = await startFleet(join(folder, 'data'), slots);
  const end = async () => {
    await fleet.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  return { folder, source, fleet, end };
}

/** Uploads a file into the fleet's bucket and returns its gs:// name. */
export async function store(fleet, path, name) {
  const query = `uploadType=media&name=${encodeURIComponent(name)}`;
  const url = `http://${fleet.emulator}/upload/storage/v1/b/clipfleet-local/o?${query}`;
  const response = await fetch(url, { method: 'POST', body: readFileSync(path) });
  if (!response.ok) {
    throw new Error(`the storage answered ${response.status}`);
  }
  return `gs://clipfleet-local/${name}`;
}

export const DESKTOP = { width: 1440, height: 900 };
export const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 };

/** Records the errors and warnings that a page logs, and the servers that it sends requests to. */
export function recordComplaints(page, { complaints, origins }) {
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) {
      complaints.push(`${message.type()}: ${message.text()}`);
    }
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('request', (request) => request.url().startsWith('http') && origins.add(new URL(request.url()).origin));
}

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** axe must find nothing serious, in both colour schemes; the size of targets counts as such. */
export async function assertAccessible(page, what) {
  for (const colorScheme of ['light', 'dark']) {
    // Without motion, because colours would be checked during the transition between the schemes.
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    await page.evaluate(axe);
    const options = { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } };
    const found = await page.evaluate((given) => window.axe.run(document, given), options);
    const grave = found.violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
    const problems = grave.flatMap(({ id, nodes }) =>
      nodes.map((node) => `${id}: ${node.html} ${node.failureSummary}`),
    );
    assert.deepEqual(problems, [], `${what}, ${colorScheme}`);
    assert.ok(found.passes.length > 5, 'axe ran');
  }
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: null });
}

/** Chooses a file on the start page, and waits until it is shown and stored. */
export async function openVideo(page, path) {
  await page.setInputFiles('#file', path);
  const video = page.locator('.picture video').first();
  await until('the video is shown', () => video.evaluate((it) => it.readyState >= 2));
  await until('it is stored', () => page.evaluate(() => !document.querySelector('progress:not([hidden])')));
}

/** Marks clips of 15 s by key; each begins a second, or five, after the one before. */
export async function markClips(page, number, { step = 'ArrowRight' } = {}) {
  for (let index = 0; index < number; index += 1) {
    await page.keyboard.press('n');
    await page.keyboard.press(step);
  }
  await until('they are marked', async () => (await page.locator('.clips li').count()) === number);
}

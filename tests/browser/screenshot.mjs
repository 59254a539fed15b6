// Makes the pictures of README.md: the page of a batch while it is made, as a still and as a short animation.
//
//     make screenshot

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { pause } from '../support/until.mjs';
import { DESKTOP, ffmpeg, openVideo, startChromium, until } from './support.mjs';

const TARGET = join(import.meta.dirname, '../../crates/console');
/** As high as the cards, for the pictures; the editor needs more. */
const PICTURE = { width: 1280, height: 620 };
const SECONDS = 30;
const CLIPS = [[0.5, 6], [5, 10], [10.5, 15], [15, 21], [20, 25], [25, 29.5]];
const FRAME_INTERVAL_MS = 250;
const MAX_ANIMATION_BYTES = 1_500_000;

const folder = mkdtempSync(join(tmpdir(), 'clipfleet-screenshot-'));
const source = join(folder, 'Talk.mp4');
const zoom = `mandelbrot=size=1280x720:rate=30:maxiter=300:end_scale=0.004:end_pts=${SECONDS * 30}`;
ffmpeg(
  '-f', 'lavfi', '-i', `${zoom},trim=duration=${SECONDS}`,
  '-f', 'lavfi', '-i', `sine=frequency=330:beep_factor=4:sample_rate=48000:duration=${SECONDS}`,
  '-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '20', '-pix_fmt', 'yuv420p', '-g', '60',
  '-c:a', 'aac', '-shortest', source,
);

/** Marks the clips by dragging on the timeline. */
async function markAll(page) {
  for (const [start, end] of CLIPS) {
    const lane = await page.locator('.lane').boundingBox();
    const at = (seconds) => lane.x + (lane.width * seconds) / SECONDS;
    // Below the clips some room stays free to mark another one.
    const y = lane.y + lane.height - 12;
    await page.mouse.move(at(start), y);
    await page.mouse.down();
    await page.mouse.move(at(end), y, { steps: 8 });
    await page.mouse.up();
  }
}

const fleet = await startFleet(join(folder, 'data'), 3);
const browser = await startChromium();
try {
  const page = await (await browser.newContext({ viewport: DESKTOP })).newPage();
  await page.goto(`${fleet.api}/console/`);
  await openVideo(page, source);
  await markAll(page);
  await page.setViewportSize(PICTURE);
  await page.locator('#export-all').click();
  await until('every clip has a picture', async () => (await page.locator('.clip canvas').count()) === CLIPS.length);
  const frames = join(folder, 'frames');
  mkdirSync(frames);
  let count = 0;
  let still = false;
  const statuses = () => page.locator('.clip').evaluateAll((cards) => cards.map((card) => card.dataset.status));
  const running = page.locator('.clip[data-status=processing] .meter');
  const percents = () => running.evaluateAll((bars) => bars.map((bar) => Number(bar.ariaValueNow)));
  await until('every clip is complete', async () => {
    const now = await statuses();
    await page.screenshot({ path: join(frames, `${String(count++).padStart(4, '0')}.png`) });
    // The still shows all there is: clips that are done, clips that run, clips that wait.
    if (!still && now.includes('completed') && (await percents()).some((percent) => percent >= 30 && percent <= 90)) {
      await page.screenshot({ path: join(TARGET, 'exporting.png') });
      still = true;
    }
    await pause(FRAME_INTERVAL_MS);
    return now.every((status) => status === 'completed');
  });
  if (!still) {
    throw new Error('no clip was seen half done; run it on a slower machine, or make the clips longer');
  }
  const animation = join(TARGET, 'exporting.webp');
  ffmpeg(
    '-framerate', '4', '-i', join(frames, '%04d.png'), '-vf', 'scale=960:-1:flags=lanczos',
    '-c:v', 'libwebp_anim', '-lossless', '0', '-q:v', '60', '-loop', '0', animation,
  );
  if (statSync(animation).size > MAX_ANIMATION_BYTES) {
    throw new Error(`${animation} has ${statSync(animation).size} bytes, at most ${MAX_ANIMATION_BYTES} are allowed`);
  }
  console.log(`${count} frames, ${Math.round(statSync(animation).size / 1024)} KiB`);
} finally {
  await browser.close();
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}

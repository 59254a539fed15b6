// Makes the pictures of README.md: the console while it exports, as a still and as a short animation.
//
//     make screenshot

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { startChromium, until } from './support.mjs';

const TARGET = join(import.meta.dirname, '../../crates/console');
const VIEWPORT = { width: 1280, height: 800 };
const CLIPS = [[1, 9], [10, 17], [18, 27]];
const SECONDS = 30;
const FRAME_INTERVAL_MS = 250;
const MAX_ANIMATION_BYTES = 1_500_000;

const folder = mkdtempSync(join(tmpdir(), 'clipfleet-screenshot-'));
const source = join(folder, 'Talk.mp4');
execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-y',
  '-f', 'lavfi', '-i', `mandelbrot=size=1280x720:rate=30:maxiter=300:end_scale=0.004:end_pts=${SECONDS * 30},trim=duration=${SECONDS}`,
  '-f', 'lavfi', '-i', `sine=frequency=330:beep_factor=4:sample_rate=48000:duration=${SECONDS}`,
  '-c:v', 'libx264', '-preset', 'ultrafast', '-crf', '20', '-pix_fmt', 'yuv420p', '-g', '60', '-c:a', 'aac', '-shortest', source]);

const fleet = await startFleet(join(folder, 'data'), 3);
const browser = await startChromium();
try {
  const page = await (await browser.newContext({ viewport: VIEWPORT })).newPage();
  await page.goto(fleet.api);
  await page.waitForSelector('html[data-ready]');
  await page.setInputFiles('#file', source);
  await until('the video plays', () => page.evaluate(() => document.querySelector('.picture video').readyState >= 2));
  await page.waitForSelector('.upload', { state: 'hidden' });
  const lane = await page.locator('.lane').boundingBox();
  const at = (seconds) => lane.x + (lane.width * seconds) / SECONDS;
  for (const [start, end] of CLIPS) {
    await page.mouse.move(at(start), lane.y + 50);
    await page.mouse.down();
    await page.mouse.move(at(end), lane.y + 50, { steps: 8 });
    await page.mouse.up();
  }
  await page.mouse.click(at(22), lane.y + 50);
  await page.getByRole('button', { name: `Export all ${CLIPS.length} clips` }).click();
  await page.waitForSelector(`#export .batch .row >> nth=${CLIPS.length - 1}`);
  await page.locator('#export .batch').first().evaluate((batch) => batch.scrollIntoView({ block: 'end' }));
  const percents = () => page.locator('#export [role=progressbar]').evaluateAll((bars) => bars.map((bar) => Number(bar.getAttribute('aria-valuenow'))));
  const frames = join(folder, 'frames');
  mkdirSync(frames);
  let count = 0;
  let still = false;
  await until('every clip is complete', async () => {
    const now = await percents();
    await page.screenshot({ path: join(frames, `${String(count++).padStart(4, '0')}.png`) });
    if (!still && now.some((percent) => percent >= 40 && percent < 100)) {
      await page.screenshot({ path: join(TARGET, 'exporting.png') });
      still = true;
    }
    await new Promise((resolve) => { setTimeout(resolve, FRAME_INTERVAL_MS); });
    return now.every((percent) => percent === 100);
  });
  if (!still) {
    throw new Error('no clip was seen half done; run it on a slower machine, or make the clips longer');
  }
  const animation = join(TARGET, 'exporting.webp');
  execFileSync('ffmpeg', ['-hide_banner', '-loglevel', 'error', '-y', '-framerate', '4', '-i', join(frames, '%04d.png'),
    '-vf', 'scale=960:-1:flags=lanczos', '-c:v', 'libwebp_anim', '-lossless', '0', '-q:v', '60', '-loop', '0', animation]);
  if (statSync(animation).size > MAX_ANIMATION_BYTES) {
    throw new Error(`${animation} has ${statSync(animation).size} bytes, at most ${MAX_ANIMATION_BYTES} are wanted`);
  }
  console.log(`${count} frames, ${Math.round(statSync(animation).size / 1024)} KiB`);
} finally {
  await browser.close();
  await fleet.stop();
  rmSync(folder, { recursive: true, force: true });
}

// Makes a picture of every state of the page, in target/browser, for people to look at.
//
//     make screenshot

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DESKTOP, PHONE, ffmpeg, markClips, openVideo, stage, startChromium, store, until } from './support.mjs';

const SHOTS = join(import.meta.dirname, '../../target/browser');
const SECONDS = 60;
const CLIPS = 8;

mkdirSync(SHOTS, { recursive: true });
const place = await stage(SECONDS, 2);
const browser = await startChromium();

/** A page of its own context at a view; `shoot(name)` makes a picture of it. */
async function open(hash, options) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.shoot = (name) => page.screenshot({ path: join(SHOTS, `${name}.png`) });
  page.show = async (to, shown) => {
    await page.goto(`${place.fleet.api}/console/${to}`);
    await page.locator(shown).first().waitFor();
  };
  await page.show(hash, 'html[data-ready]');
  return page;
}

const count = (page, status) => page.locator(`.clip[data-status=${status}]`).count();

/** From the start page to finished clips, as a creator sees it. */
async function shootExport(name, options, offset) {
  const page = await open('', options);
  await page.shoot(`${name}-1-start`);
  await openVideo(page, place.source);
  // Other clips than those of the rounds before, which would be reused.
  for (let second = 0; second < offset; second += 1) {
    await page.keyboard.press('ArrowRight');
  }
  await markClips(page, CLIPS, { step: 'Shift+ArrowRight' });
  await page.shoot(`${name}-2-editor`);
  await page.getByRole('button', { name: 'Keyboard shortcuts' }).click();
  await page.shoot(`${name}-3-help`);
  await page.keyboard.press('Escape');
  await page.locator('#export-all').click();
  const half = async () => (await count(page, 'completed')) >= 2 && (await count(page, 'processing')) > 0;
  await until('some are done', half);
  await page.shoot(`${name}-4-exporting`);
  await page.show('#/fleet', 'tbody tr');
  await page.shoot(`${name}-5-fleet`);
  await page.show('#/history', '.batch-row');
  await page.shoot(`${name}-6-history`);
  await page.locator('.batch-row a').first().click();
  await until('all are done', async () => (await count(page, 'completed')) === CLIPS);
  await page.shoot(`${name}-7-done`);
  await page.locator('.watch').first().click();
  await until('it plays', () => page.locator('dialog.player video').evaluate((video) => video.currentTime > 0.3));
  await page.shoot(`${name}-8-player`);
  await page.show('', '#export-all');
  await page.getByRole('button', { name: 'Replace video' }).click();
  await page.locator('.recent li').first().waitFor();
  await page.shoot(`${name}-9-drafts`);
  await page.context().close();
}

/** What can go wrong. */
async function shootTrouble(name, options) {
  const notes = join(place.folder, 'notes.mp4');
  writeFileSync(notes, 'not a video');
  const batchId = `failing-${name}`;
  await fetch(`${place.fleet.api}/v1/batches`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      batchId,
      ownerUid: 'ann',
      projectId: 'shorts',
      source: { uri: await store(place.fleet, notes, 'sources/notes.mp4') },
      clips: ['intro', 'middle', 'end'].map((clipId) => ({ clipId, startMs: 0, endMs: 6_000 })),
    }),
  });
  const page = await open(`#/batch/${batchId}`, options);
  await until('they failed', async () => (await count(page, 'failed')) === 3);
  await page.shoot(`${name}-10-failed`);
  await page.show('#/batch/web-typo', '.missing');
  await page.shoot(`${name}-11-unknown`);
  await page.route('**/v1/**', (route) => route.abort());
  await page.show('#/fleet', '.banner:visible');
  await page.shoot(`${name}-12-unreachable`);
  await page.context().close();
}

/** A video of two hours on the timeline. */
async function shootLongVideo(options) {
  const [minute, hours] = [join(place.folder, 'minute.mp4'), join(place.folder, 'Two hours.mp4')];
  ffmpeg('-f', 'lavfi', '-i', 'testsrc2=size=160x90:rate=30:duration=60', '-c:v', 'libx264', '-preset', 'ultrafast',
    '-crf', '51', '-g', '30', '-pix_fmt', 'yuv420p', minute);
  ffmpeg('-stream_loop', '119', '-i', minute, '-c', 'copy', '-movflags', '+faststart', hours);
  const page = await open('', options);
  await openVideo(page, hours);
  await markClips(page, 4, { step: 'Shift+ArrowRight' });
  await page.shoot('desktop-13-long-video');
  await page.context().close();
}

try {
  const rounds = { desktop: { viewport: DESKTOP }, phone: PHONE, dark: { viewport: DESKTOP, colorScheme: 'dark' } };
  for (const [offset, [name, options]] of Object.entries(rounds).entries()) {
    await shootExport(name, options, offset);
    await shootTrouble(name, options);
  }
  await shootLongVideo({ viewport: DESKTOP });
} finally {
  await browser.close();
  await place.end();
}

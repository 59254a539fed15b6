// Shared setup of the tests: a fleet, Chromium on our own page, and a folder that both can access.

import { randomUUID } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startFleet } from '../../deploy/functions/test/processes.js';
import { startChromium, store, until } from '../browser/support.mjs';
import { startSite } from './site.mjs';

export { WAIT_TIMEOUT_MS, until } from '../browser/support.mjs';

/**
 * Whether a source is tested: by default all are, otherwise those whose names match CLIPFLEET_WITNESS_ONLY, so that a
 * failed one can be run alone.
 */
export const selected = (name) => new RegExp(process.env.CLIPFLEET_WITNESS_ONLY ?? '').test(name);

/** Starts everything. `prepare` receives the folder of files and returns arguments for Chromium. */
export async function stage(prepare = () => []) {
  const folder = mkdtempSync(join(tmpdir(), 'clipfleet-witness-'));
  const files = join(folder, 'files');
  mkdirSync(files);
  const [fleet, site, browser] = await Promise.all([
    startFleet(join(folder, 'data'), 2),
    startSite(files),
    startChromium(prepare(files)),
  ]);
  const page = await browser.newPage();
  page.on('pageerror', (error) => console.error(`the page: ${error.message}`));
  await page.goto(site.url);
  const end = async () => {
    await browser.close();
    await site.stop();
    await fleet.stop();
    if (process.env.CLIPFLEET_WITNESS_KEEP) {
      console.log(`kept: ${folder}`);
    } else {
      rmSync(folder, { recursive: true, force: true });
    }
  };
  return {
    folder,
    files,
    fleet,
    browser,
    page,
    end,
    path: (name) => join(files, name),
    exportAll: (orders) => exportAll(fleet, files, orders),
  };
}

/** Clips submitted together: as many as a busy machine exports within one wait. */
const MAX_CLIPS_TOGETHER = 6;

/**
 * Exports clips of files: each order is `{name, clips: [{startMs, endMs}]}`. Returns for each order the clips, as
 * `{startMs, endMs, path}` if they are finished, or with `{problem}` if they failed.
 */
async function exportAll(fleet, files, orders) {
  const made = [];
  let some = [];
  for (const order of orders) {
    some.push(order);
    if (some.reduce((sum, { clips }) => sum + clips.length, 0) >= MAX_CLIPS_TOGETHER || order === orders.at(-1)) {
      made.push(...(await exportSome(fleet, files, some)));
      some = [];
    }
  }
  return made;
}

function exportSome(fleet, files, orders) {
  return Promise.all(
    orders.map(async ({ name, clips }) => {
      const uri = await store(fleet, join(files, name), name);
      const batchId = randomUUID();
      const request = {
        batchId,
        ownerUid: 'witness',
        projectId: 'witness',
        source: { uri },
        output: { quality: '720p', aspect: '16:9', fps: 30 },
        clips: clips.map(({ startMs, endMs }, index) => ({ clipId: `clip-${index}`, startMs, endMs })),
      };
      const url = `${fleet.api}/v1/batches`;
      const accepted = await fetch(url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(request),
      });
      if (accepted.status !== 202) {
        throw new Error(`the batch of ${name} was refused: ${await accepted.text()}`);
      }
      const batch = await until(
        `the clips of ${name} end`,
        async () => {
          const answer = await fetch(`${url}/${batchId}`);
          const found = answer.ok ? await answer.json() : {};
          return ['completed', 'partial', 'failed'].includes(found.status) && found;
        },
        200,
      );
      return Promise.all(
        clips.map(async (clip, index) => {
          const document = batch.clips.find(({ clipId }) => clipId === `clip-${index}`);
          if (document.status !== 'completed') {
            return { ...clip, problem: `${document.error?.code}: ${document.error?.message}` };
          }
          const path = join(files, `${name}-clip-${index}.mp4`);
          writeFileSync(path, Buffer.from(await (await fetch(document.outputUrl)).arrayBuffer()));
          return { ...clip, path };
        }),
      );
    }),
  );
}

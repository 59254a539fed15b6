// Random gestures on the editor, from a seed that is printed. No mark is ever lost except by an explicit remove, which
// undo brings back; each gesture is one step of undo; nothing else changes; and a press of Export makes one batch.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { startFleet } from '../../deploy/functions/test/processes.js';
import {
  DESKTOP,
  PHONE,
  blur,
  draftOf,
  drag,
  dropFile,
  makeSmallSource,
  openConsole,
  openFile,
  ready,
} from './editor-support.mjs';
import { WAIT_TIMEOUT_MS, startChromium, until } from './support.mjs';

const GESTURES = Number(process.env.GESTURES ?? 250);
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const MIN_CLIP_MS = 100;

/** What a gesture may do to the clips. */
const ADDS = 'adds',
  CHANGES = 'changes',
  REMOVES = 'removes',
  KEEPS = 'keeps',
  ANY_EDGE = 'changes or adds';

let folder, fleet, browser;
const complaints = [];

before(
  async () => {
    folder = mkdtempSync(join(tmpdir(), 'clipfleet-gestures-'));
    makeSmallSource(join(folder, 'talk.mp4'), 40);
    makeSmallSource(join(folder, 'other.mp4'), 20);
    ['logo.png', 'notes.txt', 'slides.pdf'].forEach((name) => writeFileSync(join(folder, name), 'no video'));
    fleet = await startFleet(join(folder, 'data'), 1);
    browser = await startChromium();
  },
  { timeout: WAIT_TIMEOUT_MS },
);

after(async () => {
  await browser?.close();
  await fleet?.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Mulberry32: small, and the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return { share: next, upTo: (n) => Math.floor(next() * n), one: (list) => list[Math.floor(next() * list.length)] };
}

/** Clips by key, without what a gesture does not mark. */
const byKey = ({ clips }) => new Map(clips.map((clip) => [clip.key, JSON.stringify(clip)]));
const essence = ({ clips, output }) => JSON.stringify({ clips, output });

/** Checks what a gesture may do, and keeps the states that undo and redo have to restore. */
class Model {
  #past = [];
  #future = [];

  constructor(draft) {
    this.draft = draft;
  }

  /** The history of undo is the page's: it begins anew with the page, and with each source. */
  restart(draft) {
    [this.draft, this.#past, this.#future] = [draft, [], []];
  }

  after(kind, draft) {
    const [before, now] = [byKey(this.draft), byKey(draft)];
    const lost = [...before.keys()].filter((key) => !now.has(key));
    const gained = [...now.keys()].filter((key) => !before.has(key));
    const changed = [...now.keys()].filter((key) => before.has(key) && before.get(key) !== now.get(key));
    assert.ok(lost.length <= (kind === REMOVES ? 1 : 0), `lost ${lost}`);
    assert.ok(gained.length <= ([ADDS, ANY_EDGE].includes(kind) ? 1 : 0), `gained ${gained}`);
    assert.ok(changed.length <= ([CHANGES, ANY_EDGE].includes(kind) ? 1 : 0), `changed ${changed}`);
    assert.ok(gained.length + changed.length <= 1, `changed ${changed} and gained ${gained}`);
    for (const { clipId, startMs, endMs } of draft.clips) {
      assert.ok(
        startMs >= 0 && endMs - startMs >= MIN_CLIP_MS && endMs <= draft.source.durationMs,
        `${clipId} ${startMs}–${endMs}`,
      );
    }
    assert.equal(new Set(draft.clips.map(({ clipId }) => clipId)).size, draft.clips.length, 'names differ');
    if (essence(draft) !== essence(this.draft)) {
      this.#past.push(this.draft);
      this.#future = [];
    }
    this.draft = draft;
  }

  undone(draft) {
    this.#moved(this.#past, this.#future, draft);
  }
  redone(draft) {
    this.#moved(this.#future, this.#past, draft);
  }

  #moved(from, to, draft) {
    const expected = from.length > 0 ? from.pop() : null;
    if (expected) {
      to.push(this.draft);
    }
    assert.equal(
      essence(draft),
      essence(expected ?? this.draft),
      expected ? 'undo restores the state before' : 'nothing to undo',
    );
    this.draft = draft;
  }
}

/** Answers of a fleet that accepts every batch: batches are counted here, and not made. */
async function countBatches(page) {
  const ids = [];
  await page.route(/\/v1\/batches/, async (route) => {
    const request = route.request();
    if (request.method() === 'POST') {
      const { batchId, clips } = request.postDataJSON();
      ids.push(batchId);
      return route.fulfill({ json: { batchId, clips: clips.map(({ clipId }) => ({ clipId, document: '' })) } });
    }
    return route.fulfill({
      json: { batches: [], batchId: 'b', status: 'completed', progress: 100, totalClips: 0, clips: [] },
    });
  });
  return ids;
}

/** The gestures: `[weight, what it may do, how]`. */
function gesturesOn({ page, dice, batches, model, path }) {
  const key = (name, kind, weight = 3) => [weight, name, kind, () => page.keyboard.press(name)];
  // A point of the lane that a user sees: on a phone, the sheet with Export covers a part of it.
  const onLane = async () => {
    const lane = page.locator('.lane');
    await lane.evaluate((element) => element.scrollIntoView({ block: 'center' }));
    const box = await lane.boundingBox();
    for (;;) {
      const point = {
        x: box.x + 2 + dice.share() * (box.width - 4),
        y: box.y + 8 + dice.share() * (box.height - 12),
      };
      if (await page.evaluate(({ x, y }) => Boolean(document.elementFromPoint(x, y)?.closest('.lane')), point)) {
        return point;
      }
    }
  };
  const typed = async (name) => {
    const inputs = page.locator(`.clips input.${name}`);
    const total = await inputs.count();
    if (total > 0 && (await inputs.first().isVisible())) {
      const input = inputs.nth(dice.upTo(total));
      const text =
        name === 'at'
          ? dice.one(['3', '0:07.5', '12.25', '99', 'x', ''])
          : dice.one(['intro', 'a b', 'Über', 'clip-1']);
      await input.fill(text);
      await input.press(dice.one(['Enter', 'Escape']));
    }
    await blur(page);
  };
  const opened = async (name) => {
    const before = await draftOf(page);
    await dropFile(page, path(name), 'video/mp4');
    await until(
      'the question, or the video',
      async () => (await page.getByRole('dialog').count()) > 0 || (await draftOf(page)).source.name === name,
    );
    return before;
  };

  return [
    key('n', ADDS, 6),
    key('i', ANY_EDGE, 6),
    key('o', ANY_EDGE, 6),
    key('Delete', REMOVES, 4),
    key('ArrowUp', KEEPS, 6),
    key('ArrowDown', KEEPS, 6),
    key('ArrowLeft', KEEPS),
    key('Shift+ArrowRight', KEEPS),
    key(',', KEEPS),
    key('.', KEEPS),
    key('+', KEEPS, 2),
    key('-', KEEPS, 2),
    key(' ', KEEPS, 2),
    key('p', KEEPS, 1),
    key('j', KEEPS, 1),
    key('k', KEEPS, 2),
    [
      8,
      'undo',
      null,
      async () => {
        await page.keyboard.press('Control+z');
        model.undone(await draftOf(page));
      },
    ],
    [
      6,
      'redo',
      null,
      async () => {
        await page.keyboard.press('Control+y');
        model.redone(await draftOf(page));
      },
    ],
    // From anywhere to anywhere: a new clip, a clip that is moved, or one of its edges.
    [16, 'drag', ANY_EDGE, async () => drag(page, await onLane(), await onLane())],
    [
      4,
      'tap',
      KEEPS,
      async () => {
        const { x, y } = await onLane();
        await page.mouse.click(x, y);
      },
    ],
    [4, 'type a time', CHANGES, () => typed('at')],
    [2, 'type a name', CHANGES, () => typed('name')],
    [
      1,
      'quality',
      KEEPS,
      async () => {
        await page.getByRole('tab', { name: 'Output' }).click();
        await page.locator('#quality').selectOption(dice.one(['720p', '1080p', '1440p']));
        await page.getByRole('tab', { name: /^Clips/ }).click();
        await blur(page);
      },
    ],
    [
      3,
      'drop no video',
      KEEPS,
      () => dropFile(page, path(dice.one(['logo.png', 'notes.txt', 'slides.pdf'])), 'image/png'),
    ],
    [
      2,
      'drop another video',
      null,
      async () => {
        const before = await opened('other.mp4');
        if (await page.getByRole('dialog').count()) {
          await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
          assert.equal(essence(await draftOf(page)), essence(before), 'Cancel changes nothing');
          await opened('other.mp4');
          await page.getByRole('dialog').getByRole('button', { name: 'Replace' }).click();
        }
        await until(
          'the other video',
          async () => (await draftOf(page))?.source.name === 'other.mp4' && (await draftOf(page)).source.durationMs,
        );
        await page.getByRole('button', { name: 'Replace video' }).click();
        await page.locator('.recent li', { hasText: 'talk.mp4' }).locator('.open').click();
        await until('the first video again', async () => (await draftOf(page))?.source.name === 'talk.mp4');
        assert.equal(essence(await draftOf(page)), essence(before), 'its draft is as it was');
        model.restart(await draftOf(page));
      },
    ],
    [
      2,
      'reload',
      null,
      async () => {
        const before = await draftOf(page);
        await page.reload();
        await ready(page);
        assert.equal(essence(await draftOf(page)), essence(before), 'a reload changes nothing');
        model.restart(await draftOf(page));
      },
    ],
    [
      2,
      'export',
      KEEPS,
      async () => {
        const [clips, earlier] = [(await draftOf(page)).clips.length, new Set(batches).size];
        const isReady = () => page.locator('#export-all[aria-busy=false]').count();
        await until('the export before is over', isReady);
        await page.keyboard.press('Control+Enter');
        await page.keyboard.press('Control+Enter');
        if (clips > 0) {
          await until('the page of the batch', () => /#\/batch\//.test(page.url()));
          await page.evaluate(() => {
            location.hash = '#/export';
          });
          await page.locator('.editor').waitFor();
        }
        assert.equal(new Set(batches).size - earlier, clips > 0 ? 1 : 0, 'one press, one batch');
      },
    ],
  ];
}

function draw(dice, gestures) {
  let at = dice.upTo(gestures.reduce((sum, [weight]) => sum + weight, 0));
  return gestures.find(([weight]) => (at -= weight) < 0);
}

for (const [name, options] of [
  ['desktop', { viewport: DESKTOP }],
  ['phone', { viewport: PHONE }],
]) {
  test(`${GESTURES} random gestures at ${name} size lose no mark`, { timeout: 2 * WAIT_TIMEOUT_MS }, async () => {
    const dice = random(SEED);
    const page = await openConsole({ browser, fleet, complaints, ...options });
    page.on('dialog', (dialog) => dialog.accept());
    const batches = await countBatches(page);
    await openFile(page, join(folder, 'talk.mp4'));
    const model = new Model(await draftOf(page));
    const gestures = gesturesOn({ page, dice, batches, model, path: (file) => join(folder, file) });
    const done = [];
    try {
      for (let count = 0; count < GESTURES; count += 1) {
        const [, gesture, kind, perform] = draw(dice, gestures);
        done.push(gesture);
        await blur(page);
        await perform();
        if (kind !== null) {
          model.after(kind, await draftOf(page));
        }
      }
      assert.deepEqual(complaints, [], 'the page logged no error');
    } catch (error) {
      const last = done.slice(-6).join(', ');
      throw new Error(`SEED=${SEED}, after ${done.length} gestures, the last: ${last}`, { cause: error });
    }
    console.log(`    SEED=${SEED}: ${model.draft.clips.length} clips at the end, ${new Set(batches).size} batches`);
    await page.context().close();
  });
}

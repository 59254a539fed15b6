// The draft: edges, undo, keyframes, and how drafts are kept.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Draft, pathOf } from '../../../crates/console/web/draft.js';
import { Drafts, MAX_DRAFTS, draftId } from '../../../crates/console/web/drafts.js';
import { UndoStack } from '../../../crates/console/web/undo.js';

/** As localStorage: keys are its own properties, methods are not. */
class FakeStorage {
  getItem(key) {
    return this[key] ?? null;
  }
  setItem(key, value) {
    this[key] = String(value);
  }
  removeItem(key) {
    delete this[key];
  }
}

const TALK = { name: 'talk.mp4', bytes: 1_000, uri: 'gs://b/talk.mp4', stored: true, durationMs: 60_000 };

function draftOf(source = TALK, storage = new FakeStorage()) {
  const draft = new Draft(new Drafts(storage));
  draft.open(source);
  return draft;
}

const ranges = (draft) => draft.clips.map(({ startMs, endMs }) => [startMs, endMs]);

test('an edge within the clip moves it', () => {
  const draft = draftOf();
  draft.add(10_000, 20_000);
  assert.equal(draft.setEdge('start', 12_000), null);
  assert.equal(draft.setEdge('end', 30_000.4), null);
  assert.deepEqual(ranges(draft), [[12_000, 30_000]]);
});

test('an edge past the other one begins a new clip and leaves the selected one alone', () => {
  for (const [edge, at, expected] of [
    ['start', 22_000, [22_000, 37_000]],
    ['start', 19_950, [19_950, 34_950]],
    ['end', 5_000, [0, 5_000]],
    ['end', 10_050, [0, 10_050]],
    ['end', 0, [0, 100]],
    ['start', 60_000, [59_000, 60_000]],
  ]) {
    const draft = draftOf();
    draft.add(10_000, 20_000);
    const begun = draft.setEdge(edge, at);
    assert.deepEqual([begun.startMs, begun.endMs], expected, `${edge} at ${at}`);
    assert.ok(
      ranges(draft).some(([start, end]) => start === 10_000 && end === 20_000),
      `${edge} at ${at}`,
    );
    assert.equal(draft.selected, begun);
  }
});

test('every change is undone and redone in order', () => {
  const draft = draftOf();
  const states = [draft.clips];
  draft.add(0, 10_000);
  states.push(draft.clips);
  draft.change(1, { endMs: 15_000 });
  states.push(draft.clips);
  draft.remove(1);
  states.push(draft.clips);
  for (const state of states.slice(0, -1).reverse()) {
    assert.equal(draft.undo(), true);
    assert.deepEqual(draft.clips, state);
  }
  assert.equal(draft.undo(), false);
  for (const state of states.slice(1)) {
    assert.equal(draft.redo(), true);
    assert.deepEqual(draft.clips, state);
  }
  assert.equal(draft.redo(), false);
});

test('a drag is one step, and one that comes back is none', () => {
  const draft = draftOf();
  draft.add(0, 10_000);
  let close = draft.gesture();
  [11_000, 12_000, 13_000].forEach((endMs) => draft.change(1, { endMs }));
  close();
  draft.undo();
  assert.deepEqual(ranges(draft), [[0, 10_000]]);
  close = draft.gesture();
  [11_000, 12_000, 10_000].forEach((endMs) => draft.change(1, { endMs }));
  close();
  assert.equal(draft.canRedo, true, 'what was undone can still be redone');
  draft.redo();
  assert.deepEqual(ranges(draft), [[0, 13_000]]);
});

test('what changes nothing, and what the page learns, is no step', () => {
  const draft = draftOf();
  draft.add(0, 10_000);
  draft.change(1, { startMs: 0 });
  draft.select(null);
  draft.learn({ width: 1_920, height: 1_080 });
  draft.undo();
  assert.deepEqual(ranges(draft), []);
  assert.equal(draft.source.width, 1_920);
});

test('undo is bounded', () => {
  const stack = new UndoStack(3);
  [0, 1, 2, 3, 4].forEach((state) => stack.record(state));
  assert.deepEqual([stack.undo(5), stack.undo(4), stack.undo(3), stack.undo(2)], [4, 3, 2, null]);
});

test('a removed clip comes back with its name, unless another has that name now', () => {
  const draft = draftOf();
  draft.add(0, 10_000);
  const removed = draft.remove(1);
  const other = draft.add(20_000, 30_000);
  assert.equal(other.clipId, 'clip-1', 'names are used again');
  draft.restore(removed);
  draft.restore(removed);
  assert.deepEqual(
    draft.clips.map(({ key, clipId }) => [key, clipId]),
    [
      [1, 'clip-2'],
      [2, 'clip-1'],
    ],
  );
  assert.equal(draft.remove(99), null);
});

test('keyframes stay where they are in the source, and none is lost by a drag there and back', () => {
  const draft = draftOf();
  draft.add(10_000, 30_000);
  draft.reframe(1, {
    mode: 'crop_path',
    keyframes: [
      { atMs: 0, position: 1, zoom: 100 },
      { atMs: 10_000, position: 2, zoom: 100 },
    ],
  });
  const path = () => pathOf(draft.clip(1)).map(({ atMs, position }) => [atMs, position]);
  draft.change(1, { startMs: 15_000 });
  assert.deepEqual(path(), [[5_000, 2]]);
  draft.change(1, { startMs: 25_000 });
  assert.deepEqual(path(), [[0, 2]], 'a path has at least one keyframe: the nearest');
  assert.deepEqual(
    draft.requested()[0].reframe.keyframes.map(({ atMs }) => atMs),
    [0],
  );
  draft.change(1, { startMs: 10_000 });
  assert.deepEqual(path(), [
    [0, 1],
    [10_000, 2],
  ]);
});

test('each source has a draft of its own, also after a reload', () => {
  const storage = new FakeStorage();
  const draft = draftOf(TALK, storage);
  draft.add(0, 10_000);
  draft.open({ name: 'other.mp4', bytes: 2, uri: 'gs://b/other.mp4' });
  assert.deepEqual(ranges(draft), []);
  draft.open({ ...TALK, stored: false });
  assert.deepEqual(ranges(draft), [[0, 10_000]]);
  assert.equal(draft.source.durationMs, 60_000, 'what was learned is kept');
  assert.deepEqual(ranges(new Draft(new Drafts(storage))), [[0, 10_000]]);
  draft.close();
  assert.equal(new Draft(new Drafts(storage)).source, null);
  assert.deepEqual(
    new Drafts(storage)
      .list()
      .map(({ source }) => source.name)
      .sort(),
    ['other.mp4', 'talk.mp4'],
  );
});

test('a file is recognized by name and size', () => {
  assert.equal(draftId({ name: 'a.mp4', bytes: 1, uri: 'x' }), draftId({ name: 'a.mp4', bytes: 1, uri: 'y' }));
  assert.notEqual(draftId({ name: 'a.mp4', bytes: 1 }), draftId({ name: 'a.mp4', bytes: 2 }));
  assert.notEqual(draftId({ uri: 'gs://b/a' }), draftId({ uri: 'gs://b/b' }));
});

test('the oldest drafts make room, those without clips first', () => {
  const storage = new FakeStorage();
  const drafts = new Drafts(storage);
  const keep = (index, clips) => {
    drafts.save(`${index}`, { source: { name: `${index}`, uri: `gs://b/${index}` }, clips, output: {}, next: 1 });
    const key = `clipfleet.draft.${index}`;
    storage[key] = JSON.stringify({ ...JSON.parse(storage[key]), savedAt: index });
  };
  const clip = [{ key: 1 }];
  keep(1, clip);
  keep(2, clip);
  keep(3, []);
  for (let index = 4; index <= MAX_DRAFTS + 1; index += 1) {
    keep(index, clip);
  }
  assert.equal(drafts.list().length, MAX_DRAFTS);
  assert.equal(drafts.load('3'), null);
  keep(MAX_DRAFTS + 2, clip);
  assert.equal(drafts.load('1'), null);
  assert.ok(drafts.load('2'));
});

test('storage that is full or unreadable breaks nothing, and is noticed', () => {
  const full = new FakeStorage();
  full.setItem = () => {
    throw new Error('QuotaExceededError');
  };
  const draft = new Draft(new Drafts(Object.defineProperty(full, 'setItem', { enumerable: false })));
  draft.open(TALK);
  draft.add(0, 10_000);
  assert.equal(draft.kept, false);
  assert.deepEqual(ranges(draft), [[0, 10_000]]);
  const foreign = new FakeStorage();
  foreign['clipfleet.draft.x'] = 'not JSON';
  foreign['clipfleet.draft.y'] = '{"clips": 3}';
  foreign['clipfleet.current'] = 'x';
  assert.equal(new Draft(new Drafts(foreign)).source, null);
  assert.deepEqual(new Drafts(foreign).list(), []);
});

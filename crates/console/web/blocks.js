// The clips on the timeline: a block for each, with handles at its edges and diamonds at its keyframes.

import { MIN_CLIP_MS, pathOf } from './draft.js';
import { followPointer } from './pointer.js';
import { createSlider } from './slider.js';
import { clock, h, write } from './ui.js';
import { rows } from './view.js';

/** Narrower blocks have their handles outside, pixels: two handles of 24 and something to grasp between them. */
const WIDE_PX = 76;

/** Narrower ones have no room for a name, pixels. */
const NAMED_PX = 40;

/** Diamonds drawn for one clip; more would be a line. */
const MAX_DIAMONDS = 200;

/** What the end of a clip shows: not the frame after it, milliseconds. */
const BEFORE_END_MS = 40;

/**
 * `axis` maps times to the lane: `percent(ms)`, `px(ms)`, `msAt(event)`, `snapper(key)`. `choose(key)` selects a clip
 * and seeks to it.
 */
export function createBlocks({ draft, lane, axis, seek, choose }) {
  const blocks = new Map();

  function createBlock(key) {
    const clip = () => draft.clip(key);
    const label = h('span', { class: 'label' });
    const diamonds = h('span', { class: 'diamonds' });
    const [first, last] = [h('span', { class: 'edge first' }), h('span', { class: 'edge last' })];
    const block = h('div', { class: 'block', role: 'group' }, label, diamonds, first, last);
    block.dataset.key = key;

    const setStart = (ms) => {
      draft.change(key, { startMs: Math.min(ms, clip().endMs - MIN_CLIP_MS) });
      seek(clip().startMs);
    };
    const setEnd = (ms) => {
      draft.change(key, { endMs: Math.max(ms, clip().startMs + MIN_CLIP_MS) });
      seek(Math.max(clip().startMs, clip().endMs - BEFORE_END_MS));
    };
    for (const [edge, set] of [
      [first, setStart],
      [last, setEnd],
    ]) {
      edge.addEventListener('pointerdown', (event) => event.button === 0 && dragEdge(event, set));
      edge.addEventListener('focus', () => draft.select(key));
    }

    function dragEdge(event, set) {
      event.stopPropagation();
      draft.select(key);
      const { startMs, endMs } = clip();
      // The pointer rarely presses the edge itself: it keeps its distance.
      const off = axis.msAt(event) - (set === setStart ? startMs : endMs);
      const snap = axis.snapper(key);
      const close = draft.gesture();
      followPointer(event, {
        move: (next) => set(snap(axis.msAt(next) - off, next)),
        end: () => {
          snap.done();
          close();
        },
        tap: () => {
          snap.done();
          close();
        },
      });
    }

    function dragBlock(event) {
      const wasSelected = draft.selected?.key === key;
      const { startMs, endMs } = clip();
      const from = axis.msAt(event);
      const snap = axis.snapper(key);
      const close = draft.gesture();
      const move = (next) => {
        draft.select(key);
        const to = startMs + axis.msAt(next) - from;
        // The edge that is nearer to its target attracts.
        const [byStart, byEnd] = [snap(to, next) - to, snap(to + endMs - startMs, next) - to - (endMs - startMs)];
        const by = byStart === 0 || (byEnd !== 0 && Math.abs(byEnd) < Math.abs(byStart)) ? byEnd : byStart;
        draft.move(key, to + by);
      };
      const end = () => {
        snap.done();
        close();
      };
      followPointer(event, {
        move,
        end: () => {
          end();
          seek(clip().startMs);
        },
        cancel: end,
        tap: () => {
          end();
          wasSelected ? seek(from) : choose(key);
        },
      });
    }

    block.addEventListener('pointerdown', (event) => event.button === 0 && dragBlock(event));
    return {
      block,
      label,
      diamonds,
      first,
      last,
      start: createSlider(first, setStart),
      end: createSlider(last, setEnd),
    };
  }

  function showDiamonds(parts, clip) {
    const path = clip.reframe.mode === 'crop_path' ? pathOf(clip).slice(0, MAX_DIAMONDS) : [];
    const drawn = path.map(({ atMs }) => `${(100 * atMs) / (clip.endMs - clip.startMs)}%`);
    if (parts.diamonds.dataset.drawn !== drawn.join()) {
      parts.diamonds.dataset.drawn = drawn.join();
      parts.diamonds.replaceChildren(
        ...drawn.map((left) => {
          const diamond = h('i', {});
          diamond.style.left = left;
          return diamond;
        }),
      );
    }
  }

  function place(parts, clip, row) {
    const { block } = parts;
    const { clipId, startMs, endMs } = clip;
    const isSelected = clip === draft.selected;
    const isNarrow = axis.px(endMs - startMs) < WIDE_PX;
    block.hidden = !axis.isVisible(startMs, endMs);
    block.style.left = axis.percent(startMs);
    block.style.width = axis.width(endMs - startMs);
    block.style.setProperty('--row', row);
    block.classList.toggle('selected', isSelected);
    block.classList.toggle('narrow', isNarrow);
    parts.label.hidden = axis.px(endMs - startMs) < NAMED_PX;
    block.setAttribute('aria-label', `${clipId}, ${clock(startMs)} to ${clock(endMs)}`);
    write(parts.label, clipId);
    parts.start(0, endMs - MIN_CLIP_MS, startMs, `Start of ${clipId}`);
    parts.end(startMs + MIN_CLIP_MS, axis.lengthMs(), endMs, `End of ${clipId}`);
    for (const edge of [parts.first, parts.last]) {
      edge.hidden = isNarrow && !isSelected;
      edge.tabIndex = isSelected ? 0 : -1;
    }
    showDiamonds(parts, clip);
  }

  function show() {
    const { clips } = draft;
    for (const [key, { block }] of blocks) {
      if (!draft.clip(key)) {
        block.remove();
        blocks.delete(key);
      }
    }
    const row = rows(clips);
    lane.style.setProperty('--rows', Math.max(1, ...row.map((it) => it + 1)));
    clips.forEach((clip, index) => {
      const parts = blocks.get(clip.key) ?? blocks.set(clip.key, createBlock(clip.key)).get(clip.key);
      place(parts, clip, row[index]);
      if (!parts.block.isConnected) {
        lane.append(parts.block);
      }
    });
  }

  return { show };
}

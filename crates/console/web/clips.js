// The list of clips. One of them is in the tab order at a time; arrow keys go from clip to clip.

import { MIN_CLIP_MS } from './draft.js';
import { createField } from './field.js';
import { button, clock, h, parseClock, span, write } from './ui.js';

/** Ids of clips, as the fleet takes them. */
const GOOD_ID = /^[A-Za-z0-9._-]{1,128}$/;

/**
 * `choose(key)` selects a clip and seeks to it, `play(key)` plays it, `remove(key)` removes it; `seek(ms)` shows a new
 * edge.
 */
export function createClips({ draft, choose, play, remove, seek }) {
  const list = h('ol', { class: 'clips' });
  const none = h('p', { class: 'hint' }, 'No clips yet. Drag on the timeline, or press N during playback.');
  const element = h('div', {}, none, list);
  const rows = new Map();

  const late = (ms) => (ms > draft.endMs ? `The video ends at ${clock(draft.endMs)}.` : undefined);

  function parseName(key, text) {
    const id = text.trim();
    if (draft.clips.some((other) => other.key !== key && other.clipId === id)) {
      return { hint: `Another clip is called ${id}.` };
    }
    return GOOD_ID.test(id) ? { value: id } : { hint: 'Use letters, digits, “-”, “_” and “.” only.' };
  }

  function parseTime(text, wrong) {
    const ms = parseClock(text);
    const hint = ms === null ? 'Enter a time like 1:15.3.' : (late(ms) ?? wrong(ms));
    return hint === undefined ? { value: ms } : { hint };
  }

  function createRow(key) {
    const clip = () => draft.clip(key);
    const setEdge = (edge) => (ms) => {
      draft.change(key, { [edge]: ms });
      seek(ms);
    };
    const name = createField({
      id: `name-${key}`,
      class: 'name',
      maxLength: 128,
      parse: (text) => parseName(key, text),
      commit: (clipId) => draft.change(key, { clipId }),
    });
    const start = createField({
      id: `start-${key}`,
      class: 'at',
      inputMode: 'decimal',
      commit: setEdge('startMs'),
      parse: (text) =>
        parseTime(text, (ms) => (ms > clip().endMs - MIN_CLIP_MS ? 'The start must come before the end.' : undefined)),
    });
    const end = createField({
      id: `end-${key}`,
      class: 'at',
      inputMode: 'decimal',
      commit: setEdge('endMs'),
      parse: (text) =>
        parseTime(text, (ms) => (ms < clip().startMs + MIN_CLIP_MS ? 'The end must come after the start.' : undefined)),
    });
    const length = h('span', { class: 'soft length' });
    const go = button('play', 'Play this clip', () => play(key));
    const gone = button('bin', 'Remove', () => remove(key));
    const controls = [go, name.input, start.input, end.input, gone];
    const item = h(
      'li',
      { onfocusin: () => choose(key), onpointerdown: () => choose(key), onkeydown: (event) => walk(event, key) },
      go,
      name.input,
      gone,
      h(
        'div',
        { class: 'range-of-clip' },
        start.input,
        h('span', { class: 'soft', 'aria-hidden': 'true' }, '–'),
        end.input,
        length,
      ),
      name.hint,
      start.hint,
      end.hint,
    );
    return { item, name, start, end, length, go, gone, controls };
  }

  /** Up and Down go to the same control of the neighbouring clip. */
  function walk(event, key) {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const index = draft.clips.findIndex((clip) => clip.key === key);
    const neighbour = step && draft.clips[index + step];
    if (step) {
      event.preventDefault();
    }
    if (neighbour) {
      const column = rows.get(key).controls.indexOf(document.activeElement);
      rows.get(neighbour.key).controls[Math.max(0, column)].focus();
    }
  }

  function fill(row, clip, index) {
    row.name.fill(clip.clipId);
    row.start.fill(clock(clip.startMs));
    row.end.fill(clock(clip.endMs));
    row.name.label(`Name of clip ${index + 1}`);
    row.start.label(`Start of ${clip.clipId}`);
    row.end.label(`End of ${clip.clipId}`);
    write(row.length, span((clip.endMs - clip.startMs) / 1_000));
    write(row.gone.querySelector('span'), `Remove ${clip.clipId}`);
    write(row.go.querySelector('span'), `Play ${clip.clipId} in the video`);
    const isSelected = clip === draft.selected;
    row.item.classList.toggle('selected', isSelected);
    row.item.toggleAttribute('aria-current', isSelected);
    const inTabOrder = draft.selected ? isSelected : index === 0;
    row.controls.forEach((control) => {
      control.tabIndex = inTabOrder ? 0 : -1;
    });
  }

  function show() {
    for (const [key, { item }] of rows) {
      if (!draft.clip(key)) {
        item.remove();
        rows.delete(key);
      }
    }
    draft.clips.forEach((clip, index) => {
      const row = rows.get(clip.key) ?? rows.set(clip.key, createRow(clip.key)).get(clip.key);
      fill(row, clip, index);
      // Moving an element takes the focus from it.
      if (list.children[index] !== row.item && !row.item.contains(document.activeElement)) {
        list.insertBefore(row.item, list.children[index] ?? null);
      }
    });
    none.hidden = draft.clips.length > 0;
  }

  /** Shows a clip's row. */
  function reveal(key) {
    rows.get(key)?.item.scrollIntoView({ block: 'nearest' });
  }

  return { element, show, reveal };
}

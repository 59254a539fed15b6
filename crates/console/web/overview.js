// The whole source above the timeline: every clip, the part that the timeline shows, and the playhead. A drag moves
// that part.

import { followPointer } from './pointer.js';
import { clamp, h } from './ui.js';

/** `lengthMs()` is the source's, `panTo(ms)` shows what begins at `ms`, `seek(ms)` goes there. */
export function createOverview({ draft, lengthMs, panTo, seek }) {
  const clips = h('div', { class: 'overview-clips' });
  const frame = h('div', { class: 'overview-frame' });
  const needle = h('div', { class: 'overview-needle' });
  // Pointers only: the playhead and the zoom buttons do the same with keys.
  const element = h('div', { class: 'overview', 'aria-hidden': 'true' }, clips, needle, frame);
  let view = { startMs: 0, lengthMs: 1 };

  const percent = (ms) => `${(100 * ms) / lengthMs()}%`;
  const msAt = (event) => {
    const box = element.getBoundingClientRect();
    return clamp((event.clientX - box.left) / box.width, 0, 1) * lengthMs();
  };

  element.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) {
      return;
    }
    const at = msAt(event);
    const isOnFrame = at >= view.startMs && at <= view.startMs + view.lengthMs;
    const off = isOnFrame ? at - view.startMs : view.lengthMs / 2;
    if (!isOnFrame) {
      panTo(at - off);
    }
    followPointer(event, { move: (next) => panTo(msAt(next) - off), tap: () => seek(at) });
  });

  function show(shown) {
    view = shown;
    frame.style.left = percent(view.startMs);
    frame.style.width = percent(view.lengthMs);
    clips.replaceChildren(
      ...draft.clips.map((clip) => {
        const mark = h('i', { class: clip === draft.selected ? 'selected' : null });
        mark.style.left = percent(clip.startMs);
        mark.style.width = percent(clip.endMs - clip.startMs);
        return mark;
      }),
    );
  }

  const at = (ms) => {
    needle.style.left = percent(ms);
  };

  return { element, show, at };
}

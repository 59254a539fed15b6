// The timeline: drag over it to mark a clip, drag a clip or its edges to move them, tap to go there. Every edge and the playhead are
// sliders, so that arrow keys do the same.

import { clamp, clock, count, h, span, write } from './ui.js';
import { MIN_CLIP_MS } from './draft.js';

/** A drag shorter than this is a tap, pixels. */
const TAP = 4;

/** Steps of sliders by key, milliseconds; with Shift ten times as far. */
const STEPS = { ArrowLeft: -100, ArrowRight: 100, ArrowDown: -100, ArrowUp: 100, PageDown: -5_000, PageUp: 5_000 };

/** Distances between marks of the ruler, seconds. */
const TICKS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600];

/** Room for one mark of the ruler, pixels. */
const TICK_ROOM = 64;

/** A slider on a time. */
function slider(element, name, onset) {
  element.setAttribute('role', 'slider');
  element.tabIndex = 0;
  let range = { low: 0, high: 0, now: 0 };
  element.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    const to = { Home: range.low, End: range.high }[event.key] ?? (step === undefined ? null : range.now + step * (event.shiftKey ? 10 : 1));
    if (to !== null) {
      event.preventDefault();
      event.stopPropagation();
      onset(clamp(to, range.low, range.high));
    }
  });
  return (low, high, now, label = name) => {
    range = { low, high, now };
    const values = { 'aria-label': label, 'aria-valuemin': Math.round(low), 'aria-valuemax': Math.round(high), 'aria-valuenow': Math.round(now), 'aria-valuetext': clock(now) };
    Object.entries(values).forEach(([attribute, value]) => element.setAttribute(attribute, value));
  };
}

export function createTimeline({ draft, seek }) {
  const ruler = h('div', { class: 'ruler' });
  const lane = h('div', { class: 'lane' });
  const fresh = h('div', { class: 'block fresh', hidden: true });
  const playhead = h('div', { class: 'playhead' });
  const strip = h('div', { class: 'strip' }, ruler, lane, playhead);
  const scroller = h('div', { class: 'scroller' }, strip);
  const closer = h('button', { type: 'button', class: 'tool', 'aria-label': 'Show more detail', title: 'Show more detail', onclick: () => zoomTo(zoom * 2) }, '+');
  const wider = h('button', { type: 'button', class: 'tool', 'aria-label': 'Show less detail', title: 'Show less detail', onclick: () => zoomTo(zoom / 2) }, '−');
  const hint = h('p', { class: 'hint' });
  const element = h('div', { class: 'timeline', role: 'group', 'aria-label': 'Timeline' },
    scroller, h('div', { class: 'under' }, hint, h('div', { class: 'pair' }, wider, closer)));
  lane.append(fresh);

  let [zoom, nowMs] = [1, 0];
  const blocks = new Map();
  const place = slider(playhead, 'Position in the video', (ms) => seek(ms));

  /** What the strip is as long as, milliseconds. Where nobody knows the source's length there is room after the last clip. */
  const length = () => draft.durationMs || Math.max(60_000, 1.25 * Math.max(0, ...draft.clips.map((clip) => clip.endMs)));
  const percent = (ms) => `${(100 * ms) / length()}%`;
  const msAt = (event) => {
    const box = strip.getBoundingClientRect();
    return clamp(((event.clientX - box.left) / box.width) * length(), 0, length());
  };

  function zoomTo(wanted) {
    const most = Math.max(1, length() / 10_000);
    zoom = clamp(wanted, 1, most);
    strip.style.width = `${zoom * 100}%`;
    [wider.disabled, closer.disabled] = [zoom <= 1, zoom >= most];
    scroller.scrollLeft = (nowMs / length()) * scroller.scrollWidth - scroller.clientWidth / 2;
    drawRuler();
  }

  let drawn = '';
  function drawRuler() {
    const seconds = length() / 1_000;
    const room = (strip.clientWidth || 600) / seconds;
    const every = TICKS.find((tick) => tick * room >= TICK_ROOM) ?? 7_200;
    if (drawn === `${every}/${seconds}`) {
      return;
    }
    drawn = `${every}/${seconds}`;
    const marks = [];
    for (let at = 0; at < seconds - every / 3; at += every) {
      const mark = h('span', { class: 'tick', 'aria-hidden': 'true' }, clock(at * 1_000).replace(/\.0$/, ''));
      mark.style.left = percent(at * 1_000);
      marks.push(mark);
    }
    ruler.replaceChildren(...marks);
  }

  /** Follows a pointer from here on: `move` with each place, `end` once. */
  function follow(event, move, end = () => {}) {
    const target = event.currentTarget;
    target.setPointerCapture(event.pointerId);
    const moved = (next) => move(msAt(next), next);
    const ended = (last) => {
      target.removeEventListener('pointermove', moved);
      ['pointerup', 'pointercancel'].forEach((kind) => target.removeEventListener(kind, ended));
      end(msAt(last), last);
    };
    target.addEventListener('pointermove', moved);
    ['pointerup', 'pointercancel'].forEach((kind) => target.addEventListener(kind, ended));
  }

  lane.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.target !== lane) {
      return;
    }
    const [from, x] = [msAt(event), event.clientX];
    const range = (to) => [Math.min(from, to), Math.max(from, to)];
    follow(event, (to, next) => {
      fresh.hidden = Math.abs(next.clientX - x) < TAP;
      const [start, end] = range(to);
      fresh.style.left = percent(start);
      fresh.style.width = percent(end - start);
      write(fresh, span((end - start) / 1_000));
    }, (to, last) => {
      const [start, end] = range(to);
      const marked = !fresh.hidden && last.type === 'pointerup' && end - start >= MIN_CLIP_MS;
      fresh.hidden = true;
      if (marked) {
        draft.add(start, end);
        seek(start);
      } else if (last.type === 'pointerup') {
        seek(to);
      }
    });
  });
  ruler.addEventListener('pointerdown', (event) => {
    if (event.button === 0 && event.pointerType === 'mouse') {
      seek(msAt(event));
      follow(event, seek);
    }
  });
  ruler.addEventListener('click', (event) => seek(msAt(event)));

  function createBlock(key) {
    const clip = () => draft.clips.find((it) => it.key === key);
    const label = h('span', { class: 'label' });
    const [first, last] = [h('span', { class: 'edge first' }), h('span', { class: 'edge last' })];
    const frames = h('span', { class: 'frames' });
    const block = h('div', { class: 'block', role: 'group' }, frames, label, first, last);
    const setStart = (ms) => { draft.change(key, { startMs: Math.min(ms, clip().endMs - MIN_CLIP_MS) }); seek(clip().startMs); };
    const setEnd = (ms) => { draft.change(key, { endMs: ms }); seek(Math.max(clip().startMs, clip().endMs - 40)); };
    const [start, end] = [slider(first, 'Start', setStart), slider(last, 'End', setEnd)];
    for (const [edge, set] of [[first, setStart], [last, setEnd]]) {
      edge.addEventListener('pointerdown', (event) => {
        event.stopPropagation();
        draft.select(key);
        follow(event, set);
      });
      edge.addEventListener('focus', () => draft.select(key));
    }
    block.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) {
        return;
      }
      draft.select(key);
      const { startMs, endMs } = clip();
      const [from, x] = [msAt(event), event.clientX];
      let dragged = false;
      follow(event, (to, next) => {
        dragged ||= Math.abs(next.clientX - x) >= TAP;
        if (dragged) {
          const by = clamp(to - from, -startMs, length() - endMs);
          draft.change(key, { startMs: startMs + by, endMs: endMs + by });
        }
      }, (to) => seek(dragged ? clip().startMs : to));
    });
    block.addEventListener('keydown', (event) => {
      if (event.key === 'Delete' || event.key === 'Backspace') {
        event.preventDefault();
        draft.remove(key);
        playhead.focus();
      }
    });
    return { block, label, frames, start, end };
  }

  /** In which row each clip is drawn, so that none hides another. */
  function rows(clips) {
    const ends = [];
    return clips.map(({ startMs, endMs }) => {
      let row = ends.findIndex((end) => end <= startMs);
      row = row < 0 ? ends.length : row;
      ends[row] = endMs;
      return row;
    });
  }

  function show() {
    const { clips, selected } = draft;
    for (const [key, { block }] of blocks) {
      if (!clips.some((clip) => clip.key === key)) {
        block.remove();
        blocks.delete(key);
      }
    }
    const row = rows(clips);
    lane.style.setProperty('--rows', Math.max(1, ...row.map((it) => it + 1)));
    clips.forEach((clip, index) => {
      const { key, clipId, startMs, endMs } = clip;
      const parts = blocks.get(key) ?? blocks.set(key, createBlock(key)).get(key);
      const { block } = parts;
      block.style.left = percent(startMs);
      block.style.width = percent(endMs - startMs);
      block.style.setProperty('--row', row[index]);
      block.classList.toggle('selected', clip === selected);
      block.setAttribute('aria-label', `${clipId}, ${clock(startMs)} to ${clock(endMs)}`);
      write(parts.label, clipId);
      parts.start(0, endMs - MIN_CLIP_MS, startMs, `Start of ${clipId}`);
      parts.end(startMs + MIN_CLIP_MS, length(), endMs, `End of ${clipId}`);
      const frames = clip.reframe.mode === 'crop_path' ? clip.reframe.keyframes : [];
      parts.frames.replaceChildren(...frames.slice(0, 200).map(({ atMs }) => {
        const dot = h('i', {});
        dot.style.left = `${(100 * atMs) / (endMs - startMs)}%`;
        return dot;
      }));
      if (lane.children[index + 1] !== block) {
        // Moving an element takes the focus from it.
        const focused = block.contains(document.activeElement) ? document.activeElement : null;
        lane.insertBefore(block, lane.children[index + 1] ?? null);
        focused?.focus({ preventScroll: true });
      }
    });
    const total = clips.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
    write(hint, clips.length > 0 ? `${count(clips.length, 'clip')}, ${span(total / 1_000)} in all` : 'Drag across the timeline to mark a clip.');
    closer.disabled = zoom >= length() / 10_000;
    wider.disabled = zoom <= 1;
    drawRuler();
    at(nowMs);
  }

  function at(ms) {
    nowMs = ms;
    playhead.style.left = percent(clamp(ms, 0, length()));
    place(0, length(), clamp(ms, 0, length()));
  }

  new ResizeObserver(drawRuler).observe(strip);
  return { element, show, at };
}

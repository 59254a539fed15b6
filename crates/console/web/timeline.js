// The timeline: the whole source above, a window of it below. Drag over the lane to mark a clip, drag a clip or its
// handles to move them, tap to go there; Ctrl and the wheel, or two fingers, zoom.

import { createBlocks } from './blocks.js';
import { MIN_CLIP_MS } from './draft.js';
import { createFilmstrip } from './filmstrip.js';
import { createOverview } from './overview.js';
import { followPointer, isDragging, listenToPinch } from './pointer.js';
import { createSlider } from './slider.js';
import { button, clamp, count, h, span, write } from './ui.js';
import { initialView, panned, revealing, shows, snapped, ticks, zoomed } from './view.js';
import { createWaveform } from './waveform.js';

/** What a wheel's pixel zooms by, and a press of a zoom button. */
const WHEEL_ZOOM = 1.003;
const BUTTON_ZOOM = 2;

/** A longer way in one go is a seek, and not playing, milliseconds. */
const JUMP_MS = 1_000;

/** Room after the last clip where the length of the source is unknown. */
const MIN_UNKNOWN_MS = 60_000;

export function createTimeline({ draft, video, seek, choose }) {
  const ruler = h('div', { class: 'ruler' });
  const lane = h('div', { class: 'lane' });
  const fresh = h('div', { class: 'block fresh', hidden: true });
  const guide = h('div', { class: 'guide', hidden: true });
  const playhead = h('div', { class: 'playhead', tabIndex: 0 });
  const filmstrip = createFilmstrip({ isBusy: () => !video.paused || video.seeking });
  const waveform = createWaveform();
  const strip = h('div', { class: 'strip' }, ruler, filmstrip.canvas, waveform.canvas, lane, guide, playhead);
  const overview = createOverview({
    draft,
    lengthMs,
    panTo: (ms) => setView(panned(view, ms - view.startMs, lengthMs())),
    seek,
  });
  const closer = button('plus', 'Show more detail (+)', () => zoomBy(1 / BUTTON_ZOOM));
  const wider = button('minus', 'Show less detail (−)', () => zoomBy(BUTTON_ZOOM));
  const hint = h('p', { class: 'hint' });
  const element = h(
    'div',
    { class: 'timeline', role: 'group', 'aria-label': 'Timeline' },
    overview.element,
    strip,
    h('div', { class: 'under' }, hint, h('div', { class: 'pair' }, wider, closer)),
  );
  lane.append(fresh);

  let [view, nowMs, shownId] = [initialView(MIN_UNKNOWN_MS), 0, null];
  const showPosition = createSlider(playhead, seek);

  function lengthMs() {
    return draft.durationMs || Math.max(MIN_UNKNOWN_MS, 1.25 * Math.max(0, ...draft.clips.map((clip) => clip.endMs)));
  }

  /* ---------- times and pixels ---------- */
  const msPerPx = () => view.lengthMs / (strip.clientWidth || 600);
  const axis = {
    lengthMs,
    percent: (ms) => `${(100 * (ms - view.startMs)) / view.lengthMs}%`,
    width: (ms) => `${(100 * ms) / view.lengthMs}%`,
    px: (ms) => ms / msPerPx(),
    isVisible: (startMs, endMs) => endMs >= view.startMs && startMs <= view.startMs + view.lengthMs,
    msAt: ({ clientX }) =>
      clamp(view.startMs + (clientX - strip.getBoundingClientRect().left) * msPerPx(), 0, lengthMs()),
    snapper,
  };

  /**
   * A function that moves times to what is near: the playhead as it is now, and the edges of other clips. Alt keeps
   * them as they are.
   */
  function snapper(key = null) {
    const edges = draft.clips.filter((clip) => clip.key !== key).flatMap((clip) => [clip.startMs, clip.endMs]);
    const targets = [nowMs, ...edges];
    const snap = (ms, event) => {
      const to = event.altKey ? ms : snapped(ms, targets, msPerPx());
      guide.hidden = !targets.includes(to);
      guide.style.left = axis.percent(to);
      return to;
    };
    snap.done = () => {
      guide.hidden = true;
    };
    return snap;
  }

  /* ---------- what is shown ---------- */
  function setView(next) {
    view = next;
    showView();
  }

  function zoomBy(factor, anchorMs = shows(view, nowMs) ? nowMs : view.startMs + view.lengthMs / 2) {
    setView(zoomed(view, factor, anchorMs, lengthMs()));
  }

  element.addEventListener(
    'wheel',
    (event) => {
      if (event.ctrlKey || event.metaKey) {
        event.preventDefault();
        zoomBy(WHEEL_ZOOM ** event.deltaY, axis.msAt(event));
      } else if (view.lengthMs < lengthMs()) {
        event.preventDefault();
        const by = Math.abs(event.deltaX) > Math.abs(event.deltaY) ? event.deltaX : event.deltaY;
        setView(panned(view, by * msPerPx(), lengthMs()));
      }
    },
    { passive: false },
  );
  listenToPinch(strip, ({ factor, x, fromX }) => {
    const closerView = zoomed(view, factor, axis.msAt({ clientX: x }), lengthMs());
    setView(panned(closerView, (fromX - x) * msPerPx(), lengthMs()));
  });

  function showView() {
    const isWhole = view.lengthMs >= lengthMs();
    overview.element.hidden = isWhole;
    overview.show(view);
    ruler.replaceChildren(
      ...ticks(view, strip.clientWidth || 600).map(({ ms, label }) => {
        const tick = h('span', { class: 'tick', 'aria-hidden': 'true' }, label);
        tick.style.left = axis.percent(ms);
        return tick;
      }),
    );
    blocks.show();
    filmstrip.show(view, lengthMs());
    waveform.show(view);
    [wider.disabled, closer.disabled] = [isWhole, zoomed(view, 0.5, nowMs, lengthMs()).lengthMs === view.lengthMs];
    placePlayhead();
  }

  function placePlayhead() {
    playhead.style.left = axis.percent(clamp(nowMs, 0, lengthMs()));
    playhead.classList.toggle('outside', !shows(view, nowMs));
    overview.at(nowMs);
    showPosition(0, lengthMs(), clamp(nowMs, 0, lengthMs()), 'Position in the video');
  }

  /** Shows the position. The view follows a playhead that leaves it or jumps, but not a user who looks elsewhere. */
  function at(ms, isPlaying = false) {
    const follows = !isDragging() && (shows(view, nowMs) || Math.abs(ms - nowMs) > JUMP_MS);
    nowMs = ms;
    const next = follows ? revealing(view, ms, lengthMs(), isPlaying ? 0.1 : 0.5) : view;
    if (next !== view) {
      setView(next);
    } else {
      placePlayhead();
    }
    if (!isPlaying) {
      filmstrip.work();
    }
  }

  /* ---------- marking ---------- */
  lane.addEventListener('pointerdown', (event) => {
    if (event.button !== 0 || event.target !== lane) {
      return;
    }
    const snap = snapper();
    const from = snap(axis.msAt(event), event);
    const range = (to) => [Math.min(from, to), Math.max(from, to)];
    const close = () => {
      fresh.hidden = true;
      snap.done();
    };
    followPointer(event, {
      move: (next) => {
        const [start, end] = range(snap(axis.msAt(next), next));
        fresh.hidden = false;
        fresh.style.left = axis.percent(start);
        fresh.style.width = axis.width(end - start);
        write(fresh, span((end - start) / 1_000));
      },
      end: (last) => {
        const [start, end] = range(snap(axis.msAt(last), last));
        close();
        if (end - start >= MIN_CLIP_MS) {
          draft.add(start, end);
          seek(start);
        }
      },
      cancel: close,
      tap: (last) => {
        close();
        seek(axis.msAt(last));
      },
    });
  });
  ruler.addEventListener('pointerdown', (event) => {
    if (event.button === 0) {
      seek(axis.msAt(event));
      followPointer(event, { move: (next) => seek(axis.msAt(next)) });
    }
  });

  const blocks = createBlocks({ draft, lane, axis, seek, choose });

  function show() {
    const id = `${draft.id}/${draft.durationMs}`;
    if (id !== shownId) {
      shownId = id;
      view = initialView(lengthMs());
    } else if (!draft.durationMs && view.lengthMs > lengthMs() / 2) {
      view = { startMs: 0, lengthMs: lengthMs() };
    }
    const total = draft.clips.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
    write(
      hint,
      total > 0
        ? `${count(draft.clips.length, 'clip')}, ${span(total / 1_000)} in all`
        : 'Drag on the timeline to mark a clip.',
    );
    showView();
  }

  new ResizeObserver(showView).observe(strip);
  return { element, playhead, show, at, zoomBy, filmstrip, waveform };
}

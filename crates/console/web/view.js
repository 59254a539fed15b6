// Which part of the source the timeline shows, as pure functions of `{startMs, lengthMs}`: zoom, pan, ruler and
// snapping.

import { clamp, clock } from './ui.js';

/** The closest view: a frame of 30 fps is about 16 pixels wide. */
const MIN_LENGTH_MS = 2_000;

/** Sources up to this length are shown whole. */
const WHOLE_MS = 120_000;

/** What is shown of longer ones. */
const DEFAULT_LENGTH_MS = 75_000;

/** Distances between ticks of the ruler, milliseconds. */
const TICKS_MS = [
  100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000, 3_600_000,
  7_200_000, 14_400_000,
];

/** The room that a tick's label needs, pixels: `1:59:59.5`. */
const TICK_PX = 76;

/** From this scale on, whole seconds attract, milliseconds per pixel. */
const COARSE_MS_PER_PX = 40;

const within = (startMs, lengthMs, durationMs) => ({
  startMs: clamp(startMs, 0, Math.max(0, durationMs - lengthMs)),
  lengthMs,
});

export function initialView(durationMs) {
  return { startMs: 0, lengthMs: durationMs <= WHOLE_MS ? durationMs : DEFAULT_LENGTH_MS };
}

/** The view scaled by `factor` (below 1: closer); `anchorMs` stays where it is. */
export function zoomed(view, factor, anchorMs, durationMs) {
  const lengthMs = clamp(view.lengthMs * factor, Math.min(MIN_LENGTH_MS, durationMs), durationMs);
  const share = (anchorMs - view.startMs) / view.lengthMs;
  return within(anchorMs - share * lengthMs, lengthMs, durationMs);
}

export const panned = (view, byMs, durationMs) => within(view.startMs + byMs, view.lengthMs, durationMs);

export const shows = ({ startMs, lengthMs }, ms) => ms >= startMs && ms <= startMs + lengthMs;

/** The view with `ms` in it: unchanged if it is there, otherwise with `ms` at `share` of its width. */
export function revealing(view, ms, durationMs, share = 0.5) {
  return shows(view, ms) ? view : within(ms - share * view.lengthMs, view.lengthMs, durationMs);
}

/** The ticks of the ruler within the view: `{ms, label}`. */
export function ticks({ startMs, lengthMs }, widthPx) {
  const every = TICKS_MS.find((distance) => (distance / lengthMs) * widthPx >= TICK_PX) ?? TICKS_MS.at(-1);
  const found = [];
  for (let ms = Math.ceil(startMs / every) * every; ms <= startMs + lengthMs; ms += every) {
    found.push({ ms, label: every < 1_000 ? clock(ms) : clock(ms).replace(/\.0$/, '') });
  }
  return found;
}

/** `ms`, or the nearest of `targets` within `reachPx`; whole seconds attract, too, where a pixel is long. */
export function snapped(ms, targets, msPerPx, reachPx = 8) {
  const reach = reachPx * msPerPx;
  const nearest = (list) =>
    list.filter((target) => Math.abs(target - ms) <= reach).sort((a, b) => Math.abs(a - ms) - Math.abs(b - ms))[0];
  const second = msPerPx >= COARSE_MS_PER_PX ? [Math.round(ms / 1_000) * 1_000] : [];
  return nearest(targets) ?? nearest(second) ?? ms;
}

/** In which row each clip is drawn, so that none hides another. */
export function rows(clips) {
  const ends = [];
  return clips.map(({ startMs, endMs }) => {
    const free = ends.findIndex((end) => end <= startMs);
    const row = free < 0 ? ends.length : free;
    ends[row] = endMs;
    return row;
  });
}

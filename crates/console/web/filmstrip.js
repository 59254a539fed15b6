// Thumbnails along the timeline, drawn from a second, hidden video: one seek at a time, only what is visible, and never
// while the user's own video plays or seeks.

import { h } from './ui.js';

/** Height of the strip, pixels. */
export const STRIP_PX = 40;

/** Thumbnails kept: some screens full. At 2 x 40 x 71 pixels they take 6 MB. */
const MAX_THUMBNAILS = 240;

/**
 * Distances between thumbnails, milliseconds. Fixed ones, so that panning and zooming find the same thumbnails again.
 */
const STEPS_MS = [100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 60_000, 120_000, 300_000, 600_000, 1_200_000];

/** A seek that takes longer is given up: some files cannot be sought. */
const SEEK_TIMEOUT_MS = 4_000;

const once = (target, kind) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${kind}`)), SEEK_TIMEOUT_MS);
    target.addEventListener(
      kind,
      () => {
        clearTimeout(timer);
        resolve();
      },
      { once: true },
    );
  });

/** `isBusy()` says whether the user's video needs the decoder. */
export function createFilmstrip({ isBusy }) {
  const canvas = h('canvas', { class: 'filmstrip', 'aria-hidden': 'true' });
  const video = h('video', { muted: true, preload: 'auto' });
  const thumbnails = new Map();
  let [view, durationMs, working, generation] = [null, 0, false, 0];

  const ratio = () => (video.videoWidth > 0 ? video.videoWidth / video.videoHeight : 16 / 9);
  const tilePx = () => Math.max(16, STRIP_PX * ratio());
  /** The longest distance that leaves no gap between thumbnails. */
  const stepMs = () =>
    STEPS_MS.findLast((step) => (step / view.lengthMs) * canvas.clientWidth <= tilePx()) ?? STEPS_MS[0];

  /** The times whose thumbnails are visible. */
  function times() {
    const step = stepMs();
    const first = Math.floor(view.startMs / step);
    const last = Math.min(Math.floor((view.startMs + view.lengthMs) / step), Math.ceil(durationMs / step) - 1);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => (first + index) * step);
  }

  function load(url) {
    generation += 1;
    thumbnails.forEach((bitmap) => bitmap.close());
    thumbnails.clear();
    if (url) {
      video.src = url;
    } else {
      video.removeAttribute('src');
      video.load();
    }
    draw();
  }

  function show(shown, lengthMs) {
    [view, durationMs] = [shown, lengthMs];
    draw();
    work();
  }

  function draw() {
    const scale = Math.min(2, devicePixelRatio);
    const [width, height] = [Math.round(canvas.clientWidth * scale), STRIP_PX * scale];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
    }
    const paper = canvas.getContext('2d');
    paper.clearRect(0, 0, width, height);
    if (!view || width === 0) {
      return;
    }
    const perMs = width / view.lengthMs;
    const step = stepMs();
    for (const ms of times()) {
      const bitmap = thumbnails.get(ms);
      if (bitmap) {
        // Of a thumbnail that is wider than its step the middle is shown.
        const across = Math.min(tilePx() * scale, step * perMs);
        const kept = Math.min(bitmap.width, (across / height) * bitmap.height);
        const left = (bitmap.width - kept) / 2;
        paper.drawImage(bitmap, left, 0, kept, bitmap.height, (ms - view.startMs) * perMs, 0, across, height);
      }
    }
  }

  /** Makes the missing thumbnails one after the other, those in the middle first. */
  async function work() {
    if (working || video.readyState < 1) {
      return;
    }
    working = true;
    const of = generation;
    try {
      for (let ms = missing(); ms !== undefined && of === generation && !isBusy() && !document.hidden; ms = missing()) {
        await make(ms);
        draw();
      }
    } catch {
      // This file gives no thumbnails; the timeline works without them.
    }
    working = false;
  }

  function missing() {
    const middle = view ? view.startMs + view.lengthMs / 2 : 0;
    return times()
      .filter((ms) => !thumbnails.has(ms))
      .sort((a, b) => Math.abs(a - middle) - Math.abs(b - middle))[0];
  }

  async function make(ms) {
    const of = generation;
    // Not at the very start, which is often black, and never at the end, which some files cannot show.
    const sought = once(video, 'seeked');
    video.currentTime = Math.min(ms + stepMs() / 4, Math.max(0, durationMs - 50)) / 1_000;
    await sought;
    const bitmap = await createImageBitmap(video, {
      resizeHeight: STRIP_PX * 2,
      resizeWidth: Math.round(tilePx() * 2),
    });
    if (of !== generation) {
      bitmap.close();
      return;
    }
    thumbnails.set(ms, bitmap);
    if (thumbnails.size > MAX_THUMBNAILS) {
      const [oldest, dropped] = thumbnails.entries().next().value;
      dropped.close();
      thumbnails.delete(oldest);
    }
  }

  video.addEventListener('loadeddata', () => work());
  return { canvas, load, show, work };
}

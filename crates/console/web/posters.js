// Pictures of clips that have no cover yet: frames of the source, if this page knows it and can read it.

import { cropWindow, outputSize } from './reframe.js';
import { storedUrl } from './source.js';
import { h } from './ui.js';

/** Clips that get a picture; seeking costs the browser work that the encoder may need. */
const MAX_POSTERS = 24;

/** How much smaller than 720p a picture is. */
const SHRINK = 3;

/** `request(clipId, use)` calls `use` with a canvas when the frame was read; `end` stops reading. */
export function createPosters({ settings, note }) {
  const url = storedUrl(settings.storage, note.sourceUri);
  const queue = [];
  let [video, busy, requested] = [null, false, 0];

  function request(clipId, use) {
    const window = note.windows?.[clipId];
    if (url && window && requested < MAX_POSTERS) {
      requested += 1;
      queue.push({ window, use });
      next();
    }
  }

  async function next() {
    if (busy || queue.length === 0) {
      return;
    }
    busy = true;
    const { window, use } = queue.shift();
    try {
      video ??= await opened(url);
      await seeked(video, (window.startMs + window.endMs) / 2_000);
      use(drawn(video, window, note.aspect));
    } catch {
      // A source that the browser cannot play has no pictures here.
      queue.length = 0;
    }
    busy = false;
    next();
  }

  function end() {
    queue.length = 0;
    video?.removeAttribute('src');
    video?.load();
  }
  return { request, end };
}

/** Resolves at an event of the video, rejects at its error. */
const event = (video, name) => new Promise((resolve, reject) => {
  video.addEventListener(name, resolve, { once: true });
  video.addEventListener('error', () => reject(video.error), { once: true });
});

async function opened(url) {
  const video = h('video', { muted: true, preload: 'auto', playsInline: true });
  const ready = event(video, 'loadeddata');
  video.src = url;
  await ready;
  return video;
}

async function seeked(video, seconds) {
  const done = event(video, 'seeked');
  video.currentTime = seconds;
  await done;
}

/** The part of the shown frame that the clip shows at its beginning. */
function drawn(video, { position = 50, zoom = 100 }, aspect = '9:16') {
  const target = outputSize('720p', aspect);
  const canvas = h('canvas', { width: target.width / SHRINK, height: Math.round(target.height / SHRINK) });
  const source = { width: video.videoWidth, height: video.videoHeight };
  const { left, top, width, height } = cropWindow(position, zoom, source, target);
  canvas.getContext('2d').drawImage(video, left, top, width, height, 0, 0, canvas.width, canvas.height);
  return canvas;
}

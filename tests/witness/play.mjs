// Runs in the page: shows a file in a `<video>` and reads the shown picture.

import { read } from './chart.mjs';

/** A time beyond the end of every file: browsers find the length of a recording by seeking there. */
const FAR_AWAY = 1e7;

const next = (target, kind) =>
  new Promise((resolve, reject) => {
    target.addEventListener(kind, resolve, { once: true });
    target.addEventListener('error', () => reject(new Error(target.error?.message)), { once: true });
  });

/** Maximum wait for the expected picture; after that, the picture that is shown counts. */
const MAX_WAIT_MS = 20_000;

let video;
/** The time of the currently presented picture, seconds. */
let presented;

/**
 * Opens a file as the console does with a dropped file. Returns its length and its start time, in seconds.
 */
export async function open(name) {
  const blob = await (await fetch(`/files/${name}`)).blob();
  video = Object.assign(document.createElement('video'), {
    muted: true,
    preload: 'auto',
    src: URL.createObjectURL(blob),
  });
  presented = null;
  const track = (_, { mediaTime }) => {
    presented = mediaTime;
    video.requestVideoFrameCallback(track);
  };
  video.requestVideoFrameCallback(track);
  document.body.replaceChildren(video);
  await next(video, 'loadeddata');
  const begin = video.currentTime;
  if (video.duration === Infinity) {
    const known = next(video, 'durationchange');
    video.currentTime = FAR_AWAY;
    await known;
  }
  return { begin, duration: video.duration };
}

/**
 * The picture that is shown at a time, in seconds: its number and colours, and its own time. A picture is presented
 * some time after `seeked`, and not again if it is already presented, so this waits for the expected one.
 */
export async function pictureAt(seconds, expectedAt) {
  const seeked = next(video, 'seeked');
  video.currentTime = seconds;
  await seeked;
  const deadline = performance.now() + MAX_WAIT_MS;
  while (Math.abs(presented - expectedAt) > 0.001 && performance.now() < deadline) {
    await new Promise(requestAnimationFrame);
  }
  const { videoWidth: width, videoHeight: height } = video;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { mediaTime: presented, width, height, ...read({ data, width, height, channels: 4 }) };
}

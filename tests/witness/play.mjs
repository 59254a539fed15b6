// Runs in the page: shows a file in a `<video>` and reads what it shows.

import { read } from './chart.mjs';

/** A time beyond the end of everything: browsers learn the length of a recording without one by going there. */
const FAR_AWAY = 1e7;

const next = (target, kind) =>
  new Promise((resolve, reject) => {
    target.addEventListener(kind, resolve, { once: true });
    target.addEventListener('error', () => reject(new Error(target.error?.message)), { once: true });
  });

/** Longest wait for the expected picture; then what is shown instead is the answer. */
const MAX_WAIT_MS = 20_000;

let video;
/** When the picture that is presented now begins, seconds. */
let presented;

/**
 * Opens a file as the console does that a person drops there. Gives its length in seconds and the time that it begins
 * at.
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
 * What is shown at a time, in seconds: the picture's number and colours, and the time from which on it is shown. A
 * picture is presented some time after `seeked`, and not again where it is presented already, so the one that is
 * expected is waited for.
 */
export async function look(seconds, expectedAt) {
  const seeked = next(video, 'seeked');
  video.currentTime = seconds;
  await seeked;
  const give_up = performance.now() + MAX_WAIT_MS;
  while (Math.abs(presented - expectedAt) > 0.001 && performance.now() < give_up) {
    await new Promise(requestAnimationFrame);
  }
  const { videoWidth: width, videoHeight: height } = video;
  const context = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
  context.drawImage(video, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { mediaTime: presented, width, height, ...read({ data, width, height, channels: 4 }) };
}

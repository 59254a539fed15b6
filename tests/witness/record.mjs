// Runs in the page: generates moving pictures and audio, and records them with MediaRecorder.

import { SIZE, paint } from './chart.mjs';

/** Pictures per second of the canvas. */
const RATE = 30;

/** Bits per second: enough for patches to keep their colours. */
const BITS = 2_500_000;

/** Length of one step of the audio volume, seconds. The steps allow to measure a shift in time. */
const STEP_SECONDS = 0.1;

/** The canvas that is recorded; its width and height change the size of the recording. */
const canvas = Object.assign(document.createElement('canvas'), SIZE);
let number = 0;

function draw() {
  number += 1;
  paint(canvas, number);
}

/** 440 Hz on the left and 880 Hz on the right, with a volume that changes irregularly every tenth of a second. */
function startAudio() {
  const context = new AudioContext({ sampleRate: 48_000 });
  const output = context.createMediaStreamDestination();
  output.channelCount = 2;
  const volume = context.createGain();
  let seed = 7;
  for (let step = 0; step < 1_200; step += 1) {
    seed = (seed * 16_807) % 2_147_483_647;
    volume.gain.setValueAtTime(seed % 2 ? 0.35 : 0.1, context.currentTime + step * STEP_SECONDS);
  }
  const sides = context.createChannelMerger(2);
  [440, 880].forEach((frequency, side) => {
    const tone = new OscillatorNode(context, { frequency });
    tone.connect(sides, 0, side);
    tone.start();
  });
  sides.connect(volume).connect(output);
  return output.stream.getAudioTracks()[0];
}

let audio;

/** The types of a list that the browser can record. */
export const supported = (types) => types.filter((type) => MediaRecorder.isTypeSupported(type));

const pause = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/**
 * Records one type for some milliseconds and uploads it to the site. Returns the recorded type.
 */
async function record({ type, name, audible, ms, camera, pauseMs, sizes }) {
  const picture = camera
    ? (
        await navigator.mediaDevices.getUserMedia({ video: { width: SIZE.width, height: SIZE.height } })
      ).getVideoTracks()[0]
    : canvas.captureStream(RATE).getVideoTracks()[0];
  const tracks = audible ? [picture, (audio ??= startAudio()).clone()] : [picture];
  const recorder = new MediaRecorder(new MediaStream(tracks), { mimeType: type, videoBitsPerSecond: BITS });
  const chunks = [];
  let failed;
  recorder.ondataavailable = ({ data }) => chunks.push(data);
  recorder.onerror = ({ error }) => {
    failed = error;
  };
  const stopped = new Promise((resolve) => {
    recorder.onstop = resolve;
  });
  recorder.start(500);
  // Interruptions divide the recording into equal parts.
  const parts = pauseMs ? 2 : (sizes?.length ?? 0) + 1;
  for (let part = 0; part < parts; part += 1) {
    await pause(ms / parts);
    if (pauseMs && part === 0) {
      recorder.pause();
      await pause(pauseMs);
      recorder.resume();
    }
    if (sizes?.[part]) {
      Object.assign(canvas, sizes[part]);
      draw();
    }
  }
  if (recorder.state !== 'inactive') {
    recorder.stop();
  }
  await stopped;
  tracks.forEach((track) => track.stop());
  if (failed) {
    throw new Error(`${type}: ${failed}`);
  }
  await fetch(`/files/${name}`, { method: 'PUT', body: new Blob(chunks) });
  return recorder.mimeType;
}

/** Records several types at the same time, from one canvas and one audio source. */
export async function recordAll(orders) {
  Object.assign(canvas, SIZE);
  draw();
  const clock = setInterval(draw, 1_000 / RATE);
  const done = await Promise.allSettled(orders.map(record));
  clearInterval(clock);
  return done.map(({ value, reason }) => (reason ? { problem: String(reason) } : { type: value }));
}

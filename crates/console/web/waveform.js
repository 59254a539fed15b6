// The audio of a local file as a line of peaks. Browsers decode only whole files, so this is for files of a bounded
// size and length: longer ones have no waveform rather than a page without memory.

import { h } from './ui.js';

const MAX_BYTES = 256 * 1_024 * 1_024;
const MAX_MS = 20 * 60_000;

/** The lowest rate that browsers decode to; enough for peaks. 20 minutes in stereo take 29 MB. */
const SAMPLE_RATE = 3_000;

/** Peaks per second, and seconds between pauses in which the page answers its user. */
const PEAKS_PER_SECOND = 20;
const SLICE_SECONDS = 120;

export const WAVEFORM_PX = 24;

/** The loudest sample of each twentieth of a second, 0 to 1. */
export async function peaksOf(
  samples,
  sampleRate,
  rest = () =>
    new Promise((resolve) => {
      setTimeout(resolve);
    }),
) {
  const width = sampleRate / PEAKS_PER_SECOND;
  const peaks = new Float32Array(Math.ceil(samples.length / width));
  for (let index = 0; index < peaks.length; index += 1) {
    let peak = 0;
    for (let at = Math.floor(index * width); at < Math.min(samples.length, (index + 1) * width); at += 1) {
      peak = Math.max(peak, Math.abs(samples[at]));
    }
    peaks[index] = Math.min(1, peak);
    if (index % (SLICE_SECONDS * PEAKS_PER_SECOND) === 0) {
      await rest();
    }
  }
  return peaks;
}

export function createWaveform() {
  const canvas = h('canvas', { class: 'waveform', hidden: true, 'aria-hidden': 'true' });
  let [peaks, view, wanted] = [null, null, null];

  /** Reads the audio of `file`; without a file, or if it is too long, there is no waveform. */
  async function load(file, durationMs) {
    const key = file && durationMs > 0 ? `${file.name}/${file.size}` : null;
    if (key === wanted) {
      return;
    }
    [wanted, peaks] = [key, null];
    draw();
    if (key === null || file.size > MAX_BYTES || durationMs > MAX_MS) {
      return;
    }
    try {
      const audio = await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await file.arrayBuffer());
      const found = await peaksOf(audio.getChannelData(0), audio.sampleRate);
      if (wanted === key) {
        peaks = found;
        draw();
      }
    } catch {
      // No audio, or none that this browser decodes.
    }
  }

  function show(shown) {
    view = shown;
    draw();
  }

  function draw() {
    canvas.hidden = !peaks;
    if (!peaks || !view) {
      return;
    }
    const scale = Math.min(2, devicePixelRatio);
    const [width, height] = [Math.round(canvas.clientWidth * scale), WAVEFORM_PX * scale];
    [canvas.width, canvas.height] = [width, height];
    const paper = canvas.getContext('2d');
    paper.fillStyle = getComputedStyle(canvas).color;
    const peakAt = (x) => (view.startMs + (x / width) * view.lengthMs) * (PEAKS_PER_SECOND / 1_000);
    for (let x = 0; x < width; x += scale) {
      const [from, to] = [Math.floor(peakAt(x)), Math.max(Math.floor(peakAt(x)) + 1, Math.floor(peakAt(x + scale)))];
      const peak = peaks.subarray(from, to).reduce((loudest, value) => Math.max(loudest, value), 0);
      const tall = Math.max(scale, peak * height);
      paper.fillRect(x, (height - tall) / 2, scale, tall);
    }
  }

  return { canvas, load, show };
}

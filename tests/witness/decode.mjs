// What FFmpeg decodes from a file: the pictures with their numbers, colours and times, and both audio channels.

import { execFileSync } from 'node:child_process';
import { SIZE, read } from './chart.mjs';

const QUIET = ['-hide_banner', '-loglevel', 'error', '-nostdin'];

/** Maximum bytes of a decoded file: pictures of 320x180 for half a minute. */
const MAX_OUTPUT = 256 << 20;

/** Samples per second of decoded audio. */
export const SAMPLE_RATE = 48_000;

export const ffmpeg = (args, options) =>
  execFileSync('ffmpeg', [...QUIET, ...args], { maxBuffer: MAX_OUTPUT, ...options });

/** Streams and container of a file, as FFprobe prints them. */
export function probe(path) {
  const args = ['-v', 'error', '-show_streams', '-show_format', '-of', 'json', path];
  return JSON.parse(execFileSync('ffprobe', args, { maxBuffer: MAX_OUTPUT }));
}

/** When each picture is shown, seconds on the file's own timeline. */
export function times(path) {
  const args = [
    '-v',
    'error',
    '-select_streams',
    'v:0',
    '-show_entries',
    'frame=best_effort_timestamp_time',
    '-of',
    'csv=p=0',
    path,
  ];
  const lines = execFileSync('ffprobe', args, { maxBuffer: MAX_OUTPUT, encoding: 'utf8' });
  return lines
    .split('\n')
    .map((line) => parseFloat(line))
    .filter(Number.isFinite);
}

/** The number and colours of every picture. Pictures are scaled to `size`. */
export function pictures(path, size = SIZE) {
  const filter = `scale=${size.width}:${size.height}:flags=area+accurate_rnd+full_chroma_int+full_chroma_inp`;
  const args = [
    '-i',
    path,
    '-map',
    '0:v:0',
    '-fps_mode',
    'passthrough',
    '-enc_time_base',
    '1:90000',
    '-vf',
    filter,
    '-f',
    'rawvideo',
    '-pix_fmt',
    'rgb24',
    'pipe:1',
  ];
  const data = ffmpeg(args);
  const length = size.width * size.height * 3;
  return Array.from({ length: data.length / length }, (_, index) => {
    try {
      return read({ data: data.subarray(index * length, (index + 1) * length), ...size, channels: 3 });
    } catch (error) {
      throw new Error(`picture ${index} of ${path}: ${error.message}`);
    }
  });
}

/** Every picture with its time, in order of time. */
export function timed(path, size) {
  const [shown, at] = [pictures(path, size), times(path)];
  if (shown.length !== at.length) {
    throw new Error(`${path}: ${shown.length} pictures have ${at.length} times`);
  }
  return shown.map((picture, index) => ({ ...picture, at: at[index] }));
}

/** Both channels of a section of the file's own timeline, seconds; silence where there is no audio. */
export function audio(path, start, end) {
  const window = `aresample=${SAMPLE_RATE}:async=1:min_hard_comp=0.02:first_pts=0,apad,atrim=start=${start}:end=${end}`;
  const args = ['-copyts', '-i', path, '-map', '0:a:0', '-af', window, '-ac', '2', '-f', 'f32le', 'pipe:1'];
  const bytes = ffmpeg(args);
  const samples = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
  return [0, 1].map((side) => samples.filter((_, index) => index % 2 === side));
}

/** Amplitude of one frequency in samples (Goertzel's algorithm). */
export function amplitude(samples, frequency) {
  const factor = 2 * Math.cos((2 * Math.PI * frequency) / SAMPLE_RATE);
  let [last, before] = [0, 0];
  for (const sample of samples) {
    [last, before] = [sample + factor * last - before, last];
  }
  return (2 * Math.sqrt(Math.max(0, last * last + before * before - factor * last * before))) / samples.length;
}

/** The root mean square of each 5 ms of samples. */
export function envelope(samples) {
  const step = SAMPLE_RATE / 200;
  return Array.from({ length: Math.floor(samples.length / step) }, (_, index) => {
    const block = samples.subarray(index * step, (index + 1) * step);
    return Math.sqrt(block.reduce((sum, sample) => sum + sample * sample, 0) / step);
  });
}

/** The delay of `late` after `early`, milliseconds, at most 100: where their envelopes match best. */
export function delay(early, late) {
  const [one, other] = [envelope(early), envelope(late)];
  let best = { difference: Infinity, steps: 0 };
  for (let steps = -20; steps <= 20; steps += 1) {
    let [sum, count] = [0, 0];
    one.forEach((level, index) => {
      const there = other[index + steps];
      if (there !== undefined) {
        sum += Math.abs(level - there);
        count += 1;
      }
    });
    if (sum / count < best.difference) {
      best = { difference: sum / count, steps };
    }
  }
  return best.steps * 5;
}

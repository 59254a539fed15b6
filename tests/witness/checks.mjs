// Checks a clip of a recording against the recording, both decoded by FFmpeg: pictures, colours, both audio channels.

import assert from 'node:assert/strict';
import { COLOURS, colourDistance } from './chart.mjs';
import { SAMPLE_RATE, amplitude, audio, delay, probe } from './decode.mjs';

/** Maximum difference of a level from the drawn one. The two encoders change it by two or three. */
const MAX_LEVELS = 6;

/**
 * Maximum level difference of a tone from the recording, dB, and maximum level of the other channel's tone.
 */
const MAX_LOUDER_DB = 1;
const MAX_LEAK_DB = -20;

/** Maximum offset of the audio, milliseconds, measured in steps of 5 ms. */
const MAX_DELAY_MS = 10;

const FRAME = 1 / 30;

const decibels = (ratio) => 20 * Math.log10(ratio);

/** Amplitude of a tone, averaged over blocks of 50 ms: a pause shifts the phase only between blocks. */
function level(samples, frequency) {
  const step = SAMPLE_RATE / 20;
  const blocks = Array.from({ length: Math.floor(samples.length / step) }, (_, index) =>
    samples.subarray(index * step, (index + 1) * step),
  );
  return Math.sqrt(blocks.reduce((sum, block) => sum + amplitude(block, frequency) ** 2, 0) / blocks.length);
}

/** Each channel must have its own tone, with the level and the time of the recording. */
export function checkAudio(name, source, { startMs, endMs, path }) {
  const expected = audio(source, startMs / 1_000, endMs / 1_000);
  const actual = audio(path, 0, (endMs - startMs) / 1_000);
  [
    [440, 880],
    [880, 440],
  ].forEach(([own, other], side) => {
    const louder = decibels(level(actual[side], own) / level(expected[side], own));
    assert.ok(
      Math.abs(louder) <= MAX_LOUDER_DB,
      `${name}: ${own} Hz on side ${side} is ${louder.toFixed(1)} dB louder than in the recording`,
    );
    const leak = decibels(level(actual[side], other) / level(actual[side], own));
    assert.ok(
      leak <= MAX_LEAK_DB,
      `${name}: ${other} Hz of the other side is on side ${side} at ${leak.toFixed(1)} dB`,
    );
    const late = delay(expected[side], actual[side]);
    assert.ok(Math.abs(late) <= MAX_DELAY_MS, `${name}: the audio of side ${side} is ${late} ms late`);
  });
}

/** Each frame must show the current picture, by the numbers and times that FFmpeg reads from the recording. */
export function checkPictures(name, source, { startMs, endMs }, frames) {
  assert.equal(frames.length, Math.round((endMs - startMs) / 1_000 / FRAME), `${name}: frames`);
  const start = startMs / 1_000;
  // Under load, the recorder drops pictures. After such a gap, a clip may start with the picture shown at its start or
  // with the next one.
  const next = source.findIndex(({ at }) => at >= start - 0.000_5);
  const firsts = [source[next].number, source[Math.max(0, next - 1)].number];
  const { number: first } = frames[0];
  assert.ok(firsts.includes(first), `${name}: the clip starts with ${first}, not with ${firsts.join(' or ')}`);
  const late = frames.map(({ number }, index) => {
    const due = start + index * FRAME;
    const place = source.findIndex((picture) => picture.number === number);
    assert.ok(place >= 0, `${name}: picture ${number} is not in the recording`);
    const [begins, ends] = [source[place].at, source[place + 1]?.at ?? Infinity];
    const tolerance = FRAME + 0.002;
    assert.ok(
      (number === first || begins <= due + tolerance) && ends >= due - tolerance,
      `${name}: picture ${number} of ${begins} s is shown at ${due} s`,
    );
    return due - begins;
  });
  // On average, half of a picture's time has passed when it is due, so a shift by one frame is detected. The first
  // picture may be due up to a frame before its time, and so may those that follow at the same rate.
  const mean = late.reduce((sum, it) => sum + it) / late.length;
  const distance = (source.at(-1).at - source[0].at) / (source.length - 1);
  assert.ok(
    mean > Math.min(late[0], 0) - FRAME / 2 && mean < (FRAME + distance) / 2,
    `${name}: pictures are shown ${(1_000 * mean).toFixed(0)} ms late on average`,
  );
}

/** The clip must be labelled correctly and show the colours that were drawn. */
export function checkColours(name, { path }, frames, expected = COLOURS, levels = MAX_LEVELS) {
  const video = probe(path).streams.find(({ codec_type }) => codec_type === 'video');
  assert.deepEqual([video.color_range, video.color_space], ['tv', 'bt709'], name);
  frames.forEach(({ patches }, index) => {
    const distance = colourDistance(patches, expected);
    const seen = patches.map((patch) => patch.map(Math.round).join()).join(' ');
    assert.ok(distance <= levels, `${name}: frame ${index} has ${seen}, not ${expected.join(' ')}`);
  });
}

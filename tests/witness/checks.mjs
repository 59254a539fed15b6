// What a clip of a recording must be, by FFmpeg's decoding of both: its pictures, its colours, each side of its sound.

import assert from 'node:assert/strict';
import { COLOURS, colourDistance } from './chart.mjs';
import { SOUND_RATE, amplitude, delay, probe, sound } from './decode.mjs';

/** How far a level may be from what was drawn. Encoders of both sides change it by two or three. */
const MAX_LEVELS = 6;

/**
 * How much louder or softer a tone may be than FFmpeg decodes it from the recording, dB, and how much of it the other
 * side may have.
 */
const MAX_LOUDER_DB = 1;
const MAX_LEAK_DB = -20;

/** How much later or earlier the sound may be, milliseconds. What is measured are steps of 5 ms. */
const MAX_DELAY_MS = 10;

const FRAME = 1 / 30;

const decibels = (ratio) => 20 * Math.log10(ratio);

/** Amplitude of a tone over pieces of 50 ms: a pause or a change of volume turns no phase within a piece. */
function level(samples, frequency) {
  const step = SOUND_RATE / 20;
  const pieces = Array.from({ length: Math.floor(samples.length / step) }, (_, index) =>
    samples.subarray(index * step, (index + 1) * step),
  );
  return Math.sqrt(pieces.reduce((sum, piece) => sum + amplitude(piece, frequency) ** 2, 0) / pieces.length);
}

/** Each side has its own tone, as loud and at the same time as FFmpeg decodes it from the recording. */
export function checkSound(name, source, { startMs, endMs, path }) {
  const expected = sound(source, startMs / 1_000, endMs / 1_000);
  const heard = sound(path, 0, (endMs - startMs) / 1_000);
  [
    [440, 880],
    [880, 440],
  ].forEach(([own, other], side) => {
    const louder = decibels(level(heard[side], own) / level(expected[side], own));
    assert.ok(
      Math.abs(louder) <= MAX_LOUDER_DB,
      `${name}: ${own} Hz on side ${side} is ${louder.toFixed(1)} dB louder than in the recording`,
    );
    const leak = decibels(level(heard[side], other) / level(heard[side], own));
    assert.ok(
      leak <= MAX_LEAK_DB,
      `${name}: ${other} Hz of the other side is heard on side ${side} at ${leak.toFixed(1)} dB`,
    );
    const late = delay(expected[side], heard[side]);
    assert.ok(Math.abs(late) <= MAX_DELAY_MS, `${name}: the sound of side ${side} is ${late} ms late`);
  });
}

/** Each frame is the picture whose time has come, by the numbers and times that FFmpeg reads from the recording. */
export function checkPictures(name, source, { startMs, endMs }, frames) {
  assert.equal(frames.length, Math.round((endMs - startMs) / 1_000 / FRAME), `${name}: frames`);
  const start = startMs / 1_000;
  // Under load the recorder leaves pictures out. Across such a gap a clip may begin with the picture shown at its
  // start, or with the next one.
  const next = source.findIndex(({ at }) => at >= start - 0.000_5);
  const firsts = [source[next].number, source[Math.max(0, next - 1)].number];
  const { number: first } = frames[0];
  assert.ok(firsts.includes(first), `${name}: the clip begins with ${first}, not with ${firsts.join(' or ')}`);
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
  // A picture is shown for half its time in the mean, at each moment that it is due: a shift by a frame shows itself.
  // The first may be due up to a frame before its time, and so may those be that follow at its pace.
  const mean = late.reduce((sum, it) => sum + it) / late.length;
  const distance = (source.at(-1).at - source[0].at) / (source.length - 1);
  assert.ok(
    mean > Math.min(late[0], 0) - FRAME / 2 && mean < (FRAME + distance) / 2,
    `${name}: pictures are shown ${(1_000 * mean).toFixed(0)} ms late in the mean`,
  );
}

/** The clip is labelled as what its numbers are, and shows the colours that were drawn. */
export function checkColours(name, { path }, frames, expected = COLOURS, levels = MAX_LEVELS) {
  const video = probe(path).streams.find(({ codec_type }) => codec_type === 'video');
  assert.deepEqual([video.color_range, video.color_space], ['tv', 'bt709'], name);
  frames.forEach(({ patches }, index) => {
    const distance = colourDistance(patches, expected);
    const seen = patches.map((patch) => patch.map(Math.round).join()).join(' ');
    assert.ok(distance <= levels, `${name}: frame ${index} has ${seen}, not ${expected.join(' ')}`);
  });
}

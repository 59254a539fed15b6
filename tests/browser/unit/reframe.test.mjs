// The page's geometry compared with the fleet's, by the table that crates/console/tests/geometry.rs compares with the
// Rust code.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { cropWindow, fitted, movingWindow, outputSize } from '../../../crates/console/web/reframe.js';

const cases = JSON.parse(readFileSync(new URL('../../../crates/console/tests/reframe-cases.json', import.meta.url)));
const sides = ({ left, top, width, height }) => [left, top, width, height];

test('the table is not empty', () => {
  assert.ok(
    cases.sizes.length >= 20 && cases.windows.length >= 1_000 && cases.fits.length >= 60 && cases.moves.length >= 100,
  );
});

test('output sizes are those of the fleet', () => {
  for (const [quality, aspect, width, height] of cases.sizes) {
    assert.deepEqual(outputSize(quality, aspect), { width, height });
  }
});

test('a still window is the same, to the pixel', () => {
  for (const [width, height, aspect, position, zoom, ...expected] of cases.windows) {
    const found = sides(cropWindow(position, zoom, { width, height }, outputSize('1080p', aspect)));
    assert.deepEqual(found, expected, `${width}x${height} to ${aspect} at ${position} % by ${zoom} %`);
  }
});

test('a whole picture is at the same place', () => {
  for (const [width, height, aspect, ...expected] of cases.fits) {
    assert.deepEqual(
      sides(fitted({ width, height }, outputSize('1080p', aspect))),
      expected,
      `${width}x${height} in ${aspect}`,
    );
  }
});

test('a moving window is the same, to 1/65,536 pixel', () => {
  for (const [path, width, height, ms, ...expected] of cases.moves) {
    const keyframes = path.map(([atMs, position, zoom]) => ({ atMs, position, zoom }));
    const found = sides(movingWindow(keyframes, ms, { width, height }, outputSize('1080p', '9:16'))).map(
      (side) => side * 65_536,
    );
    assert.deepEqual(found, expected, `${JSON.stringify(path)} of ${width}x${height} at ${ms} ms`);
  }
});

test('the page refuses what the fleet refuses', () => {
  assert.throws(() => cropWindow(50, 100, { width: 8, height: 480 }, { width: 1080, height: 1920 }), /8x480/);
  assert.throws(() => fitted({ width: 8_193, height: 480 }, { width: 1080, height: 1920 }), /8193x480/);
});

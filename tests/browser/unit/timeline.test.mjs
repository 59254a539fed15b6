// The timeline's view: zoom, pan, ruler, snapping, rows; the waveform's peaks; and what counts as a video.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseUri, refusal } from '../../../crates/console/web/source.js';
import {
  initialView,
  panned,
  revealing,
  rows,
  shows,
  snapped,
  ticks,
  zoomed,
} from '../../../crates/console/web/view.js';
import { peaksOf } from '../../../crates/console/web/waveform.js';

const HOUR = 3_600_000;

test('short sources are shown whole, long ones by a window', () => {
  assert.deepEqual(initialView(120_000), { startMs: 0, lengthMs: 120_000 });
  const { lengthMs } = initialView(2 * HOUR);
  assert.ok(lengthMs >= 60_000 && lengthMs <= 90_000);
});

test('a zoom keeps its anchor in place, within the source', () => {
  const view = { startMs: HOUR, lengthMs: 80_000 };
  const closer = zoomed(view, 0.5, HOUR + 20_000, 2 * HOUR);
  assert.deepEqual(closer, { startMs: HOUR + 10_000, lengthMs: 40_000 });
  assert.deepEqual(zoomed(closer, 2, HOUR + 20_000, 2 * HOUR), view);
  assert.deepEqual(zoomed(view, 1e6, HOUR, 2 * HOUR), { startMs: 0, lengthMs: 2 * HOUR });
  assert.equal(zoomed(view, 1e-6, HOUR, 2 * HOUR).lengthMs, 2_000);
  assert.equal(
    zoomed({ startMs: 0, lengthMs: 500 }, 0.5, 0, 500).lengthMs,
    500,
    'a source of half a second has one view',
  );
});

test('a pan stops at both ends', () => {
  const view = { startMs: 1_000, lengthMs: 10_000 };
  assert.equal(panned(view, -5_000, 60_000).startMs, 0);
  assert.equal(panned(view, 99_000, 60_000).startMs, 50_000);
});

test('the view follows only what leaves it', () => {
  const view = { startMs: 10_000, lengthMs: 10_000 };
  assert.equal(revealing(view, 15_000, 60_000), view);
  const next = revealing(view, 20_001, 60_000, 0.1);
  assert.ok(shows(next, 20_001));
  assert.equal(next.startMs, 19_001);
  assert.equal(revealing(view, 59_900, 60_000, 0.1).startMs, 50_000);
});

test('ticks are round, in the view, and have room for their labels', () => {
  for (const lengthMs of [2_000, 30_000, 75_000, 600_000, 2 * HOUR, 12 * HOUR]) {
    for (const widthPx of [300, 868, 1_900]) {
      const view = { startMs: 1_234, lengthMs };
      const found = ticks(view, widthPx);
      assert.ok(found.length >= 1, `${lengthMs} on ${widthPx}`);
      assert.ok(found.every(({ ms }) => shows(view, ms)));
      const [first, second] = found;
      if (second) {
        assert.ok(((second.ms - first.ms) / lengthMs) * widthPx >= 70, `${lengthMs} on ${widthPx}`);
      }
      assert.equal(new Set(found.map(({ label }) => label)).size, found.length, 'labels differ');
    }
  }
  assert.deepEqual(ticks({ startMs: 5_400_000, lengthMs: 75_000 }, 868)[1], { ms: 5_410_000, label: '1:30:10' });
});

test('the nearest target attracts within its reach', () => {
  const targets = [10_000, 10_050];
  assert.equal(snapped(10_060, targets, 10), 10_050);
  assert.equal(snapped(10_020, targets, 10), 10_000);
  assert.equal(snapped(10_200, targets, 10), 10_200, 'too far');
  assert.equal(snapped(9_996, targets, 1), 10_000);
  assert.equal(snapped(9_991, targets, 1), 9_991, 'zoomed in, the reach is short');
});

test('whole seconds attract only where a pixel is long', () => {
  assert.equal(snapped(12_345, [], 100), 12_000);
  assert.equal(snapped(12_345, [12_500], 100), 12_500, 'an edge counts more');
  assert.equal(snapped(12_345, [], 10), 12_345);
});

test('clips that overlap are drawn in rows', () => {
  const clip = (startMs, endMs) => ({ startMs, endMs });
  assert.deepEqual(rows([clip(0, 10), clip(5, 15), clip(10, 20), clip(12, 13)]), [0, 1, 0, 2]);
});

test('peaks are the loudest samples, and the page rests in between', async () => {
  const samples = new Float32Array(3_000 * 300);
  [samples[0], samples[3_000 * 200]] = [-0.5, 2];
  let rests = 0;
  const peaks = await peaksOf(samples, 3_000, async () => {
    rests += 1;
  });
  assert.equal(peaks.length, 300 * 20);
  assert.deepEqual([peaks[0], peaks[1], peaks[200 * 20]], [0.5, 0, 1]);
  assert.equal(rests, 3);
});

test('videos are accepted by type or name, everything else is refused with a reason', () => {
  for (const name of ['a.mp4', 'a.M4V', 'a.mov', 'a.mkv', 'a.webm', 'a.avi', 'a.ts', 'a.mts']) {
    assert.equal(refusal({ name, type: '', size: 1 }), '', name);
  }
  assert.equal(refusal({ name: 'noname', type: 'video/mp4', size: 1 }), '');
  assert.match(refusal({ name: 'logo.png', type: 'image/png', size: 1 }), /logo\.png is not a video file/);
  assert.match(refusal({ name: 'a.mp4', type: 'video/mp4', size: 0 }), /empty/);
});

test('addresses of objects', () => {
  assert.deepEqual(parseUri(' gs://bucket/folder/a b.mp4 '), {
    uri: 'gs://bucket/folder/a b.mp4',
    bucket: 'bucket',
    object: 'folder/a b.mp4',
    name: 'a b.mp4',
  });
  for (const wrong of ['', 'gs://', 'gs://bucket', 'gs://bucket/', 'https://bucket/a', 'gs://B/a']) {
    assert.equal(parseUri(wrong), null, wrong);
  }
});

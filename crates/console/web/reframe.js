// What of the source picture a clip shows: the formulas of crates/domain/src/reframe.rs and crop_path.rs, to the pixel. A table of
// cases (crates/console/tests/reframe-cases.json) holds both sides to the same results.

/** Output sizes by their names in a request: the short side, and the shape. */
const SHORT_SIDES = { '720p': 720, '1080p': 1080, '1440p': 1440, '2160p': 2160, high: 1080 };
const SHAPES = { '9:16': [9, 16], '1:1': [1, 1], '4:5': [4, 5], '16:9': [16, 9] };

export const QUALITIES = Object.keys(SHORT_SIDES);
export const ASPECTS = Object.keys(SHAPES);

/** Shortest and longest side of a source picture, pixels. */
const MIN_SIDE = 16;
const MAX_SIDE = 8_192;

/** The picture that comes out, pixels. */
export function outputSize(quality, aspect) {
  const [across, down] = SHAPES[aspect];
  const short = SHORT_SIDES[quality];
  const along = (side) => (side * short) / Math.min(across, down);
  return { width: along(across), height: along(down) };
}

const even = (n) => n - (n % 2);
const centred = (side, kept) => even(Math.floor((side - kept) / 2));
const milli = (percent) => Math.round(percent * 1_000);

function check({ width, height }) {
  if (![width, height].every((side) => Number.isInteger(side) && side >= MIN_SIDE && side <= MAX_SIDE)) {
    throw new RangeError(`picture of ${width}x${height} has a side outside ${MIN_SIDE} to ${MAX_SIDE} pixels`);
  }
}

/** `auto_center`: the window of `source` that fills `target`; position 0 to 100, zoom 100 to 200, percent. */
export function cropWindow(position, zoom, source, target) {
  check(source);
  const { width: w, height: h } = source;
  const { width: tw, height: th } = target;
  const shrink = (side) => Math.floor((side * 100_000) / milli(zoom));
  const wider = w * th > h * tw;
  const [cw, ch] = wider ? [shrink(Math.floor((h * tw) / th)), shrink(h)] : [shrink(w), shrink(Math.floor((w * th) / tw))];
  const [width, height] = [Math.max(even(cw), 2), Math.max(even(ch), 2)];
  const left = wider ? even(Math.floor(((w - width) * milli(position)) / 100_000)) : centred(w, width);
  return { left, top: centred(h, height), width, height };
}

/** `fit_blur`: where the whole of `source` lies in `target`. */
export function fitted(source, target) {
  check(source);
  const { width: w, height: h } = source;
  const { width: tw, height: th } = target;
  const nearestEven = (side, by, of) => Math.max(Math.floor((side * by + of) / (2 * of)) * 2, 2);
  const [width, height] = w * th > h * tw
    ? [tw, Math.min(nearestEven(tw, h, w), th)]
    : [Math.min(nearestEven(th, w, h), tw), th];
  return { left: centred(tw, width), top: centred(th, height), width, height };
}

/** `crop_path`: position and zoom at an instant, by a monotone cubic through keyframes `{atMs, position, zoom}`. */
export function pathAt(keyframes, ms) {
  return { position: curve(keyframes, ms, (it) => it.position), zoom: curve(keyframes, ms, (it) => it.zoom) };
}

function curve(knots, ms, value) {
  const next = knots.filter((knot) => knot.atMs <= ms).length;
  if (next === knots.length) {
    return value(knots[next - 1]);
  }
  if (next === 0) {
    return value(knots[0]);
  }
  const [start, end] = [knots[next - 1], knots[next]];
  const secant = (from) => {
    const [a, b] = [knots[from], knots[from + 1]];
    const length = b.atMs - a.atMs;
    return [length, (value(b) - value(a)) / length];
  };
  const slope = (knot) => {
    if (knot === 0 || knot + 1 >= knots.length) {
      return 0;
    }
    const [[h0, d0], [h1, d1]] = [secant(knot - 1), secant(knot)];
    if (d0 * d1 <= 0) {
      return 0;
    }
    const [w0, w1] = [2 * h1 + h0, h1 + 2 * h0];
    return (w0 + w1) / (w0 / d0 + w1 / d1);
  };
  const [from, to, length] = [value(start), value(end), end.atMs - start.atMs];
  const u = (ms - start.atMs) / length;
  const [rest, eased] = [1 - u, u * u * (3 - 2 * u)];
  return from + (to - from) * eased + length * u * rest * (slope(next - 1) * rest - slope(next) * u);
}

/** `crop_path`: the window at an instant, between pixels (to 1/65,536). */
export function movingWindow(keyframes, ms, source, target) {
  check(source);
  const { position, zoom } = pathAt(keyframes, ms);
  const { width: w, height: h } = source;
  const { width: tw, height: th } = target;
  const wider = w * th > h * tw;
  const [across, down] = wider ? [(h * tw) / th, h] : [w, (w * th) / tw];
  const [cw, ch] = [(across * 100) / zoom, (down * 100) / zoom];
  const share = wider ? position / 100 : 0.5;
  const fine = (pixels) => Math.round(pixels * 65_536) / 65_536;
  return { left: fine((w - cw) * share), top: fine((h - ch) / 2), width: fine(cw), height: fine(ch) };
}

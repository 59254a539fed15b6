// The test picture: its number as sixteen black and white bars, six patches of colour, and a block that moves. It is
// painted on canvases in Chromium, generated as bytes in Node, and read in both.

/** Size of every test picture. An export of 16:9 shows all of it. */
export const SIZE = { width: 320, height: 180 };

/** The patches, as red, green and blue: dark and bright grey reveal a wrong range, the others a wrong matrix. */
export const COLOURS = [
  [32, 32, 32],
  [192, 192, 192],
  [200, 48, 48],
  [48, 160, 64],
  [48, 64, 192],
  [200, 180, 40],
];

const BARS = 16;
const [BARS_END, PATCHES_END] = [1 / 3, 2 / 3];
const GREY = [128, 128, 128];

/**
 * A bar is black below the first brightness and white above the second. Between them it is a blend of two pictures.
 */
const [BLACK, WHITE] = [90, 165];

/** The bars of a number: twelve bits, and a checksum of four. */
function code(number) {
  const bits = number & 0xfff;
  return (((bits ^ (bits >> 4) ^ (bits >> 8) ^ 0b1010) & 0xf) << 12) | bits;
}

/** Every rectangle of a picture: its colour, and left, top, width and height as shares of the picture. */
function rectangles(number) {
  const bars = Array.from({ length: BARS }, (_, bar) => ({
    colour: (code(number) >> bar) & 1 ? [255, 255, 255] : [0, 0, 0],
    box: [bar / BARS, 0, 1 / BARS, BARS_END],
  }));
  const patches = COLOURS.map((colour, index) => ({
    colour,
    box: [index / COLOURS.length, BARS_END, 1 / COLOURS.length, PATCHES_END - BARS_END],
  }));
  const block = { colour: [230, 230, 230], box: [((number * 5) % 90) / 100, 0.78, 0.08, 0.12] };
  return [{ colour: GREY, box: [0, 0, 1, 1] }, ...bars, ...patches, block];
}

function pixels([left, top, width, height], size) {
  const [x, y] = [Math.round(left * size.width), Math.round(top * size.height)];
  return { x, y, right: Math.round((left + width) * size.width), bottom: Math.round((top + height) * size.height) };
}

/** Paints a picture on a canvas. */
export function paint(canvas, number) {
  const context = canvas.getContext('2d');
  for (const { colour, box } of rectangles(number)) {
    const { x, y, right, bottom } = pixels(box, canvas);
    context.fillStyle = `rgb(${colour.join()})`;
    context.fillRect(x, y, right - x, bottom - y);
  }
}

/** The first pictures as bytes, one after the other: red, green and blue. */
export function film(count) {
  const { width, height } = SIZE;
  const data = new Uint8Array(count * width * height * 3);
  for (let number = 0; number < count; number += 1) {
    for (const { colour, box } of rectangles(number)) {
      const { x, y, right, bottom } = pixels(box, SIZE);
      const row = new Uint8Array((right - x) * 3).map((_, at) => colour[at % 3]);
      for (let line = y; line < bottom; line += 1) {
        data.set(row, ((number * height + line) * width + x) * 3);
      }
    }
  }
  return data;
}

/** Mean colour of the inner half of a box. */
function mean({ data, width, height, channels }, [left, top, across, down]) {
  const box = pixels([left + across / 4, top + down / 4, across / 2, down / 2], { width, height });
  const sum = [0, 0, 0];
  let count = 0;
  for (let y = box.y; y < box.bottom; y += 1) {
    for (let x = box.x; x < box.right; x += 1) {
      const at = (y * width + x) * channels;
      sum.forEach((_, channel) => {
        sum[channel] += data[at + channel];
      });
      count += 1;
    }
  }
  return sum.map((value) => value / count);
}

/** The number and the colours of a picture; throws if the bars do not encode a number. */
export function read(picture) {
  let bits = 0;
  for (let bar = 0; bar < BARS; bar += 1) {
    const [red, green, blue] = mean(picture, [bar / BARS, 0, 1 / BARS, BARS_END]);
    const brightness = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    if (brightness > BLACK && brightness < WHITE) {
      throw new Error(`bar ${bar} is neither black nor white but ${brightness.toFixed(0)}`);
    }
    bits |= brightness >= WHITE ? 1 << bar : 0;
  }
  const number = bits & 0xfff;
  if (code(number) !== bits) {
    throw new Error(`the bars show ${bits.toString(2).padStart(BARS, '0')}, which is not a number`);
  }
  const patches = rectangles(0)
    .slice(1 + BARS, 1 + BARS + COLOURS.length)
    .map(({ box }) => mean(picture, box));
  return { number, patches };
}

/** The largest difference between two lists of colours, in levels. */
export function colourDistance(one, other) {
  return Math.max(
    ...one.flatMap((colour, index) => colour.map((level, channel) => Math.abs(level - other[index][channel]))),
  );
}

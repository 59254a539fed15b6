// What every part of the page draws with: elements, icons, times as people write them, and the live region.

/**
 * An element with properties and children. `on…` are listeners, `class`, `for` and `aria-…` attributes; what is false
 * or null is left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) {
      continue;
    }
    if (name.startsWith('on')) {
      element.addEventListener(name.slice(2), value);
    } else if (name in element && !name.startsWith('aria') && name !== 'spellcheck') {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? '' : value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = 'http://www.w3.org/2000/svg';

/** An SVG element. */
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  element.append(...children);
  return element;
}

/** Drawn on a grid of 16, in the colour of the text. */
const ICONS = {
  play: 'M4.5 2.8v10.4l8.5-5.2z',
  pause: 'M4 3h3v10H4zM9 3h3v10H9z',
  cross: 'M4.2 3.2 8 7l3.8-3.8 1 1L9 8l3.8 3.8-1 1L8 9l-3.8 3.8-1-1L7 8 3.2 4.2z',
  again: 'M8 2.5a5.5 5.5 0 1 1-5.2 3.7l1.4.5A4 4 0 1 0 8 4v2.2L4.6 3.3 8 .4z',
  save: 'M7.2 2h1.6v6l2.3-2.3 1.1 1.1L8 11 3.8 6.8l1.1-1.1L7.2 8zM3 12.4h10V14H3z',
  plus: 'M7.2 3h1.6v4.2H13v1.6H8.8V13H7.2V8.8H3V7.2h4.2z',
  minus: 'M3 7.2h10v1.6H3z',
  loop: 'M5 3h6a3.5 3.5 0 0 1 0 7H9.5V8.5H11a2 2 0 0 0 0-4H5a2 2 0 0 0-1.4 3.4L2.5 9A3.5 3.5 0 0 1 5 3zM8 6.6v5.8L4.4 9.5z',
  volume: 'M2 6v4h2.5L8 13V3L4.5 6zM9.5 5.2a3.5 3.5 0 0 1 0 5.6zM9.5 2.6v1.6a4.5 4.5 0 0 1 0 7.6v1.6a6 6 0 0 0 0-10.8z',
  muted: 'M2 6v4h2.5L8 13V3L4.5 6zM10 6l1-1 1.5 1.5L14 5l1 1-1.5 1.5L15 9l-1 1-1.5-1.5L11 10l-1-1 1.5-1.5z',
  full: 'M2 2h5v1.5H3.5V7H2zM9 2h5v5h-1.5V3.5H9zM2 9h1.5v3.5H7V14H2zM12.5 9H14v5H9v-1.5h3.5z',
  undo: 'M6.5 2 7.6 3 5.5 5H10a4 4 0 0 1 0 8H5v-1.5h5a2.5 2.5 0 0 0 0-5H5.5l2.1 2.1L6.5 9.7 2.7 5.8z',
  redo: 'M9.5 2 8.4 3l2.1 2H6a4 4 0 0 0 0 8h5v-1.5H6a2.5 2.5 0 0 1 0-5h4.5L8.4 8.6l1.1 1.1 3.8-3.9z',
  bin: 'M6 2h4l.6 1.2H13v1.5H3V3.2h2.4zM4 6h8l-.6 8H4.6z',
  tick: 'M6.4 12.6 2.2 8.4l1.5-1.5 2.7 2.7 5.9-5.9 1.5 1.5z',
  alert: 'M6.9 2.6h2.2l-.3 7H7.2zM8 11.2a1.2 1.2 0 1 1 0 2.4 1.2 1.2 0 0 1 0-2.4z',
  copy: 'M6 1.5h8.5V10H13V3H6zM1.5 6H10v8.5H1.5zM3 7.5V13h5.5V7.5z',
  bell: 'M8 1.6a4 4 0 0 0-4 4v3L2.8 11v.8h10.4V11L12 8.6v-3a4 4 0 0 0-4-4zM6.5 12.8h3a1.5 1.5 0 0 1-3 0z',
};

/** An icon; what it means is said by the button around it. */
export const icon = (name) => {
  const path = svg('path', { d: ICONS[name], fill: 'currentColor', 'fill-rule': 'evenodd' });
  return svg('svg', { viewBox: '0 0 16 16', class: 'icon', 'aria-hidden': 'true' }, path);
};

/** A button with an icon; `label` is its name for everyone, shown where it is not `quiet`. */
export function button(name, label, onclick, { quiet = true, ...more } = {}) {
  const text = h('span', { class: quiet ? 'unseen' : null }, label);
  const properties = { type: 'button', class: quiet ? 'tool' : 'plain', title: quiet ? label : null, onclick, ...more };
  return h('button', properties, icon(name), text);
}

/** Sets a text only where it changed, so that nothing flickers and no screen reader repeats it. */
export function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Announces something to screen readers. */
export function announce(text) {
  const place = document.getElementById('said');
  place.append(h('p', {}, text));
  while (place.childElementCount > 5) {
    place.firstElementChild.remove();
  }
}

/** 75,300 ms as `1:15.3`. */
export function clock(ms) {
  const tenths = Math.round(ms / 100);
  const [hours, minutes] = [Math.floor(tenths / 36_000), Math.floor(tenths / 600) % 60];
  const seconds = (tenths % 600) / 10;
  const tail = `${seconds < 10 ? '0' : ''}${seconds.toFixed(1)}`;
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}

/** 75,300 ms as `1:15.3` and 75,000 ms as `1:15`. */
export const brief = (ms) => clock(ms).replace(/\.0$/, '');

/** A time that is left: 48 s as `0:48`, 3,722 s as `1:02:02`. */
export const countdown = (seconds) => brief(Math.ceil(seconds) * 1_000);

/** `1:15.3`, `75.3` or `1:01:15` in milliseconds; `null` for anything else. */
export function parseClock(text) {
  const parts = text.trim().replace(',', '.').split(':');
  const isNumber = (part, index) => (index === parts.length - 1 ? /^\d+(\.\d{1,3})?$/ : /^\d+$/).test(part);
  if (parts.length > 3 || !parts.every(isNumber)) {
    return null;
  }
  return Math.round(parts.reduce((sum, part) => sum * 60 + Number(part), 0) * 1_000);
}

/** A length in words: `45 s`, `1 min 30 s`, `2 h 5 min`. */
export function span(seconds) {
  const whole = Math.round(seconds);
  if (whole < 60) {
    return `${whole} s`;
  }
  const [hours, minutes, rest] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  return hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min${rest ? ` ${rest} s` : ''}`;
}

/** Bytes in words. */
export function size(bytes) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(bytes, 1)) / 3));
  const value = bytes / 1_000 ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

/** One clip, two clips. */
export const count = (number, one, many = `${one}s`) => `${number.toLocaleString('en')} ${number === 1 ? one : many}`;

/** A fragment, as errors are written, as a sentence. */
export const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/[.\s]+$/, '')}.`;

/** A moment as people of this place write it. */
export const moment = (time, style = { dateStyle: 'medium', timeStyle: 'short' }) =>
  new Date(time).toLocaleString([], style);

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** A text that may be long, with its middle left out. */
export const shorten = (text, most = 28) =>
  (text.length <= most ? text : `${text.slice(0, most - 9)}…${text.slice(-8)}`);

/** Copies a text; false if the browser does not allow it. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** How long a copy button says that it copied, milliseconds. */
const COPIED_MS = 2_000;

/**
 * A button that copies what `text()` returns or resolves to, unless that is undefined, and says so for a moment.
 * `options` as of {@link button}.
 */
export function copyButton(label, text, options) {
  const made = button('copy', label, async () => {
    const given = await text();
    if (given === undefined) {
      return;
    }
    const copied = await copyText(given);
    const said = copied ? 'Copied' : 'Copying is not allowed here';
    made.classList.toggle('copied', copied);
    write(made.querySelector('span'), said);
    announce(said);
    setTimeout(() => {
      made.classList.remove('copied');
      write(made.querySelector('span'), label);
    }, COPIED_MS);
  }, options);
  return made;
}

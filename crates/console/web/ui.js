// What every part of the page draws with: elements, icons, times as people write them, and what is said aloud.

/** An element with properties and children. `on…` are listeners, `class`, `for` and `aria-…` attributes, what is false or null is left out. */
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
  bin: 'M6 2h4l.6 1.2H13v1.5H3V3.2h2.4zM4 6h8l-.6 8H4.6z',
};

/** An icon; what it means is said by the button around it. */
export const icon = (name) =>
  svg('svg', { viewBox: '0 0 16 16', class: 'icon', 'aria-hidden': 'true' }, svg('path', { d: ICONS[name], fill: 'currentColor' }));

/** A button with an icon; `label` is its name for everyone, shown where it is not `quiet`. */
export function button(name, label, onclick, { quiet = true, ...more } = {}) {
  const text = h('span', { class: quiet ? 'unseen' : null }, label);
  return h('button', { type: 'button', class: quiet ? 'tool' : 'plain', title: quiet ? label : null, onclick, ...more }, icon(name), text);
}

/** Sets a text only where it changed, so that nothing flickers and no reader is disturbed. */
export function write(element, text) {
  if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Says something to people who do not see the page. */
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
  const [hours, minutes, seconds] = [Math.floor(tenths / 36_000), Math.floor(tenths / 600) % 60, (tenths % 600) / 10];
  const tail = `${seconds < 10 ? '0' : ''}${seconds.toFixed(1)}`;
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${tail}` : `${minutes}:${tail}`;
}

/** `1:15.3`, `75.3` or `1:01:15` in milliseconds; `null` for anything else. */
export function parseClock(text) {
  const parts = text.trim().replace(',', '.').split(':');
  if (parts.length > 3 || !parts.every((part, index) => (index === parts.length - 1 ? /^\d+(\.\d{1,3})?$/ : /^\d+$/).test(part))) {
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

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** A text that may be long, with its middle left out. */
export const shorten = (text, most = 28) => (text.length <= most ? text : `${text.slice(0, most - 9)}…${text.slice(-8)}`);

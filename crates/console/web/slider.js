// A slider on a time: the playhead, and the edges of clips.

import { clamp, clock } from './ui.js';

/** Steps by key, milliseconds; with Shift ten times as far. */
const STEPS = { ArrowLeft: -100, ArrowRight: 100, ArrowDown: -100, ArrowUp: 100, PageDown: -5_000, PageUp: 5_000 };

/** Makes an element a slider that calls `onset(ms)`; returns a function that shows its range, value and name. */
export function createSlider(element, onset) {
  let range = { low: 0, high: 0, now: 0 };
  element.setAttribute('role', 'slider');
  element.addEventListener('keydown', (event) => {
    const step = STEPS[event.key];
    const by = step === undefined ? null : range.now + step * (event.shiftKey ? 10 : 1);
    const to = { Home: range.low, End: range.high }[event.key] ?? by;
    if (to !== null && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      onset(clamp(to, range.low, range.high));
    }
  });
  return (low, high, now, label) => {
    range = { low, high, now };
    const values = {
      'aria-label': label,
      'aria-valuemin': Math.round(low),
      'aria-valuemax': Math.round(high),
      'aria-valuenow': Math.round(now),
      'aria-valuetext': clock(now),
    };
    Object.entries(values).forEach(([attribute, value]) => element.setAttribute(attribute, value));
  };
}

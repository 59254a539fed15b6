// The exports of this browser that are not over, as every view shows them: a pill in the header and the page's title.

import { rememberedBatches } from './clipfleet.js';
import { progressLine, summarize, titleOf } from './summary.js';
import { count, h, write } from './ui.js';

/**
 * Shows the running exports in `place`. `onChange` is called when the page's title may have changed, `onEnd` with the
 * id and the summary of each batch that ended while it was followed.
 */
export function createRunning({ place, feed, onChange, onEnd }) {
  const batches = new Map();
  const ring = h('span', { class: 'ring', 'aria-hidden': 'true' });
  const [text, left] = [h('span', {}), h('span', { class: 'left' })];
  const pill = h('a', { class: 'pill', hidden: true }, ring, text, left);
  place.append(pill);

  /** Follows what this browser remembers as unfinished; to be called when that may have grown. */
  function refresh() {
    for (const { batchId, over } of rememberedBatches()) {
      if (!over && !batches.has(batchId)) {
        batches.set(batchId, { summary: null, end: null });
        batches.get(batchId).end = feed.follow(batchId, (known) => update(batchId, known));
      }
    }
  }

  function update(batchId, { exports, batch, failure }) {
    const entry = batches.get(batchId);
    if (!entry) {
      return;
    }
    const before = entry.summary;
    entry.summary = batch === null ? null : summarize(exports, batch);
    if (entry.summary?.over || failure?.status === 404) {
      batches.delete(batchId);
      // The feed calls back while it subscribes; there is nothing to end before it has returned.
      queueMicrotask(() => entry.end());
      if (before !== null && entry.summary?.over) {
        onEnd(batchId, entry.summary);
      }
    }
    draw();
  }

  const shown = () => [...batches].filter(([, { summary }]) => summary !== null);

  function draw() {
    const all = shown();
    pill.hidden = all.length === 0;
    if (all.length > 0) {
      const total = sum(all);
      const line = progressLine(total);
      const [done, rest] = line.split(' · ');
      pill.href = all.length === 1 ? `#/batch/${encodeURIComponent(all[0][0])}` : '#/history';
      pill.setAttribute('aria-label', `Exporting: ${line}`);
      ring.style.setProperty('--share', `${total.percent}%`);
      write(text, all.length === 1 ? done : `${count(all.length, 'export')} · ${done}`);
      write(left, rest ? ` · ${rest}` : '');
    }
    onChange();
  }

  /** `42 % · talk.mp4` while something runs, else an empty text. */
  function title() {
    const all = shown();
    if (all.length === 0) {
      return '';
    }
    return `${sum(all).percent} % · ${all.length === 1 ? titleOf(all[0][0]) : count(all.length, 'export')}`;
  }
  return { refresh, title };
}

/** Several batches as one. */
function sum(entries) {
  const all = entries.map(([, { summary }]) => summary);
  const add = (name) => all.reduce((total, summary) => total + summary[name], 0);
  const etas = all.map(({ etaSeconds }) => etaSeconds);
  return {
    total: add('total'), completed: add('completed'), failed: 0, cancelled: 0, over: false,
    started: all.some(({ started }) => started),
    percent: Math.floor(all.reduce((total, summary) => total + summary.percent * summary.total, 0) / add('total')),
    etaSeconds: etas.includes(null) ? null : Math.max(...etas),
  };
}

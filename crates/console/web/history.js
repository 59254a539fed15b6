// Every batch of the fleet, one line each, newest first and running ones on top.

import { isOver, listBatches } from './clipfleet.js';
import { createConnection, skeletons } from './connection.js';
import { SESSION } from './session.js';
import { learnSource, titleOf } from './summary.js';
import { count, countdown, h, moment, write } from './ui.js';
import { STATES } from './words.js';

/** How often the first page is read again, milliseconds. */
const EVERY_MS = 5_000;

const PAGE_SIZE = 50;

/** Statuses of a batch that is not over. */
const RUNNING = ['processing', 'queued'];

export function createHistory() {
  const search = h('input', {
    type: 'search', id: 'search', placeholder: 'Title, source, owner or ID', autocomplete: 'off', oninput: draw,
  });
  const filter = h('select', { id: 'status', onchange: () => restart() },
    h('option', { value: '' }, 'All'), Object.entries(STATES).map(([value, name]) => h('option', { value }, name)));
  const id = h('input', {
    type: 'text', id: 'batch-id', placeholder: 'Batch ID', spellcheck: 'false', autocomplete: 'off', required: true,
    pattern: '[A-Za-z0-9._\\-]{1,128}', title: 'Letters, digits, “-”, “_”, “.”',
  });
  const find = h('form', { class: 'inline find', onsubmit: open },
    h('label', { for: 'batch-id' }, 'Find a batch by ID'), id, h('button', { type: 'submit', class: 'plain' }, 'Open'));
  const list = h('ol', { class: 'batches' });
  const none = h('p', { class: 'blank', hidden: true });
  const more = h('button', { type: 'button', class: 'plain', hidden: true, onclick: loadMore }, 'Load more');
  const waiting = skeletons(6, 'lines');
  const content = h('div', {}, waiting, list, none, h('div', { class: 'more' }, more));
  const connection = createConnection({ stale: content, onRetry: () => look() });
  const element = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'History'), h('span', { class: 'grow' }), find),
    h('div', { class: 'inline filters', role: 'search' },
      h('label', { for: 'search', class: 'unseen' }, 'Search'), search,
      h('label', { for: 'status' }, 'Status'), filter),
    connection.element, content);

  /** Batches by id as last read, the token of the next page, and when the fleet last answered. */
  let [found, nextPageToken, asOf] = [new Map(), '', null];
  let [timer, pages] = [null, 0];
  const rows = new Map();

  function open(event) {
    event.preventDefault();
    location.hash = `#/batch/${encodeURIComponent(id.value.trim())}`;
    id.value = '';
  }

  function restart() {
    [found, nextPageToken, asOf, pages] = [new Map(), '', null, 0];
    draw();
    look();
  }

  /** Reads the first page, and everything that runs: an old batch that runs is shown, too. */
  async function look() {
    const asked = filter.value;
    const read = (status) => listBatches({ status, pageSize: PAGE_SIZE }, { ...SESSION, timeoutMs: 0 });
    try {
      const [first, ...running] = await Promise.all([asked, ...(asked ? [] : RUNNING)].map(read));
      if (asked !== filter.value) {
        return;
      }
      // The latest answer wins; what it lacks may be on a later page, but is not running any more.
      for (const batch of found.values()) {
        batch.gone = !isOver(batch.status);
      }
      [...running, first].forEach(keep);
      [...found.values()].filter(({ gone }) => gone).forEach(({ batchId }) => found.delete(batchId));
      if (pages <= 1) {
        [nextPageToken, pages] = [first.nextPageToken, 1];
      }
      asOf = Date.now();
      connection.show(null, asOf);
    } catch (failure) {
      connection.show(failure, asOf);
    }
    draw();
  }

  const keep = ({ batches }) => batches.forEach((batch) => {
    found.set(batch.batchId, batch);
    learnSource(batch.batchId, batch.sourceUri);
  });

  async function loadMore() {
    more.disabled = true;
    const from = list.childElementCount;
    try {
      const wanted = { status: filter.value, pageSize: PAGE_SIZE, pageToken: nextPageToken };
      const page = await listBatches(wanted, SESSION);
      keep(page);
      [nextPageToken, pages] = [page.nextPageToken, pages + 1];
      connection.show(null, asOf);
    } catch (failure) {
      connection.show(failure, asOf);
    }
    more.disabled = false;
    draw();
    if (more.hidden) {
      list.children[from]?.querySelector('a').focus();
    }
  }

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const all = [...found.values()].filter((batch) => textOf(batch).includes(wanted)).sort(runningFirst);
    waiting.hidden = asOf !== null;
    for (const [batchId, row] of rows) {
      if (!all.some((batch) => batch.batchId === batchId)) {
        row.element.remove();
        rows.delete(batchId);
      }
    }
    all.forEach((batch, index) => {
      const row = rows.get(batch.batchId) ?? rows.set(batch.batchId, createRow(batch.batchId)).get(batch.batchId);
      row.update(batch);
      if (list.children[index] !== row.element) {
        moveTo(list, row.element, index);
      }
    });
    none.hidden = asOf === null || all.length > 0;
    write(none, found.size === 0 && !filter.value ? 'No exports yet.' : 'No batch matches.');
    more.hidden = nextPageToken === '';
  }

  async function again() {
    const mine = timer;
    if (!document.hidden) {
      await look();
    }
    if (mine === timer) {
      timer = setTimeout(again, EVERY_MS);
    }
  }
  function show() {
    hide();
    draw();
    timer = setTimeout(again, 0);
  }
  function hide() {
    clearTimeout(timer);
    timer = null;
  }
  return { element, show, hide };
}

/** Moves an element to an index; moving takes the focus from it. */
function moveTo(list, element, index) {
  const focused = element.contains(document.activeElement) ? document.activeElement : null;
  list.insertBefore(element, list.children[index] ?? null);
  focused?.focus({ preventScroll: true });
}

const createdAt = (batch) => Date.parse(batch.createdAt ?? '') || 0;
const runningFirst = (a, b) => isOver(a.status) - isOver(b.status) || createdAt(b) - createdAt(a);

/** What is searched in. */
const textOf = (batch) =>
  [batch.batchId, titleOf(batch.batchId), batch.sourceUri, batch.ownerUid, batch.projectId]
    .join(' ').toLowerCase();

function createRow(batchId) {
  const title = h('a', { href: `#/batch/${encodeURIComponent(batchId)}` });
  const fill = h('div', { class: 'fill' });
  const bar = h('div', {
    class: 'bar', role: 'progressbar', 'aria-label': 'Progress', 'aria-valuemin': 0, 'aria-valuemax': 100,
  }, fill);
  const [state, clips, who, source, at] = ['state', 'number', 'soft who', 'soft source', 'soft at-time']
    .map((name) => h('span', { class: name }));
  const element = h('li', { class: 'batch-row', 'data-batch': batchId }, title, state, bar, clips, who, source, at);

  function update(batch) {
    element.dataset.status = batch.status;
    write(title, titleOf(batchId));
    write(state, STATES[batch.status] ?? batch.status);
    const running = !isOver(batch.status);
    bar.hidden = !running;
    bar.setAttribute('aria-valuenow', batch.progress ?? 0);
    fill.style.transform = `scaleX(${(batch.progress ?? 0) / 100})`;
    write(clips, clipsOf(batch, running));
    write(who, [batch.ownerUid, batch.projectId].filter(Boolean).join(' / '));
    write(source, batch.sourceUri ?? '');
    source.title = batch.sourceUri ?? '';
    write(at, batch.createdAt ? moment(batch.createdAt) : '');
  }
  return { element, update };
}

/** `3 of 12 · 0:48 left`, `12 clips`, `10 of 12 · 2 failed`. */
function clipsOf({ totalClips = 0, completedClips = 0, failedClips = 0, etaSeconds }, running) {
  if (running) {
    return `${completedClips} of ${totalClips}${etaSeconds > 0 ? ` · ${countdown(etaSeconds)} left` : ''}`;
  }
  const failed = failedClips > 0 ? ` · ${failedClips} failed` : '';
  return completedClips === totalClips ? count(totalClips, 'clip') : `${completedClips} of ${totalClips}${failed}`;
}

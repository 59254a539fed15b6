// The page: three views and one draft.

import { restPolling, rememberedBatches } from './clipfleet.js';
import { Draft } from './draft.js';
import { createEditor } from './editor.js';
import { createBatchCard, createHistory } from './exports.js';
import { createFleet } from './fleet.js';
import { Launch } from './launch.js';
import { Uploads, acceptDrops, welcome } from './source.js';
import { h, write } from './ui.js';

/** Batches that are shown below the workplace; all are in the history. */
const SHOWN = 2;

/** How often bars move. A document changes at most once a second. */
const transport = restPolling({ everyMs: 700 });

const settings = await fetch('settings.json').then((response) => response.json());
const draft = new Draft();
const uploads = settings.storage && new Uploads(settings.storage, draft);
const views = Object.fromEntries(['export', 'history', 'fleet'].map((name) => [name, document.getElementById(name)]));
const current = h('section', { class: 'stack', 'aria-label': 'Exports' });

/* ---------- the workplace ---------- */
const entrance = welcome({
  settings,
  onFile: take,
  onUri: (uri) => draft.open({ name: uri.split('/').at(-1), uri, stored: true, uploaded: 1, problem: null }),
});
const launch = new Launch({ draft, onStarted });
const editor = createEditor({
  draft, settings, launch,
  onClose: () => { uploads?.stop(); draft.close(); },
  onAgain: () => uploads?.again?.(),
  canAgain: () => Boolean(uploads?.again),
});
views.export.append(entrance.element, editor.element, current);

function take(file) {
  uploads.begin(file);
  editor.load(file);
  location.hash = '#/export';
}
if (uploads) {
  acceptDrops(entrance.take);
}

function showDraft() {
  entrance.element.hidden = Boolean(draft.source);
  editor.element.hidden = !draft.source;
  if (!draft.source) {
    editor.pause();
  }
}
draft.addEventListener('change', showDraft);

function onStarted() {
  showCurrent();
  current.scrollIntoView({ block: 'nearest', behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth' });
}

/* ---------- exports below it ---------- */
const cards = new Map();

/** The latest batches, and every one that is not over. */
function showCurrent() {
  const batches = rememberedBatches().filter((batch, index) => index < SHOWN || !batch.over);
  for (const [batchId, card] of cards) {
    if (!batches.some((batch) => batch.batchId === batchId)) {
      card.stop();
      card.element.remove();
      cards.delete(batchId);
    }
  }
  batches.forEach(({ batchId }, index) => {
    if (!cards.has(batchId)) {
      cards.set(batchId, createBatchCard(batchId, { settings, transport }));
    }
    const { element } = cards.get(batchId);
    if (current.children[index] !== element) {
      current.insertBefore(element, current.children[index] ?? null);
    }
  });
}

/* ---------- views ---------- */
const history = createHistory({ settings, transport });
views.history.append(history.element);
const fleetState = document.getElementById('fleet-state');
const fleet = createFleet({ settings, onPaused: (paused) => { write(fleetState, paused ? 'Fleet paused' : ''); } });
views.fleet.append(fleet.element);

function route() {
  const [, name = '', detail] = /^#\/(\w+)(?:\/(.+))?$/.exec(location.hash) ?? [];
  const shown = name in views ? name : 'export';
  for (const [view, element] of Object.entries(views)) {
    element.hidden = view !== shown;
  }
  for (const anchor of document.querySelectorAll('nav a')) {
    anchor.toggleAttribute('aria-current', false);
    if (anchor.hash === `#/${shown}`) {
      anchor.setAttribute('aria-current', 'page');
    }
  }
  document.title = `${{ export: 'Export', history: 'History', fleet: 'Fleet' }[shown]} · Clipfleet`;
  [history, fleet].forEach((view) => view.hide());
  if (shown === 'history') {
    history.show(detail && decodeURIComponent(detail));
  } else if (shown === 'fleet') {
    fleet.show();
  } else {
    showCurrent();
  }
  if (shown !== 'export') {
    editor.pause();
  }
}
addEventListener('hashchange', () => {
  route();
  document.getElementById('main').focus({ preventScroll: true });
  scrollTo(0, 0);
});

showDraft();
if (draft.source && !draft.source.stored) {
  // What was not stored when the page was left is not here any more.
  draft.learn({ problem: 'The upload was interrupted. Drop the video again.' });
}
editor.show();
route();
fleet.glance().catch(() => {});
document.documentElement.dataset.ready = 'true';

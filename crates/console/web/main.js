// The page: its views, and what all views show of the running exports.

import { createBatchView } from './batch.js';
import { Feed } from './feed.js';
import { createFleet } from './fleet.js';
import { createHistory } from './history.js';
import { createNotifications } from './notifications.js';
import { createRunning } from './running.js';
import { takeToken, withSession } from './session.js';
import { progressLine, titleOf } from './summary.js';
import { announce, write } from './ui.js';
import { createWorkplace } from './workplace.js';

await takeToken();
const settings = await withSession(() => fetch('settings.json')).then((response) => response.json());
const part = (id) => document.getElementById(id);
const hashOf = (batchId) => `#/batch/${encodeURIComponent(batchId)}`;

const workplace = createWorkplace({ settings, onStarted, onOpen: () => { location.hash = '#/export'; } });
part('export').append(workplace.element);

/* ---------- exports ---------- */
const feed = new Feed();
const notifications = createNotifications();
const running = createRunning({ place: part('running'), feed, onChange: showTitle, onEnd });

function onStarted(batchId) {
  running.refresh();
  location.hash = hashOf(batchId);
}

function onEnd(batchId, summary) {
  const [title, line] = [titleOf(batchId), progressLine(summary)];
  notifications.show(title, line, hashOf(batchId));
  // The page of a batch announces its end itself.
  if (location.hash !== hashOf(batchId)) {
    announce(`${title}: ${line}`);
  }
}

/* ---------- views ---------- */
const history = createHistory();
const fleet = createFleet({
  settings,
  onPaused: (paused) => write(part('fleet-state'), paused ? 'Fleet paused' : ''),
  onRefused: () => { document.querySelector('nav a[href="#/fleet"]').hidden = true; },
});
const batch = createBatchView({ settings, feed, notifications, onRestarted: () => running.refresh() });

/** Views by the first part of the hash. `nav` is the view whose link in the header is marked. */
const views = {
  export: { title: () => 'Export', nav: 'export', show() {}, hide: workplace.pause },
  batch: { title: (batchId) => titleOf(batchId), nav: 'history', show: batch.show, hide: batch.hide },
  history: { title: () => 'History', nav: 'history', show: history.show, hide: history.hide },
  fleet: { title: () => 'Fleet', nav: 'fleet', show: fleet.show, hide: fleet.hide },
};
part('batch').append(batch.element);
part('history').append(history.element);
part('fleet').append(fleet.element);

/** A link that was cut may end within an escape. */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function routed() {
  const [, name = '', detail = ''] = /^#\/(\w+)(?:\/(.+))?$/.exec(location.hash) ?? [];
  return { name: name in views ? name : 'export', detail: decoded(detail) };
}

function showTitle() {
  const { name, detail } = routed();
  document.title = `${running.title() || views[name].title(detail)} · Clipfleet`;
}

function route() {
  const { name, detail } = routed();
  for (const [view, { hide }] of Object.entries(views)) {
    part(view).hidden = view !== name;
    hide();
  }
  for (const anchor of document.querySelectorAll('nav a')) {
    anchor.toggleAttribute('aria-current', false);
    if (anchor.hash === `#/${views[name].nav}`) {
      anchor.setAttribute('aria-current', name === views[name].nav ? 'page' : 'true');
    }
  }
  views[name].show(detail);
  showTitle();
}
addEventListener('hashchange', () => {
  takeToken();
  route();
  part('main').focus({ preventScroll: true });
  scrollTo(0, 0);
});
// Exports that another tab started.
addEventListener('storage', () => running.refresh());

running.refresh();
route();
fleet.glance();
document.documentElement.dataset.ready = 'true';

// The page of one batch, `#/batch/ID`: one bar for all, a card for each clip, and what can be done with them.

import { cancel, downloadUrl, isOver, retry } from './clipfleet.js';
import { createCard } from './card.js';
import { createConnection, skeletons } from './connection.js';
import { Links } from './links.js';
import { createPlayer } from './player.js';
import { createPosters } from './posters.js';
import { ASPECTS, outputSize } from './reframe.js';
import { SESSION } from './session.js';
import { learnSource, progressLine, remembered, summarize, titleOf } from './summary.js';
import { announce, button, copyButton, count, h, icon, moment, sentence, write } from './ui.js';
import { reason } from './words.js';

/** Minimum time between two announcements of progress, milliseconds. Twelve clips must not be twelve interruptions. */
const ANNOUNCEMENT_MS = 10_000;

/** Up to so many clips, cards are large. */
const FEW = 5;

/** The view. `onRestarted(batchId)` is called when clips of a batch that may have been over run again. */
export function createBatchView({ settings, feed, notifications, onRestarted }) {
  const player = createPlayer();
  const links = new Links(settings);
  const element = h('div', { class: 'batch-view' });
  let page = null;

  function show(batchId) {
    hide();
    page = createPage(batchId, {
      settings, links, feed, notifications, player, onRestarted: () => onRestarted(batchId),
    });
    element.replaceChildren(page.element);
  }
  function hide() {
    page?.end();
    page = null;
    element.replaceChildren();
  }
  return { element, show, hide };
}

function createPage(batchId, { settings, links, feed, notifications, player, onRestarted }) {
  const left = new AbortController();
  const note = remembered(batchId);
  const cards = new Map();
  const heading = h('h1', {}, titleOf(batchId));
  const origin = h('p', { class: 'soft origin' });
  const line = h('p', { class: 'progress-line' });
  const fill = h('div', { class: 'fill' });
  const bar = h('div', {
    class: 'bar', role: 'progressbar', 'aria-label': 'Progress of all clips', 'aria-valuemin': 0, 'aria-valuemax': 100,
  }, fill);
  const problem = h('p', { class: 'problem', role: 'alert' });

  const stop = h('button', { type: 'button', class: 'plain', hidden: true, onclick: stopAll }, 'Cancel');
  const again = h('button', { type: 'button', class: 'plain', hidden: true, onclick: startAgain });
  const save = h('a', { class: 'plain strong', download: '', role: 'link', 'aria-disabled': 'true' },
    icon('save'), h('span', {}, 'Download all'));
  const copy = copyButton('Copy link', () => location.href, { quiet: false });
  const notify = notifications.button();
  const grid = h('ol', { class: 'clips-grid', 'data-aspect': note.aspect ?? '9:16' });
  const waiting = skeletons(6, 'frames');
  const content = h('div', {},
    h('div', { class: 'batch-head' },
      h('div', { class: 'batch-title' }, heading, origin),
      h('div', { class: 'batch-progress' }, bar, line),
      h('div', { class: 'pair wrap' }, stop, again, save, copy, notify)),
    problem, waiting, grid);
  const connection = createConnection({ stale: content, onRetry: () => feed.refresh(batchId) });
  const element = h('div', { 'data-batch': batchId }, connection.element, content);
  const posters = createPosters({ settings, note });
  const narrate = createNarrator();

  function update({ exports, batch, failure, asOf }) {
    if (failure?.status === 404) {
      showMissing();
      return;
    }
    connection.show(failure, asOf);
    const summary = summarize(exports, batch);
    element.setAttribute('aria-busy', String(summary.total === 0 && batch === null));
    waiting.hidden = summary.total > 0 || batch !== null;
    learnSource(batchId, batch?.sourceUri);
    write(heading, titleOf(batchId));
    write(origin, originOf(note, batch));
    if (summary.total > 0 || batch !== null) {
      element.dataset.status = batch?.status ?? 'queued';
      bar.setAttribute('aria-valuenow', summary.percent);
      fill.style.transition = summary.over ? 'none' : '';
      fill.style.transform = `scaleX(${summary.percent / 100})`;
      write(line, progressLine(summary));
      showActs(exports, summary);
      showClips(exports);
    }
    write(problem, batch?.status === 'failed' && batch.error ? reason(batch.error) : requestProblem);
    if (batch !== null) {
      narrate(summary);
    }
  }

  function showClips(exports) {
    const ids = Object.keys(exports);
    grid.classList.toggle('few', ids.length <= FEW);
    for (const clipId of ids) {
      if (!cards.has(clipId)) {
        const card = createCard({
          batchId, clipId, range: note.windows?.[clipId], title: heading.textContent,
          settings, links, signal: left.signal, player, onRestarted,
          onCover: (cover) => { grid.dataset.aspect = note.aspect ?? aspectOf(cover); },
        });
        cards.set(clipId, card);
        grid.append(card.element);
        posters.request(clipId, card.setPoster);
      }
      cards.get(clipId).update(exports[clipId]);
    }
  }

  let shown = { exports: {} };
  function showActs(exports, summary) {
    shown = { exports };
    const focused = document.activeElement;
    stop.hidden = summary.over;
    const { failed, cancelled } = restartable(exports);
    again.hidden = failed.length === 0 && (cancelled.length === 0 || !summary.over);
    write(again, failed.length > 0 ? 'Retry failed' : `Start ${count(cancelled.length, 'clip')} again`);
    const { completed, over } = summary;
    if (completed > 0) {
      save.href = downloadUrl(batchId);
      save.removeAttribute('aria-disabled');
    } else {
      save.removeAttribute('href');
      save.setAttribute('aria-disabled', 'true');
    }
    write(save.querySelector('span'), completed > 0 && !over ? `Download ${completed} finished` : 'Download all');
    // Once it was pressed it says what the answer was.
    notify.hidden = over || !(notifications.askable || notify.disabled);
    if (focused?.hidden && content.contains(focused)) {
      (again.hidden ? save.href ? save : copy : again).focus({ preventScroll: true });
    }
  }

  /** Why the last press of a button failed; it stays until the next one. */
  let requestProblem = '';
  async function request(verb, act) {
    requestProblem = '';
    try {
      await act();
    } catch (error) {
      requestProblem = `${verb} failed: ${sentence(error.message)}`;
    }
    write(problem, requestProblem);
  }
  function stopAll() {
    return request('Cancelling', () => cancel(batchId, null, SESSION));
  }
  function startAgain() {
    const { failed, cancelled } = restartable(shown.exports);
    return request('Retrying', async () => {
      // The request for a whole batch would restart cancelled clips, too, and those that cannot succeed.
      await Promise.all((failed.length > 0 ? failed : cancelled).map((clipId) => retry(batchId, clipId, SESSION)));
      onRestarted();
    });
  }

  function showMissing() {
    element.setAttribute('aria-busy', 'false');
    element.replaceChildren(h('div', { class: 'blank missing' },
      h('h1', {}, `No batch called ${batchId}`),
      h('p', {}, 'Check the ID, or look for it in the ', h('a', { href: '#/history' }, 'history'), '.')));
  }

  const unfollow = feed.follow(batchId, update);
  const end = () => {
    unfollow();
    posters.end();
    left.abort(new Error('the page of the batch was left'));
  };
  return { element, end };
}

/** Ids of clips that may be started again: those that failed and may succeed, and those that were cancelled. */
function restartable(exports) {
  const ids = (chosen) => Object.keys(exports).filter((clipId) => chosen(exports[clipId]));
  return {
    failed: ids(({ status, error }) => status === 'failed' && error?.retryable === true),
    cancelled: ids(({ status }) => status === 'cancelled'),
  };
}

/** The shape that a cover comes closest to. */
function aspectOf({ naturalWidth, naturalHeight }) {
  const distance = (aspect) => {
    const { width, height } = outputSize('720p', aspect);
    return Math.abs(Math.log((naturalWidth / naturalHeight) / (width / height)));
  };
  return ASPECTS.reduce((best, aspect) => (distance(aspect) < distance(best) ? aspect : best));
}

/** When the batch was started, and by whom. */
function originOf(note, batch) {
  const at = note.createdAt ?? batch?.createdAt;
  return [at && `Started ${moment(at)}`, batch?.ownerUid && `by ${batch.ownerUid}`].filter(Boolean).join(' ');
}

/** Announces progress: how many clips are done, at intervals, and the end. What was so at first is not announced. */
function createNarrator() {
  let [heard, at] = [null, 0];
  return (summary) => {
    const text = progressLine({ ...summary, etaSeconds: null });
    const key = `${summary.completed} ${summary.failed} ${summary.cancelled} ${summary.over}`;
    if (heard !== null && heard !== key && (summary.over || Date.now() - at >= ANNOUNCEMENT_MS)) {
      announce(summary.over ? text : `${summary.completed} of ${summary.total} done`);
      [heard, at] = [key, Date.now()];
    }
    heard ??= key;
  };
}

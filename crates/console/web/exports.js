// Batches on their way: a card for each, a row for each clip, with what can be done about it. Draws what `watchBatch` says.

import { cancel, forgetBatch, isOver, rememberedBatches, retry, watchBatch } from './clipfleet.js';
import { announce, button, count, h, shorten, size, span, write } from './ui.js';

const PHASES = { queued: 'Waiting', fetching: 'Reading the source', encoding: 'Encoding', verifying: 'Checking', uploading: 'Storing', done: 'Done' };
const STATES = { queued: 'Waiting', processing: 'At work', completed: 'Done', partial: 'Some failed', failed: 'Failed', cancelled: 'Cancelled' };

/** Names of encoders for people; any other is shown as it is. */
const ENCODERS = { x264enc: 'x264', openh264enc: 'OpenH264', nvh264enc: 'NVENC', nvcudah264enc: 'NVENC', nvautogpuh264enc: 'NVENC' };

/** A bar that readers can read. */
function createBar(label) {
  const fill = h('div', { class: 'fill' });
  const bar = h('div', { class: 'bar', role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, fill);
  let known = false;
  return { bar, set(percent) {
    bar.setAttribute('aria-valuenow', percent);
    // It glides from figure to figure; where it stands at first, and that it is over, is to be seen at once.
    fill.style.transition = known && percent < 100 ? '' : 'none';
    known = true;
    fill.style.transform = `scaleX(${percent / 100})`;
  } };
}

/** What is said about a clip beside its bar. */
function says(clip) {
  if (clip.status === 'processing') {
    const eta = clip.etaSeconds > 0 ? ` · ${span(clip.etaSeconds)} left` : '';
    return `${PHASES[clip.phase] ?? clip.phase}${eta}`;
  }
  if (clip.status === 'completed') {
    const facts = [clip.durationMs && span(clip.durationMs / 1_000), clip.outputSizeBytes && size(Number(clip.outputSizeBytes))];
    return [clip.reused ? 'Made before' : 'Done', ...facts.filter(Boolean)].join(' · ');
  }
  return STATES[clip.status];
}

const made = ({ encoder, fallbackReason }) =>
  [encoder && (ENCODERS[encoder] ?? encoder), fallbackReason && 'fallback'].filter(Boolean).join(', ');

/** Where a browser stores a clip rather than showing it. Only local storage lets itself be told by an unsigned address. */
function downloadUrl(url, name, settings) {
  if (!settings.storage || !url.startsWith(`${settings.storage.url}/`)) {
    return url;
  }
  const file = `attachment; filename="${name}.mp4"`;
  return `${url}${url.includes('?') ? '&' : '?'}response-content-disposition=${encodeURIComponent(file)}`;
}

function createRow(batchId, clipId, settings) {
  const { bar, set } = createBar(`Progress of ${clipId}`);
  const cover = h('div', { class: 'cover', 'aria-hidden': 'true' });
  const [state, percent, encoder] = [h('span', { class: 'state' }), h('span', { class: 'percent' }), h('span', { class: 'encoder' })];
  const problem = h('p', { class: 'problem' });
  const ask = async (verb, act) => {
    write(problem, '');
    row.toggleAttribute('aria-busy', true);
    try {
      await act(batchId, clipId);
    } catch (error) {
      write(problem, `${verb} failed: ${error.message}`);
    } finally {
      row.removeAttribute('aria-busy');
    }
  };
  const stop = button('cross', `Cancel ${clipId}`, () => ask('Cancelling', cancel));
  const again = button('again', `Retry ${clipId}`, () => ask('Retrying', retry));
  const play = button('play', `Play ${clipId}`, () => toggle(), { 'aria-expanded': 'false' });
  const save = h('a', { class: 'tool', title: `Download ${clipId}`, download: `${clipId}.mp4`, target: '_blank', rel: 'noopener' });
  save.append(...button('save', `Download ${clipId}`).childNodes);
  const player = h('div', { class: 'player', hidden: true });
  const row = h('li', { class: 'row', 'data-clip': clipId },
    cover,
    h('div', { class: 'what' },
      h('div', { class: 'line' }, h('span', { class: 'name' }, clipId), encoder),
      bar,
      h('div', { class: 'line soft' }, state, percent)),
    h('div', { class: 'acts' }, stop, again, play, save),
    problem, player);

  let shown = null;
  function toggle() {
    const open = player.hidden;
    player.hidden = !open;
    play.setAttribute('aria-expanded', String(open));
    player.replaceChildren();
    if (open) {
      const video = h('video', { src: shown.outputUrl, controls: true, playsInline: true, 'aria-label': clipId });
      player.append(video);
      video.play().catch(() => {});
      video.focus();
    }
  }

  function update(clip) {
    if (shown === clip) {
      return;
    }
    const ended = shown !== null && !isOver(shown.status) && isOver(clip.status);
    const restarted = shown !== null && clip.generation > shown.generation;
    shown = clip;
    row.dataset.status = clip.status;
    set(clip.status === 'completed' ? 100 : clip.progress);
    write(state, says(clip));
    write(percent, clip.status === 'processing' ? `${clip.progress} %` : '');
    write(encoder, made(clip));
    encoder.title = clip.fallbackReason ?? '';
    write(problem, clip.status === 'failed' && clip.error ? clip.error.message : '');
    const focused = row.contains(document.activeElement);
    stop.hidden = isOver(clip.status);
    again.hidden = !['failed', 'cancelled'].includes(clip.status);
    play.hidden = save.hidden = !clip.outputUrl;
    if (focused && document.activeElement?.hidden) {
      // What was pressed is gone: the focus goes to what took its place.
      (row.querySelector('.acts > :not([hidden])') ?? document.body).focus();
    }
    if (clip.outputUrl) {
      save.href = downloadUrl(clip.outputUrl, clipId, settings);
    }
    if (restarted && !player.hidden) {
      toggle();
    }
    if (clip.coverUrl && cover.dataset.url !== clip.coverUrl) {
      cover.dataset.url = clip.coverUrl;
      cover.replaceChildren(h('img', { src: clip.coverUrl, alt: '', loading: 'lazy', decoding: 'async' }));
    }
    if (ended) {
      announce(`${clipId}: ${STATES[clip.status]}`);
    }
  }
  return { row, update };
}

/** The card of a batch; follows it while it is on the page. */
export function createBatchCard(batchId, { settings, transport, title, level = 'h2', open = true, onForget = null }) {
  const rows = new Map();
  const known = rememberedBatches().find((batch) => batch.batchId === batchId);
  const { bar, set } = createBar('Progress of the batch');
  const [state, note] = [h('span', { class: 'state' }), h('p', { class: 'problem' })];
  const list = h('ol', { class: 'rows' });
  const ask = async (verb, act) => {
    write(note, '');
    try {
      await act(batchId);
    } catch (error) {
      write(note, `${verb} failed: ${error.message}`);
    }
  };
  const stop = h('button', { type: 'button', class: 'plain', hidden: true, onclick: () => ask('Cancelling', cancel) }, 'Cancel all');
  const again = h('button', { type: 'button', class: 'plain', hidden: true, onclick: () => ask('Retrying', retry) }, 'Retry what failed');
  const forget = onForget && h('button', { type: 'button', class: 'plain', onclick: () => { forgetBatch(batchId); watch?.stop(); onForget(card); } }, 'Take off the list');
  const when = known?.createdAt ? new Date(known.createdAt).toLocaleString([], { dateStyle: 'medium', timeStyle: 'short' }) : batchId;
  const heading = h(level, {}, shorten(title ?? known?.title ?? 'Batch', 44));
  const summary = h('summary', {}, h('div', { class: 'line' }, heading, state), h('div', { class: 'line soft' }, h('span', {}, when)), bar);
  const card = h('details', { class: 'card batch', open, 'data-batch': batchId, ontoggle: () => (card.open ? follow() : rest()) },
    summary, h('div', { class: 'pair end' }, stop, again, forget), note, list);

  // Before anybody looks closer, what is remembered has to do.
  bar.hidden = true;
  if (known) {
    write(state, [known.status && STATES[known.status], count(known.clipIds?.length ?? 0, 'clip')].filter(Boolean).join(' · '));
  }

  let watch = null;
  function follow() {
    watch ??= watchBatch(batchId, update, { transport, onError: (error) => write(note, `${error.message}. Trying again.`) });
  }
  function rest() {
    watch?.stop();
    watch = null;
  }

  function update(exports, batch) {
    write(note, batch.status === 'failed' && batch.error ? batch.error.message : '');
    const all = Object.entries(exports);
    const done = all.filter(([, clip]) => clip.status === 'completed').length;
    const total = batch.totalClips ?? all.length;
    card.dataset.status = batch.status;
    bar.hidden = false;
    // What the rows show; the document counts a clip that is over as whole, however it ended.
    const mean = all.reduce((sum, [, clip]) => sum + clip.progress, 0) / Math.max(all.length, 1);
    set(batch.status === 'completed' ? 100 : Math.floor(mean));
    const eta = batch.status === 'processing' && batch.etaSeconds > 0 ? ` · ${span(batch.etaSeconds)} left` : '';
    write(state, isOver(batch.status) && batch.status !== 'partial'
      ? `${STATES[batch.status]} · ${count(total, 'clip')}`
      : `${done} of ${count(total, 'clip')} done${eta}`);
    for (const [clipId, clip] of all) {
      if (!rows.has(clipId)) {
        rows.set(clipId, createRow(batchId, clipId, settings));
        list.append(rows.get(clipId).row);
      }
      rows.get(clipId).update(clip);
    }
    stop.hidden = !all.some(([, clip]) => !isOver(clip.status));
    again.hidden = !all.some(([, clip]) => ['failed', 'cancelled'].includes(clip.status));
  }

  if (open) {
    follow();
  }
  return { element: card, stop: rest };
}

/** Batches started from this browser, latest first, and a way to any other. */
export function createHistory({ settings, transport }) {
  const list = h('div', { class: 'stack' });
  const none = h('p', { class: 'blank' }, 'Nothing was exported from this browser yet.');
  const id = h('input', { type: 'text', id: 'batch-id', placeholder: 'Batch id', spellcheck: 'false', autocomplete: 'off', required: true, pattern: '[A-Za-z0-9._\\-]{1,128}', title: 'Letters, digits, “-”, “_”, “.”' });
  const form = h('form', {
    class: 'inline',
    onsubmit: (event) => {
      event.preventDefault();
      location.hash = `#/history/${encodeURIComponent(id.value.trim())}`;
      id.value = '';
    },
  }, h('label', { for: 'batch-id' }, 'Open another batch'), id, h('button', { type: 'submit', class: 'plain' }, 'Open'));
  const element = h('div', {}, h('div', { class: 'head' }, h('h1', {}, 'History'), h('span', { class: 'grow' }), form), none, list);

  let cards = [];
  /** Builds the list anew; `wanted` is a batch to be open, remembered or not. */
  function show(wanted) {
    hide();
    const remembered = rememberedBatches().map((batch) => batch.batchId);
    const ids = wanted && !remembered.includes(wanted) ? [wanted, ...remembered] : remembered;
    cards = ids.map((batchId, index) => createBatchCard(batchId, {
      settings, transport, open: wanted ? batchId === wanted : index === 0,
      title: remembered.includes(batchId) ? undefined : batchId,
      onForget: remembered.includes(batchId) ? (card) => { card.remove(); none.hidden = list.childElementCount > 0; } : null,
    }));
    list.replaceChildren(...cards.map((card) => card.element));
    none.hidden = cards.length > 0;
  }
  function hide() {
    cards.forEach((card) => card.stop());
    cards = [];
  }
  return { element, show, hide };
}

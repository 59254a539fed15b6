// The fleet, for its operators: what it does, what waits, what the queue gave up, and pause.

import { createConnection, skeletons } from './connection.js';
import { withSession } from './session.js';
import { announce, button, count, countdown, h, moment, sentence, shorten, write } from './ui.js';
import { PHASES, encoderName, reason } from './words.js';

/** How often to ask, milliseconds; as long as the dispatcher gives the same answer. */
const EVERY_MS = 3_000;

/** One request to the dispatcher. */
async function request(method, path) {
  let response;
  try {
    response = await withSession(() => fetch(path, { method, signal: AbortSignal.timeout(15_000) }));
  } catch (error) {
    throw Object.assign(new Error('the fleet cannot be reached', { cause: error }), { code: 'unreachable' });
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) {
    const error = new Error(answer?.error?.message ?? `the fleet answered ${response.status}`);
    throw Object.assign(error, { status: response.status, code: answer?.error?.code });
  }
  return answer;
}

/** Whether the fleet is not for this caller: an owner has no right to it, or this address does not serve it. */
const isRefused = ({ status, code }) => status === 403 || code === 'no_such_route';

function figure(name) {
  const [value, note] = [h('dd', { class: 'value' }, '–'), h('dd', { class: 'soft' })];
  const element = h('div', { class: 'figure card' }, h('dt', {}, name), value, note);
  return { element, set(text, more = '') {
    write(value, text);
    write(note, more);
  } };
}

/** A table that changes row by row. Without rows, only `blank` is shown. */
function table(caption, columns, blank) {
  const body = h('tbody');
  const waiting = skeletons(2, 'lines');
  const empty = h('p', { class: 'none', hidden: true }, blank);
  const head = h('tr', {}, columns.map((name) => h('th', { scope: 'col' }, name)));
  const whole = h('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': caption, hidden: true },
    h('table', {}, h('thead', {}, head), body));
  const element = h('section', { class: 'card' }, h('h2', {}, caption), waiting, whole, empty);
  let drawn = '';
  return { element, set(rows, key) {
    if (key === drawn) {
      return;
    }
    drawn = key;
    body.replaceChildren(...rows.map((cells) => h('tr', {}, cells.map((cell) => h('td', {}, cell)))));
    waiting.hidden = true;
    whole.hidden = rows.length === 0;
    empty.hidden = rows.length > 0;
  } };
}

const link = (batchId) => h('a', { href: `#/batch/${encodeURIComponent(batchId)}` }, shorten(batchId, 26));
const percent = (progress) => `${progress ?? 0} %`;

/**
 * The view. `onPaused(paused)` is called with each answer, and `onRefused()` if this caller may see nothing of it.
 */
export function createFleet({ settings, onPaused, onRefused }) {
  const [slots, waiting, open, dead] = ['Busy slots', 'Clips waiting', 'Active batches', 'Dead letters'].map(figure);
  const work = table('Working', ['Clip', 'Batch', 'Phase', 'Progress', 'Encoder', 'Worker'], 'Idle.');
  const batches = table('Active batches', ['Batch', 'Owner', 'Clips', 'Progress', 'Left'], 'No active batches.');
  const letters = table('Dead letters', ['Clip', 'Batch', 'Reason', ''], 'No dead letters.');
  const problem = h('p', { class: 'problem', role: 'status' });
  const state = h('span', { class: 'badge', hidden: true });
  const since = h('span', { class: 'soft' });
  const toggle = h('button', { type: 'button', class: 'plain', disabled: true, onclick: switchOver }, 'Pause');
  const content = h('div', {},
    h('dl', { class: 'figures' }, [slots, waiting, open, dead].map((it) => it.element)),
    h('div', { class: 'stack' }, work.element, batches.element, letters.element));
  const connection = createConnection({ stale: content, onRetry: () => look() });
  const refused = h('p', { class: 'blank', hidden: true },
    'Only the operators of this fleet see what it does. Your exports are in the ',
    h('a', { href: '#/history' }, 'history'), '.');
  const element = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Fleet'), state, since, h('span', { class: 'grow' }), toggle),
    connection.element, problem, refused, content);

  /** Operators alone have a right to any of it, so that one refusal is final for all. */
  let isForbidden = false;
  function forbid() {
    isForbidden = true;
    [state, since, toggle, problem, content].forEach((part) => { part.hidden = true; });
    refused.hidden = false;
    connection.show(null, null);
    onRefused();
  }

  let [paused, asOf] = [false, null];
  function showPaused(answer) {
    paused = answer.paused;
    state.hidden = false;
    state.dataset.paused = String(paused);
    write(state, paused ? 'Paused' : 'Running');
    const at = paused && answer.since ? `since ${moment(answer.since, { timeStyle: 'short' })}. ` : '';
    write(since, paused ? `${at}Running clips finish; new ones wait.` : '');
    write(toggle, paused ? 'Resume' : 'Pause');
    toggle.disabled = false;
    onPaused(paused);
  }

  async function switchOver() {
    toggle.disabled = true;
    try {
      showPaused(await request('POST', `/v1/fleet:${paused ? 'resume' : 'pause'}`));
      announce(paused ? 'The fleet is paused' : 'The fleet is running');
      write(problem, '');
    } catch (error) {
      write(problem, `${paused ? 'Resuming' : 'Pausing'} failed: ${sentence(error.message)}`);
      toggle.disabled = false;
    }
  }

  async function redrive(batchId, clipId) {
    const path = `/v1/dead-letters/${encodeURIComponent(batchId)}/clips/${encodeURIComponent(clipId)}:redrive`;
    try {
      await request('POST', path);
      write(problem, '');
      await look();
    } catch (error) {
      write(problem, `Retrying ${clipId} failed: ${sentence(error.message)}`);
    }
  }

  function showWork({ queuedClips, processingClips, workers, batches: active, more }) {
    const { fleet } = settings;
    const all = fleet ? ` / ${fleet.workers * fleet.slots}` : '';
    const on = fleet ? count(fleet.workers, 'worker') : `on ${count(workers.length, 'worker')}`;
    slots.set(`${processingClips}${all}`, on);
    waiting.set(queuedClips.toLocaleString('en'), more ? 'in the first 20 active batches' : '');
    open.set(`${active.length}${more ? '+' : ''}`);
    const clips = workers.flatMap(({ worker, clips }) => clips.map((clip) => ({ worker, ...clip })));
    work.set(clips.map((clip) => [
      clip.clipId, link(clip.batchId), PHASES[clip.phase] ?? '', percent(clip.progress),
      clip.encoder ? encoderName(clip.encoder) : '', h('code', {}, shorten(clip.worker, 22)),
    ]), JSON.stringify(clips));
    batches.set(active.map((batch) => [
      link(batch.batchId), batch.ownerUid ?? '', `${batch.completedClips ?? 0} of ${batch.totalClips}`,
      percent(batch.progress), batch.etaSeconds > 0 ? countdown(batch.etaSeconds) : '',
    ]), JSON.stringify(active));
  }

  function showLetters({ deadLetters, next }) {
    dead.set(`${deadLetters.length}${next ? '+' : ''}`, next ? 'in the first 20 batches' : '');
    letters.set(deadLetters.map(({ batchId, clipId, error }) => [
      clipId, link(batchId), error ? reason(error) : '',
      button('again', `Retry ${clipId}`, () => redrive(batchId, clipId)),
    ]), JSON.stringify(deadLetters));
  }

  async function look() {
    try {
      const paths = ['/v1/fleet', '/v1/fleet/work', '/v1/dead-letters'];
      const [fleet, found, given] = await Promise.all(paths.map((path) => request('GET', path)));
      showPaused(fleet);
      showWork(found);
      showLetters(given);
      asOf = Date.now();
      connection.show(null, asOf);
    } catch (failure) {
      if (isRefused(failure)) {
        forbid();
        return;
      }
      // Whether it runs or is paused is not known now, and neither can be changed.
      state.hidden = true;
      toggle.disabled = true;
      connection.show(failure, asOf);
    }
  }

  let timer = null;
  const show = () => {
    hide();
    if (isForbidden) {
      return;
    }
    const again = async () => {
      const mine = timer;
      if (!document.hidden) {
        await look();
      }
      if (mine === timer && !isForbidden) {
        timer = setTimeout(again, EVERY_MS);
      }
    };
    timer = setTimeout(again, 0);
  };
  const hide = () => {
    clearTimeout(timer);
    timer = null;
  };

  /** What every view shows of the fleet, before this one was opened. */
  async function glance() {
    try {
      onPaused((await request('GET', '/v1/fleet')).paused);
    } catch (failure) {
      if (isRefused(failure)) {
        forbid();
      }
    }
  }
  return { element, show, hide, glance };
}

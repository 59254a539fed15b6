// The fleet, for people who look after it: what it does, what waits, what the queue gave up, and pause.

import { announce, button, count, h, shorten, span, write } from './ui.js';

/** How often to look, milliseconds; as long as the dispatcher gives the same answer. */
const EVERY_MS = 3_000;

/** Asks the dispatcher. */
async function ask(method, path) {
  const response = await fetch(path, { method, signal: AbortSignal.timeout(15_000) });
  const answer = await response.json();
  if (!response.ok) {
    throw new Error(answer.error?.message ?? `the fleet answered ${response.status}`);
  }
  return answer;
}

function figure(name) {
  const [value, note] = [h('dd', { class: 'value' }, '–'), h('dd', { class: 'soft' })];
  return { element: h('div', { class: 'figure card' }, h('dt', {}, name), value, note), set(text, more = '') {
    write(value, text);
    write(note, more);
  } };
}

/** A table that changes row by row. */
function table(caption, columns, blank) {
  const body = h('tbody');
  const empty = h('p', { class: 'blank' }, blank);
  const head = h('tr', {}, columns.map((name) => h('th', { scope: 'col' }, name)));
  const whole = h('div', { class: 'scroll', tabIndex: 0, role: 'region', 'aria-label': caption }, h('table', {}, h('thead', {}, head), body));
  const element = h('section', { class: 'card' }, h('h2', {}, caption), whole, empty);
  let drawn = '';
  return { element, set(rows, key) {
    if (key === drawn) {
      return;
    }
    drawn = key;
    body.replaceChildren(...rows.map((cells) => h('tr', {}, cells.map((cell) => h('td', {}, cell)))));
    whole.hidden = rows.length === 0;
    empty.hidden = rows.length > 0;
  } };
}

const link = (batchId) => h('a', { href: `#/history/${encodeURIComponent(batchId)}` }, shorten(batchId, 26));

export function createFleet({ settings, onPaused }) {
  const [slots, waiting, open, dead] = ['Slots at work', 'Clips waiting', 'Open batches', 'Dead letters'].map(figure);
  const work = table('At work', ['Worker', 'Clip', 'Batch', 'Phase', 'Progress', 'Encoder'], 'No clip is being made.');
  const batches = table('Open batches', ['Batch', 'Owner', 'Clips', 'Progress', 'Left'], 'Nothing is open.');
  const letters = table('Dead letters', ['Clip', 'Batch', 'Reason', ''], 'The queue gave nothing up.');
  const problem = h('p', { class: 'problem', role: 'status' });
  const state = h('span', { class: 'badge' }, '…');
  const since = h('span', { class: 'soft' });
  const toggle = h('button', { type: 'button', class: 'plain', disabled: true, onclick: switchOver }, 'Pause');
  const element = h('div', {},
    h('div', { class: 'head' }, h('h1', {}, 'Fleet'), state, since, h('span', { class: 'grow' }), toggle),
    problem,
    h('dl', { class: 'figures' }, [slots, waiting, open, dead].map((it) => it.element)),
    h('div', { class: 'stack' }, work.element, batches.element, letters.element));

  let paused = false;
  function showPaused(answer) {
    paused = answer.paused;
    state.dataset.paused = String(paused);
    write(state, paused ? 'Paused' : 'Running');
    write(since, paused && answer.since ? `since ${new Date(answer.since).toLocaleTimeString([], { timeStyle: 'short' })}; clips that run end, none begins` : '');
    write(toggle, paused ? 'Resume' : 'Pause');
    toggle.disabled = false;
    onPaused(paused);
  }

  async function switchOver() {
    toggle.disabled = true;
    try {
      showPaused(await ask('POST', `/v1/fleet:${paused ? 'resume' : 'pause'}`));
      announce(paused ? 'The fleet is paused' : 'The fleet goes on');
      write(problem, '');
    } catch (error) {
      write(problem, `That failed: ${error.message}`);
      toggle.disabled = false;
    }
  }

  async function redrive(batchId, clipId) {
    try {
      await ask('POST', `/v1/dead-letters/${encodeURIComponent(batchId)}/clips/${encodeURIComponent(clipId)}:redrive`);
      await look();
    } catch (error) {
      write(problem, `Redriving ${clipId} failed: ${error.message}`);
    }
  }

  function showWork({ queuedClips, processingClips, workers, batches: openBatches, more }) {
    const { fleet } = settings;
    const all = fleet ? fleet.workers * fleet.slots : null;
    const kept = fleet && `at most ${count(fleet.workers, 'worker')} with ${count(fleet.slots, 'slot')} each`;
    slots.set(all === null ? `${processingClips}` : `${processingClips} of ${all}`, kept ?? `on ${count(workers.length, 'worker')}`);
    waiting.set(queuedClips.toLocaleString('en'), more ? 'in the first 20 open batches' : '');
    open.set(`${openBatches.length}${more ? '+' : ''}`);
    const clips = workers.flatMap(({ worker, clips }) => clips.map((clip) => ({ worker, ...clip })));
    work.set(clips.map((clip) => [
      h('code', {}, shorten(clip.worker, 22)), clip.clipId, link(clip.batchId), clip.phase ?? '', `${clip.progress ?? 0} %`, clip.encoder ?? '',
    ]), JSON.stringify(clips));
    batches.set(openBatches.map((batch) => [
      link(batch.batchId), batch.ownerUid ?? '', `${batch.completedClips ?? 0} of ${batch.totalClips}`, `${batch.progress ?? 0} %`,
      batch.etaSeconds ? span(batch.etaSeconds) : '',
    ]), JSON.stringify(openBatches));
  }

  function showLetters({ deadLetters, next }) {
    dead.set(`${deadLetters.length}${next ? '+' : ''}`, next ? 'the first 20 batches' : '');
    letters.set(deadLetters.map(({ batchId, clipId, error }) => [
      clipId, link(batchId), error?.message ?? '', button('again', `Redrive ${clipId}`, () => redrive(batchId, clipId)),
    ]), JSON.stringify(deadLetters));
  }

  async function look() {
    try {
      const [fleet, found, given] = await Promise.all(['/v1/fleet', '/v1/fleet/work', '/v1/dead-letters'].map((path) => ask('GET', path)));
      showPaused(fleet);
      showWork(found);
      showLetters(given);
      write(problem, '');
    } catch (error) {
      const why = error instanceof TypeError ? 'it cannot be reached' : error.message;
      write(problem, `The fleet did not answer: ${why}. Trying again.`);
    }
  }

  let timer = null;
  const show = () => {
    hide();
    const again = async () => {
      const mine = timer;
      if (!document.hidden) {
        await look();
      }
      if (mine === timer) {
        timer = setTimeout(again, EVERY_MS);
      }
    };
    timer = setTimeout(again, 0);
  };
  const hide = () => {
    clearTimeout(timer);
    timer = null;
  };
  return { element, show, hide, glance: async () => onPaused((await ask('GET', '/v1/fleet')).paused) };
}

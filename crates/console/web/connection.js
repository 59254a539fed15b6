// What a view shows while the fleet does not answer: since when its figures are old, and a button to ask again.

import { h, moment, sentence, write } from './ui.js';

/** `stale` is the part of the view that turns grey while its figures are old. */
export function createConnection({ stale, onRetry }) {
  const text = h('p', { role: 'status' });
  const retry = h('button', { type: 'button', class: 'plain', onclick: onRetry }, 'Retry');
  const element = h('div', { class: 'banner', hidden: true }, text, retry);

  /** `failure` is null while the fleet answers; `asOf` when it last did, null if never. */
  function show(failure, asOf) {
    element.hidden = failure === null;
    stale.classList.toggle('stale', failure !== null && asOf !== null);
    if (failure === null) {
      write(text, '');
      return;
    }
    const what = failure.code === 'unreachable' ? 'The fleet cannot be reached.' : sentence(failure.message);
    const since = asOf === null ? '' : `as of ${moment(asOf, { timeStyle: 'short' })}, `;
    write(text, `${what} ${sentence(`${since}reconnecting…`).replace('….', '…')}`);
  }
  return { element, show };
}

/** Grey shapes where something is about to be, `number` of them. */
export const skeletons = (number, shape) =>
  h('div', { class: `skeletons ${shape}`, 'aria-hidden': 'true' }, Array.from({ length: number }, () => h('i', {})));

// A short message at the bottom of the page that can offer to take back what was done.

import { h } from './ui.js';

/** Long enough to read it and to reach the button; it stays while it has the pointer or the focus. */
const SHOWN_MS = 8_000;

let shown = null;

/** Shows a message, with a button for `undo` if there is one. It replaces the one before. */
export function toast(text, undo = null) {
  shown?.close();
  const undoButton =
    undo &&
    h(
      'button',
      {
        type: 'button',
        class: 'plain',
        onclick: () => {
          undo();
          close();
        },
      },
      'Undo',
    );
  const element = h('div', { class: 'toast', role: 'status' }, h('span', {}, text), undoButton);
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    element.remove();
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(close, SHOWN_MS);
  };
  ['pointerenter', 'focusin'].forEach((kind) => element.addEventListener(kind, () => clearTimeout(timer)));
  ['pointerleave', 'focusout'].forEach((kind) => element.addEventListener(kind, wait));
  document.body.append(element);
  wait();
  shown = { close };
}

/** Takes the message away: what it offers to undo is not there any more. */
export const dismissToast = () => shown?.close();

/** Asks before something that concerns the user's work; resolves to whether to go on. */
export function confirmed(question, { yes, no = 'Cancel' }) {
  return new Promise((resolve) => {
    const dialog = h(
      'dialog',
      { class: 'dialog', 'aria-labelledby': 'question' },
      h(
        'form',
        { method: 'dialog' },
        h('p', { id: 'question' }, question),
        h(
          'div',
          { class: 'pair end' },
          h('button', { class: 'plain', value: 'no' }, no),
          h('button', { class: 'plain strong', value: 'yes' }, yes),
        ),
      ),
    );
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

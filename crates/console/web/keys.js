// Every key of the editor in one table, from which the handler and the help dialog are made.

import { h } from './ui.js';

/** `keys` as in `KeyboardEvent.key`, in lower case; `Mod+` is Ctrl, or Command on a Mac. */
const GROUPS = {
  Playback: [
    { action: 'toggle', keys: [' ', 'k'], shown: ['Space', 'K'], does: 'Play or pause' },
    { action: 'forwards', keys: ['l'], shown: ['L'], does: 'Play; again: faster' },
    { action: 'backwards', keys: ['j'], shown: ['J'], does: 'Play backwards; again: faster' },
    { action: 'playClip', keys: ['p'], shown: ['P'], does: 'Play the selected clip in a loop' },
    { action: 'left', keys: ['arrowleft'], shown: ['←'], does: 'Back 1 second; with Shift 5 seconds' },
    { action: 'right', keys: ['arrowright'], shown: ['→'], does: 'Forward 1 second; with Shift 5 seconds' },
    { action: 'frameBack', keys: [','], shown: [','], does: 'Back one frame' },
    { action: 'frameForward', keys: ['.'], shown: ['.'], does: 'Forward one frame' },
    { action: 'mute', keys: ['m'], shown: ['M'], does: 'Mute' },
    { action: 'fullScreen', keys: ['f'], shown: ['F'], does: 'Full screen' },
  ],
  Clips: [
    { action: 'add', keys: ['n'], shown: ['N'], does: 'New clip at the playhead' },
    { action: 'setStart', keys: ['i'], shown: ['I'], does: 'Set the start; after the clip’s end: new clip' },
    { action: 'setEnd', keys: ['o'], shown: ['O'], does: 'Set the end; before the clip’s start: new clip' },
    { action: 'previous', keys: ['arrowup'], shown: ['↑'], does: 'Previous clip' },
    { action: 'next', keys: ['arrowdown'], shown: ['↓'], does: 'Next clip' },
    { action: 'remove', keys: ['delete', 'backspace'], shown: ['Delete'], does: 'Remove the selected clip' },
    { action: 'undo', keys: ['Mod+z'], shown: ['Ctrl+Z'], does: 'Undo' },
    { action: 'redo', keys: ['Mod+Shift+z', 'Mod+y'], shown: ['Ctrl+Shift+Z', 'Ctrl+Y'], does: 'Redo' },
    { action: 'export', keys: ['Mod+enter'], shown: ['Ctrl+Enter'], does: 'Export all clips' },
  ],
  Timeline: [
    { action: 'zoomIn', keys: ['+', '='], shown: ['+', 'Ctrl+wheel'], does: 'Show more detail' },
    { action: 'zoomOut', keys: ['-'], shown: ['−'], does: 'Show less detail' },
    { shown: ['Alt'], keys: [], does: 'While dragging: no snapping' },
    { action: 'help', keys: ['?'], shown: ['?'], does: 'This list' },
  ],
};

const ACTIONS = new Map(
  Object.values(GROUPS)
    .flat()
    .flatMap(({ action, keys }) => keys.map((key) => [key, action])),
);

/** Keys that a focused control uses itself. */
const OF_CONTROLS = /^( |enter|arrow.*|home|end|page.*)$/;

const isTyping = (target) => Boolean(target.closest?.('input[type=text], select, textarea'));
const usesKey = (target, key) =>
  OF_CONTROLS.test(key) && Boolean(target.closest?.('button, a, summary, input, [role=slider], [role=tab], video'));

/** A text that was typed and not accepted yet; the browser's own undo works on it. */
const isEdited = (target) => target.matches?.('input[type=text]') && target.value !== target.defaultValue;

/** The action that a key press asks for; undefined for none. */
function actionOf(event) {
  const key = event.key.toLowerCase();
  if (event.altKey || event.defaultPrevented) {
    return undefined;
  }
  if (event.ctrlKey || event.metaKey) {
    return isEdited(event.target) && key !== 'enter'
      ? undefined
      : ACTIONS.get(`Mod+${event.shiftKey ? 'Shift+' : ''}${key}`);
  }
  return isTyping(event.target) || usesKey(event.target, key) ? undefined : ACTIONS.get(key);
}

/** Listens for keys while `isActive`. `actions` has a function for each action of the table; it is given the event. */
export function listenToKeys({ actions, isActive }) {
  addEventListener('keydown', (event) => {
    const act = isActive() && !document.querySelector('dialog[open]') && actions[actionOf(event)];
    if (act) {
      event.preventDefault();
      act(event);
    }
  });
}

/** Opens the list of keys. */
export function showHelp() {
  const list = ([title, entries]) =>
    h(
      'section',
      {},
      h('h3', {}, title),
      h(
        'dl',
        {},
        entries.flatMap(({ shown, does }) => [
          h(
            'dt',
            {},
            shown.map((key) => h('kbd', {}, key)),
          ),
          h('dd', {}, does),
        ]),
      ),
    );
  const dialog = h(
    'dialog',
    { class: 'dialog help', 'aria-labelledby': 'keys-title' },
    h('h2', { id: 'keys-title' }, 'Keyboard shortcuts'),
    h(
      'div',
      { class: 'keys', tabIndex: 0, role: 'group', 'aria-label': 'List of keys' },
      Object.entries(GROUPS).map(list),
    ),
    h('form', { method: 'dialog', class: 'pair end' }, h('button', { class: 'plain' }, 'Close')),
  );
  dialog.addEventListener('close', () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

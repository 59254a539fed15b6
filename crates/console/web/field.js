// A text field of a clip. What cannot be accepted stays as it was typed, with a hint of its own until it is mended.

import { h, write } from './ui.js';

/**
 * `parse(text)` returns `{value}` or `{hint}`; `commit(value)` accepts it.
 * `fill(text)` shows the accepted value; `label(text)` names the field.
 */
export function createField({ id, parse, commit, ...properties }) {
  const hint = h('p', { class: 'problem', id: `${id}-hint`, role: 'alert' });
  const input = h('input', {
    type: 'text',
    id,
    spellcheck: 'false',
    autocomplete: 'off',
    'aria-describedby': hint.id,
    ...properties,
    onchange: () => accept(),
    oninput: () => isInvalid() && complain(parse(input.value).hint),
    onkeydown: (event) => event.key === 'Escape' && revert(),
  });

  const isInvalid = () => input.getAttribute('aria-invalid') === 'true';

  function complain(text = '') {
    input.setAttribute('aria-invalid', String(text !== ''));
    write(hint, text);
  }

  function accept() {
    const { value, hint: text } = parse(input.value);
    complain(text);
    if (text === undefined) {
      input.defaultValue = input.value;
      commit(value);
    }
  }

  function revert() {
    input.value = input.defaultValue;
    complain();
  }

  return {
    input,
    hint,
    fill(text) {
      const isEdited = input.value !== input.defaultValue;
      if (isInvalid() && isEdited) {
        // Another field may have changed so that this text is possible now.
        if (parse(input.value).hint === undefined) {
          accept();
        }
      } else if (!(isEdited && document.activeElement === input) && (input.value !== text || isEdited)) {
        input.value = text;
        input.defaultValue = text;
      } else if (!isEdited) {
        input.defaultValue = text;
      }
    },
    label: (text) => input.setAttribute('aria-label', text),
  };
}

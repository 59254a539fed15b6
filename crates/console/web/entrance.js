// The start page: a place to drop a video or to name an object, and the drafts of this browser.

import { ACCEPTED, hasFilePicker, parseUri, pickFile } from './source.js';
import { thumbnail } from './thumbnail.js';
import { toast } from './toast.js';
import { button, count, h, moment, sentence, write } from './ui.js';

/** `onFile(file, handle)`, `onUri(found)` and `onDraft(id)` open a video; `drafts` is the store of drafts. */
export function createEntrance({ settings, drafts, onFile, onUri, onDraft }) {
  const problem = h('p', { class: 'problem', role: 'alert' });
  // Outside of what is hidden while a video is open: it also serves "Choose the file again".
  const picker = h('input', {
    type: 'file',
    id: 'file',
    class: 'unseen',
    accept: ACCEPTED,
    tabIndex: -1,
    'aria-label': 'Video file',
    onclick: (event) => {
      if (hasFilePicker()) {
        event.preventDefault();
        pickFile(onFile);
      }
    },
    onchange: () => {
      const [file] = picker.files;
      if (file) {
        onFile(file, null);
      }
      // The same file may be chosen again.
      picker.value = '';
    },
  });

  const uri = h('input', {
    type: 'text',
    id: 'uri',
    placeholder: 'gs://bucket/video.mp4',
    spellcheck: 'false',
    autocomplete: 'off',
    required: true,
    oninput: () => uri.getAttribute('aria-invalid') === 'true' && parseUri(uri.value) && complain(''),
  });

  function complain(text) {
    write(problem, text);
    uri.setAttribute('aria-invalid', String(text !== ''));
  }

  const form = h(
    'form',
    {
      class: 'inline',
      onsubmit: (event) => {
        event.preventDefault();
        const found = parseUri(uri.value);
        complain(found ? '' : `The address must look like gs://bucket/video.mp4, not “${uri.value.trim()}”.`);
        if (found) {
          onUri(found);
        }
      },
    },
    h('label', { for: 'uri' }, settings.storage ? 'or open from Cloud Storage' : 'Open from Cloud Storage'),
    uri,
    h('button', { type: 'submit', class: 'plain' }, 'Open'),
  );

  // The page of a team's fleet comes from another machine, and the video goes there.
  const isHere = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(location.hostname);
  const stays = isHere ? 'it never leaves this machine' : 'it goes to this fleet and nowhere else';
  const heading = h('h1', {}, 'Turn one video into all its shorts');
  const drop =
    settings.storage &&
    h(
      'div',
      { class: 'drop' },
      heading,
      h('p', { class: 'with-mouse' }, `Drop it here, ${stays}.`),
      h('p', { class: 'with-touch' }, sentence(stays)),
      h('button', { type: 'button', class: 'primary', onclick: () => picker.click() }, 'Choose a video'),
    );
  const recent = h('ul', { class: 'recent' });
  const recentSection = h(
    'section',
    { class: 'card recents', 'aria-labelledby': 'recent-title' },
    h('h2', { id: 'recent-title' }, 'Recent videos'),
    h('p', { class: 'hint' }, 'Drafts of this browser: videos with their clips.'),
    recent,
  );
  const welcome = h('div', { class: 'welcome' }, drop || heading, form, problem, recentSection);
  const element = h('div', { class: 'entrance' }, settings.storage && picker, welcome);

  function remove({ id, source, ...draft }) {
    drafts.remove(id);
    showRecent();
    toast(`${source.name} removed`, () => {
      drafts.save(id, { source, ...draft });
      showRecent();
    });
  }

  function recentRow(draft) {
    const { id, source, clips, savedAt } = draft;
    return h(
      'li',
      {},
      thumbnail(id),
      h(
        'button',
        { type: 'button', class: 'open', onclick: () => onDraft(id) },
        h('span', { class: 'name' }, source.name),
        h('span', { class: 'soft' }, `${count(clips.length, 'clip')} · ${moment(savedAt)}`),
      ),
      button('bin', `Remove ${source.name}`, () => remove(draft)),
    );
  }

  function showRecent() {
    const kept = drafts.list();
    recentSection.hidden = kept.length === 0;
    recent.replaceChildren(...kept.map(recentRow));
  }

  function show() {
    if (welcome.hidden) {
      complain('');
      welcome.hidden = false;
      showRecent();
    }
  }

  function hide() {
    welcome.hidden = true;
  }

  welcome.hidden = true;
  return { element, show, hide, complain: (text) => write(problem, text) };
}

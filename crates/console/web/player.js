// The dialog that plays one finished clip, with sound.

import { button, h, icon, write } from './ui.js';

export function createPlayer() {
  const title = h('h2', {});
  const video = h('video', { controls: true, playsInline: true });
  const save = h('a', { class: 'plain', target: '_blank', rel: 'noopener' }, icon('save'), h('span', {}, 'Download'));
  const close = button('cross', 'Close', () => dialog.close());
  const dialog = h('dialog', {
    class: 'player',
    'aria-label': 'Player',
    onclose: () => {
      video.pause();
      video.removeAttribute('src');
      video.load();
    },
    // The dialog's own area is covered by its content, so a click on itself is one on the backdrop.
    onclick: (event) => event.target === dialog && dialog.close(),
  }, h('div', { class: 'player-content' },
    h('div', { class: 'line' }, title, h('div', { class: 'pair' }, save, close)),
    video));
  document.body.append(dialog);

  function show(clip) {
    write(title, clip.title);
    Object.assign(save, { href: clip.saveUrl, download: clip.fileName });
    video.src = clip.url;
    video.setAttribute('aria-label', clip.title);
    dialog.showModal();
    video.play().catch(() => {});
  }
  return { show };
}

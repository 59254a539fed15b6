// The dialog that plays one finished clip, with sound.

import { button, h, icon, sentence, write } from './ui.js';

/** A video that fails again within this much of itself is broken there, seconds; asking for it anew would not end. */
const PROGRESS_S = 1;

export function createPlayer() {
  const title = h('h2', {});
  const video = h('video', { controls: true, playsInline: true });
  const save = h('a', {
    class: 'plain', target: '_blank', rel: 'noopener', onclick: (event) => clip?.onSave(event),
  }, icon('save'), h('span', {}, 'Download'));
  const close = button('cross', 'Close', () => dialog.close());
  const problem = h('p', { class: 'problem', role: 'alert' });
  const again = h('button', { type: 'button', class: 'plain', onclick: () => load(clip, { fresh: true }) }, 'Retry');
  const trouble = h('div', { class: 'inline', hidden: true }, problem, again);
  const dialog = h('dialog', {
    class: 'player',
    'aria-label': 'Player',
    onclose: () => {
      clip = null;
      video.pause();
      video.removeAttribute('src');
      video.load();
    },
    // The dialog's own area is covered by its content, so a click on itself is one on the backdrop.
    onclick: (event) => event.target === dialog && dialog.close(),
  }, h('div', { class: 'player-content' },
    h('div', { class: 'line' }, title, h('div', { class: 'pair' }, save, close)),
    trouble, video));
  document.body.append(dialog);

  /** The clip that is shown, and where its video was loaded from the last time, seconds. */
  let [clip, loadedAt] = [null, 0];

  /**
   * Shows a clip: its `link`, `title` and `fileName`, what `saveUrl` makes of its address to download it, and `onSave`,
   * which is called with the click on Download.
   */
  function show(given) {
    clip = given;
    write(title, clip.title);
    video.setAttribute('aria-label', clip.title);
    save.download = clip.fileName;
    save.href = location.href;
    dialog.showModal();
    load(clip);
  }

  async function load(given, { fresh = false, from = 0 } = {}) {
    const isShown = () => clip === given;
    trouble.hidden = true;
    loadedAt = from;
    try {
      const { outputUrl, expireTime } = await given.link.load((url) => isShown() && opened(url, from), { fresh });
      if (isShown()) {
        // A link that expires is asked for when it is pressed.
        save.href = expireTime === null ? given.saveUrl(outputUrl) : location.href;
        await video.play().catch(() => {});
      }
    } catch (error) {
      if (isShown() && given.link.exists) {
        write(problem, sentence(error.message));
        trouble.hidden = false;
      } else if (isShown()) {
        dialog.close();
      }
    }
  }

  /** Resolves when a frame is there; rejects where the browser gets none. */
  function opened(url, from) {
    return new Promise((resolve, reject) => {
      video.onloadeddata = () => {
        video.onerror = failedLater;
        resolve();
      };
      video.onerror = () => reject(new Error(`not loaded: ${url}`));
      video.src = url;
      video.currentTime = from;
    });
  }

  /** A link may expire, or the session end, while the video plays: it goes on where it was. */
  function failedLater() {
    const at = video.currentTime;
    if (clip && at > loadedAt + PROGRESS_S) {
      load(clip, { from: at });
    } else if (clip) {
      write(problem, 'The clip could not be loaded.');
      trouble.hidden = false;
    }
  }
  return { show };
}

// How the source stands: how far its upload is, what to do if the file is not there, and why there is no picture.

import { storedUrl } from './source.js';
import { clock, h, size, write } from './ui.js';

/** `line` belongs beside the title, `notice` below it, `curtain` over the picture. */
export function createProgress({ draft, settings, uploads }) {
  const about = h('span', { class: 'soft about' });
  const bar = h('progress', { class: 'upload', max: 1, 'aria-label': 'Upload' });
  const text = h('span', { class: 'soft' });
  const line = h('span', { class: 'line-of-source' }, about, bar, text);

  const problem = h('p', { class: 'problem', role: 'alert' });
  const act = (name, onclick) => h('button', { type: 'button', class: 'plain', onclick }, name);
  const again = act('Upload again', () => uploads.again());
  const resume = act('Continue', () => uploads.resume());
  const choose = act('Choose the file again', () => document.getElementById('file')?.click());
  const notice = h('div', { class: 'notice' }, problem, again, resume, choose);

  const curtain = h('p', { class: 'unplayable', hidden: true });
  let isPlayable = true;
  // Whether the bucket was asked and has no such object.
  let isGone = false;

  function problemText() {
    const { name } = draft.source;
    switch (uploads?.state) {
      case 'failed':
        return uploads.problem;
      case 'missing': {
        const why = uploads.problem || `The upload stopped at ${Math.floor(uploads.share * 100)} %.`;
        const remedy = uploads.handle ? 'Continue' : `Choose ${name} again`;
        return `${why} ${remedy} to go on from there. Your clips are kept.`;
      }
      default:
        return draft.kept
          ? ''
          : 'This browser does not keep your clips: its storage is full or not allowed. A reload loses them.';
    }
  }

  /** Why there is no picture; nothing if there is one. */
  function curtainText() {
    const { name, uri, stored } = draft.source;
    if (uploads?.state === 'missing') {
      return `${name} is not open in this browser any more.`;
    }
    if (stored && !uploads?.file && !storedUrl(settings.storage, uri)) {
      return 'No preview: this page cannot read the bucket. Clips can be marked by their times.';
    }
    if (isGone) {
      return `${uri} does not exist, or this page may not read it.`;
    }
    return isPlayable ? '' : unplayableText();
  }

  /** A source that does not play: what is known about it, and what still works. */
  function unplayableText() {
    const { bytes, durationMs } = draft.source;
    const known = [bytes && size(bytes), durationMs && clock(durationMs)].filter(Boolean).join(', ');
    const kind = uploads?.file?.type || 'type unknown';
    return (
      `This browser cannot play ${draft.source.name} (${[known, kind].filter(Boolean).join(', ')}). ` +
      'The fleet may still be able to read it: mark clips by their times.'
    );
  }

  function show() {
    const { bytes, width, height, uri } = draft.source;
    const isSending = uploads?.state === 'sending';
    write(about, [bytes && size(bytes), width && `${width} × ${height}`, !bytes && uri].filter(Boolean).join(' · '));
    bar.hidden = !isSending;
    bar.value = uploads?.share ?? 0;
    write(text, isSending ? `Uploading ${Math.floor(uploads.share * 100)} %` : '');
    write(problem, problemText());
    again.hidden = uploads?.state !== 'failed';
    resume.hidden = !(uploads?.state === 'missing' && uploads.handle);
    choose.hidden = uploads?.state !== 'missing';
    notice.hidden = problem.textContent === '';
    const hidden = curtainText();
    write(curtain, hidden);
    curtain.hidden = hidden === '';
  }

  /** Counts calls: an answer about what did not play a while ago says nothing about what plays now. */
  let calls = 0;

  /** Whether the browser plays the source. What it does not play may not be there at all. */
  async function playable(yes) {
    const { source } = draft;
    calls += 1;
    const mine = calls;
    const mayBeGone = !yes && Boolean(uploads) && !uploads.file;
    const gone = mayBeGone && (await uploads.find(source).catch(() => undefined)) === null;
    if (mine === calls && source && draft.source?.uri === source.uri) {
      [isPlayable, isGone] = [yes, gone];
      show();
    }
  }

  return { line, notice, curtain, show, playable };
}

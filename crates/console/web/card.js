// The card of one clip: its picture fills from below while it is encoded; then it can be watched, saved and shared.

import { cancel, isOver, retry } from './clipfleet.js';
import { button, copyButton, countdown, brief, h, icon, size, write } from './ui.js';
import { PHASES, STATES, encoderName, reason } from './words.js';

/** Signs in the corner of a clip that is over. */
const SIGNS = { completed: 'tick', failed: 'alert', cancelled: 'minus' };

/**
 * Where a browser saves a clip as `name` rather than showing it. Only the local storage server accepts the name in an
 * unsigned address.
 */
export function savedAs(url, name, settings) {
  if (!settings.storage || !url.startsWith(`${settings.storage.url}/`)) {
    return url;
  }
  const disposition = encodeURIComponent(`attachment; filename="${name}"`);
  return `${url}${url.includes('?') ? '&' : '?'}response-content-disposition=${disposition}`;
}

/** `talk-intro.mp4` for the clip `intro` of `Talk.mp4`; ASCII, as a header needs it. */
export function fileName(title, clipId) {
  const plain = title.replace(/\.\w{1,5}$/, '').normalize('NFKD').replace(/[^\w.-]+/g, '-');
  const stem = plain.replace(/^-+|-+$/g, '');
  return `${stem ? `${stem}-` : ''}${clipId}.mp4`;
}

/** What a clip does now, in a line. */
function stateLine(clip) {
  if (clip.status === 'processing') {
    const left = clip.etaSeconds > 0 ? ` · ${countdown(clip.etaSeconds)} left` : '';
    const again = clip.attempt > 1 && clip.progress === 0 ? `Retrying, attempt ${clip.attempt}` : PHASES[clip.phase];
    return `${again ?? STATES.processing}${left}`;
  }
  if (clip.status === 'completed') {
    return clip.reused ? 'Unchanged, reused' : STATES.completed;
  }
  return STATES[clip.status];
}

/** Where the clip is in the video, how long it is, and its size once it is there. */
function aboutLine(clip, range) {
  const parts = [
    range && `${brief(range.startMs)}–${brief(range.endMs)}`,
    !range && clip.durationMs && brief(Math.round(clip.durationMs / 100) * 100),
    clip.outputSizeBytes && size(Number(clip.outputSizeBytes)),
  ];
  return parts.filter(Boolean).join(' · ');
}

/** What operators want to know. */
function detailsOf(clip) {
  return [
    ['Encoder', clip.encoder && encoderName(clip.encoder)],
    ['Decoder', clip.decoder],
    ['Fallback', clip.fallbackReason],
    ['Worker', clip.worker],
    ['Attempt', clip.attempt > 0 && `${clip.attempt}`],
    ['File', clip.outputUri],
    ['Error', clip.error && `${clip.error.code}: ${clip.error.message}`],
  ].filter(([, value]) => value);
}

/**
 * The card. `range` is where the clip is in the video, if this browser knows. `onCover` is called with the cover, an
 * image, when it is loaded.
 */
export function createCard({ batchId, clipId, range, title, settings, player, onRestarted, onCover }) {
  const name = fileName(title, clipId);
  const picture = h('div', { class: 'picture-of', 'aria-hidden': 'true' });
  const veil = h('div', { class: 'veil' });
  const meter = h('div', {
    class: 'meter', role: 'progressbar', 'aria-label': `Progress of ${clipId}`,
    'aria-valuemin': 0, 'aria-valuemax': 100,
  }, veil);
  const percent = h('span', { class: 'percent', 'aria-hidden': 'true' });
  const sign = h('span', { class: 'sign', 'aria-hidden': 'true' });
  const watch = button('play', `Play ${clipId}`, () => {
    endPreview();
    player.show({ url: shown.outputUrl, title: clipId, saveUrl: save.href, fileName: name });
  }, { class: 'watch', hidden: true });
  const state = h('span', { class: 'state' });
  const [about, problem] = [h('p', { class: 'about' }), h('p', { class: 'problem' })];

  const stop = button('cross', `Cancel ${clipId}`, () => act('Cancelling', cancel));
  const again = h('button', { type: 'button', class: 'plain', hidden: true, onclick: () => act('Retrying', retry) });
  const save = h('a', { class: 'tool', title: `Download ${clipId}`, download: name, target: '_blank', rel: 'noopener' },
    icon('save'), h('span', { class: 'unseen' }, `Download ${clipId}`));
  const copy = copyButton(`Copy the link of ${clipId}`, () => new URL(shown.outputUrl, location.href).href);
  const details = h('dl', { class: 'details', hidden: true });
  const more = h('button', {
    type: 'button', class: 'tool more-of', hidden: true, 'aria-expanded': 'false', onclick: toggleDetails,
  }, 'Details', h('span', { class: 'unseen' }, ` of ${clipId}`));

  const frame = h('div', { class: 'frame' }, picture, meter, percent, sign, watch);
  const acts = h('div', { class: 'acts' }, stop, again, save, copy, more);
  const element = h('li', { class: 'clip', 'data-clip': clipId },
    frame,
    h('div', { class: 'caption' },
      h('h2', { class: 'name' }, clipId), h('p', { class: 'line' }, state), about, problem, acts, details));

  async function act(verb, request) {
    write(problem, '');
    element.setAttribute('aria-busy', 'true');
    try {
      await request(batchId, clipId);
      onRestarted();
    } catch (error) {
      write(problem, `${verb} failed: ${error.message}`);
    } finally {
      element.removeAttribute('aria-busy');
    }
  }

  /* A finished clip plays without sound while it is pointed at or has the focus. */
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  let preview = null;
  function startPreview() {
    if (!preview && shown?.outputUrl && !still.matches) {
      preview = h('video', { src: shown.outputUrl, muted: true, loop: true, playsInline: true, tabIndex: -1 });
      picture.append(preview);
      preview.play().catch(() => {});
    }
  }
  function endPreview() {
    preview?.removeAttribute('src');
    preview?.load();
    preview?.remove();
    preview = null;
  }
  frame.addEventListener('pointerenter', (event) => event.pointerType === 'mouse' && startPreview());
  frame.addEventListener('pointerleave', endPreview);
  watch.addEventListener('focus', () => watch.matches(':focus-visible') && startPreview());
  watch.addEventListener('blur', endPreview);

  let shown = null;
  function update(clip) {
    if (shown === clip) {
      return;
    }
    const first = shown === null;
    shown = clip;
    element.dataset.status = clip.status;
    showProgress(clip, first);
    write(state, stateLine(clip));
    state.dataset.tone = toneOf(clip);
    write(about, aboutLine(clip, range));
    write(problem, clip.status === 'failed' && clip.error ? reason(clip.error) : '');
    showActs(clip);
    showDetails(clip);
    if (clip.coverUrl && picture.dataset.url !== clip.coverUrl) {
      picture.dataset.url = clip.coverUrl;
      const cover = h('img', { src: clip.coverUrl, alt: '', decoding: 'async', onload: () => onCover(cover) });
      picture.replaceChildren(cover);
    }
  }

  function showProgress(clip, first) {
    const value = clip.status === 'completed' ? 100 : clip.progress;
    meter.setAttribute('aria-valuenow', value);
    // It glides from figure to figure. Where it is at first, and that it is done, shows at once.
    veil.style.transition = first || value === 100 ? 'none' : '';
    veil.style.transform = `scaleY(${1 - value / 100})`;
    write(percent, clip.status === 'processing' ? `${clip.progress} %` : '');
    sign.replaceChildren(...(SIGNS[clip.status] ? [icon(SIGNS[clip.status])] : []));
  }

  function showActs(clip) {
    const focused = document.activeElement;
    stop.hidden = isOver(clip.status);
    const retryable = clip.status === 'failed' && clip.error?.retryable === true;
    again.hidden = !(retryable || clip.status === 'cancelled');
    write(again, retryable ? 'Retry' : 'Start again');
    again.setAttribute('aria-label', `${retryable ? 'Retry' : 'Start again:'} ${clipId}`);
    watch.hidden = save.hidden = copy.hidden = !clip.outputUrl;
    if (clip.outputUrl) {
      save.href = savedAs(clip.outputUrl, name, settings);
    } else {
      endPreview();
    }
    if (focused?.hidden && element.contains(focused)) {
      // The button that was pressed is gone: the focus goes to what took its place.
      (acts.querySelector(':scope > :not([hidden])') ?? document.getElementById('main')).focus({ preventScroll: true });
    }
  }

  function toggleDetails() {
    details.hidden = !details.hidden;
    more.setAttribute('aria-expanded', String(!details.hidden));
  }

  function showDetails(clip) {
    const known = detailsOf(clip);
    more.hidden = known.length === 0;
    details.replaceChildren(...known.flatMap(([term, value]) => [h('dt', {}, term), h('dd', {}, value)]));
  }

  /** Shows a picture of the clip while the fleet has none. */
  const setPoster = (canvas) => picture.dataset.url || picture.replaceChildren(canvas);
  return { element, update, setPoster };
}

/** What the colour of a clip's state says. */
function toneOf({ status, attempt }) {
  const busy = attempt > 1 ? 'warn' : 'busy';
  return { completed: 'good', failed: 'bad', processing: busy }[status] ?? '';
}

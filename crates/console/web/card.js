// The card of one clip: its picture fills from below while it is encoded; then it can be watched, saved and shared.

import { cancel, isOver, retry } from './clipfleet.js';
import { ClipLink } from './links.js';
import { SESSION } from './session.js';
import { toast } from './toast.js';
import { button, copyButton, countdown, brief, h, icon, moment, sentence, size, write } from './ui.js';
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

/** Calls `onSeen` once, when an element comes into view. */
function whenSeen(element, onSeen) {
  const observer = new IntersectionObserver((entries) => {
    if (entries.some(({ isIntersecting }) => isIntersecting)) {
      observer.disconnect();
      onSeen();
    }
  });
  observer.observe(element);
}

/** Loads a picture or a video; rejects where the browser cannot. */
const loaded = (media, url, event) => new Promise((resolve, reject) => {
  media.addEventListener(event, () => resolve(media), { once: true });
  media.addEventListener('error', () => reject(new Error(`not loaded: ${url}`)), { once: true });
  media.src = url;
});

/** Lets the browser download or show what is behind a link. */
const follow = (url, name) => h('a', { href: url, download: name, target: '_blank', rel: 'noopener' }).click();

/**
 * The card. `range` is where the clip is in the video, if this browser knows. `onCover` is called with the cover, an
 * image, when it is loaded.
 */
export function createCard({ batchId, clipId, range, title, settings, links, signal, player, onRestarted, onCover }) {
  const link = new ClipLink({ links, batchId, clipId, signal });
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
    player.show({ link, title: clipId, fileName: name, saveUrl: (url) => savedAs(url, name, settings), onSave });
  }, { class: 'watch', hidden: true });
  const state = h('span', { class: 'state' });
  const [about, problem] = [h('p', { class: 'about' }), h('p', { class: 'problem' })];

  const stop = button('cross', `Cancel ${clipId}`, () => act('Cancelling', cancel));
  const again = h('button', { type: 'button', class: 'plain', hidden: true, onclick: () => act('Retrying', retry) });
  const relink = h('button', {
    type: 'button', class: 'plain', hidden: true, 'aria-label': `Retry the link of ${clipId}`, onclick: () => afresh(),
  }, 'Retry');
  const save = h('a', {
    class: 'tool', title: `Download ${clipId}`, download: name, target: '_blank', rel: 'noopener', onclick: onSave,
  }, icon('save'), h('span', { class: 'unseen' }, `Download ${clipId}`));
  const copy = copyButton(`Copy the link of ${clipId}`, linkText);
  const details = h('dl', { class: 'details', hidden: true });
  const more = h('button', {
    type: 'button', class: 'tool more-of', hidden: true, 'aria-expanded': 'false', onclick: toggleDetails,
  }, 'Details', h('span', { class: 'unseen' }, ` of ${clipId}`));

  const frame = h('div', { class: 'frame' }, picture, meter, percent, sign, watch);
  const acts = h('div', { class: 'acts' }, stop, again, relink, save, copy, more);
  const element = h('li', { class: 'clip', 'data-clip': clipId },
    frame,
    h('div', { class: 'caption' },
      h('h2', { class: 'name' }, clipId), h('p', { class: 'line' }, state), about, problem, acts, details));

  async function act(verb, request) {
    write(problem, '');
    element.setAttribute('aria-busy', 'true');
    try {
      await request(batchId, clipId, SESSION);
      onRestarted();
    } catch (error) {
      write(problem, `${verb} failed: ${error.message}`);
    } finally {
      element.removeAttribute('aria-busy');
    }
  }

  /* ---------- its link ---------- */
  let linkProblem = '';
  /** What Retry does again, with a new link. */
  let afresh = () => {};

  /** Does something that needs a link; why it failed is said in the card. Resolves to undefined then. */
  async function byLink(action, fresh = false) {
    linkProblem = '';
    let done;
    try {
      done = await action(fresh);
    } catch (error) {
      afresh = () => byLink(action, true);
      linkProblem = sentence(error.message);
    }
    showActs(shown);
    showProblem(shown);
    return done;
  }

  const showProblem = ({ status, error }) =>
    write(problem, status === 'failed' && error ? reason(error) : linkProblem);

  /** Follows a link that has to be asked for; the browser follows one that is known by itself. */
  function onSave(event) {
    if (!shown.outputUrl) {
      event.preventDefault();
      byLink(async (fresh) => follow(savedAs(await link.working({ fresh }), name, settings), name));
    }
  }

  /** The link to copy; nothing if there is none. */
  function linkText() {
    return byLink(async (fresh) => {
      const { outputUrl, expireTime } = await link.get({ fresh });
      if (expireTime !== null) {
        toast(`The link of ${clipId} works until ${moment(expireTime, { timeStyle: 'short' })}.`);
      }
      return new URL(outputUrl, location.href).href;
    });
  }

  /** The cover that the fleet has a link of. Where that does not work, the card is without a cover. */
  async function showCover() {
    const cover = h('img', { alt: '', decoding: 'async' });
    try {
      const { coverUrl } = await link.load((url) => loaded(cover, url, 'load'), { name: 'coverUrl' });
      if (coverUrl !== null) {
        picture.dataset.url = coverUrl;
        [...picture.children].filter((child) => child !== preview).forEach((child) => child.remove());
        picture.prepend(cover);
        onCover(cover);
      }
    } catch {
      // See above.
    }
  }

  /* ---------- a finished clip plays without sound while it is pointed at or has the focus ---------- */
  const still = matchMedia('(prefers-reduced-motion: reduce)');
  let preview = null;
  async function startPreview() {
    if (preview || !link.exists || still.matches) {
      return;
    }
    const video = h('video', { muted: true, loop: true, playsInline: true, tabIndex: -1 });
    preview = video;
    picture.append(video);
    try {
      await link.load((url) => preview === video && loaded(video, url, 'loadeddata'));
      await (preview === video && video.play());
    } catch {
      // Pressing it says why.
      if (preview === video) {
        endPreview();
      }
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
    link.update(clip);
    element.dataset.status = clip.status;
    showProgress(clip, first);
    write(state, stateLine(clip));
    state.dataset.tone = toneOf(clip);
    write(about, aboutLine(clip, range));
    showActs(clip);
    showProblem(clip);
    showDetails(clip);
    if (clip.coverUrl && coverOf !== clip.coverUrl) {
      coverOf = clip.coverUrl;
      showCover();
    } else if (link.exists && !clip.outputUrl && coverOf !== clip.outputUri) {
      coverOf = clip.outputUri;
      whenSeen(frame, showCover);
    }
  }
  /** What the cover was asked for by: its link in the document, or the file without links. */
  let coverOf = null;

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
    watch.hidden = save.hidden = copy.hidden = !link.exists;
    if (link.exists) {
      // A link that may expire is not left lying around.
      save.href = clip.outputUrl ? savedAs(link.known, name, settings) : location.href;
    } else {
      linkProblem = '';
      endPreview();
    }
    relink.hidden = linkProblem === '';
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

  links.addEventListener('change', () => {
    if (shown) {
      showActs(shown);
      showProblem(shown);
    }
  }, { signal });

  /** Shows a picture of the clip while the fleet has none. */
  const setPoster = (canvas) => picture.dataset.url || picture.replaceChildren(canvas);
  return { element, update, setPoster };
}

/** What the colour of a clip's state says. */
function toneOf({ status, attempt }) {
  const busy = attempt > 1 ? 'warn' : 'busy';
  return { completed: 'good', failed: 'bad', processing: busy }[status] ?? '';
}

// The workplace: the video with its window, the timeline, the list of clips, and how they are to come out.

import { MIN_CLIP_MS } from './draft.js';
import { createFraming } from './framing.js';
import { ASPECTS, QUALITIES, outputSize } from './reframe.js';
import { sourceLine, storedUrl } from './source.js';
import { createTimeline } from './timeline.js';
import { button, clock, count, h, icon, parseClock, span, write } from './ui.js';

const FPS = [24, 25, 30, 50, 60];

/** Ids of clips, as the fleet takes them. */
const GOOD_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** A picture that is shown for longer stands still: the fleet shows it at the start of a clip that starts meanwhile. */
const STANDSTILL_MS = 500;

/** Browsers learn the length of a recording without one (MediaRecorder's) by going to its end. */
const FAR_AWAY = 1e7;

export function createEditor({ draft, settings, launch, onClose, onAgain, canAgain }) {
  const video = h('video', { playsInline: true, preload: 'auto', tabIndex: -1 });
  const nowMs = () => video.currentTime * 1_000;
  const seek = (ms) => {
    if (Number.isFinite(video.duration) && video.duration > 0) {
      video.currentTime = Math.min(ms / 1_000, video.duration);
    } else {
      typedMs = ms;
      timeline.at(ms);
    }
  };
  // Where the playhead is while there is no picture.
  let typedMs = 0;
  const hereMs = () => (video.readyState > 0 ? nowMs() : typedMs);

  // When the shown picture's time began, on the same time line as `currentTime`; null before the first one.
  let shownSinceMs = null;
  /**
   * Where a clip starts that is marked now: at the time of the shown picture. A clip begins with the first picture at
   * or after its start. The playhead is nearly always between two pictures, so its time would begin with the next one.
   */
  const startMs = () => {
    const here = hereMs();
    const since = here - (shownSinceMs ?? here);
    return since > 0 && since <= STANDSTILL_MS && !video.seeking ? shownSinceMs : here;
  };

  const timeline = createTimeline({ draft, seek });
  const framing = createFraming({ draft, video, nowMs, seek });

  /* ---------- the stage ---------- */
  const unseen = h('p', { class: 'unplayable', hidden: true }, 'This browser cannot play the video. Clips can be marked by their times all the same.');
  const picture = h('div', { class: 'picture' }, video, framing.overlay, unseen);
  const play = button('play', 'Play', toggle, { class: 'tool large' });
  const time = h('span', { class: 'time' });
  const transport = h('div', { class: 'transport', role: 'group', 'aria-label': 'Playback' },
    play, time,
    h('span', { class: 'grow' }),
    h('button', { type: 'button', class: 'plain', onclick: () => mark('start'), title: 'Key I' }, 'Set start'),
    h('button', { type: 'button', class: 'plain', onclick: () => mark('end'), title: 'Key O' }, 'Set end'),
    h('button', { type: 'button', class: 'plain strong', onclick: () => draft.add(startMs()), title: 'Key N' },
      icon('plus'), 'Mark clip'));
  const title = h('h1', {});
  const facts = h('span', { class: 'soft' });
  const upload = h('progress', { class: 'upload', max: 1, 'aria-label': 'Upload' });
  const uploadText = h('span', { class: 'soft' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const again = h('button', { type: 'button', class: 'plain', hidden: true, onclick: onAgain }, 'Upload again');
  const head = h('div', { class: 'head' }, title, facts, upload, uploadText, again, h('span', { class: 'grow' }),
    h('button', { type: 'button', class: 'plain', onclick: onClose }, 'Other video'));
  const stage = h('section', { class: 'stage', 'aria-label': 'Video' }, picture, transport, timeline.element);

  function toggle() {
    if (video.paused) {
      video.play().catch(() => {});
    } else {
      video.pause();
    }
  }

  /** Sets an edge of the selected clip to where the video is; without one, begins a clip there. */
  function mark(edge) {
    const here = Math.round(edge === 'start' ? startMs() : hereMs());
    const { selected } = draft;
    if (!selected) {
      draft.add(edge === 'start' ? here : Math.max(0, here - 15_000), edge === 'start' ? undefined : Math.max(here, MIN_CLIP_MS));
    } else if (edge === 'start') {
      draft.change(selected.key, { startMs: here, endMs: Math.max(selected.endMs, here + MIN_CLIP_MS) });
    } else {
      draft.change(selected.key, { endMs: here, startMs: Math.min(selected.startMs, Math.max(0, here - MIN_CLIP_MS)) });
    }
  }

  /* ---------- clips ---------- */
  const list = h('ol', { class: 'clips' });
  const items = new Map();
  const none = h('p', { class: 'hint' }, 'Nothing marked yet. Drag across the timeline, or press N while the video plays.');
  const clips = h('section', { class: 'card', 'aria-labelledby': 'clips-title' }, h('h2', { id: 'clips-title' }, 'Clips'), none, list);

  function createItem(key) {
    const clip = () => draft.clips.find((it) => it.key === key);
    const wrong = h('p', { class: 'problem', role: 'alert' });
    const complain = (input, text) => {
      input.setAttribute('aria-invalid', String(text !== ''));
      write(wrong, text);
    };
    const name = h('input', {
      type: 'text', class: 'name', maxLength: 128, spellcheck: 'false',
      onchange: () => {
        const id = name.value.trim();
        const taken = draft.clips.some((other) => other.key !== key && other.clipId === id);
        const said = taken ? `Another clip is called ${id}.` : GOOD_ID.test(id) ? '' : 'Use letters, digits, “-”, “_” and “.” only.';
        complain(name, said);
        if (said === '') {
          draft.change(key, { clipId: id });
        }
      },
    });
    const timeInput = (field, check) => {
      const input = h('input', {
        type: 'text', class: 'at', inputMode: 'decimal', spellcheck: 'false',
        onchange: () => {
          const ms = parseClock(input.value);
          const said = ms === null ? 'Write a time such as 1:15.3.' : check(ms);
          complain(input, said);
          if (said === '') {
            draft.change(key, { [field]: ms });
            seek(ms);
          }
        },
      });
      return input;
    };
    const late = (ms) => (ms > draft.endMs ? `The video ends at ${clock(draft.endMs)}.` : '');
    const start = timeInput('startMs', (ms) => late(ms) || (ms > clip().endMs - MIN_CLIP_MS ? 'The start must come before the end.' : ''));
    const end = timeInput('endMs', (ms) => late(ms) || (ms < clip().startMs + MIN_CLIP_MS ? 'The end must come after the start.' : ''));
    const length = h('span', { class: 'soft length' });
    const go = button('play', 'Play this clip', () => { draft.select(key); seek(clip().startMs); video.play().catch(() => {}); });
    const gone = button('bin', 'Remove', () => { draft.remove(key); (list.querySelector('.name') ?? play).focus(); });
    const item = h('li', { onfocusin: () => draft.select(key), onpointerdown: () => draft.select(key) },
      go, name, start, h('span', { class: 'soft', 'aria-hidden': 'true' }, '–'), end, length, gone, wrong);
    return { item, name, start, end, length, go, gone };
  }

  function showClips() {
    for (const [key, { item }] of items) {
      if (!draft.clips.some((clip) => clip.key === key)) {
        item.remove();
        items.delete(key);
      }
    }
    const fill = (input, value) => {
      if (document.activeElement !== input) {
        input.value = value;
      }
    };
    draft.clips.forEach((clip, index) => {
      const parts = items.get(clip.key) ?? items.set(clip.key, createItem(clip.key)).get(clip.key);
      fill(parts.name, clip.clipId);
      fill(parts.start, clock(clip.startMs));
      fill(parts.end, clock(clip.endMs));
      write(parts.length, span((clip.endMs - clip.startMs) / 1_000));
      parts.item.classList.toggle('selected', clip === draft.selected);
      const labels = [[parts.name, `Name of clip ${index + 1}`], [parts.start, `Start of ${clip.clipId}`], [parts.end, `End of ${clip.clipId}`]];
      labels.forEach(([input, label]) => input.setAttribute('aria-label', label));
      write(parts.gone.querySelector('span'), `Remove ${clip.clipId}`);
      write(parts.go.querySelector('span'), `Play ${clip.clipId} in the video`);
      if (list.children[index] !== parts.item && !parts.item.contains(document.activeElement)) {
        list.insertBefore(parts.item, list.children[index] ?? null);
      }
    });
    none.hidden = draft.clips.length > 0;
  }

  /* ---------- how they come out ---------- */
  const option = (value, text = value) => h('option', { value }, text);
  const qualityName = (quality) => (quality === 'high' ? '1080p, finer' : quality);
  const quality = h('select', { id: 'quality', onchange: () => draft.setOutput({ quality: quality.value }) }, QUALITIES.map((it) => option(it, qualityName(it))));
  const fps = h('select', { id: 'fps', onchange: () => draft.setOutput({ fps: Number(fps.value) }) }, FPS.map((it) => option(it, `${it} fps`)));
  const aspects = ASPECTS.map((aspect) => {
    const input = h('input', { type: 'radio', name: 'aspect', value: aspect, onchange: () => draft.setOutput({ aspect }) });
    return { aspect, input, element: h('label', {}, input, h('span', {}, aspect)) };
  });
  const loudness = h('input', { type: 'checkbox', id: 'loudness', onchange: () => draft.setOutput({ loudness: loudness.checked }) });
  const pixels = h('p', { class: 'hint' });
  const output = h('section', { class: 'card', 'aria-labelledby': 'output-title' },
    h('h2', { id: 'output-title' }, 'Output'),
    h('div', { class: 'choice', role: 'radiogroup', 'aria-label': 'Shape' }, aspects.map((it) => it.element)),
    h('div', { class: 'fields' },
      h('label', { for: 'quality' }, 'Quality'), quality,
      h('label', { for: 'fps' }, 'Frame rate'), fps),
    h('label', { class: 'check' }, loudness, h('span', {}, 'Even loudness, −14 LUFS')),
    pixels);

  const go = h('button', { type: 'button', class: 'primary', id: 'export-all', onclick: () => { video.pause(); launch.start(); } });
  const goNote = h('p', { class: 'hint', role: 'status' });
  const start = h('div', { class: 'start' }, go, goNote);

  const element = h('div', { class: 'editor' }, head, problem,
    h('div', { class: 'columns' }, stage, h('div', { class: 'panel' }, clips, framing.element, output, start)));

  /* ---------- the video ---------- */
  let [shownUri, objectUrl, searching] = [null, null, false];

  /** Shows a file at once, or what is stored. */
  function load(file) {
    if (objectUrl) {
      URL.revokeObjectURL(objectUrl);
    }
    objectUrl = file ? URL.createObjectURL(file) : null;
    shownUri = draft.source?.uri ?? null;
    unseen.hidden = true;
    searching = false;
    shownSinceMs = null;
    const url = objectUrl ?? (draft.source?.stored ? storedUrl(settings.storage, draft.source.uri) : null);
    if (url) {
      video.src = url;
    } else {
      video.removeAttribute('src');
      video.load();
      unseen.hidden = false;
    }
  }

  const learnLength = () => {
    if (video.duration === Infinity) {
      searching = true;
      video.currentTime = FAR_AWAY;
      return;
    }
    if (searching) {
      searching = false;
      video.currentTime = 0;
    }
    if (video.duration > 0) {
      draft.learn({ durationMs: Math.floor(video.duration * 1_000) });
    }
  };
  const learnSize = () => {
    if (video.videoWidth > 0) {
      picture.style.setProperty('--aspect', `${video.videoWidth} / ${video.videoHeight}`);
      picture.style.setProperty('--share', video.videoWidth / video.videoHeight);
      draft.learn({ width: video.videoWidth, height: video.videoHeight });
      framing.show();
    }
  };
  video.addEventListener('loadedmetadata', () => { learnLength(); learnSize(); });
  video.addEventListener('durationchange', learnLength);
  video.addEventListener('resize', learnSize);
  video.addEventListener('error', () => { unseen.hidden = false; });
  // Browsers without it mark by the playhead's time, which is at most a picture off.
  if (video.requestVideoFrameCallback) {
    const shown = (_, { mediaTime }) => {
      shownSinceMs = mediaTime * 1_000;
      video.requestVideoFrameCallback(shown);
    };
    video.requestVideoFrameCallback(shown);
  }
  for (const kind of ['timeupdate', 'seeked', 'loadeddata', 'seeking']) {
    video.addEventListener(kind, tick);
  }
  for (const [kind, name] of [['play', 'Pause'], ['pause', 'Play']]) {
    video.addEventListener(kind, () => {
      play.replaceChildren(icon(name.toLowerCase()), h('span', { class: 'unseen' }, name));
      play.title = name;
      tick();
    });
  }

  let drawing = 0;
  function tick() {
    if (searching) {
      return;
    }
    timeline.at(hereMs());
    write(time, `${clock(hereMs())} / ${draft.durationMs ? clock(draft.durationMs) : '–'}`);
    framing.draw();
    cancelAnimationFrame(drawing);
    drawing = video.paused ? 0 : requestAnimationFrame(tick);
  }

  /* ---------- keys ---------- */
  const KEYS = { ' ': toggle, k: toggle, i: () => mark('start'), o: () => mark('end'), n: () => draft.add(startMs()) };
  const STEPS = { ArrowLeft: -1_000, ArrowRight: 1_000, ',': -1_000 / 30, '.': 1_000 / 30 };
  addEventListener('keydown', (event) => {
    // Letters are for whoever writes; the space bar and arrows for whatever has the focus and uses them.
    const writes = event.target.closest?.('input:not([type=checkbox]), select, textarea');
    const presses = event.target.closest?.('button, a, summary, [role=slider], video') && /^( |Arrow.*)$/.test(event.key);
    const elsewhere = element.hidden || element.closest('[hidden]') || event.ctrlKey || event.metaKey || event.altKey;
    if (writes || presses || elsewhere) {
      return;
    }
    const step = STEPS[event.key];
    const act = KEYS[event.key.toLowerCase()] ?? (step && (() => seek(hereMs() + step * (event.shiftKey ? 5 : 1))));
    if (act) {
      event.preventDefault();
      act();
    }
  });

  const goLabel = () => {
    switch (launch.state) {
      case 'waiting': return `Waiting for upload, ${Math.floor((draft.source.uploaded ?? 0) * 100)} %`;
      case 'submitting': return 'Starting…';
      default: return draft.clips.length > 1 ? `Export all ${count(draft.clips.length, 'clip')}` : `Export ${draft.clips.length ? 'one clip' : 'all'}`;
    }
  };
  function showLaunch() {
    write(go, goLabel());
    write(goNote, launch.message);
    go.disabled = launch.busy || draft.clips.length === 0;
    go.toggleAttribute('aria-busy', launch.busy);
  }

  function show() {
    const { source } = draft;
    if (!source) {
      return;
    }
    if (source.uri !== shownUri) {
      load(null);
    }
    write(title, source.name);
    write(facts, sourceLine(source));
    const sending = !source.stored && !source.problem;
    upload.hidden = !sending;
    upload.value = source.uploaded ?? 0;
    write(uploadText, sending ? `Uploading ${Math.floor((source.uploaded ?? 0) * 100)} %` : '');
    again.hidden = !(source.problem && canAgain());
    write(problem, source.problem ?? '');
    const { width, height } = outputSize(draft.output.quality, draft.output.aspect);
    aspects.forEach((it) => { it.input.checked = it.aspect === draft.output.aspect; });
    [quality.value, fps.value, loudness.checked] = [draft.output.quality, draft.output.fps, draft.output.loudness];
    write(pixels, `MP4, H.264, ${width} × ${height} pixels`);
    showLaunch();
    showClips();
    timeline.show();
    framing.show();
    tick();
  }

  draft.addEventListener('change', show);
  launch.addEventListener('change', show);
  return { element, show, load, pause: () => video.pause() };
}

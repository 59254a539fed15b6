// The editor: the video with its window, the timeline, and a panel of clips, framing and output with the Export button.

import { createClips } from './clips.js';
import { createFraming } from './framing.js';
import { listenToKeys, showHelp } from './keys.js';
import { createOutput } from './output.js';
import { createTabs } from './panel.js';
import { createPlayback } from './playback.js';
import { createProgress } from './progress.js';
import { keepThumbnail } from './thumbnail.js';
import { createTimeline } from './timeline.js';
import { toast } from './toast.js';
import { brief, button, count, h, icon, write } from './ui.js';

const SECOND_MS = 1_000;

/** Zoom of a key. */
const KEY_ZOOM = 2;

/** `onReplace()` goes back to the choice of videos. `uploads` is null where nothing can be uploaded. */
export function createEditor({ draft, settings, uploads, launch, onReplace }) {
  const playback = createPlayback({
    draft,
    settings,
    onTime: (ms, isPlaying) => {
      timeline.at(ms, isPlaying);
      framing.draw();
    },
    onPicture: (url) => {
      timeline.filmstrip.load(url);
      progress.playable(true);
    },
    onUnplayable: () => progress.playable(false),
  });
  const { video, seek, hereMs } = playback;
  const timeline = createTimeline({ draft, video, seek, choose });
  const framing = createFraming({ draft, video, nowMs: hereMs, seek });
  const output = createOutput({ draft });
  const clips = createClips({ draft, choose, play: playClip, remove, seek });
  const progress = createProgress({ draft, settings, uploads });

  /* ---------- what the user does ---------- */
  /** Selects a clip and shows its start. */
  function choose(key) {
    if (draft.selected?.key !== key) {
      playback.pause();
      draft.select(key);
      seek(draft.clip(key).startMs);
      clips.reveal(key);
    }
  }

  function chooseNext(step) {
    const index = draft.clips.indexOf(draft.selected);
    const clip = draft.clips[index < 0 ? 0 : index + step];
    if (clip) {
      choose(clip.key);
    }
  }

  function playClip(key) {
    draft.select(key);
    playback.playClip(key);
  }

  function add() {
    clips.reveal(draft.add(playback.startMs()).key);
  }

  /** Sets an edge of the selected clip to the playhead; past the other edge a new clip begins. */
  function setEdge(edge) {
    const hadClips = draft.clips.length > 0;
    const begun = draft.setEdge(edge, edge === 'start' ? playback.startMs() : hereMs());
    if (begun && hadClips) {
      toast(`${begun.clipId} added at ${brief(begun.startMs)}`, () => draft.remove(begun.key));
    }
  }

  function remove(key) {
    const hadFocus = document.activeElement !== document.body;
    const removed = draft.remove(key);
    toast(`${removed.clipId} removed`, () => draft.restore(removed));
    if (hadFocus && (document.activeElement === document.body || !document.activeElement.isConnected)) {
      timeline.playhead.focus();
    }
  }

  function exportAll() {
    // A field that is still being typed in counts, too.
    document.activeElement?.blur?.();
    playback.pause();
    launch.start();
  }

  function toggleFullScreen() {
    if (document.fullscreenElement) {
      document.exitFullscreen();
    } else {
      picture.requestFullscreen?.();
    }
  }

  /* ---------- the page ---------- */
  const invitation = h('p', { class: 'invitation' }, 'Press ', h('kbd', {}, 'N'), ' at a good moment');
  const picture = h('div', { class: 'picture' }, video, framing.overlay, invitation, progress.curtain);
  const act = (text, onclick, key, more = {}) =>
    h('button', { type: 'button', class: 'plain', onclick, title: `Key ${key}`, ...more }, text);
  const transport = h(
    'div',
    { class: 'transport', role: 'group', 'aria-label': 'Playback' },
    playback.controls,
    button('full', 'Full screen (F)', toggleFullScreen, { class: 'tool full' }),
    h('span', { class: 'grow' }),
    act('Set start', () => setEdge('start'), 'I'),
    act('Set end', () => setEdge('end'), 'O'),
    act([icon('plus'), 'Mark clip'], add, 'N', { class: 'plain strong' }),
  );

  const title = h('h1', {});
  const undo = button('undo', 'Undo (Ctrl+Z)', () => draft.undo());
  const redo = button('redo', 'Redo (Ctrl+Shift+Z)', () => draft.redo());
  const help = h(
    'button',
    { type: 'button', class: 'tool', title: 'Keyboard shortcuts (?)', onclick: showHelp },
    '?',
    h('span', { class: 'unseen' }, ' Keyboard shortcuts'),
  );
  const head = h(
    'div',
    { class: 'head' },
    title,
    progress.line,
    h('span', { class: 'grow' }),
    undo,
    redo,
    help,
    h('button', { type: 'button', class: 'plain', onclick: onReplace }, 'Replace video'),
  );

  const tabs = createTabs('Editor', [
    { id: 'clips', name: 'Clips', element: clips.element },
    { id: 'framing', name: 'Framing', element: framing.element },
    { id: 'output', name: 'Output', element: output.element },
  ]);
  const go = h('button', {
    type: 'button',
    class: 'primary',
    id: 'export-all',
    title: 'Ctrl+Enter',
    onclick: exportAll,
  });
  const cancel = h(
    'button',
    { type: 'button', class: 'plain', hidden: true, onclick: () => launch.cancel() },
    'Cancel',
  );
  const note = h('p', { class: 'hint', role: 'status' });
  const panel = h(
    'section',
    { class: 'panel', 'aria-label': 'Clips and output' },
    tabs.elements,
    h('div', { class: 'start' }, h('div', { class: 'pair' }, go, cancel), note),
  );
  const stage = h('section', { class: 'stage', 'aria-label': 'Video' }, picture, transport, timeline.element);
  const element = h('div', { class: 'editor' }, head, progress.notice, h('div', { class: 'columns' }, stage, panel));

  /* ---------- keys ---------- */
  const skip = (seconds) => (event) => seek(Math.max(0, hereMs() + seconds * SECOND_MS * (event.shiftKey ? 5 : 1)));
  listenToKeys({
    isActive: () => !element.hidden && !element.closest('[hidden]'),
    actions: {
      toggle: playback.toggle,
      forwards: () => playback.shuttle(1),
      backwards: () => playback.shuttle(-1),
      playClip: () => draft.selected && playClip(draft.selected.key),
      left: skip(-1),
      right: skip(1),
      frameBack: () => playback.step(-1),
      frameForward: () => playback.step(1),
      mute: playback.toggleMute,
      fullScreen: toggleFullScreen,
      add,
      setStart: () => setEdge('start'),
      setEnd: () => setEdge('end'),
      previous: () => chooseNext(-1),
      next: () => chooseNext(1),
      remove: () => draft.selected && remove(draft.selected.key),
      undo: () => draft.undo(),
      redo: () => draft.redo(),
      export: exportAll,
      zoomIn: () => timeline.zoomBy(1 / KEY_ZOOM),
      zoomOut: () => timeline.zoomBy(KEY_ZOOM),
      help: showHelp,
    },
  });

  /* ---------- what is shown ---------- */
  function goLabel() {
    if (launch.state === 'waiting') {
      return `Waiting for upload, ${Math.floor(uploads.share * 100)} %`;
    }
    if (launch.state === 'submitting') {
      return 'Starting…';
    }
    const totalMs = draft.clips.reduce((sum, { startMs, endMs }) => sum + endMs - startMs, 0);
    return draft.clips.length > 0 ? `Export ${count(draft.clips.length, 'clip')} · ${brief(totalMs)}` : 'Export';
  }

  function showLaunch() {
    write(go, goLabel());
    write(note, launch.message);
    go.disabled = launch.busy || draft.clips.length === 0;
    go.setAttribute('aria-busy', String(launch.busy));
    cancel.hidden = launch.state !== 'waiting';
  }

  function showPicture() {
    const { width, height } = draft.source;
    if (width > 0) {
      picture.style.setProperty('--aspect', `${width} / ${height}`);
      picture.style.setProperty('--share', width / height);
    }
    invitation.hidden = draft.clips.length > 0;
  }

  function show() {
    if (!draft.source) {
      playback.load(null, null);
      return;
    }
    playback.load(draft.source, uploads?.file ?? null);
    timeline.waveform.load(uploads?.file ?? null, draft.durationMs);
    write(title, draft.source.name);
    [undo.disabled, redo.disabled] = [!draft.canUndo, !draft.canRedo];
    tabs.name('clips', draft.clips.length > 0 ? `Clips ${draft.clips.length}` : 'Clips');
    showLaunch();
    showPicture();
    progress.show();
    output.show();
    clips.show();
    timeline.show();
    framing.show();
    playback.showState();
    playback.tick();
  }

  draft.addEventListener('change', show);
  function showUpload() {
    if (!draft.source) {
      return;
    }
    playback.load(draft.source, uploads.file);
    timeline.waveform.load(uploads.file, draft.durationMs);
    progress.show();
    showLaunch();
  }
  uploads?.addEventListener('change', showUpload);
  launch.addEventListener('change', () => draft.source && showLaunch());
  video.addEventListener('loadeddata', () => uploads?.file && video.videoWidth > 0 && keepThumbnail(draft.id, video));
  return { element, show, pause: playback.pause };
}

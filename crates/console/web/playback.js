// The video and its controls: position, speed, volume, single frames, and clips in a loop.

import { onSignedIn } from './session.js';
import { storedUrl } from './source.js';
import { button, clock, h, icon, write } from './ui.js';

/**
 * A frame shown for longer is a standstill: the fleet shows it at the start of a clip that starts meanwhile,
 * milliseconds.
 */
const STANDSTILL_MS = 500;

/** Browsers learn the length of a recording without one (MediaRecorder's) by going to its end. */
const FAR_AWAY = 1e7;

const SPEEDS = [0.25, 0.5, 1, 1.5, 2, 4];
const MAX_SHUTTLE = 4;

/**
 * The step to the next frame until the source's own is known, milliseconds: of 60 fps, which misses no frame of slower
 * ones.
 */
const FIRST_FRAME_MS = 1_000 / 60;
/** Attempts to reach the next frame: of a source with 5 fps it is 12 steps away. */
const MAX_FRAME_STEPS = 13;
const FRAME_TIMEOUT_MS = 120;

export function createPlayback({ draft, settings, onTime, onPicture, onUnplayable }) {
  const video = h('video', { playsInline: true, preload: 'auto', tabIndex: -1 });
  // The position while there is no picture.
  let typedMs = 0;
  // The key of the clip that plays in a loop.
  let looping = null;
  // Speed of playing backwards, which videos cannot do by themselves; 0 while it plays forwards.
  let backwards = 0;
  let [frameMs, shownSinceMs] = [FIRST_FRAME_MS, null];
  let [searching, drawing] = [false, 0];

  const hereMs = () => (video.readyState > 0 ? video.currentTime * 1_000 : typedMs);

  /**
   * Where a clip starts that is marked now: at the time of the shown frame. A clip begins with the first frame at or
   * after its start. The playhead is nearly always between two frames, so its time would begin with the next one.
   */
  function startMs() {
    const since = hereMs() - (shownSinceMs ?? hereMs());
    return since > 0 && since <= STANDSTILL_MS && !video.seeking ? shownSinceMs : hereMs();
  }

  function goTo(ms) {
    if (Number.isFinite(video.duration) && video.duration > 0) {
      video.currentTime = Math.min(ms / 1_000, video.duration);
    } else {
      typedMs = Math.max(0, ms);
      tick();
    }
  }

  /** Goes where the user wants to be, also out of a loop. */
  function seek(ms) {
    looping = null;
    goTo(ms);
    showState();
  }

  /* ---------- playing ---------- */
  function start(rate = 1) {
    backwards = 0;
    video.playbackRate = rate;
    video.play().catch(() => {});
  }

  function pause() {
    [backwards, looping] = [0, null];
    video.pause();
    showState();
  }

  function toggle() {
    if (!video.paused || backwards) {
      pause();
    } else {
      looping = null;
      start(Number(speed.value));
    }
  }

  /** Plays a clip from its start, in a loop; again stops it. */
  function playClip(key) {
    if (looping === key && !video.paused) {
      pause();
      return;
    }
    looping = key;
    goTo(draft.clip(key).startMs);
    start(Number(speed.value));
    showState();
  }

  /** L and J: play forwards or backwards, each press twice as fast. */
  function shuttle(direction) {
    looping = null;
    if (direction > 0) {
      start(video.paused ? 1 : Math.min(MAX_SHUTTLE, video.playbackRate * 2));
    } else {
      const rate = backwards ? Math.min(MAX_SHUTTLE, backwards * 2) : 1;
      video.pause();
      backwards = rate;
      rewind(performance.now());
    }
    showState();
  }

  function rewind(before) {
    requestAnimationFrame((now) => {
      if (backwards === 0 || video.currentTime === 0) {
        pause();
      } else if (video.seeking) {
        rewind(before);
      } else {
        video.currentTime = Math.max(0, video.currentTime - ((now - before) / 1_000) * backwards);
        rewind(now);
      }
    });
  }

  function loop() {
    const clip = looping === null ? null : draft.clip(looping);
    if (
      clip &&
      !video.paused &&
      !video.seeking &&
      (hereMs() >= clip.endMs || hereMs() < clip.startMs - STANDSTILL_MS)
    ) {
      goTo(clip.startMs);
    }
  }

  /* ---------- single frames ---------- */
  const nextFrame = () =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, FRAME_TIMEOUT_MS);
      video.requestVideoFrameCallback?.(() => {
        clearTimeout(timer);
        resolve();
      });
    });

  // Presses that arrive while a frame is sought.
  let [stepping, steps] = [false, 0];
  /** Shows the frame before or after the shown one, whatever the source's frame rate. */
  async function step(direction) {
    steps = Math.sign(steps) === -direction ? direction : steps + direction;
    if (stepping) {
      return;
    }
    stepping = true;
    pause();
    while (steps !== 0) {
      const next = Math.sign(steps);
      await (shownSinceMs === null ? goTo(hereMs() + next * frameMs) : next > 0 ? stepForward() : stepBack());
      steps -= Math.sign(steps);
    }
    stepping = false;
  }

  async function stepForward() {
    const from = shownSinceMs;
    for (
      let tries = 1;
      tries <= MAX_FRAME_STEPS && shownSinceMs === from && from + tries * frameMs < draft.endMs;
      tries += 1
    ) {
      const shown = nextFrame();
      // A millisecond inside the frame, since times in files are rounded.
      goTo(from + tries * frameMs + 1);
      await shown;
    }
    if (shownSinceMs > from) {
      frameMs = shownSinceMs - from;
    }
  }

  async function stepBack() {
    const shown = nextFrame();
    goTo(Math.max(0, shownSinceMs - 1));
    await shown;
  }

  function frameShown(now, { mediaTime, presentedFrames }) {
    const ms = mediaTime * 1_000;
    const since = ms - shownSinceMs;
    if (
      presentedFrames === frameShown.count + 1 &&
      since > 1 &&
      since <= STANDSTILL_MS &&
      !video.paused &&
      video.playbackRate <= 1
    ) {
      frameMs = since;
    }
    [shownSinceMs, frameShown.count] = [ms, presentedFrames];
    video.requestVideoFrameCallback(frameShown);
  }
  // Browsers without it mark by the playhead's time, which is at most one frame off.
  video.requestVideoFrameCallback?.(frameShown);

  /* ---------- controls ---------- */
  const play = button('play', 'Play', toggle, { class: 'tool large' });
  const time = h('span', { class: 'time' });
  const playSelected = button('loop', 'Play clip in a loop (P)', () => draft.selected && playClip(draft.selected.key));
  const mute = button('volume', 'Mute (M)', toggleMute, { class: 'tool mute' });
  const volume = h('input', {
    type: 'range',
    class: 'volume',
    min: 0,
    max: 1,
    step: 0.05,
    value: 1,
    'aria-label': 'Volume',
    oninput: () => {
      video.volume = Number(volume.value);
      video.muted = video.volume === 0;
    },
  });
  const speed = h(
    'select',
    {
      class: 'speed',
      'aria-label': 'Speed',
      onchange: () => {
        video.playbackRate = Number(speed.value);
      },
    },
    SPEEDS.map((rate) => h('option', { value: rate, selected: rate === 1 }, `${rate}×`)),
  );
  const controls = [play, time, playSelected, mute, volume, speed];

  function toggleMute() {
    video.muted = !video.muted;
  }

  function rename(control, glyph, name) {
    control.replaceChildren(icon(glyph), h('span', { class: 'unseen' }, name));
    control.title = name;
  }

  function showState() {
    const plays = !video.paused || backwards > 0;
    rename(play, plays ? 'pause' : 'play', plays ? 'Pause' : 'Play');
    playSelected.setAttribute('aria-pressed', String(looping !== null && plays));
    playSelected.disabled = !draft.selected;
  }

  video.addEventListener('volumechange', () => {
    rename(mute, video.muted ? 'muted' : 'volume', video.muted ? 'Unmute (M)' : 'Mute (M)');
    volume.value = video.muted ? 0 : video.volume;
  });
  ['play', 'pause'].forEach((kind) =>
    video.addEventListener(kind, () => {
      showState();
      tick();
    }),
  );

  /* ---------- the picture ---------- */
  let [loaded, objectUrl] = [null, null];

  /** Shows a file of this machine, otherwise what is stored. */
  function load(source, file) {
    const from = file ?? (source?.stored ? source.uri : null);
    if (loaded === from) {
      return;
    }
    loaded = from;
    pause();
    URL.revokeObjectURL(objectUrl);
    objectUrl = file ? URL.createObjectURL(file) : null;
    [searching, shownSinceMs, frameMs, typedMs] = [false, null, FIRST_FRAME_MS, 0];
    const url = objectUrl ?? (from && storedUrl(settings.storage, from));
    if (url) {
      video.src = url;
    } else {
      video.removeAttribute('src');
      video.load();
    }
    onPicture(url);
  }

  function learnLength() {
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
  }

  function learnSize() {
    if (video.videoWidth > 0) {
      draft.learn({ width: video.videoWidth, height: video.videoHeight });
    }
  }

  video.addEventListener('loadedmetadata', () => {
    learnLength();
    learnSize();
  });
  video.addEventListener('durationchange', learnLength);
  video.addEventListener('resize', learnSize);
  video.addEventListener('error', () => video.getAttribute('src') && onUnplayable());
  // What is stored behind a session that had ended was refused.
  onSignedIn(() => {
    const url = video.error && !objectUrl && video.getAttribute('src');
    if (url) {
      const at = video.currentTime;
      video.src = url;
      video.currentTime = at;
      onPicture(url);
    }
  });
  ['timeupdate', 'seeked', 'loadeddata', 'seeking'].forEach((kind) => video.addEventListener(kind, tick));

  function tick() {
    if (searching) {
      return;
    }
    loop();
    write(time, `${clock(hereMs())} / ${draft.durationMs ? clock(draft.durationMs) : '–'}`);
    onTime(hereMs(), !video.paused);
    cancelAnimationFrame(drawing);
    drawing = video.paused ? 0 : requestAnimationFrame(tick);
  }

  return {
    video,
    controls,
    play,
    hereMs,
    startMs,
    seek,
    pause,
    toggle,
    playClip,
    shuttle,
    step,
    toggleMute,
    load,
    tick,
    showState,
  };
}

// What of the picture a clip shows: the window drawn over the video, by the fleet's own geometry, and what comes out
// beside it.

import { pathOf } from './draft.js';
import { followPointer } from './pointer.js';
import { cropWindow, fitted, movingWindow, outputSize, pathAt } from './reframe.js';
import { clamp, count, h, svg, write } from './ui.js';

const MODES = { auto_center: 'Crop', fit_blur: 'Fit', crop_path: 'Pan' };
const MEANING = {
  auto_center: 'Fixed crop. Drag it on the video.',
  fit_blur: 'The whole picture over a blurred copy of itself.',
  crop_path: 'The crop moves between keyframes. Seek, then drag.',
};

/** The framing of a clip before there is one. */
const DEFAULT = { mode: 'auto_center', position: 50, zoom: 100, keyframes: [] };

/** A keyframe this close to the playhead is the one that is shown, milliseconds. */
const SAME_MS = 60;

export function createFraming({ draft, video, nowMs, seek }) {
  const shade = svg('path', { class: 'shade', 'fill-rule': 'evenodd' });
  const frame = svg('rect', { class: 'frame' });
  const overlay = svg('svg', { class: 'overlay', 'aria-hidden': 'true' }, shade, frame);
  const monitor = h('canvas', { class: 'monitor', role: 'img', 'aria-label': 'How the selected clip will look' });

  const modes = Object.entries(MODES).map(([mode, name]) => {
    const input = h('input', { type: 'radio', name: 'mode', value: mode, onchange: () => choose(mode) });
    return { mode, input, element: h('label', {}, input, h('span', {}, name)) };
  });
  // Every input event of one drag belongs to one step of undo.
  let close = () => {};
  const range = (id, name, low, high) => {
    const input = h('input', {
      type: 'range',
      id,
      min: low,
      max: high,
      step: 0.5,
      onpointerdown: () => {
        close = draft.gesture();
      },
      onchange: () => close(),
      oninput: () => set({ [id]: Number(input.value) }),
    });
    const output = h('output', { for: id });
    return { input, output, element: h('div', { class: 'range' }, h('label', { for: id }, name), output, input) };
  };
  const [position, zoom] = [range('position', 'Position', 0, 100), range('zoom', 'Zoom', 100, 200)];
  const meaning = h('p', { class: 'hint' });
  const plain = (text, onclick, more) => h('button', { type: 'button', class: 'plain', onclick, ...more }, text);
  const back = plain('◀', () => jump(-1), { 'aria-label': 'Previous keyframe', title: 'Previous keyframe' });
  const forth = plain('▶', () => jump(1), { 'aria-label': 'Next keyframe', title: 'Next keyframe' });
  const place = h('span', { class: 'soft' });
  const addKeyframe = plain('Add keyframe', () => set({}));
  const removeKeyframe = plain('Remove', dropKeyframe, { 'aria-label': 'Remove keyframe' });
  const keyframes = h(
    'div',
    { class: 'keyframes' },
    h('div', { class: 'pair steps', role: 'group', 'aria-label': 'Keyframes' }, back, place, forth),
    h('div', { class: 'pair' }, addKeyframe, removeKeyframe),
  );
  const all = plain('Apply to all clips', () => draft.frameAllLike(draft.selected.key));
  const none = h('p', { class: 'hint' }, 'Mark or select a clip to frame it.');
  const knobs = h(
    'div',
    { class: 'knobs' },
    h(
      'div',
      { class: 'choice', role: 'radiogroup', 'aria-label': 'Framing mode' },
      modes.map((it) => it.element),
    ),
    meaning,
    position.element,
    zoom.element,
    keyframes,
    all,
  );
  const element = h('div', {}, none, h('div', { class: 'framed' }, knobs, monitor));

  const target = () => outputSize(draft.output.quality, draft.output.aspect);
  const source = () => (video.videoWidth > 0 ? { width: video.videoWidth, height: video.videoHeight } : null);

  /** Time within the selected clip. */
  const clipMs = () => {
    const { startMs, endMs } = draft.selected;
    return clamp(nowMs() - startMs, 0, endMs - startMs);
  };
  /** Position and zoom at this moment. */
  function placed() {
    const { mode, position, zoom } = draft.selected.reframe;
    const path = pathOf(draft.selected);
    return mode === 'crop_path' && path.length > 0 ? pathAt(path, clipMs()) : { position, zoom };
  }

  function choose(mode) {
    const { key, reframe } = draft.selected;
    const { position, zoom } = placed();
    // A path has at least one keyframe; leaving it keeps the window where it is now.
    const isFirst = mode === 'crop_path' && reframe.keyframes.length === 0;
    const path = isFirst ? [{ atMs: 0, position: round(position), zoom: round(zoom) }] : reframe.keyframes;
    draft.reframe(key, { mode, position: round(position), zoom: round(zoom), keyframes: path });
  }

  const round = (percent) => Math.round(percent * 1_000) / 1_000;
  const near = () => pathOf(draft.selected).find(({ atMs }) => Math.abs(atMs - clipMs()) <= SAME_MS);

  function set(fields) {
    const { key, reframe } = draft.selected;
    const next = { ...placed(), ...fields };
    if (reframe.mode === 'crop_path') {
      draft.setKeyframe(key, near()?.atMs ?? clipMs(), { position: round(next.position), zoom: round(next.zoom) });
    } else {
      draft.reframe(key, fields);
    }
  }

  function dropKeyframe() {
    const { key, reframe } = draft.selected;
    const gone = near();
    draft.reframe(key, { keyframes: reframe.keyframes.filter((it) => it !== gone) });
  }

  /** The keyframe before or after this moment. */
  function neighbour(way) {
    const from = clipMs();
    const ahead = pathOf(draft.selected).filter(({ atMs }) =>
      way > 0 ? atMs > from + SAME_MS : atMs < from - SAME_MS,
    );
    return way > 0 ? ahead[0] : ahead.at(-1);
  }

  function jump(way) {
    const next = neighbour(way);
    if (next) {
      seek(draft.selected.startMs + next.atMs);
    }
  }

  // Dragging the window moves it; a picture taller than the output has no room to the sides.
  overlay.addEventListener('pointerdown', (event) => {
    const picture = source();
    if (event.button !== 0 || !draft.selected || draft.selected.reframe.mode === 'fit_blur' || !picture) {
      return;
    }
    const begun = placed();
    const room = picture.width - cropWindow(begun.position, begun.zoom, picture, target()).width;
    if (room <= 0) {
      return;
    }
    const scale = picture.width / overlay.getBoundingClientRect().width;
    const end = draft.gesture();
    followPointer(event, {
      move: (next) => {
        const moved = (100 * (next.clientX - event.clientX) * scale) / room;
        set({ position: round(clamp(begun.position + moved, 0, 100)) });
      },
      end,
      tap: end,
    });
  });

  /** The window at this moment, pixels of the source; null where the whole picture is shown. */
  function windowNow() {
    const { mode, position, zoom } = draft.selected?.reframe ?? DEFAULT;
    const picture = source();
    if (mode === 'fit_blur' || !picture) {
      return null;
    }
    const path = mode === 'crop_path' ? pathOf(draft.selected) : [];
    return path.length > 0
      ? movingWindow(path, clipMs(), picture, target())
      : cropWindow(position, zoom, picture, target());
  }

  function drawOverlay(region, { width, height }) {
    overlay.setAttribute('viewBox', `0 0 ${width} ${height}`);
    overlay.toggleAttribute('hidden', !region);
    if (region) {
      const { left, top, width: w, height: hi } = region;
      shade.setAttribute('d', `M0 0H${width}V${height}H0ZM${left} ${top}h${w}v${hi}h${-w}Z`);
      Object.entries({ x: left, y: top, width: w, height: hi }).forEach(([name, value]) =>
        frame.setAttribute(name, value),
      );
      // Read by tests.
      overlay.dataset.window = [left, top, w, hi].join(' ');
    }
  }

  function drawMonitor(region, picture) {
    const { width, height } = target();
    // Twice as many pixels as it takes on the page at most.
    const share = 360 / Math.max(width, height);
    const [across, down] = [Math.round(width * share), Math.round(height * share)];
    if (monitor.width !== across || monitor.height !== down) {
      [monitor.width, monitor.height] = [across, down];
    }
    const paper = monitor.getContext('2d');
    if (video.readyState < 2) {
      return;
    }
    if (region) {
      paper.drawImage(video, region.left, region.top, region.width, region.height, 0, 0, across, down);
      return;
    }
    const cover = cropWindow(50, 100, picture, { width, height });
    paper.filter = `blur(${Math.min(across, down) / 30}px) brightness(0.55)`;
    paper.drawImage(video, cover.left, cover.top, cover.width, cover.height, 0, 0, across, down);
    paper.filter = 'none';
    const whole = fitted(picture, { width, height });
    const scaled = [whole.left, whole.top, whole.width, whole.height].map((side) => side * share);
    paper.drawImage(video, ...scaled);
  }

  /** Draws this moment. */
  function draw() {
    const picture = source();
    monitor.hidden = !picture;
    overlay.classList.toggle('fixed', !draft.selected);
    if (!picture) {
      overlay.toggleAttribute('hidden', true);
      return;
    }
    try {
      const region = windowNow();
      drawOverlay(region, picture);
      drawMonitor(region, picture);
      if (draft.selected) {
        showValues();
      }
    } catch (error) {
      // A picture too small or too large for the fleet; the export would say the same.
      write(meaning, `This ${error.message}.`);
    }
  }

  function showValues() {
    const { position: p, zoom: z } = placed();
    const rows = [
      [position, p, `${Math.round(p)} %`],
      [zoom, z, `${(z / 100).toFixed(2)} ×`],
    ];
    for (const [{ input, output }, value, text] of rows) {
      if (Number(input.value) !== Math.round(value * 2) / 2) {
        input.value = value;
      }
      write(output, text);
    }
    const path = pathOf(draft.selected);
    const here = near();
    write(place, here ? `Keyframe ${path.indexOf(here) + 1} of ${path.length}` : count(path.length, 'keyframe'));
    [back.disabled, forth.disabled] = [!neighbour(-1), !neighbour(1)];
    addKeyframe.disabled = Boolean(here);
    removeKeyframe.disabled = !here || path.length < 2;
  }

  function show() {
    const { selected } = draft;
    knobs.hidden = !selected;
    none.hidden = Boolean(selected);
    if (!selected) {
      draw();
      return;
    }
    const { mode } = selected.reframe;
    modes.forEach((it) => {
      it.input.checked = it.mode === mode;
    });
    write(meaning, MEANING[mode]);
    position.element.hidden = mode === 'fit_blur';
    zoom.element.hidden = mode === 'fit_blur';
    keyframes.hidden = mode !== 'crop_path';
    all.hidden = draft.clips.length < 2 || mode === 'crop_path';
    const picture = source();
    const tall = picture && picture.width * target().height <= picture.height * target().width;
    position.input.disabled = Boolean(tall);
    draw();
  }

  return { element, overlay, show, draw };
}

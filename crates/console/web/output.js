// How the clips come out: shape, quality, frame rate and loudness.

import { ASPECTS, QUALITIES, outputSize } from './reframe.js';
import { h, write } from './ui.js';

const FPS = [24, 25, 30, 50, 60];
const QUALITY_NAMES = { high: '1080p (higher bitrate)' };

export function createOutput({ draft }) {
  const option = (value, text = value) => h('option', { value }, text);
  const quality = h(
    'select',
    { id: 'quality', onchange: () => draft.setOutput({ quality: quality.value }) },
    QUALITIES.map((it) => option(it, QUALITY_NAMES[it] ?? it)),
  );
  const fps = h(
    'select',
    { id: 'fps', onchange: () => draft.setOutput({ fps: Number(fps.value) }) },
    FPS.map((it) => option(it, `${it} fps`)),
  );
  const aspects = ASPECTS.map((aspect) => {
    const input = h('input', {
      type: 'radio',
      name: 'aspect',
      value: aspect,
      onchange: () => draft.setOutput({ aspect }),
    });
    return { aspect, input, element: h('label', {}, input, h('span', {}, aspect)) };
  });
  const loudness = h('input', { type: 'checkbox', onchange: () => draft.setOutput({ loudness: loudness.checked }) });
  const pixels = h('p', { class: 'hint' });
  const element = h(
    'div',
    {},
    h(
      'div',
      { class: 'choice', role: 'radiogroup', 'aria-label': 'Shape' },
      aspects.map((it) => it.element),
    ),
    h(
      'div',
      { class: 'fields' },
      h('label', { for: 'quality' }, 'Quality'),
      quality,
      h('label', { for: 'fps' }, 'Frame rate'),
      fps,
    ),
    h('label', { class: 'check' }, loudness, h('span', {}, 'Normalize loudness (−14 LUFS)')),
    pixels,
  );

  function show() {
    const { output } = draft;
    const { width, height } = outputSize(output.quality, output.aspect);
    aspects.forEach((it) => {
      it.input.checked = it.aspect === output.aspect;
    });
    [quality.value, fps.value, loudness.checked] = [output.quality, output.fps, output.loudness];
    write(pixels, `MP4, H.264, ${width} × ${height} pixels`);
  }

  return { element, show };
}

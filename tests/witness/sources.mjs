// Sources made by FFmpeg from numbered pictures and a tone, each with a different kind of timeline.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { SIZE, film } from './chart.mjs';
import { ffmpeg } from './decode.mjs';

/**
 * Pictures per second, and their number: 40 ms each, so that every time is a whole number of milliseconds.
 */
const RATE = '25';
const COUNT = 110;
const RATES = { 25: 25, '30000/1001': 30_000 / 1_001 };

const BT709 = ['-colorspace', 'bt709', '-color_primaries', 'bt709', '-color_trc', 'bt709'];
const LIMITED = { filter: 'scale=out_color_matrix=bt709:out_range=tv', tags: [...BT709, '-color_range', 'tv'] };
const FULL = { filter: 'scale=out_color_matrix=bt709:out_range=pc', tags: [...BT709, '-color_range', 'pc'] };

const X264 = ['-c:v', 'libx264', '-preset', 'veryfast', '-crf', '16', '-g', '50'];
const AAC = ['-c:a', 'aac', '-b:a', '96k'];
const OPUS = ['-c:a', 'libopus', '-b:a', '64k'];
const VP8 = ['-c:v', 'libvpx', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '2M', '-g', '50'];
const VP9 = ['-c:v', 'libvpx-vp9', '-deadline', 'realtime', '-cpu-used', '8', '-b:v', '2M', '-g', '50'];
const AV1 = ['-c:v', 'libaom-av1', '-usage', 'realtime', '-cpu-used', '8', '-b:v', '2M', '-g', '50'];

/** FFmpeg's arguments to read the pictures of `film` from its input. */
export const filmInput = (rate) => {
  const size = `${SIZE.width}x${SIZE.height}`;
  return ['-f', 'rawvideo', '-pix_fmt', 'rgb24', '-s', size, '-framerate', rate, '-i', 'pipe:0'];
};

/** Encodes numbered pictures and a tone. `late` and `lateAudio` are the start times of the tracks in seconds. */
function encode(
  path,
  { video = X264, audio = AAC, rate = RATE, colours = LIMITED, late = 0, lateAudio = 0, filters = [], container = [] },
) {
  const tone = `sine=frequency=440:sample_rate=48000:duration=${COUNT / RATES[rate]}`;
  ffmpeg(
    [
      '-y',
      '-itsoffset',
      `${late}`,
      ...filmInput(rate),
      '-itsoffset',
      `${lateAudio}`,
      '-f',
      'lavfi',
      '-i',
      tone,
      '-map',
      '0:v',
      '-map',
      '1:a',
      '-vf',
      [colours.filter, ...filters, 'format=yuv420p'].join(),
      '-fps_mode',
      'passthrough',
      ...video,
      ...colours.tags,
      ...audio,
      ...container,
      path,
    ],
    { input: film(COUNT) },
  );
}

/** Encodes, then copies into another file with the given arguments before and after the input. */
function remux(path, options, before, after = []) {
  const whole = `${path}.whole.${options.extension ?? 'mp4'}`;
  encode(whole, options);
  ffmpeg(['-y', ...before, '-i', whole, '-c', 'copy', ...after, path]);
  rmSync(whole);
}

const B_FRAMES = [...X264, '-bf', '3'];

/** The name of each source, and the function that makes it. */
const MAKERS = {
  'plain.mp4': (path) => encode(path, { video: [...X264, '-bf', '0'] }),
  'b-frames.mp4': (path) => encode(path, { video: B_FRAMES }),
  'b-frames-without-edit-list.mp4': (path) => encode(path, { video: B_FRAMES, container: ['-use_editlist', '0'] }),
  'late-picture.mp4': (path) => encode(path, { video: B_FRAMES, late: 1 }),
  'late-audio.mp4': (path) => encode(path, { video: B_FRAMES, lateAudio: 0.7 }),
  'times-from-3-s.webm': (path) => encode(path, { video: VP8, audio: OPUS, container: ['-output_ts_offset', '3'] }),
  'late-picture.webm': (path) => encode(path, { video: VP9, audio: OPUS, late: 1 }),
  'times-from-1-s.mkv': (path) => encode(path, { video: B_FRAMES, container: ['-output_ts_offset', '1.4'] }),
  'cut-by-copying.mp4': (path) => remux(path, { video: [...B_FRAMES, '-g', '100'] }, ['-ss', '1.3']),
  'cut-by-copying.mkv': (path) => remux(path, { video: [...B_FRAMES, '-g', '100'] }, ['-ss', '1.3']),
  'irregular.mp4': (path) =>
    encode(path, { filters: [String.raw`select=not(between(mod(n\,10)\,3\,5))*not(eq(mod(n\,7)\,1))`] }),
  'ntsc.mp4': (path) => encode(path, { rate: '30000/1001' }),
  // FFmpeg 5 reads the angle from this tag, counter-clockwise. The pictures are stored rotated the other way.
  'rotated.mp4': (path) => remux(path, { filters: ['transpose=2'] }, [], ['-metadata:s:v:0', 'rotate=270']),
  'full-range.mp4': (path) => encode(path, { colours: FULL }),
  'fragmented.mp4': (path) =>
    encode(path, { video: B_FRAMES, container: ['-movflags', 'frag_keyframe+empty_moov+default_base_moof'] }),
  'av1.mp4': (path) => encode(path, { video: AV1, audio: OPUS }),
};

export const NAMES = Object.keys(MAKERS);

/** Makes a source in a folder. */
export const make = (folder, name) => MAKERS[name](join(folder, name));

// What a person is working on: the source, the marked clips, and how they are to come out. Kept in the browser, so that a reload
// loses nothing.

import { clamp } from './ui.js';

/** Limits of the fleet, crates/domain/src/limits.rs. */
export const MIN_CLIP_MS = 100;
export const MAX_CLIP_MS = 3_600_000;
const MAX_KEYFRAMES = 1_200;

/** Length of a clip that is marked by one gesture, milliseconds. */
const FRESH_MS = 15_000;

const KEY = 'clipfleet.draft';

const empty = () => ({
  source: null,
  clips: [],
  selected: null,
  output: { quality: '1080p', aspect: '9:16', fps: 30, loudness: false },
  next: 1,
});

/** The draft and whoever wants to know when it changes. */
export class Draft extends EventTarget {
  #state = empty();

  constructor() {
    super();
    try {
      const kept = JSON.parse(localStorage.getItem(KEY));
      if (kept && Array.isArray(kept.clips) && kept.output) {
        this.#state = { ...this.#state, ...kept };
      }
    } catch {
      // Nothing usable was kept: begin anew.
    }
  }

  get source() { return this.#state.source; }
  get clips() { return this.#state.clips; }
  get output() { return this.#state.output; }
  get selected() { return this.clips.find((clip) => clip.key === this.#state.selected) ?? null; }
  /** Milliseconds; 0 while nobody knows. */
  get durationMs() { return this.source?.durationMs ?? 0; }
  /** How far clips may reach. */
  get endMs() { return this.durationMs || 24 * 3_600_000; }

  #changed() {
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#state));
    } catch {
      // No room, or not allowed: the page works, a reload begins anew.
    }
    this.dispatchEvent(new Event('change'));
  }

  /** A new source; its clips are marked anew. */
  open(source) {
    this.#state = { ...empty(), output: this.output, source };
    this.#changed();
  }

  close() {
    this.open(null);
  }

  /** What was learned about the source, or how far its upload is. */
  learn(fields) {
    if (this.source && Object.entries(fields).some(([name, value]) => this.source[name] !== value)) {
      this.#state.source = { ...this.source, ...fields };
      this.#changed();
    }
  }

  setOutput(fields) {
    this.#state.output = { ...this.output, ...fields };
    this.#changed();
  }

  select(key) {
    if (this.#state.selected !== key) {
      this.#state.selected = key;
      this.#changed();
    }
  }

  /** A new clip of that range, or of a handy length from `startMs` on. Framed like the one selected. */
  add(startMs, endMs = startMs + FRESH_MS) {
    const key = this.#state.next;
    const end = clamp(endMs, MIN_CLIP_MS, this.endMs);
    const start = clamp(startMs, 0, Math.max(0, end - (endMs - startMs >= FRESH_MS ? MIN_CLIP_MS * 10 : MIN_CLIP_MS)));
    const { mode = 'auto_center', position = 50, zoom = 100 } = this.selected?.reframe ?? {};
    const reframe = { mode: mode === 'crop_path' ? 'auto_center' : mode, position, zoom, keyframes: [] };
    const clip = { key, clipId: this.#freeId(key), startMs: Math.round(start), endMs: Math.round(Math.min(end, start + MAX_CLIP_MS)), reframe };
    this.#state.next += 1;
    this.#state.clips = [...this.clips, clip].sort((a, b) => a.startMs - b.startMs || a.key - b.key);
    this.#state.selected = key;
    this.#changed();
    return clip;
  }

  #freeId(number) {
    const taken = new Set(this.clips.map((clip) => clip.clipId));
    let id = `clip-${number}`;
    for (let more = number + 1; taken.has(id); more += 1) {
      id = `clip-${more}`;
    }
    return id;
  }

  /** Changes a clip; its range is kept possible, its keyframes within it. */
  change(key, fields) {
    this.#state.clips = this.clips.map((clip) => (clip.key === key ? this.#sound({ ...clip, ...fields }, clip) : clip));
    this.#changed();
  }

  #sound(clip, before) {
    const most = this.endMs;
    const startMs = Math.round(clamp(clip.startMs, 0, most - MIN_CLIP_MS));
    const endMs = Math.round(clamp(clip.endMs, startMs + MIN_CLIP_MS, Math.min(most, startMs + MAX_CLIP_MS)));
    // Keyframes are times of the clip: they stay where they are in the source.
    const moved = startMs - before.startMs;
    const keyframes = clip.reframe.keyframes
      .map((keyframe) => ({ ...keyframe, atMs: keyframe.atMs - (clip.reframe === before.reframe ? moved : 0) }))
      .filter((keyframe) => keyframe.atMs >= 0 && keyframe.atMs <= endMs - startMs);
    if (keyframes.length === 0 && clip.reframe.keyframes.length > 0) {
      // A path has at least one.
      keyframes.push({ ...clip.reframe.keyframes[0], atMs: 0 });
    }
    return { ...clip, startMs, endMs, reframe: { ...clip.reframe, keyframes } };
  }

  remove(key) {
    const index = this.clips.findIndex((clip) => clip.key === key);
    this.#state.clips = this.clips.filter((clip) => clip.key !== key);
    const neighbour = this.clips[Math.min(index, this.clips.length - 1)];
    this.#state.selected = neighbour?.key ?? null;
    this.#changed();
  }

  reframe(key, fields) {
    const clip = this.clips.find((it) => it.key === key);
    this.change(key, { reframe: { ...clip.reframe, ...fields } });
  }

  /** Sets position and zoom of the moving window at a time of the clip. */
  setKeyframe(key, atMs, { position, zoom }) {
    const clip = this.clips.find((it) => it.key === key);
    const at = Math.round(clamp(atMs, 0, clip.endMs - clip.startMs));
    const others = clip.reframe.keyframes.filter((keyframe) => keyframe.atMs !== at);
    if (others.length < MAX_KEYFRAMES) {
      const keyframes = [...others, { atMs: at, position, zoom }].sort((a, b) => a.atMs - b.atMs);
      this.reframe(key, { keyframes });
    }
  }

  /** Frames all clips like this one. A path belongs to its clip and is not copied. */
  frameAllLike(key) {
    const { mode, position, zoom } = this.clips.find((clip) => clip.key === key).reframe;
    this.#state.clips = this.clips.map((clip) => (clip.key === key ? clip : { ...clip, reframe: { ...clip.reframe, mode, position, zoom } }));
    this.#changed();
  }

  /** The clips as a request has them. */
  requested() {
    return this.clips.map(({ clipId, startMs, endMs, reframe: { mode, position, zoom, keyframes } }) => {
      const fields = { auto_center: { position, zoom }, fit_blur: {}, crop_path: { keyframes } }[mode];
      const audio = this.output.loudness ? { audio: { normalizeLoudness: {} } } : {};
      return { clipId, startMs, endMs, reframe: { mode, ...fields }, ...audio };
    });
  }
}

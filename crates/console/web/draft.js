// What a user is working on: the source, the marked clips, and how they are to come out. Every change is kept in the
// browser at once and can be undone.

import { Drafts, draftId } from './drafts.js';
import { clamp } from './ui.js';
import { UndoStack } from './undo.js';

/** Limits of the fleet, crates/domain/src/limits.rs. */
export const MIN_CLIP_MS = 100;
export const MAX_CLIP_MS = 3_600_000;
const MAX_KEYFRAMES = 1_200;

/** Length of a clip that is marked by one key, milliseconds. */
const NEW_CLIP_MS = 15_000;

/** The shortest clip that a key marks at the end of the video, milliseconds. */
const MIN_NEW_CLIP_MS = 1_000;

const OUTPUT = { quality: '1080p', aspect: '9:16', fps: 30, loudness: false };
/** Whether two states are the same to the user. */
const isSame = (a, b) => JSON.stringify([a.clips, a.output]) === JSON.stringify([b.clips, b.output]);

const empty = (output = OUTPUT) => ({ clips: [], selected: null, output, next: 1 });
const stateOf = ({ clips, selected = null, output, next }) => ({ clips, selected, output, next });

/** Dispatches `change`. The state is one immutable object; a change replaces it. */
export class Draft extends EventTarget {
  #drafts;
  #source = null;
  #state = empty();
  #history = new UndoStack();

  constructor(drafts = new Drafts()) {
    super();
    this.#drafts = drafts;
    const kept = drafts.currentId && drafts.load(drafts.currentId);
    if (kept) {
      [this.#source, this.#state] = [kept.source, stateOf(kept)];
    }
    globalThis.addEventListener?.('storage', ({ key, newValue }) => this.#adopt(key, newValue));
  }

  /** Whether the browser kept the latest change. */
  kept = true;

  get id() {
    return this.#source && draftId(this.#source);
  }
  get source() {
    return this.#source;
  }
  get clips() {
    return this.#state.clips;
  }
  get output() {
    return this.#state.output;
  }
  get selected() {
    return this.clip(this.#state.selected);
  }
  /** Milliseconds; 0 if unknown. */
  get durationMs() {
    return this.source?.durationMs ?? 0;
  }
  /** How far clips may reach. */
  get endMs() {
    return this.durationMs || 24 * 3_600_000;
  }
  get canUndo() {
    return this.#history.canUndo;
  }
  get canRedo() {
    return this.#history.canRedo;
  }

  clip(key) {
    return this.clips.find((clip) => clip.key === key) ?? null;
  }

  /* ---------- the source ---------- */

  /** Opens a source, with the clips that its draft has. */
  open(source) {
    const kept = this.#drafts.load(draftId(source));
    this.#history = new UndoStack();
    this.#source = { ...kept?.source, ...source };
    this.#state = kept ? stateOf(kept) : empty(this.output);
    this.#drafts.currentId = this.id;
    this.#keep();
  }

  /** Opens a kept draft as it is. */
  reopen(id) {
    const kept = this.#drafts.load(id);
    if (kept) {
      this.open(kept.source);
    }
  }

  /** Closes the source; its draft is kept. */
  close() {
    this.#history = new UndoStack();
    [this.#source, this.#state] = [null, empty(this.output)];
    this.#drafts.currentId = null;
    this.dispatchEvent(new Event('change'));
  }

  /** Sets what was learned about the source. It is no step of the user's. */
  learn(fields) {
    if (this.source && Object.entries(fields).some(([name, value]) => this.source[name] !== value)) {
      this.#source = { ...this.source, ...fields };
      this.#keep();
    }
  }

  /** The same draft was changed in another tab: the latest change counts in both, and can be undone here. */
  #adopt(key, newValue) {
    if (newValue && this.source && Drafts.idOf(key) === this.id) {
      const kept = this.#drafts.load(this.id);
      if (kept) {
        if (!isSame(kept, this.#state)) {
          this.#history.record(this.#state);
        }
        [this.#source, this.#state] = [kept.source, stateOf(kept)];
        this.dispatchEvent(new Event('change'));
      }
    }
  }

  #keep() {
    if (this.source) {
      this.kept = this.#drafts.save(this.id, { source: this.source, ...this.#state });
    }
    this.dispatchEvent(new Event('change'));
  }

  /* ---------- undo ---------- */

  #set(fields) {
    const next = { ...this.#state, ...fields };
    // A step that changes nothing would make one press of undo seem broken.
    if (!isSame(this.#state, next)) {
      this.#history.record(this.#state);
    }
    this.#state = next;
    this.#keep();
  }

  /** Until the returned function is called, all changes are one step. */
  gesture() {
    const history = this.#history;
    history.open();
    return () => {
      history.close((before) => isSame(before, this.#state));
      this.dispatchEvent(new Event('change'));
    };
  }

  undo() {
    return this.#restore(this.#history.undo(this.#state));
  }
  redo() {
    return this.#restore(this.#history.redo(this.#state));
  }

  #restore(state) {
    if (state) {
      this.#state = state;
      this.#keep();
    }
    return state !== null;
  }

  /* ---------- clips ---------- */

  setOutput(fields) {
    this.#set({ output: { ...this.output, ...fields } });
  }

  select(key) {
    if (this.#state.selected !== key) {
      this.#state = { ...this.#state, selected: key };
      this.#keep();
    }
  }

  /** A new clip of that range, or of a default length from `startMs` on. Framed like the selected one. */
  add(startMs, endMs) {
    const key = this.#state.next;
    const end = clamp(endMs ?? startMs + NEW_CLIP_MS, MIN_CLIP_MS, this.endMs);
    const latest = end - (endMs === undefined ? MIN_NEW_CLIP_MS : MIN_CLIP_MS);
    const start = clamp(startMs, 0, Math.max(0, latest));
    const { mode = 'auto_center', position = 50, zoom = 100 } = this.selected?.reframe ?? {};
    const clip = {
      key,
      clipId: this.#freeId(),
      startMs: Math.round(start),
      endMs: Math.round(Math.min(end, start + MAX_CLIP_MS)),
      reframe: { mode: mode === 'crop_path' ? 'auto_center' : mode, position, zoom, keyframes: [] },
    };
    this.#set({ next: key + 1, selected: key, clips: inOrder([...this.clips, clip]) });
    return clip;
  }

  #freeId() {
    const taken = new Set(this.clips.map((clip) => clip.clipId));
    let free = 1;
    while (taken.has(`clip-${free}`)) {
      free += 1;
    }
    return `clip-${free}`;
  }

  /** Sets an edge of the selected clip. Past the clip's other edge it begins a new clip there, which is returned. */
  setEdge(edge, ms) {
    const at = Math.round(ms);
    const { selected } = this;
    const fits =
      selected && (edge === 'start' ? at <= selected.endMs - MIN_CLIP_MS : at >= selected.startMs + MIN_CLIP_MS);
    if (fits) {
      this.change(selected.key, edge === 'start' ? { startMs: at } : { endMs: at });
      return null;
    }
    return edge === 'start' ? this.add(at) : this.add(Math.max(0, at - NEW_CLIP_MS), Math.max(at, MIN_CLIP_MS));
  }

  /** Changes a clip; its range is kept possible. */
  change(key, fields) {
    const clips = this.clips.map((clip) => (clip.key === key ? this.#bounded({ ...clip, ...fields }, clip) : clip));
    this.#set({ clips });
  }

  #bounded(clip, before) {
    const startMs = Math.round(clamp(clip.startMs, 0, this.endMs - MIN_CLIP_MS));
    const endMs = Math.round(clamp(clip.endMs, startMs + MIN_CLIP_MS, Math.min(this.endMs, startMs + MAX_CLIP_MS)));
    // Keyframes are times of the clip: when its start moves they stay where they are in the source. Those that are
    // outside now are kept, so that a drag there and back loses none.
    const moved = clip.reframe === before.reframe ? startMs - before.startMs : 0;
    const keyframes = clip.reframe.keyframes.map((keyframe) => ({ ...keyframe, atMs: keyframe.atMs - moved }));
    return { ...clip, startMs, endMs, reframe: { ...clip.reframe, keyframes } };
  }

  /** Moves a clip without changing its length. */
  move(key, startMs) {
    const clip = this.clip(key);
    const lengthMs = clip.endMs - clip.startMs;
    const start = clamp(startMs, 0, this.endMs - lengthMs);
    this.change(key, { startMs: start, endMs: start + lengthMs });
  }

  /** Removes a clip; returns it. */
  remove(key) {
    const index = this.clips.findIndex((clip) => clip.key === key);
    const removed = this.clips[index];
    if (!removed) {
      return null;
    }
    const clips = this.clips.filter((clip) => clip !== removed);
    this.#set({ clips, selected: clips[Math.min(index, clips.length - 1)]?.key ?? null });
    return removed;
  }

  /** Adds a removed clip again. */
  restore(clip) {
    if (!this.clip(clip.key)) {
      const clipId = this.clips.some((other) => other.clipId === clip.clipId) ? this.#freeId() : clip.clipId;
      this.#set({ clips: inOrder([...this.clips, { ...clip, clipId }]), selected: clip.key });
    }
  }

  reframe(key, fields) {
    this.change(key, { reframe: { ...this.clip(key).reframe, ...fields } });
  }

  /** Sets position and zoom of the moving window at a time of the clip. */
  setKeyframe(key, atMs, { position, zoom }) {
    const clip = this.clip(key);
    const at = Math.round(clamp(atMs, 0, clip.endMs - clip.startMs));
    const others = clip.reframe.keyframes.filter((keyframe) => keyframe.atMs !== at);
    if (others.length < MAX_KEYFRAMES) {
      const keyframes = [...others, { atMs: at, position, zoom }].sort((a, b) => a.atMs - b.atMs);
      this.reframe(key, { keyframes });
    }
  }

  /** Frames all clips like this one. A path belongs to its clip and is not copied. */
  frameAllLike(key) {
    const { mode, position, zoom } = this.clip(key).reframe;
    const alike = (clip) => ({ ...clip, reframe: { ...clip.reframe, mode, position, zoom } });
    this.#set({ clips: this.clips.map((clip) => (clip.key === key ? clip : alike(clip))) });
  }

  /** The clips as a request has them. */
  requested() {
    return this.clips.map((clip) => {
      const {
        clipId,
        startMs,
        endMs,
        reframe: { mode, position, zoom },
      } = clip;
      const fields = { auto_center: { position, zoom }, fit_blur: {}, crop_path: { keyframes: pathOf(clip) } }[mode];
      const audio = this.output.loudness ? { audio: { normalizeLoudness: {} } } : {};
      return { clipId, startMs, endMs, reframe: { mode, ...fields }, ...audio };
    });
  }
}

/** The keyframes within a clip. A path has at least one: without any, the nearest one outside. */
export function pathOf({ startMs, endMs, reframe: { keyframes } }) {
  const inside = keyframes.filter(({ atMs }) => atMs >= 0 && atMs <= endMs - startMs);
  if (inside.length > 0 || keyframes.length === 0) {
    return inside;
  }
  const nearest = keyframes[0].atMs < 0 ? keyframes.filter(({ atMs }) => atMs < 0).at(-1) : keyframes[0];
  return [{ ...nearest, atMs: 0 }];
}

const inOrder = (clips) => clips.sort((a, b) => a.startMs - b.startMs || a.key - b.key);

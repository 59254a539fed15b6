// Undo and redo over immutable states. Changes between `open` and `close` are one step, so that a drag is undone at
// once.

/** More steps than anyone undoes; it bounds the memory. */
const MAX_STEPS = 200;

export class UndoStack {
  #past = [];
  #future = [];
  #limit;
  /** The gesture in progress: `null`, or what its first change replaced once there was one. */
  #gesture = null;

  constructor(limit = MAX_STEPS) {
    this.#limit = limit;
  }

  get canUndo() {
    return this.#past.length > 0;
  }
  get canRedo() {
    return this.#future.length > 0;
  }

  /** Begins a gesture, whose changes are one step. */
  open() {
    this.#gesture = {};
  }

  /** Ends a gesture. If it came back to where it began, there was no step; `isSame(before)` compares. */
  close(isSame = () => false) {
    const { before, future } = this.#gesture ?? {};
    if (before && this.#past.at(-1) === before && isSame(before)) {
      this.#past.pop();
      this.#future = future;
    }
    this.#gesture = null;
  }

  /** Records the state that a change replaces. */
  record(before) {
    if (this.#gesture?.before) {
      return;
    }
    if (this.#gesture) {
      Object.assign(this.#gesture, { before, future: this.#future });
    }
    this.#future = [];
    this.#past.push(before);
    if (this.#past.length > this.#limit) {
      this.#past.shift();
    }
  }

  /** Returns the state before `current`; `null` if there is none. */
  undo(current) {
    return this.#move(this.#past, this.#future, current);
  }

  /** Returns the state that `current` was undone from; `null` if there is none. */
  redo(current) {
    return this.#move(this.#future, this.#past, current);
  }

  #move(from, to, current) {
    this.#gesture = null;
    if (from.length === 0) {
      return null;
    }
    to.push(current);
    return from.pop();
  }
}
